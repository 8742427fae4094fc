/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <time.h>
#include <unistd.h>

#include "ctl.h"
#include "event-reader.h"
#include "job.h"
#include "reeve-limits.h"

/* Shows events as they come. When the connection ends it goes on from the last one: nothing is
 * missed while the service is restarted. */

#define PAUSE_USEC (500 * USEC_PER_MSEC)
#define SILENCE_USEC                                                                               \
        (70 * USEC_PER_MIN) /* a comment comes each EventCommentSec=, an hour at most */

typedef struct Monitor {
        Ctl *ctl;
        EventReader reader;
        bool of_job; /* it ends with the job */
        bool over;
        int status;
} Monitor;

static void print_event(const JsonValue *job)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        char clock[16] = "";
        time_t now = time(NULL);
        struct tm tm;

        if (localtime_r(&now, &tm))
                (void) strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
        strbuf_printf(&b, "%s ", clock);
        text_clean(&b, member_text(job, "id"));
        strbuf_putc(&b, ' ');
        text_clean(&b, member_text(job, "kind"));
        strbuf_putc(&b, ' ');
        text_clean(&b, member_text(job, "queue"));
        strbuf_putc(&b, ' ');
        ctl_put_job(&b, job);
        puts(strbuf_str(&b));
}

/* What is no job: the service has something to say about the stream. */
static void tell_service(const char *event, const JsonValue *v)
{
        const char *reason = member_text(v, "reason");

        if (streq(event, "reset"))
                (void) ctl_error(0, "Some events may be missing: %s.", reason);
        else if (streq(event, "close") && !streq(reason, "stopping"))
                (void) ctl_error(0, "The service ended the stream: %s.", reason);
}

static bool on_event(const char *event, const char *data, void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Monitor *m = userdata;
        const JsonValue *job;

        if (json_parse(data, strlen(data), REEVE_RESULT_DEPTH_MAX + 8, &d, NULL) < 0 ||
                !json_value_is(json_document_root(d), JSON_OBJECT)) {
                m->status = ctl_error(EXIT_STATUS_FAILED, "An event is not a JSON object.");
                m->over = true;
                return true;
        }
        job = json_document_root(d);
        if (!streq(event, "state") && !streq(event, "progress") && !streq(event, "end")) {
                tell_service(event, job);
                return false;
        }
        if (m->ctl->json)
                puts(data);
        else
                print_event(job);
        fflush(stdout);
        if (!m->of_job || !streq(event, "end"))
                return false;
        m->over = true;
        m->status = streq(member_text(job, "state"), "succeeded") ? EXIT_STATUS_OK
                                                                  : EXIT_STATUS_JOB_FAILED;
        return true;
}

static int take_body(void *userdata, const char *data, size_t n)
{
        Monitor *m = userdata;
        int r = event_reader_feed(&m->reader, data, n);

        if (r < 0) {
                m->over = true;
                m->status = r == -ENOMEM ? ctl_oom()
                                         : ctl_error(EXIT_STATUS_FAILED, "An event is too large.");
        }
        return r == 0 ? 0 : -ECANCELED;
}

static int put_target(Ctl *c, StrBuf *b)
{
        static const CtlOptionId filters[] = { OPTION_KIND, OPTION_QUEUE, OPTION_TENANT,
                OPTION_STATE };
        const char *sep = "?";

        if (c->n_args > 0) {
                if (!ctl_is_id(c->args[0]))
                        return EXIT_STATUS_USAGE;
                strbuf_printf(b, "/api/jobs/%s/events", c->args[0]);
        } else {
                strbuf_puts(b, "/api/events");
        }
        for (size_t i = 0; i < ELEMENTSOF(filters); i++) {
                const char *name = ctl_option(filters[i])->name, *value = c->values[filters[i]];

                if (!value)
                        continue;
                if (c->n_args > 0)
                        return ctl_error(EXIT_STATUS_USAGE,
                                "--%s does not go with a job. Try \"reevectl help monitor\".",
                                name);
                strbuf_printf(b, "%s%s=", sep, name);
                http_quote(b, value);
                sep = "&";
        }
        return strbuf_error(b) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

/* One connection. Returns whether there is to be another one. */
static bool listen_once(Monitor *m, CtlAway *away, const char *target)
{
        _cleanup_(answer_done) Answer a = {};
        const HttpAsk ask = { .method = "GET",
                .target = target,
                .usec = SILENCE_USEC,
                .sink = take_body,
                .sink_userdata = m,
                .last_event_id = m->reader.id.len > 0 ? strbuf_str(&m->reader.id) : NULL };
        int error;

        event_reader_restart(&m->reader);
        ctl_try(m->ctl, &ask, &a, &error);
        if (m->over)
                return false;
        if (a.reply.status == 200)
                ctl_has_answered(away);
        if ((error >= 0 && a.reply.status == 200) ||
                ctl_may_come_back(away, error, a.reply.status)) {
                (void) usleep(PAUSE_USEC);
                return true;
        }
        m->status = error < 0 ? ctl_tell_fault(m->ctl, error) : ctl_tell_problem(&a);
        return false;
}

int verb_monitor(Ctl *c)
{
        _cleanup_(strbuf_done) StrBuf target = {};
        Monitor m = { .ctl = c,
                .of_job = c->n_args > 0,
                .reader = { .on_event = on_event, .userdata = &m } };
        CtlAway away = {};
        int r = put_target(c, &target);

        if (r != EXIT_STATUS_OK)
                return r;
        while (listen_once(&m, &away, strbuf_str(&target)))
                ;
        event_reader_done(&m.reader);
        return m.status;
}

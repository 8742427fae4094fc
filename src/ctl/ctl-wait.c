/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <sys/ioctl.h>
#include <unistd.h>

#include "ctl.h"
#include "job.h"

/* Polls long: the API answers when the job has ended, or after the time, with what it is then. The
 * first job that has not ended is waited for, the others are looked at in turn. Progress goes to
 * standard error. */

#define BAR_CELLS   24U
#define STATUS_MAX  256
#define PAUSE_USEC  (500 * USEC_PER_MSEC)
#define ANSWER_USEC (20 * USEC_PER_SEC) /* beyond the long poll's time */

typedef struct Waited {
        const char *id;
        JobState state;
        double progress; /* -1: none */
        char status[STATUS_MAX];
        char trouble[STATUS_MAX]; /* what stopped its last attempt, while it waits for the next */
} Waited;

typedef struct Wait {
        Ctl *ctl;
        Waited *jobs;
        unsigned n_jobs, n_left;
        bool tty, bar_shown;
        CtlAway away;
        int worst;
} Wait;

static void clear_bar(Wait *w)
{
        if (w->bar_shown)
                fputs("\r\033[K", stderr);
        w->bar_shown = false;
}

static size_t line_width(void)
{
        struct winsize size;

        return ioctl(STDERR_FILENO, TIOCGWINSZ, &size) >= 0 && size.ws_col > 1 ? size.ws_col : 80;
}

/* How many bytes of s take at most so many columns, with whole characters. */
static size_t fitting(const char *s, size_t width)
{
        _cleanup_(freep) char *part = strdup(s);
        size_t n = strlen(s);

        while (part && text_width(part) > width) {
                while (n > 1 && ((unsigned char) part[n - 1] & 0xc0) == 0x80)
                        n--;
                part[--n] = '\0';
        }
        return part ? n : 0;
}

static void show_bar(Wait *w, const Waited *j)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_printf(&b, "%.8s%s ", j->id, w->n_jobs > 1 ? "..." : "");
        if (w->n_jobs > 1)
                strbuf_printf(&b, "(%u left) ", w->n_left);
        if (j->progress >= 0)
                text_bar(&b, j->progress, BAR_CELLS);
        else
                strbuf_puts(&b, job_state_to_string(j->state));
        strbuf_putc(&b, ' ');
        text_clean(&b, j->trouble[0] ? j->trouble : j->status);
        clear_bar(w);
        /* No longer than a line: what is wrapped is not cleared. */
        fprintf(stderr, "%.*s", (int) fitting(strbuf_str(&b), line_width() - 1), strbuf_str(&b));
        fflush(stderr);
        w->bar_shown = true;
}

static void print_line(Wait *w, const Waited *j, const JsonValue *job)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        ctl_put_job(&b, job);
        clear_bar(w);
        fprintf(stderr, "%s: %s\n", j->id, strbuf_str(&b));
}

/* Who waits for a job must not wait in the dark. */
static bool take_trouble(Waited *j, JobState state, const JsonValue *job)
{
        const JsonValue *error = json_value_member(job, "last_error");
        char trouble[STATUS_MAX] = "";
        bool news;

        if (error && json_value_is(error, JSON_OBJECT) &&
                (state == JOB_READY || state == JOB_SCHEDULED))
                (void) snprintf(trouble, sizeof(trouble), "%s%s%s", member_text(error, "code"),
                        *member_text(error, "message") ? ": " : "", member_text(error, "message"));
        news = !streq(trouble, j->trouble);
        memcpy(j->trouble, trouble, sizeof(trouble));
        return news;
}

/* What the answer says of the job; shown if it is news. */
static int take_job(Wait *w, Waited *j, const JsonValue *job)
{
        JobState state = job_state_from_string(member_text(job, "state"));
        const char *status = member_text(job, "status");
        double progress = -1;
        bool news;

        if (state <= JOB_NONE)
                return ctl_error(
                        EXIT_STATUS_FAILED, "%s: the answer names no state that is known.", j->id);
        (void) json_get_double(job, "progress", &progress, NULL);
        news = state != j->state || progress != j->progress ||
                strncmp(status, j->status, STATUS_MAX - 1) != 0;
        news = take_trouble(j, state, job) || news;
        j->state = state;
        j->progress = progress;
        (void) snprintf(j->status, sizeof(j->status), "%s", status);
        if (job_state_is_terminal(state)) {
                w->n_left--;
                print_line(w, j, job);
                if (state != JOB_SUCCEEDED && w->worst == EXIT_STATUS_OK)
                        w->worst = EXIT_STATUS_JOB_FAILED;
        } else if (news && w->tty) {
                show_bar(w, j);
        } else if (news) {
                print_line(w, j, job);
        }
        return EXIT_STATUS_OK;
}

/* Asks for a job, waiting up to that time for its end. */
static int look_at(Wait *w, Waited *j, usec_t usec)
{
        _cleanup_(answer_done) Answer a = {};
        char target[128];
        HttpAsk ask = { .method = "GET", .target = target, .usec = usec + ANSWER_USEC };
        int error;

        (void) snprintf(target, sizeof(target), "/api/jobs/%s?wait=%llums", j->id,
                (unsigned long long) (usec / USEC_PER_MSEC));
        ctl_try(w->ctl, &ask, &a, &error);
        if (error >= 0 && a.reply.status == 200 && a.root) {
                ctl_has_answered(&w->away);
                return take_job(w, j, a.root);
        }
        clear_bar(w);
        if (ctl_may_come_back(&w->away, error, a.reply.status)) {
                (void) usleep(PAUSE_USEC);
                return EXIT_STATUS_OK;
        }
        if (error < 0)
                return ctl_tell_fault(w->ctl, error);
        if (a.reply.status != 200)
                return ctl_tell_problem(&a);
        return ctl_error(EXIT_STATUS_FAILED, "%s: the answer is not JSON.", j->id);
}

/* Looks once at each that has not ended. A job that cannot be found is left, the others go on. */
static int look_round(Wait *w)
{
        bool first = true;

        for (unsigned i = 0; i < w->n_jobs; i++) {
                Waited *j = w->jobs + i;
                bool news_wanted = w->tty || j->state == JOB_NONE;
                int r;

                if (!j->id || job_state_is_terminal(j->state))
                        continue;
                r = look_at(w, j, !first ? 0 : news_wanted ? PAUSE_USEC : 2 * USEC_PER_SEC);
                first = false;
                if (r == EXIT_STATUS_NOT_FOUND) {
                        w->worst = r;
                        w->n_left--;
                        j->id = NULL;
                } else if (r != EXIT_STATUS_OK) {
                        return r;
                }
        }
        return EXIT_STATUS_OK;
}

int wait_for_jobs(Ctl *c, char *const *ids, unsigned n_ids)
{
        _cleanup_(freep) Waited *jobs = new0(Waited, n_ids);
        Wait w = { .ctl = c, .jobs = jobs, .n_jobs = n_ids, .n_left = n_ids };
        int r = EXIT_STATUS_OK;

        if (!jobs)
                return ctl_oom();
        w.tty = isatty(STDERR_FILENO) && !streq_ptr(getenv("TERM"), "dumb");
        for (unsigned i = 0; i < n_ids; i++) {
                if (!ctl_is_id(ids[i]))
                        return EXIT_STATUS_USAGE;
                jobs[i] = (Waited){ .id = ids[i], .progress = -1 };
        }
        while (w.n_left > 0 && r == EXIT_STATUS_OK)
                r = look_round(&w);
        clear_bar(&w);
        return r != EXIT_STATUS_OK ? r : w.worst;
}

int verb_wait(Ctl *c)
{
        int r = wait_for_jobs(c, c->args, (unsigned) c->n_args);

        if (!c->json || (r != EXIT_STATUS_OK && r != EXIT_STATUS_JOB_FAILED))
                return r;
        for (int i = 0; i < c->n_args; i++) {
                _cleanup_(answer_done) Answer a = {};
                int e = ctl_ask_job(c, "GET", c->args[i], "", NULL, &a);

                if (e != EXIT_STATUS_OK)
                        return e;
                ctl_print_body(&a);
        }
        return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdarg.h>

#include "config-load.h"
#include "ctl.h"
#include "job.h"
#include "reeve-limits.h"
#include "uuid.h"

#define AWAY_USEC (2 * USEC_PER_MIN) /* how long a service that was there may be away */

void answer_done(Answer *a)
{
        http_reply_done(&a->reply);
        a->document = json_document_free(a->document);
        a->root = NULL;
}

int ctl_error(int exit_status, const char *format, ...)
{
        _cleanup_(strbuf_done) StrBuf raw = {}, clean = {};
        va_list ap;

        va_start(ap, format);
        strbuf_vprintf(&raw, format, ap);
        va_end(ap);
        text_clean(&clean, strbuf_str(&raw));
        fflush(stdout);
        fprintf(stderr, "reevectl: %s\n", strbuf_str(&clean));
        return exit_status;
}

int ctl_oom(void)
{
        return ctl_error(EXIT_STATUS_FAILED, "Out of memory.");
}

void ctl_try(Ctl *c, const HttpAsk *ask, Answer *ret, int *ret_error)
{
        int r;

        ret->reply = http_reply(HTTP_CLIENT_BODY_MAX);
        r = http_client_ask(&c->client, ask, &ret->reply);
        if (r >= 0 && ret->reply.body.len > 0) {
                r = json_parse(ret->reply.body.data, ret->reply.body.len,
                        REEVE_RESULT_DEPTH_MAX + 8, &ret->document, NULL);
                if (r >= 0)
                        ret->root = json_document_root(ret->document);
                else if (r == -EBADMSG)
                        r = 0;
        }
        *ret_error = r;
}

void ctl_has_answered(CtlAway *a)
{
        *a = (CtlAway){ .answered = true };
}

bool ctl_may_come_back(CtlAway *a, int error, unsigned status)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (!a->answered || error == -ENOMEM || error == -EACCES || error == -EFBIG ||
                error == -EBADMSG || (error >= 0 && status != 503 && status != 504))
                return false;
        if (a->since_usec == 0) {
                a->since_usec = now;
                (void) ctl_error(0, "The service is away; the jobs are not. Asking again.");
        }
        return now - a->since_usec < AWAY_USEC;
}

void ctl_put_job(StrBuf *b, const JsonValue *job)
{
        JobState state = job_state_from_string(member_text(job, "state"));
        bool waits = state == JOB_READY || state == JOB_SCHEDULED; /* perhaps for another attempt */
        const JsonValue *error = json_value_member(job, waits ? "last_error" : "error");
        const char *status = member_text(job, "status");
        double progress = -1;

        text_clean(b, member_text(job, "state"));
        if (!job_state_is_terminal(state)) {
                (void) json_get_double(job, "progress", &progress, NULL);
                if (progress >= 0)
                        strbuf_printf(b, " %.0f%%", progress);
                strbuf_puts(b, *status ? " " : "");
                text_clean(b, status);
        }
        if (error && json_value_is(error, JSON_OBJECT)) {
                strbuf_puts(b, ": ");
                text_clean(b, member_text(error, "code"));
                strbuf_puts(b, *member_text(error, "message") ? ": " : "");
                text_clean(b, member_text(error, "message"));
        } else if (state == JOB_CANCELLED && *member_text(job, "reason")) {
                strbuf_puts(b, ": ");
                text_clean(b, member_text(job, "reason"));
        }
}

int ctl_tell_fault(Ctl *c, int error)
{
        const char *path = c->client.socket_path;

        switch (error) {
        case -ENOMEM:
                return ctl_oom();
        case -ENOENT:
                return ctl_error(EXIT_STATUS_NO_CONNECTION,
                        "There is no socket %s: is reeve-api.socket running? Try: %s", path,
                        ctl_remedy("systemctl start reeve.target"));
        case -ECONNREFUSED:
                return ctl_error(EXIT_STATUS_NO_CONNECTION, "%s. Nobody listens there. Try: %s",
                        c->client.wrong,
                        ctl_remedy("systemctl status reeve-api.socket reeve-api.service"));
        case -EACCES:
        case -EPERM:
                return ctl_error(EXIT_STATUS_REFUSED,
                        "You may not connect to %s: be root, or a member of group reeve-admin.",
                        path ? path : c->client.host);
        case -ETIMEDOUT:
                return ctl_error(EXIT_STATUS_NO_CONNECTION, "%s. What it does says: %s",
                        c->client.wrong, ctl_remedy("systemctl status reeve-api.service"));
        case -EIO:
        case -EFBIG:
        case -EBADMSG:
                return ctl_error(EXIT_STATUS_FAILED, "%s.", c->client.wrong);
        default:
                return ctl_error(EXIT_STATUS_NO_CONNECTION, "%s.", c->client.wrong);
        }
}

static int exit_status_of(unsigned status)
{
        switch (status) {
        case 401:
        case 403:
                return EXIT_STATUS_REFUSED;
        case 404:
        case 410:
                return EXIT_STATUS_NOT_FOUND;
        case 502:
        case 503:
        case 504:
                return EXIT_STATUS_NO_CONNECTION;
        default:
                return EXIT_STATUS_FAILED;
        }
}

/* What helps against: unknown kind "NAME". A file of it may be here already. */
static void put_kind_hint(StrBuf *b, const char *text)
{
        const char *name = strchr(text, '"'), *end = name ? strchr(name + 1, '"') : NULL;
        _cleanup_(kind_set_freep) KindSet *set = NULL;
        char root[PATH_MAX];

        (void) kinds_load(ctl_root(root), NULL, NULL, &set);
        for (size_t i = 0; set && end && i < set->n_kinds; i++)
                if (strncmp(set->kinds[i]->name, name + 1, (size_t) (end - name - 1)) == 0 &&
                        !set->kinds[i]->name[end - name - 1]) {
                        strbuf_printf(b, " %s is here, and no worker has read it yet. Try: %s",
                                set->kinds[i]->file, ctl_remedy(KINDS_REREAD));
                        return;
                }
        strbuf_puts(b, " Try: reevectl kinds; reevectl kinds check says what is wrong with one");
}

int ctl_tell_problem(const Answer *a)
{
        const char *detail = a->root ? member_text(a->root, "detail") : "";
        const char *title = a->root ? member_text(a->root, "title") : "";
        const char *text = *detail ? detail : *title ? title : "the service gave no reason";
        size_t n = strlen(text);
        const char *stop = n > 0 && strchr(".!?", text[n - 1]) ? "" : ".";
        unsigned status = a->reply.status;
        _cleanup_(strbuf_done) StrBuf hint = {};

        if (status == 401)
                return ctl_error(EXIT_STATUS_REFUSED,
                        "%s%s Give a key with --key-file=FILE, or use the unix socket (HTTP 401).",
                        text, stop);
        if (status == 403)
                return ctl_error(EXIT_STATUS_REFUSED,
                        "%s%s On the unix socket root and the members of group reeve-admin may do "
                        "everything, others what Allow= gives them: [Peer] in reeve.conf(5). By "
                        "TCP it is the key's role: reevectl help key (HTTP 403).",
                        text, stop);
        if (exit_status_of(status) == EXIT_STATUS_NO_CONNECTION)
                return ctl_error(EXIT_STATUS_NO_CONNECTION,
                        "%s%s More by: reevectl status, %s (HTTP %u).", text, stop,
                        ctl_remedy("journalctl -u reeve-api"), status);
        if (strstr(text, "unknown kind"))
                put_kind_hint(&hint, strstr(text, "unknown kind"));
        return ctl_error(
                exit_status_of(status), "%s%s (HTTP %u)%s", text, stop, status, strbuf_str(&hint));
}

int ctl_ask(Ctl *c, const HttpAsk *ask, Answer *ret)
{
        int error;

        ctl_try(c, ask, ret, &error);
        if (error < 0)
                return ctl_tell_fault(c, error);
        if (ret->reply.status < 200 || ret->reply.status > 299)
                return ctl_tell_problem(ret);
        if (!ret->root && ret->reply.status != 204)
                return ctl_error(EXIT_STATUS_FAILED,
                        "%s %s: the answer is not JSON. Is this Reeve's API?", ask->method,
                        ask->target);
        return EXIT_STATUS_OK;
}

int ctl_get(Ctl *c, const char *target, Answer *ret)
{
        return ctl_ask(c, &(HttpAsk){ .method = "GET", .target = target }, ret);
}

bool ctl_is_id(const char *id)
{
        Uuid uuid;

        if (uuid_parse(id, &uuid) >= 0)
                return true;
        (void) ctl_error(EXIT_STATUS_USAGE,
                "%s is not the id of a job, which looks like "
                "0193a7b2-7c00-7000-8000-000000000000. Try: reevectl list",
                id);
        return false;
}

int ctl_ask_job(Ctl *c, const char *method, const char *id, const char *suffix, const char *body,
        Answer *ret)
{
        const HttpPart part = { .data = body, .size = body ? strlen(body) : 0 };
        char target[256];

        if (!ctl_is_id(id))
                return EXIT_STATUS_USAGE;
        (void) snprintf(target, sizeof(target), "/api/jobs/%s%s", id, suffix);
        return ctl_ask(c,
                &(HttpAsk){ .method = method,
                        .target = target,
                        .content_type = body ? "application/json" : NULL,
                        .parts = &part,
                        .n_parts = body ? 1 : 0 },
                ret);
}

const JsonValue *ctl_list(const Answer *a, const char *name)
{
        const JsonValue *list = json_value_member(a->root, name);

        if (list && json_value_is(list, JSON_ARRAY))
                return list;
        (void) ctl_error(EXIT_STATUS_FAILED,
                "The answer has no list \"%s\": are reevectl and the API of the same version?",
                name);
        return NULL;
}

void ctl_print_lines(const JsonValue *list)
{
        for (const JsonValue *v = json_value_first(list, NULL); v;
                v = json_value_next(list, v, NULL)) {
                size_t n;
                const char *text = json_value_text(v, &n);

                /* A line end can only stand between two tokens. */
                for (size_t i = 0; i < n; i++)
                        putchar(text[i] == '\n' || text[i] == '\r' ? ' ' : text[i]);
                putchar('\n');
        }
}

void ctl_print_body(const Answer *a)
{
        const StrBuf *b = &a->reply.body;

        fwrite(strbuf_str(b), 1, b->len, stdout);
        if (b->len == 0 || b->data[b->len - 1] != '\n')
                putchar('\n');
}

const char *member_text(const JsonValue *v, const char *name)
{
        const char *text = "";

        (void) json_get_string(v, name, &text, NULL);
        return text;
}

uint64_t member_u64(const JsonValue *v, const char *name)
{
        uint64_t n = 0;

        (void) json_get_uint64(v, name, 0, UINT64_MAX, &n, NULL);
        return n;
}

bool member_bool(const JsonValue *v, const char *name)
{
        bool value = false;

        (void) json_get_bool(v, name, &value, NULL);
        return value;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>

#include "ctl.h"
#include "job.h"
#include "parse-util.h"

#define CUT_MAX  400U /* bytes of a payload that people are shown */
#define PAGE_MAX 200U /* what the API gives at once */

/* ---- list ---- */

static void add_parameter(const Ctl *c, StrBuf *b, CtlOptionId id)
{
        if (!c->values[id])
                return;
        strbuf_printf(b, "&%s=", ctl_option(id)->name);
        http_quote(b, c->values[id]);
}

/* What a blocked job waits for: "1 of 1 runs of thumbnail /user=7", or
 * "100 in 1min of mail, next at 12:00:00". */
static void describe_limit(StrBuf *b, const JsonValue *job)
{
        const JsonValue *by = json_value_member(job, "blocked_by");
        _cleanup_(strbuf_done) StrBuf key = {};
        char at[TEXT_TIME_MAX], span[TIMESPAN_MAX];

        if (!by || !json_value_is(by, JSON_OBJECT))
                return;
        text_clean(&key, member_text(by, "key"));
        if (json_value_member(by, "running"))
                strbuf_printf(b, "%" PRIu64 " of %" PRIu64 " runs of ", member_u64(by, "running"),
                        member_u64(by, "most"));
        else if (json_value_member(by, "interval_usec"))
                strbuf_printf(b, "%" PRIu64 " in %s of ", member_u64(by, "most"),
                        format_timespan(span, member_u64(by, "interval_usec")));
        strbuf_puts(b, strbuf_str(&key));
        if (*member_text(by, "next_at"))
                strbuf_printf(b, ", next at %s", text_local_time(at, member_text(by, "next_at")));
}

static void add_job(TextTable *t, const JsonValue *job)
{
        _cleanup_(strbuf_done) StrBuf why = {};
        char created[TEXT_TIME_MAX], progress[16] = "";
        double percent;

        if (json_get_double(job, "progress", &percent, NULL) == JSON_FOUND)
                (void) snprintf(progress, sizeof(progress), "%.0f%%", percent);
        if (streq(member_text(job, "state"), "succeeded"))
                (void) snprintf(progress, sizeof(progress), "100%%");
        text_table_add(t, member_text(job, "id"));
        text_table_add(t, member_text(job, "kind"));
        text_table_add(t, member_text(job, "queue"));
        text_table_add(t, member_text(job, "state"));
        text_table_add(t, progress);
        text_table_add_u64(t, member_u64(job, "attempt"));
        text_table_add(t, text_local_time(created, member_text(job, "created_at")));
        describe_limit(&why, job);
        text_table_add(t, strbuf_str(&why));
}

/* Takes from a page what is still wanted. Returns how many that are. */
static uint64_t take_page(const Ctl *c, const JsonValue *jobs, TextTable *t, uint64_t most)
{
        uint64_t n = 0;

        if (c->json) {
                ctl_print_lines(jobs);
                return json_value_count(jobs);
        }
        for (const JsonValue *v = json_value_first(jobs, NULL); v && n < most;
                v = json_value_next(jobs, v, NULL), n++)
                add_job(t, v);
        return n;
}

static void write_target(const Ctl *c, StrBuf *b, const char *cursor, uint64_t left)
{
        static const CtlOptionId filters[] = { OPTION_STATE, OPTION_KIND, OPTION_QUEUE,
                OPTION_TENANT, OPTION_SUBJECT, OPTION_PARENT };

        strbuf_printf(b, "/api/jobs?limit=%" PRIu64, left < PAGE_MAX ? left : PAGE_MAX);
        for (size_t i = 0; i < ELEMENTSOF(filters); i++)
                add_parameter(c, b, filters[i]);
        if (*cursor) {
                strbuf_puts(b, "&cursor=");
                http_quote(b, cursor);
        }
}

static int list_pages(Ctl *c, uint64_t left, TextTable *t, bool *ret_more)
{
        _cleanup_(freep) char *cursor = strdup("");

        while (cursor) {
                _cleanup_(strbuf_done) StrBuf target = {};
                _cleanup_(answer_done) Answer a = {};
                const JsonValue *jobs;
                uint64_t n;
                int r;

                write_target(c, &target, cursor, left);
                if (strbuf_error(&target) < 0)
                        break;
                r = ctl_get(c, strbuf_str(&target), &a);
                if (r != EXIT_STATUS_OK)
                        return r;
                jobs = ctl_list(&a, "jobs");
                if (!jobs)
                        return EXIT_STATUS_FAILED;
                n = take_page(c, jobs, t, left);
                left -= n < left ? n : left;
                /* A page that asks for itself again would never end. */
                if (*member_text(a.root, "next") == '\0' ||
                        streq(member_text(a.root, "next"), cursor))
                        return EXIT_STATUS_OK;
                *ret_more = left == 0;
                if (left == 0)
                        return EXIT_STATUS_OK;
                if (free_and_strdup(&cursor, member_text(a.root, "next")) < 0)
                        break;
        }
        return ctl_oom();
}

int verb_list(Ctl *c)
{
        static const char *const heading[] = { "ID", "KIND", "QUEUE", "STATE", "DONE", "ATTEMPT",
                "CREATED", "BLOCKED BY" };
        _cleanup_(text_table_done)
                TextTable t = { .n_columns = ELEMENTSOF(heading), .right = 1U << 4 | 1U << 5 };
        const char *limit = c->values[OPTION_LIMIT];
        uint64_t most = 50;
        bool more = false;
        int r;

        if (limit && parse_u64(limit, 1, 1000000000, &most) < 0)
                return ctl_error(EXIT_STATUS_USAGE, "--limit=%s is not a number from 1.", limit);
        if (limit && c->values[OPTION_ALL])
                return ctl_error(EXIT_STATUS_USAGE, "--limit and --all exclude each other.");
        if (c->values[OPTION_ALL])
                most = UINT64_MAX;
        for (size_t i = 0; i < ELEMENTSOF(heading); i++)
                text_table_add(&t, heading[i]);
        r = list_pages(c, most, &t, &more);
        if (r != EXIT_STATUS_OK || c->json)
                return r;
        if (t.n_cells == t.n_columns)
                fputs("No jobs.\n", stderr);
        else if (text_table_print(&t, stdout, c->bold) < 0)
                return ctl_oom();
        if (more)
                fputs("There are more: --limit=N or --all.\n", stderr);
        return EXIT_STATUS_OK;
}

/* ---- show ---- */

typedef enum FieldType {
        FIELD_TEXT,
        FIELD_TIME,
        FIELD_NUMBER,
        FIELD_USEC,
        FIELD_BYTES,
        FIELD_ACTOR,
        FIELD_RAW, /* any JSON */
        FIELD_CUT, /* the same; the beginning of it, if it is long */
} FieldType;

static const struct {
        const char *name, *title;
        FieldType type;
} fields[] = {
        { "id", "Job", FIELD_TEXT },
        { "kind", "Kind", FIELD_TEXT },
        { "state", "State", FIELD_TEXT },
        { "progress", "Progress", FIELD_RAW },
        { "status", "Status", FIELD_TEXT },
        { "queue", "Queue", FIELD_TEXT },
        { "priority", "Priority", FIELD_NUMBER },
        { "tenant", "Tenant", FIELD_TEXT },
        { "subject", "Subject", FIELD_TEXT },
        { "parent", "Parent", FIELD_TEXT },
        { "retry_of", "Retry of", FIELD_TEXT },
        { "created_at", "Created", FIELD_TIME },
        { "run_at", "Runs at", FIELD_TIME },
        { "deadline", "Deadline", FIELD_TIME },
        { "started_at", "Started", FIELD_TIME },
        { "finished_at", "Finished", FIELD_TIME },
        { "attempt", "Attempt", FIELD_NUMBER },
        { "max_attempts", "Attempts", FIELD_NUMBER },
        { "interruptions", "Interrupted", FIELD_NUMBER },
        { "run_id", "Run", FIELD_NUMBER },
        { "host", "Host", FIELD_TEXT },
        { "unit", "Unit", FIELD_TEXT },
        { "cause", "Cause", FIELD_TEXT },
        { "exit_status", "Exit status", FIELD_NUMBER },
        { "exit_signal", "Signal", FIELD_NUMBER },
        { "cpu_usec", "CPU", FIELD_USEC },
        { "max_rss", "Memory", FIELD_BYTES },
        { "actor", "By", FIELD_ACTOR },
        { "reason", "Reason", FIELD_TEXT },
        { "result_blob", "Result in", FIELD_TEXT },
        { "payload", "Payload", FIELD_CUT },
        { "payload_file", "Payload in", FIELD_TEXT },
        { "result", "Result", FIELD_RAW },
};

static void print_field(const Ctl *c, size_t i, const JsonValue *v)
{
        _cleanup_(strbuf_done) StrBuf raw = {}, clean = {};
        char buf[TEXT_TIME_MAX > TIMESPAN_MAX ? TEXT_TIME_MAX : TIMESPAN_MAX];
        const char *text = "";
        uint64_t n = 0;
        size_t size;

        if (fields[i].type == FIELD_TEXT && json_value_string(v, &text) >= 0) {
                text_clean(&clean, text);
        } else if (fields[i].type == FIELD_TIME && json_value_string(v, &text) >= 0) {
                strbuf_puts(&clean, text_local_time(buf, text));
        } else if (fields[i].type == FIELD_USEC && json_value_uint64(v, &n) >= 0) {
                strbuf_puts(&clean, format_timespan(buf, n));
        } else if (fields[i].type == FIELD_BYTES && json_value_uint64(v, &n) >= 0) {
                strbuf_puts(&clean, text_bytes(buf, n));
        } else if (fields[i].type == FIELD_ACTOR && json_value_string(v, &text) >= 0) {
                text_actor(&raw, text, c->client.socket_path);
                text_clean(&clean, strbuf_str(&raw));
        } else {
                text = json_value_text(v, &size);
                if (fields[i].type == FIELD_CUT && size > CUT_MAX) {
                        size = CUT_MAX;
                        while (size > 0 && ((unsigned char) text[size] & 0xc0) == 0x80)
                                size--; /* not in the middle of a character */
                        strbuf_append(&raw, text, size);
                        strbuf_puts(&raw, " ... (--json shows all of it)");
                } else {
                        strbuf_append(&raw, text, size);
                }
                text_clean(&clean, strbuf_str(&raw));
        }
        printf("%12s: %s\n", fields[i].title, strbuf_str(&clean));
}

static void print_children(const JsonValue *job)
{
        const JsonValue *states = json_value_member(job, "child_states");
        const char *before = "";

        if (!states || !json_value_is(states, JSON_OBJECT))
                return;
        printf("%12s: ", "Children");
        for (JobState s = JOB_NONE + 1; s < _JOB_STATE_MAX; s++) {
                uint64_t n = member_u64(states, job_state_to_string(s));

                if (n == 0)
                        continue;
                printf("%s%" PRIu64 " %s", before, n, job_state_to_string(s));
                before = ", ";
        }
        putchar('\n');
}

static void print_limit(const JsonValue *job)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        describe_limit(&b, job);
        if (b.len > 0)
                printf("%12s: %s\n", "Blocked by", strbuf_str(&b));
}

/* "error": why it has failed; "last_error": what stopped its last attempt, while it goes on. */
static void print_error(const JsonValue *job, const char *name, const char *title)
{
        const JsonValue *error = json_value_member(job, name);
        _cleanup_(strbuf_done) StrBuf b = {};
        char at[TEXT_TIME_MAX];

        if (!error || !json_value_is(error, JSON_OBJECT))
                return;
        text_clean(&b, member_text(error, "code"));
        strbuf_puts(&b, *member_text(error, "message") ? ": " : "");
        text_clean(&b, member_text(error, "message"));
        if (*member_text(error, "at"))
                strbuf_printf(&b, " (%s", text_local_time(at, member_text(error, "at")));
        if (*member_text(error, "at") && *member_text(error, "host")) {
                strbuf_puts(&b, ", ");
                text_clean(&b, member_text(error, "host"));
        }
        strbuf_puts(&b, *member_text(error, "at") ? ")" : "");
        printf("%12s: %s\n", title, strbuf_str(&b));
}

#define FILES_SHOWN 10U /* of a job's files: the facts about the job must not scroll away */

static void print_files(const JsonValue *files, const char *id)
{
        unsigned n = 0;

        for (const JsonValue *v = json_value_first(files, NULL); v;
                v = json_value_next(files, v, NULL)) {
                _cleanup_(strbuf_done) StrBuf b = {};

                if (n++ == FILES_SHOWN && json_value_count(files) > FILES_SHOWN + 1) {
                        printf("%12s: %u more, see reevectl files %s\n", "Files",
                                json_value_count(files) - FILES_SHOWN, id);
                        return;
                }
                text_clean(&b, member_text(v, "name"));
                printf("%12s: %s (%s, %" PRIu64 " bytes)\n", "File", strbuf_str(&b),
                        streq(member_text(v, "direction"), "input") ? "input" : "output",
                        member_u64(v, "size"));
        }
}

static int show_job(Ctl *c, const char *id)
{
        _cleanup_(answer_done) Answer a = {}, b = {};
        const JsonValue *v;
        int r = ctl_ask_job(c, "GET", id, "?details=true", NULL, &a);

        if (r != EXIT_STATUS_OK)
                return r;
        if (c->json) {
                ctl_print_body(&a);
                return EXIT_STATUS_OK;
        }
        r = ctl_ask_job(c, "GET", id, "/files", NULL, &b);
        if (r != EXIT_STATUS_OK)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(fields); i++) {
                v = json_value_member(a.root, fields[i].name);
                if (v && !(json_value_is(v, JSON_NULL) && fields[i].type < FIELD_RAW))
                        print_field(c, i, v);
        }
        print_children(a.root);
        print_limit(a.root);
        print_error(a.root, "error", "Error");
        print_error(a.root, "last_error", "Last error");
        v = ctl_list(&b, "files");
        if (!v)
                return EXIT_STATUS_FAILED;
        print_files(v, id);
        return EXIT_STATUS_OK;
}

/* What of an event is worth a line. */
static void describe(StrBuf *b, const JsonValue *event)
{
        static const char *const texts[] = { "cause", "error_code", "error_message", "reason" };
        uint64_t n;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                if (*member_text(event, texts[i]))
                        strbuf_printf(b, "%s%s", b->len ? ", " : "", member_text(event, texts[i]));
        if (json_get_uint64(event, "exit_status", 0, UINT64_MAX, &n, NULL) == JSON_FOUND)
                strbuf_printf(b, "%sexit status %" PRIu64, b->len ? ", " : "", n);
        if (json_get_uint64(event, "exit_signal", 0, UINT64_MAX, &n, NULL) == JSON_FOUND)
                strbuf_printf(b, "%ssignal %" PRIu64, b->len ? ", " : "", n);
}

static int show_history(Ctl *c, const char *id)
{
        static const char *const heading[] = { "TIME", "EVENT", "STATE", "ATTEMPT", "HOST", "BY",
                "WHY" };
        _cleanup_(text_table_done)
                TextTable t = { .n_columns = ELEMENTSOF(heading), .right = 1U << 3 };
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *history;
        int r = ctl_ask_job(c, "GET", id, "/history", NULL, &a);

        if (r != EXIT_STATUS_OK)
                return r;
        history = ctl_list(&a, "history");
        if (!history)
                return EXIT_STATUS_FAILED;
        if (c->json) {
                ctl_print_lines(history);
                return EXIT_STATUS_OK;
        }
        for (size_t i = 0; i < ELEMENTSOF(heading); i++)
                text_table_add(&t, heading[i]);
        for (const JsonValue *v = json_value_first(history, NULL); v;
                v = json_value_next(history, v, NULL)) {
                _cleanup_(strbuf_done) StrBuf why = {}, by = {};
                char at[TEXT_TIME_MAX];

                describe(&why, v);
                text_table_add(&t, text_local_time(at, member_text(v, "at")));
                text_table_add(&t, member_text(v, "event"));
                text_table_add(&t, member_text(v, "to"));
                if (member_u64(v, "attempt") > 0)
                        text_table_add_u64(&t, member_u64(v, "attempt"));
                else
                        text_table_add(&t, NULL);
                text_table_add(&t, member_text(v, "host"));
                text_actor(&by, member_text(v, "actor"), c->client.socket_path);
                text_table_add(&t, strbuf_str(&by));
                text_table_add(&t, strbuf_str(&why));
        }
        return text_table_print(&t, stdout, c->bold) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

int verb_show(Ctl *c)
{
        return c->values[OPTION_HISTORY] ? show_history(c, c->args[0]) : show_job(c, c->args[0]);
}

/* ---- cancel and retry ---- */

/* Does it to each; the exit status is that of the first that went wrong. */
static int act(Ctl *c, const char *suffix, void (*tell)(const char *id, const JsonValue *answer))
{
        _cleanup_(strbuf_done) StrBuf body = {};
        JsonWriter w = json_writer(&body);
        int worst = EXIT_STATUS_OK;

        json_open_object(&w, NULL);
        if (c->values[OPTION_REASON])
                json_put_string(&w, "reason", c->values[OPTION_REASON]);
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return ctl_oom();
        for (int i = 0; i < c->n_args; i++) {
                _cleanup_(answer_done) Answer a = {};
                int r = ctl_ask_job(c, "POST", c->args[i], suffix, strbuf_str(&body), &a);

                if (r == EXIT_STATUS_OK && c->json)
                        ctl_print_body(&a);
                else if (r == EXIT_STATUS_OK)
                        tell(c->args[i], a.root);
                else if (worst == EXIT_STATUS_OK)
                        worst = r;
        }
        return worst;
}

static void tell_cancelled(const char *id, const JsonValue *answer)
{
        if (streq(member_text(answer, "outcome"), "cancelled"))
                printf("%s: cancelled\n", id);
        else
                printf("%s: it runs and is being ended (reevectl wait %s)\n", id, id);
}

static void tell_retried(const char *id, const JsonValue *answer)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        text_clean(&b, member_text(answer, "id"));
        printf("%s\n", strbuf_str(&b));
}

int verb_cancel(Ctl *c)
{
        return act(c, "/cancel", tell_cancelled);
}

int verb_retry(Ctl *c)
{
        return act(c, "/retry", tell_retried);
}

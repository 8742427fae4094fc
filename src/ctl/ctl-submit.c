/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "fd-util.h"
#include "parse-util.h"
#include "reeve-limits.h"

#define FILES_MAX     64U /* of one request: the API's bound */
#define BOUNDARY_SIZE 33

typedef struct Form {
        char boundary[BOUNDARY_SIZE];
        StrBuf heads[FILES_MAX +
                2]; /* before each file; the first has the job, the last ends all */
        int fds[FILES_MAX];
        HttpPart parts[2 * FILES_MAX + 2];
        unsigned n_files, n_parts;
} Form;

static void form_done(Form *f)
{
        for (unsigned i = 0; i < ELEMENTSOF(f->heads); i++)
                strbuf_done(&f->heads[i]);
        for (unsigned i = 0; i < f->n_files; i++)
                safe_close(f->fds[i]);
}

/* ---- the job ---- */

static int read_payload(Ctl *c, StrBuf *b)
{
        const char *text = c->n_args > 1 ? c->args[1] : "null";
        char buf[16384];
        JsonError e;
        ssize_t n;

        if (streq(text, "-")) {
                while ((n = read_all(STDIN_FILENO, buf, sizeof(buf))) > 0) {
                        strbuf_append(b, buf, (size_t) n);
                        if (b->len > REEVE_BODY_MAX)
                                return ctl_error(EXIT_STATUS_USAGE,
                                        "The payload is larger than %llu MiB: hand large data over "
                                        "with --file.",
                                        (unsigned long long) REEVE_BODY_MAX >> 20);
                }
                if (n < 0)
                        return ctl_error(EXIT_STATUS_FAILED, "Cannot read standard input: %s.",
                                strerror((int) -n));
        } else {
                strbuf_puts(b, text);
        }
        if (strbuf_error(b) < 0)
                return ctl_oom();
        if (json_check(strbuf_str(b), b->len, REEVE_JSON_DEPTH_MAX - 1, &e) < 0)
                return ctl_error(EXIT_STATUS_USAGE,
                        "The payload is not JSON: line %u, column %u: %s. Quote it for the shell: "
                        "'{\"page\": 1}', and a text: '\"text\"'.",
                        e.line, e.column, e.text);
        return EXIT_STATUS_OK;
}

static int put_number(const Ctl *c, JsonWriter *w, CtlOptionId id, const char *name, unsigned max)
{
        const char *value = c->values[id];
        unsigned n;

        if (!value)
                return EXIT_STATUS_OK;
        if (parse_unsigned(value, 1, max, &n) < 0)
                return ctl_error(EXIT_STATUS_USAGE, "--%s=%s is not a number from 1 to %u.",
                        ctl_option(id)->name, value, max);
        json_put_uint(w, name, n);
        return EXIT_STATUS_OK;
}

static int put_span(const Ctl *c, JsonWriter *w, CtlOptionId id, const char *name)
{
        const char *value = c->values[id];
        usec_t usec;

        if (!value)
                return EXIT_STATUS_OK;
        if (parse_timespan(value, &usec) < 0 || usec > REEVE_SPAN_MAX_USEC)
                return ctl_error(EXIT_STATUS_USAGE,
                        "--%s=%s is not a time span such as \"5min\" of at most ten years.",
                        ctl_option(id)->name, value);
        json_put_string(w, name, value);
        return EXIT_STATUS_OK;
}

static int put_time(const Ctl *c, JsonWriter *w)
{
        const char *value = c->values[OPTION_RUN_AT];
        char text[RFC3339_MAX];
        usec_t usec;

        if (!value)
                return EXIT_STATUS_OK;
        if (c->values[OPTION_DELAY])
                return ctl_error(EXIT_STATUS_USAGE, "--run-at and --delay exclude each other.");
        if (parse_rfc3339(value, &usec) < 0)
                return ctl_error(EXIT_STATUS_USAGE,
                        "--run-at=%s is not a time such as 2026-11-22T10:00:00Z or "
                        "2026-11-22T11:00:00+01:00.",
                        value);
        json_put_string(w, "run_at", format_rfc3339(text, usec));
        return EXIT_STATUS_OK;
}

static void put_text(const Ctl *c, JsonWriter *w, CtlOptionId id, const char *name)
{
        if (c->values[id])
                json_put_string(w, name, c->values[id]);
}

static int write_job(Ctl *c, StrBuf *out)
{
        _cleanup_(strbuf_done) StrBuf payload = {};
        JsonWriter w = json_writer(out);
        int r = read_payload(c, &payload);

        if (r != EXIT_STATUS_OK)
                return r;
        json_open_object(&w, NULL);
        json_put_string(&w, "kind", c->args[0]);
        json_put_raw(&w, "payload", strbuf_str(&payload), payload.len);
        put_text(c, &w, OPTION_QUEUE, "queue");
        put_text(c, &w, OPTION_UNIQUE_KEY, "unique_key");
        put_text(c, &w, OPTION_CONCURRENCY_KEY, "concurrency_key");
        put_text(c, &w, OPTION_TENANT, "tenant");
        put_text(c, &w, OPTION_SUBJECT, "subject");
        r = put_number(c, &w, OPTION_PRIORITY, "priority", 10);
        if (r == EXIT_STATUS_OK)
                r = put_number(c, &w, OPTION_MAX_ATTEMPTS, "max_attempts", REEVE_ATTEMPTS_MAX);
        if (r == EXIT_STATUS_OK)
                r = put_span(c, &w, OPTION_DELAY, "delay");
        if (r == EXIT_STATUS_OK)
                r = put_span(c, &w, OPTION_TIMEOUT, "timeout");
        if (r == EXIT_STATUS_OK)
                r = put_span(c, &w, OPTION_UNIQUE_FOR, "unique_for");
        if (r == EXIT_STATUS_OK)
                r = put_time(c, &w);
        if (r != EXIT_STATUS_OK)
                return r;
        json_close(&w);
        return json_writer_end(&w) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

/* ---- files ---- */

static int open_file(Form *f, const char *name, size_t n_name, const char *path)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        StrBuf *head = &f->heads[f->n_files];
        struct stat st;

        if (fd < 0 || fstat(fd, &st) < 0)
                return ctl_error(EXIT_STATUS_FAILED, "Cannot open %s: %s.", path, strerror(errno));
        if (!S_ISREG(st.st_mode))
                return ctl_error(EXIT_STATUS_FAILED, "%s is not a regular file.", path);
        strbuf_printf(head,
                "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"%.*s\"\r\n"
                "Content-Type: application/octet-stream\r\n\r\n",
                f->boundary, (int) n_name, name);
        f->parts[f->n_parts++] = (HttpPart){ .data = strbuf_str(head), .size = head->len };
        f->parts[f->n_parts++] = (HttpPart){ .fd = fd, .size = (uint64_t) st.st_size };
        f->fds[f->n_files++] = TAKE_FD(fd);
        strbuf_puts(&f->heads[f->n_files], "\r\n");
        return EXIT_STATUS_OK;
}

/* "NAME=PATH", or "PATH" whose last part is the name. */
static int add_file(Form *f, const char *value)
{
        const char *equals = strchr(value, '='), *slash = strrchr(value, '/');
        const char *name = equals ? value : slash ? slash + 1 : value;
        size_t n = equals ? (size_t) (equals - value) : strlen(name);

        if (f->n_files == FILES_MAX)
                return ctl_error(EXIT_STATUS_USAGE, "At most %u files in one request.", FILES_MAX);
        if (n == 0 || n > REEVE_HTTP_PART_NAME_MAX || !utf8_is_valid(name, n))
                return ctl_error(EXIT_STATUS_USAGE,
                        "--file=%s: the name has 1 to %u bytes of UTF-8.", value,
                        REEVE_HTTP_PART_NAME_MAX);
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) name[i] < ' ' || strchr("\"\\/\x7f", name[i]))
                        return ctl_error(EXIT_STATUS_USAGE,
                                "--file=%s: the name holds a character that file names here may "
                                "not: / \" \\ or a control character.",
                                value);
        return open_file(f, name, n, equals ? equals + 1 : value);
}

static int make_form(Ctl *c, Form *f, const StrBuf *job)
{
        uint8_t random[(BOUNDARY_SIZE - 1) / 2];
        int r = EXIT_STATUS_OK;

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return ctl_error(EXIT_STATUS_FAILED, "No random numbers: %s.", strerror(errno));
        for (size_t i = 0; i < sizeof(random); i++)
                (void) snprintf(f->boundary + 2 * i, 3, "%02x", random[i]);
        strbuf_printf(&f->heads[0],
                "--%s\r\nContent-Disposition: form-data; name=\"job\"\r\n"
                "Content-Type: application/json\r\n\r\n",
                f->boundary);
        strbuf_append(&f->heads[0], strbuf_str(job), job->len);
        strbuf_puts(&f->heads[0], "\r\n");
        for (unsigned i = 0; i < c->n_again && r == EXIT_STATUS_OK; i++)
                r = add_file(f, c->again[i]);
        if (r != EXIT_STATUS_OK)
                return r;
        strbuf_printf(&f->heads[f->n_files], "--%s--\r\n", f->boundary);
        f->parts[f->n_parts++] = (HttpPart){ .data = strbuf_str(&f->heads[f->n_files]),
                .size = f->heads[f->n_files].len };
        for (unsigned i = 0; i <= f->n_files; i++)
                if (strbuf_error(&f->heads[i]) < 0)
                        return ctl_oom();
        return EXIT_STATUS_OK;
}

/* ---- the request ---- */

static int post_job(Ctl *c, const StrBuf *job, Answer *ret)
{
        _cleanup_(form_done) Form form = {};
        HttpPart whole = { .data = strbuf_str(job), .size = job->len };
        char type[80];
        HttpAsk ask = { .method = "POST",
                .target = "/api/jobs",
                .content_type = "application/json",
                .idempotency_key = c->values[OPTION_IDEMPOTENCY_KEY],
                .parts = &whole,
                .n_parts = 1 };
        int r;

        for (const char *p = ask.idempotency_key; p && *p; p++)
                if (*p < ' ' || *p == 0x7f)
                        return ctl_error(EXIT_STATUS_USAGE,
                                "--idempotency-key: printable ASCII characters only.");
        if (c->n_again > 0) {
                r = make_form(c, &form, job);
                if (r != EXIT_STATUS_OK)
                        return r;
                (void) snprintf(
                        type, sizeof(type), "multipart/form-data; boundary=%s", form.boundary);
                ask.content_type = type;
                ask.parts = form.parts;
                ask.n_parts = form.n_parts;
        }
        return ctl_ask(c, &ask, ret);
}

/* The result on standard output, or why there is none on standard error. */
static int show_result(Ctl *c, const char *id, int exit_status)
{
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *result;
        const char *text;
        size_t n;
        int r = ctl_ask_job(c, "GET", id, "", NULL, &a);

        if (r != EXIT_STATUS_OK)
                return r;
        result = json_value_member(a.root, "result");
        if (c->json) {
                ctl_print_body(&a);
        } else if (exit_status == EXIT_STATUS_OK && result) {
                text = json_value_text(result, &n);
                fwrite(text, 1, n, stdout);
                putchar('\n');
        } else if (exit_status == EXIT_STATUS_OK && *member_text(a.root, "result_blob")) {
                (void) ctl_error(0, "The result is large; it is kept as %s.",
                        member_text(a.root, "result_blob"));
        }
        return exit_status;
}

int verb_submit(Ctl *c)
{
        _cleanup_(strbuf_done) StrBuf job = {}, id = {};
        _cleanup_(answer_done) Answer a = {};
        bool wait = c->values[OPTION_WAIT];
        char *ids[1];
        int r;

        if (!name_is_valid(c->args[0]))
                return ctl_error(EXIT_STATUS_USAGE,
                        "%s is not a name of a kind. Try: reevectl kinds", c->args[0]);
        r = write_job(c, &job);
        if (r == EXIT_STATUS_OK)
                r = post_job(c, &job, &a);
        if (r != EXIT_STATUS_OK)
                return r;
        text_clean(&id, member_text(a.root, "id"));
        if (id.len == 0)
                return ctl_error(EXIT_STATUS_FAILED, "The answer names no job.");
        if (c->json && !wait)
                ctl_print_body(&a);
        else
                fprintf(wait ? stderr : stdout, "%s\n", strbuf_str(&id));
        if (!wait)
                return EXIT_STATUS_OK;
        ids[0] = id.data;
        r = wait_for_jobs(c, ids, 1);
        return r == EXIT_STATUS_OK || r == EXIT_STATUS_JOB_FAILED ? show_result(c, ids[0], r) : r;
}

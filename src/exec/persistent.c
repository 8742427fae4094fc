/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sysexits.h>
#include <time.h>

#include "fd-util.h"
#include "json-writer.h"
#include "launcher.h"
#include "memfd-util.h"

#define LINE_MAX_BYTES    (REEVE_RESULT_MAX + 64UL * 1024) /* a result and what is around it */
#define CODE_MAX          100U
#define MESSAGE_MAX       4096U
#define PAYLOAD_BYTES_MAX (64UL * 1024 * 1024)

static void write_request(JsonWriter *w, const Launcher *l, const char *payload, size_t n)
{
        const RunFrame *f = &l->run;

        json_open_object(w, NULL);
        json_put_int(w, "run_id", f->run_id);
        json_put_string(w, "job_id", f->run.job_id);
        json_put_string(w, "kind", f->run.kind);
        json_put_string(w, "queue", f->run.queue);
        json_put_uint(w, "attempt", f->run.attempt);
        json_put_string(w, "tenant", f->run.tenant);
        json_put_string(w, "subject", f->run.subject);
        json_put_string(w, "phase", f->run.join ? "join" : "run");
        json_put_string(w, "input_dir", l->dirs.input);
        json_put_string(w, "output_dir", l->dirs.output);
        json_put_raw(w, "payload", payload, n);
        json_close(w);
}

static usec_t cpu_of(pid_t pid)
{
        struct timespec ts;
        clockid_t clock;

        if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &ts) < 0)
                return 0;
        return (usec_t) ts.tv_sec * USEC_PER_SEC + (usec_t) ts.tv_nsec / 1000;
}

int persistent_ask(Launcher *l)
{
        _cleanup_(freep) char *payload = NULL;
        _cleanup_(strbuf_done) StrBuf line = {};
        JsonWriter w = json_writer(&line);
        size_t n = 0;
        int r;

        r = memfd_read(l->payload, PAYLOAD_BYTES_MAX, &payload, &n);
        if (r < 0)
                return r;
        for (size_t i = 0; i < n; i++) /* a line is a line: between JSON's tokens both are blanks */
                if (payload[i] == '\n' || payload[i] == '\r')
                        payload[i] = ' ';
        write_request(&w, l, payload, n);
        r = json_writer_end(&w);
        if (r < 0)
                return r;
        strbuf_putc(&line, '\n');
        if (strbuf_error(&line) < 0)
                return strbuf_error(&line);

        strbuf_clear(&l->out);
        l->child.cpu_before = l->child.cpu_usec + cpu_of(l->child.pid);
        strbuf_clear(&l->child.request);
        strbuf_append(&l->child.request, line.data, line.len);
        if (strbuf_error(&l->child.request) < 0)
                return -ENOMEM;
        return sd_event_source_set_enabled(l->child.in.source, SD_EVENT_ON);
}

static uint64_t peak_memory(pid_t pid)
{
        _cleanup_(freep) char *text = NULL;
        char path[32], *p;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) pid);
        if (read_file(AT_FDCWD, path, 64UL * 1024, &text, NULL) < 0)
                return 0;
        p = strstr(text, "\nVmHWM:");
        return p ? strtoull(p + 7, NULL, 10) * 1024 : 0;
}

void persistent_usage(Launcher *l)
{
        l->end.end.cpu_usec = l->child.cpu_usec + cpu_of(l->child.pid) - l->child.cpu_before;
        l->end.end.max_rss = peak_memory(l->child.pid);
}

/* The program does not keep to the lines any more: nothing that it says later could be told apart.
 */
static void break_off(Launcher *l, RunResult result, const char *why)
{
        exec_log_note(&l->log, launcher_now(l), "the handler's answer cannot be taken: %s", why);
        strbuf_clear(&l->out);
        l->end.end.result = result;
        slot_stop(l, RUN_EXIT);
}

/* A copy of at most max bytes, in whole characters, behind what is in the buffer. */
static size_t keep_text(StrBuf *b, const char *s, size_t max)
{
        size_t at = b->len, n = strlen(s);

        if (n > max) {
                n = max;
                while (n > 0 && (s[n] & 0xc0) == 0x80)
                        n--;
        }
        strbuf_append(b, s, n);
        strbuf_append(b, "", 1);
        return at;
}

static int take_error_answer(Launcher *l, const JsonValue *error, JsonError *e)
{
        const char *code = "error", *message = "";
        bool retry = true;
        size_t code_at, message_at;

        if (json_get_string(error, "code", &code, e) < 0 ||
                json_get_string(error, "message", &message, e) < 0 ||
                json_get_bool(error, "retry", &retry, e) < 0)
                return -EBADMSG;
        strbuf_clear(&l->end_error);
        code_at = keep_text(&l->end_error, code, CODE_MAX);
        message_at = keep_text(&l->end_error, message, MESSAGE_MAX);
        if (strbuf_error(&l->end_error) < 0)
                return -ENOMEM;
        l->end.end.error_code = l->end_error.data + code_at;
        l->end.end.error_message = l->end_error.data + message_at;
        l->end.end.error_retry = retry;
        l->end.end.exit = retry ? EX_TEMPFAIL : EX_DATAERR;
        return 0;
}

static int take_result_answer(Launcher *l, const JsonValue *o)
{
        const JsonValue *result = json_value_member(o, "result");
        const char *text = NULL;
        size_t n;
        int fd;

        l->end.end.exit = 0;
        if (!result || json_value_is(result, JSON_NULL))
                return 0;
        text = json_value_text(result, &n);
        if (l->options->text && json_value_string(result, &text) == 0)
                n = strlen(text);
        if (n > REEVE_RESULT_MAX) {
                l->end.end.result = RUN_RESULT_TOO_LARGE;
                return 0;
        }
        fd = memfd_new_sealed("reeve-result", text, n);
        if (fd < 0)
                return fd;
        l->result_fd = fd;
        l->end.end.result = l->options->text && json_value_is(result, JSON_STRING) ? RUN_RESULT_TEXT
                                                                                   : RUN_RESULT_OK;
        l->end.end.result_size = n;
        return 0;
}

/* Returns 0, or -errno with *e filled in: the answer makes no sense. */
static int take_answer(Launcher *l, const JsonValue *o, JsonError *e)
{
        const JsonValue *error = NULL;
        int64_t run_id = l->run.run_id;
        int r;

        r = json_get_int64(o, "run_id", 1, INT64_MAX, &run_id, e);
        if (r < 0)
                return r;
        if (run_id != l->run.run_id) {
                json_error_at(e, o, "\"run_id\" is not the one that was asked for");
                return -EBADMSG;
        }
        r = json_get_typed(o, "error", JSON_OBJECT, &error, e);
        if (r < 0)
                return r;
        l->end.end.cause = RUN_EXIT;
        return r == JSON_FOUND ? take_error_answer(l, error, e) : take_result_answer(l, o);
}

/* Returns whether that was an answer. */
static bool take_line(Launcher *l, const char *line, size_t n, JsonError *e)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        int r;

        r = json_parse(line, n, REEVE_RESULT_DEPTH_MAX + 2, &d, e);
        if (r >= 0)
                r = take_answer(l, json_document_root(d), e);
        strbuf_clear(&l->out);
        return r >= 0;
}

void persistent_last_words(Launcher *l)
{
        char *end = l->out.len > 0 ? memchr(l->out.data, '\n', l->out.len) : NULL;
        JsonError e = { 0 };

        if (end)
                (void) take_line(l, l->out.data, (size_t) (end - l->out.data), &e);
}

void persistent_on_output(Launcher *l)
{
        JsonError e = { .text = "out of memory" };
        char *end;

        if (l->state != RUN_STATE_RUNNING) {
                strbuf_clear(&l->out); /* nobody has asked */
                return;
        }
        end = l->out.len > 0 ? memchr(l->out.data, '\n', l->out.len) : NULL;
        if (end) {
                if (take_line(l, l->out.data, (size_t) (end - l->out.data), &e))
                        slot_on_answer(l);
                else
                        break_off(l, RUN_RESULT_NOT_JSON, e.text);
        } else if (l->out.len > LINE_MAX_BYTES)
                break_off(l, RUN_RESULT_TOO_LARGE, "a line that is too long");
}

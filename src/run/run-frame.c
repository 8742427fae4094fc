/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run-frame.h"

#include "json-writer.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "run-frame-private.h"

const char *const run_frame_types[_RUN_FRAME_TYPE_MAX] = {
        [RUN_FRAME_HELLO] = "hello",
        [RUN_FRAME_STARTED] = "started",
        [RUN_FRAME_PROGRESS] = "progress",
        [RUN_FRAME_ALIVE] = "alive",
        [RUN_FRAME_EXTEND] = "extend",
        [RUN_FRAME_FILE] = "file",
        [RUN_FRAME_END] = "end",
        [RUN_FRAME_READY] = "ready",
        [RUN_FRAME_RUN] = "run",
        [RUN_FRAME_INPUTS] = "inputs",
        [RUN_FRAME_STOP] = "stop",
};

const char *const run_causes[_RUN_CAUSE_MAX] = {
        [RUN_EXIT] = "exit",
        [RUN_SIGNAL] = "signal",
        [RUN_OOM_KILL] = "oom-kill",
        [RUN_TIMEOUT] = "timeout",
        [RUN_WATCHDOG] = "watchdog",
        [RUN_CANCELLED] = "cancelled",
        [RUN_DRAINED] = "drained",
        [RUN_NOT_EXECUTABLE] = "not-executable",
        [RUN_MISSING] = "missing",
        [RUN_INPUT_ERROR] = "input-error",
};

const char *const run_results[_RUN_RESULT_MAX] = {
        [RUN_RESULT_NONE] = "none",
        [RUN_RESULT_OK] = "ok",
        [RUN_RESULT_NOT_JSON] = "not-json",
        [RUN_RESULT_TOO_LARGE] = "too-large",
        [RUN_RESULT_TEXT] = "text",
};

const char *run_cause_to_string(RunCause cause)
{
        assert(cause < _RUN_CAUSE_MAX);
        return run_causes[cause];
}

const char *run_result_to_string(RunResult result)
{
        assert(result < _RUN_RESULT_MAX);
        return run_results[result];
}

void run_frame_done(RunFrame *f)
{
        if (f->document) {
                json_document_free(f->document);
                free(f->inputs);
        }
        *f = (RunFrame){ 0 };
}

bool run_file_name_is_valid(const char *name)
{
        size_t n = strlen(name);

        if (n == 0 || n > RUN_FILE_NAME_MAX || !utf8_is_valid(name, n))
                return false;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char) name[i] < 0x20 || name[i] == 0x7f)
                        return false;

        for (const char *p = name; p; p = *p ? p + 1 : NULL) {
                size_t part = strcspn(p, "/");

                if (part == 0 || (part == 1 && p[0] == '.') ||
                        (part == 2 && p[0] == '.' && p[1] == '.'))
                        return false;
                p += part;
                if (!*p)
                        break;
        }
        return true;
}

bool run_input_name_is_valid(const char *name)
{
        size_t n;

        if (strncmp(name, "children/", CONST_STRLEN("children/")) == 0) {
                const char *index = name + CONST_STRLEN("children/");

                n = strspn(index, "0123456789");
                if (n > 0 && n < 10 && streq(index + n, ".json"))
                        return true;
                return n > 0 && n < 10 && index[n] == '/' && run_file_name_is_valid(index + n + 1);
        }
        return run_file_name_is_valid(name) && !strchr(name, '/') && !streq(name, "children");
}

static void encode_inputs(JsonWriter *w, const RunFrame *f)
{
        json_open_array(w, "inputs");
        for (unsigned i = 0; i < f->n_inputs; i++) {
                json_open_object(w, NULL);
                json_put_string(w, "name", f->inputs[i].name);
                json_put_uint(w, "size", f->inputs[i].size);
                json_close(w);
        }
        json_close(w);
        if (f->more)
                json_put_bool(w, "more", true);
}

static void encode_run(JsonWriter *w, const RunFrame *f)
{
        json_put_string(w, "job_id", f->run.job_id);
        json_put_string(w, "kind", f->run.kind);
        json_put_string(w, "queue", f->run.queue);
        json_put_uint(w, "attempt", f->run.attempt);
        json_put_string(w, "tenant", f->run.tenant);
        json_put_string(w, "subject", f->run.subject);
        json_put_string(w, "phase", f->run.join ? "join" : "run");
        json_put_uint(w, "timeout_usec", f->run.timeout_usec);
        encode_inputs(w, f);
}

static void encode_end(JsonWriter *w, const RunFrame *f)
{
        json_put_string(w, "cause", run_causes[f->end.cause]);
        if (f->end.exit >= 0)
                json_put_int(w, "exit", f->end.exit);
        else
                json_put_null(w, "exit");
        if (f->end.signal > 0)
                json_put_int(w, "signal", f->end.signal);
        else
                json_put_null(w, "signal");
        json_put_bool(w, "core", f->end.core);
        json_put_string(w, "result", run_results[f->end.result]);
        json_put_uint(w, "result_size", f->end.result_size);
        json_put_string(w, "log", f->end.log ? f->end.log : "");
        json_put_bool(w, "log_truncated", f->end.log_truncated);
        json_put_uint(w, "cpu_usec", f->end.cpu_usec);
        json_put_uint(w, "max_rss", f->end.max_rss);
        json_put_uint(w, "wall_usec", f->end.wall_usec);
        json_put_string(w, "output_error", f->end.output_error);
        if (f->end.error_code) {
                json_open_object(w, "error");
                json_put_string(w, "code", f->end.error_code);
                json_put_string(w, "message", f->end.error_message ? f->end.error_message : "");
                json_put_bool(w, "retry", f->end.error_retry);
                json_close(w);
        }
}

static void encode_body(JsonWriter *w, const RunFrame *f)
{
        switch (f->type) {
        case RUN_FRAME_HELLO:
                json_put_uint(w, "version", f->hello.version);
                json_put_string(w, "unit", f->hello.unit);
                json_put_int(w, "pid", f->hello.pid);
                break;
        case RUN_FRAME_STARTED:
                json_put_int(w, "pid", f->started.pid);
                break;
        case RUN_FRAME_PROGRESS:
                if (f->progress.progress >= 0)
                        json_put_int(w, "progress", f->progress.progress);
                if (f->progress.status)
                        json_put_string(w, "status", f->progress.status);
                break;
        case RUN_FRAME_EXTEND:
                json_put_uint(w, "usec", f->extend.usec);
                break;
        case RUN_FRAME_FILE:
                json_put_string(w, "name", f->file.name);
                json_put_uint(w, "size", f->file.size);
                break;
        case RUN_FRAME_END:
                encode_end(w, f);
                break;
        case RUN_FRAME_RUN:
                encode_run(w, f);
                break;
        case RUN_FRAME_INPUTS:
                encode_inputs(w, f);
                break;
        case RUN_FRAME_STOP:
                json_put_string(w, "reason", run_causes[f->stop.reason]);
                break;
        default: /* alive and ready have nothing more */
                break;
        }
}

int run_frame_encode(const RunFrame *f, StrBuf *out)
{
        JsonWriter w = json_writer(out);
        int r;

        strbuf_clear(out);
        json_open_object(&w, NULL);
        json_put_string(&w, "type", run_frame_types[f->type]);
        if (f->type != RUN_FRAME_HELLO && f->type != RUN_FRAME_READY)
                json_put_int(&w, "run_id", f->run_id);
        encode_body(&w, f);
        json_close(&w);

        r = json_writer_end(&w);
        if (r < 0)
                return r;
        return out->len > RUN_PACKET_MAX ? -EMSGSIZE : 0;
}

int run_frame_send(int sock, const RunFrame *f, const int *fds, unsigned n_fds)
{
        _cleanup_(strbuf_done) StrBuf buf = {};
        int r;

        r = run_frame_encode(f, &buf);
        if (r < 0)
                return r;
        return run_packet_send(sock, buf.data, buf.len, fds, n_fds);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>

#include "parse-util.h"
#include "reeve-limits.h"
#include "run-frame-private.h"
#include "uuid.h"

#define PID_LARGEST  (1 << 22) /* PID_MAX_LIMIT of the kernel */
#define ATTEMPTS_MAX 1000000000U

/* One frame in decoding. The first error stays, and later fields are not looked at. */
typedef struct Decoder {
        const JsonValue *o;
        JsonError *e;
        int r;
} Decoder;

static void bad(Decoder *d, const char *name, const char *expected)
{
        if (d->r < 0)
                return;
        json_error_at(d->e, d->o, "\"%s\": expected %s", name, expected);
        d->r = -EBADMSG;
}

/* What a getter returned, for a member that may be absent. Returns whether it is there. */
static bool found(Decoder *d, int r)
{
        if (r < 0)
                d->r = r == -ENOMEM ? r : -EBADMSG;
        return r == JSON_FOUND;
}

static uint64_t need_uint(Decoder *d, const char *name, uint64_t min, uint64_t max)
{
        uint64_t v = min;
        int r;

        if (d->r < 0)
                return min;
        r = json_get_uint64(d->o, name, min, max, &v, d->e);
        if (!found(d, r))
                bad(d, name, "a number");
        return v;
}

static const char *opt_string(Decoder *d, const char *name, size_t max)
{
        const char *s = NULL;

        if (d->r < 0 || !found(d, json_get_string(d->o, name, &s, d->e)))
                return NULL;
        if (strlen(s) > max) {
                bad(d, name, "a shorter string");
                return NULL;
        }
        return s;
}

static const char *need_string(Decoder *d, const char *name, size_t max)
{
        const char *s = opt_string(d, name, max);

        if (!s) {
                bad(d, name, "a string");
                return "";
        }
        return s;
}

static const char *need_name(Decoder *d, const char *name)
{
        const char *s = need_string(d, name, REEVE_NAME_MAX);

        if (!name_is_valid(s))
                bad(d, name, "a name");
        return s;
}

static bool need_bool(Decoder *d, const char *name)
{
        bool b = false;

        if (d->r >= 0 && !found(d, json_get_bool(d->o, name, &b, d->e)))
                bad(d, name, "true or false");
        return b;
}

static unsigned need_word(Decoder *d, const char *name, const char *const *words, unsigned n)
{
        const char *s = need_string(d, name, REEVE_NAME_MAX);

        for (unsigned i = 0; i < n; i++)
                if (streq(words[i], s))
                        return i;
        bad(d, name, "a word of the protocol");
        return 0;
}

/* -1 if it is absent or null. */
static int opt_int(Decoder *d, const char *name, int min, int max)
{
        int64_t v = -1;

        if (d->r >= 0)
                (void) found(d, json_get_int64(d->o, name, min, max, &v, d->e));
        return (int) v;
}

static void decode_inputs(Decoder *d, RunFrame *f, unsigned max)
{
        const JsonValue *list = NULL, *c;

        if (d->r < 0)
                return;
        (void) found(d, json_get_bool(d->o, "more", &f->more, d->e));
        if (d->r < 0 || !found(d, json_get_typed(d->o, "inputs", JSON_ARRAY, &list, d->e)))
                return;
        if (json_value_count(list) > max) {
                bad(d, "inputs", "fewer of them in a frame");
                return;
        }

        f->inputs = new0(RunInput, json_value_count(list));
        if (!f->inputs) {
                d->r = -ENOMEM;
                return;
        }
        for (c = json_value_first(list, NULL); c; c = json_value_next(list, c, NULL)) {
                Decoder in = { .o = c, .e = d->e };

                f->inputs[f->n_inputs].name = need_string(&in, "name", RUN_PACKET_MAX);
                f->inputs[f->n_inputs].size = need_uint(&in, "size", 0, INT64_MAX);
                if (in.r < 0) {
                        d->r = in.r;
                        return;
                }
                f->n_inputs++;
        }
}

static void decode_run(Decoder *d, RunFrame *f)
{
        static const char *const phases[] = { "run", "join" };
        Uuid id;

        f->run.job_id = need_string(d, "job_id", UUID_TEXT_SIZE);
        if (uuid_parse(f->run.job_id, &id) < 0)
                bad(d, "job_id", "a UUID");
        f->run.kind = need_name(d, "kind");
        f->run.queue = need_name(d, "queue");
        f->run.tenant = need_name(d, "tenant");
        f->run.subject = opt_string(d, "subject", REEVE_SUBJECT_MAX);
        f->run.attempt = (unsigned) need_uint(d, "attempt", 0, ATTEMPTS_MAX);
        f->run.join = need_word(d, "phase", phases, ELEMENTSOF(phases)) == 1;
        f->run.timeout_usec = need_uint(d, "timeout_usec", 0, USEC_INFINITY);
        decode_inputs(d, f, RUN_PACKET_FDS_MAX - 1);
}

static void decode_end(Decoder *d, RunFrame *f)
{
        const JsonValue *error = NULL;

        f->end.cause = (RunCause) need_word(d, "cause", run_causes, _RUN_CAUSE_MAX);
        f->end.exit = opt_int(d, "exit", 0, 255);
        f->end.signal = opt_int(d, "signal", 1, SIGRTMAX);
        if (f->end.signal < 0)
                f->end.signal = 0;
        f->end.core = need_bool(d, "core");
        f->end.result = (RunResult) need_word(d, "result", run_results, _RUN_RESULT_MAX);
        f->end.result_size = need_uint(d, "result_size", 0, REEVE_RESULT_MAX);
        f->end.log = need_string(d, "log", RUN_PACKET_MAX);
        f->end.log_truncated = need_bool(d, "log_truncated");
        f->end.cpu_usec = need_uint(d, "cpu_usec", 0, INT64_MAX);
        f->end.max_rss = need_uint(d, "max_rss", 0, INT64_MAX);
        f->end.wall_usec = need_uint(d, "wall_usec", 0, INT64_MAX);
        f->end.output_error = opt_string(d, "output_error", RUN_PACKET_MAX);

        if (d->r >= 0 && found(d, json_get_typed(d->o, "error", JSON_OBJECT, &error, d->e))) {
                Decoder in = { .o = error, .e = d->e };

                f->end.error_code = need_string(&in, "code", RUN_PACKET_MAX);
                f->end.error_message = need_string(&in, "message", RUN_PACKET_MAX);
                f->end.error_retry = need_bool(&in, "retry");
                d->r = in.r;
        }
}

static void decode_file(Decoder *d, RunFrame *f)
{
        f->file.name = need_string(d, "name", RUN_FILE_NAME_MAX);
        f->file.size = need_uint(d, "size", 0, REEVE_OUTPUT_BYTES_MAX);
        if (!run_file_name_is_valid(f->file.name))
                bad(d, "name", "a relative path");
}

static void decode_stop(Decoder *d, RunFrame *f)
{
        f->stop.reason = (RunCause) need_word(d, "reason", run_causes, _RUN_CAUSE_MAX);
        if (f->stop.reason != RUN_CANCELLED && f->stop.reason != RUN_DRAINED)
                bad(d, "reason", "cancelled or drained");
}

static void decode_body(Decoder *d, RunFrame *f)
{
        switch (f->type) {
        case RUN_FRAME_HELLO:
                f->hello.version = (unsigned) need_uint(d, "version", 1, UINT32_MAX);
                f->hello.unit = need_string(d, "unit", 256);
                f->hello.pid = (pid_t) need_uint(d, "pid", 1, PID_LARGEST);
                break;
        case RUN_FRAME_STARTED:
                f->started.pid = (pid_t) need_uint(d, "pid", 1, PID_LARGEST);
                break;
        case RUN_FRAME_PROGRESS:
                f->progress.progress = opt_int(d, "progress", 0, 100);
                f->progress.status = opt_string(d, "status", REEVE_STATUS_TEXT_MAX);
                break;
        case RUN_FRAME_EXTEND:
                f->extend.usec = need_uint(d, "usec", 0, USEC_INFINITY);
                break;
        case RUN_FRAME_FILE:
                decode_file(d, f);
                break;
        case RUN_FRAME_END:
                decode_end(d, f);
                break;
        case RUN_FRAME_RUN:
                decode_run(d, f);
                break;
        case RUN_FRAME_INPUTS:
                decode_inputs(d, f, RUN_PACKET_FDS_MAX);
                break;
        case RUN_FRAME_STOP:
                decode_stop(d, f);
                break;
        default: /* alive and ready have nothing more */
                break;
        }
}

static unsigned fds_expected(const RunFrame *f)
{
        switch (f->type) {
        case RUN_FRAME_FILE:
                return 1;
        case RUN_FRAME_END:
                return f->end.result == RUN_RESULT_OK || f->end.result == RUN_RESULT_TEXT;
        case RUN_FRAME_RUN:
                return 1 + f->n_inputs;
        case RUN_FRAME_INPUTS:
                return f->n_inputs;
        default:
                return 0;
        }
}

int run_frame_decode(const char *text, size_t size, unsigned n_fds, RunFrame *ret, JsonError *e)
{
        _cleanup_(run_frame_done) RunFrame f = {};
        Decoder d = { .e = e };
        int r;

        r = json_parse(text, size, REEVE_JSON_DEPTH_MAX, &f.document, e);
        if (r < 0)
                return r;

        d.o = json_document_root(f.document);
        f.type = (RunFrameType) need_word(&d, "type", run_frame_types, _RUN_FRAME_TYPE_MAX);
        if (d.r >= 0 && f.type != RUN_FRAME_HELLO && f.type != RUN_FRAME_READY)
                f.run_id = (int64_t) need_uint(&d, "run_id", 1, INT64_MAX);
        if (d.r >= 0)
                decode_body(&d, &f);
        if (d.r >= 0 && n_fds != fds_expected(&f)) {
                json_error_at(
                        e, d.o, "expected %u file descriptors, not %u", fds_expected(&f), n_fds);
                d.r = -EBADMSG;
        }
        if (d.r < 0)
                return d.r;

        *ret = STEAL(f);
        return 0;
}

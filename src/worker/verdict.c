/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "verdict.h"

#include <ctype.h>
#include <stdio.h>
#include <sysexits.h>

#include "json-reader.h"
#include "parse-util.h"
#include "reeve-limits.h"

/* What a handler may say in place of a result, in {"$reeve": ...}. */
typedef struct Directive {
        const char *children;
        size_t children_size;
        unsigned at_once;
        int progress_from, progress_to;
        const char *error_code, *error_message;
        bool retry_given, retry;
        usec_t retry_after_usec;
} Directive;

/* Cuts between characters, never in one: the server takes UTF-8 only, and would refuse the run's
 * end for half a character. */
static void copy_utf8(char *buf, size_t size, const char *text)
{
        size_t left = strlen(text), n = 0;

        while (left > 0) {
                size_t k = utf8_sequence(text, left);

                if (n + (k ? k : 1) >= size)
                        break;
                if (k)
                        memcpy(buf + n, text, k);
                else
                        buf[n] = '?';
                n += k ? k : 1;
                text += k ? k : 1;
                left -= k ? k : 1;
        }
        buf[n] = '\0';
}

void verdict_set_error(Verdict *v, const char *code, const char *message)
{
        copy_utf8(v->error_code, sizeof(v->error_code), code);
        copy_utf8(v->error_message, sizeof(v->error_message), message);
}

static void fail(Verdict *v, const char *code, const char *message)
{
        v->state = "failed";
        v->counts = STORE_COUNTS_ATTEMPT;
        verdict_set_error(v, code, message);
}

void verdict_of_no_handler(const char *cause, const char *code, const char *message, Verdict *ret)
{
        *ret = (Verdict){ .cause = cause, .state = "ready", .counts = STORE_COUNTS_NEITHER };
        verdict_set_error(ret, code, message);
}

void verdict_of_interruption(
        const char *cause, int64_t interruptions, int64_t max_interruptions, Verdict *ret)
{
        *ret = (Verdict){ .cause = cause, .state = "ready", .counts = STORE_COUNTS_INTERRUPTION };
        if (interruptions + 1 < max_interruptions)
                return;
        ret->state = "failed";
        verdict_set_error(ret, "INTERRUPTED_TOO_OFTEN",
                streq(cause, run_cause_to_string(RUN_OOM_KILL))
                        ? "it ran out of memory as often as the kind allows (MaxInterruptions=): "
                          "see "
                          "MemoryMax= in reeve.kind(5)"
                        : "it was interrupted as often as the kind allows: it may be what kills "
                          "its worker");
}

/* Another attempt if there is one left. */
static void retry(const VerdictInput *in, Verdict *v, usec_t hint_usec)
{
        v->counts = STORE_COUNTS_ATTEMPT;
        v->state = retry_next(&in->kind->retry, in->attempt, in->max_attempts, hint_usec,
                           in->random, &v->delay_usec)
                ? "scheduled"
                : "failed";
}

/* The last line of a text that is not blank, without the blanks at its end. */
static size_t last_line(const char *text, size_t size, const char **ret)
{
        size_t end = size, start;

        while (end > 0 && strchr(" \t\r\n", text[end - 1]))
                end--;
        for (start = end; start > 0 && text[start - 1] != '\n';)
                start--;
        *ret = text + start;
        return end - start;
}

#define NODE "Node.js v"

/* Not a line of a stack, a bracket that is closed, or the name that Node.js says last of all. */
static bool says_something(const char *line, size_t n)
{
        if (n == 0 || line[0] == ' ' || line[0] == '\t' ||
                (n > strlen(NODE) && memcmp(line, NODE, strlen(NODE)) == 0))
                return false;
        for (size_t i = 0; i < n; i++)
                if (isalnum((unsigned char) line[i]) || (unsigned char) line[i] >= 0x80)
                        return true;
        return false;
}

/* What a failing program said last: of its log the last line that says something, and if none
 * does the last that is not blank. */
static void last_words(const char *log, char *buf, size_t size)
{
        const char *line = log, *last;
        size_t n_last = last_line(log, strlen(log), &last), n = n_last;

        for (line = last; n > 0 && !says_something(line, n);)
                n = last_line(log, (size_t) (line - log), &line);
        if (n == 0) {
                line = last;
                n = n_last;
        }
        if (n >= size)
                n = size - 1;
        memcpy(buf, line, n);
        buf[n] = '\0';
}

/* "progress":[15,75] */
static int read_part(const JsonValue *reeve, Directive *d)
{
        const JsonValue *part = json_value_member(reeve, "progress"), *to;
        int64_t from_percent, to_percent;

        d->progress_from = d->progress_to = -1;
        if (!part)
                return 0;
        to = json_value_is(part, JSON_ARRAY) && json_value_count(part) == 2
                ? json_value_next(part, json_value_first(part, NULL), NULL)
                : NULL;
        if (!to || json_value_int64(json_value_first(part, NULL), &from_percent) < 0 ||
                json_value_int64(to, &to_percent) < 0 || from_percent < 0 ||
                from_percent > to_percent || to_percent > 100)
                return -EINVAL;
        d->progress_from = (int) from_percent;
        d->progress_to = (int) to_percent;
        return 0;
}

static int read_spawn(const JsonValue *reeve, Directive *d, Verdict *v)
{
        const JsonValue *spawn = json_value_member(reeve, "spawn");
        uint64_t at_once = 0;

        if (!spawn)
                return 0;
        if (!json_value_is(spawn, JSON_ARRAY) || json_value_count(spawn) > REEVE_CHILDREN_MAX) {
                fail(v, "BAD_CHILDREN", "spawn must be an array of at most 10000 children");
                return -EINVAL;
        }
        if (json_get_uint64(reeve, "at_once", 1, REEVE_CHILDREN_MAX, &at_once, NULL) < 0) {
                fail(v, "BAD_CHILDREN", "at_once must be a number from 1 to 10000");
                return -EINVAL;
        }
        if (read_part(reeve, d) < 0) {
                fail(v, "BAD_CHILDREN",
                        "progress must be two whole numbers from 0 to 100, in order");
                return -EINVAL;
        }
        d->at_once = (unsigned) at_once;
        d->children = json_value_text(spawn, &d->children_size);
        return 0;
}

static int read_error(const JsonValue *reeve, Directive *d, Verdict *v)
{
        const JsonValue *error = NULL;
        double after = 0;
        JsonError e;
        int r;

        r = json_get_typed(reeve, "error", JSON_OBJECT, &error, &e);
        if (r == JSON_MISSING)
                return 0;
        if (r == JSON_FOUND)
                r = json_get_string(error, "code", &d->error_code, &e);
        if (r >= 0)
                r = json_get_string(error, "message", &d->error_message, &e);
        if (r >= 0)
                r = json_get_double(error, "retry_after", &after, &e);
        if (r >= 0) {
                r = json_get_bool(error, "retry", &d->retry, &e);
                d->retry_given = r == JSON_FOUND;
        }
        if (r < 0) {
                fail(v, "BAD_DIRECTIVE", e.text);
                return -EINVAL;
        }
        if (!d->error_code || !*d->error_code)
                d->error_code = "HANDLER_ERROR";
        if (after > 0 && after < 1e9)
                d->retry_after_usec = (usec_t) (after * (double) USEC_PER_SEC);
        return 0;
}

/* Looks for {"$reeve": {...}}. Most results are none, and are not parsed for it. Returns 0, -EINVAL
 * (the verdict is made), or -ENOMEM. */
static int read_directive(const char *result, JsonDocument **ret_document, Directive *d, Verdict *v)
{
        _cleanup_(json_document_freep) JsonDocument *document = NULL;
        const JsonValue *reeve;
        JsonError e;
        int r;

        if (!result || !strstr(result, "\"$reeve\""))
                return 0;
        r = json_parse(result, strlen(result), REEVE_RESULT_DEPTH_MAX, &document, &e);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                fail(v, "NOT_JSON", e.text);
                return -EINVAL;
        }
        reeve = json_value_member(json_document_root(document), "$reeve");
        if (!reeve)
                return 0;

        r = read_spawn(reeve, d, v);
        if (r >= 0)
                r = read_error(reeve, d, v);
        if (r >= 0)
                *ret_document = TAKE_PTR(document);
        return r;
}

static void verdict_of_success(const VerdictInput *in, const Directive *d, Verdict *v)
{
        v->counts = STORE_COUNTS_ATTEMPT;
        if (in->end->end.result == RUN_RESULT_NOT_JSON) {
                fail(v, "NOT_JSON",
                        "the handler's output is not one JSON value (Output=text would keep it as "
                        "text)");
                return;
        }
        if (in->end->end.result == RUN_RESULT_TOO_LARGE) {
                fail(v, "RESULT_TOO_LARGE",
                        "the handler wrote more than 1 MiB to its standard output");
                return;
        }
        if (in->end->end.output_error) {
                fail(v, "OUTPUT_FILES", in->end->end.output_error);
                return;
        }
        if (d->children) {
                v->state = "waiting";
                return;
        }
        v->state = "succeeded";
        v->result = in->result && in->result[0] ? in->result : NULL;
        v->result_size = v->result ? strlen(v->result) : 0;
}

static void verdict_of_exit(const VerdictInput *in, const Directive *d, Verdict *v)
{
        int status = in->end->end.exit;
        char code[32];
        bool final;

        if (in->end->end.error_code) { /* a persistent handler's answer */
                verdict_set_error(v,
                        in->end->end.error_code[0] ? in->end->end.error_code : "HANDLER_ERROR",
                        in->end->end.error_message);
                final = !in->end->end.error_retry;
        } else if (d->error_code) {
                verdict_set_error(v, d->error_code, d->error_message ? d->error_message : "");
                final = d->retry_given
                        ? !d->retry
                        : status == EX_USAGE || status == EX_DATAERR || status == EX_NOINPUT;
        } else if (status == 0) {
                verdict_of_success(in, d, v);
                return;
        } else {
                char text[sizeof(v->error_message) +
                        4]; /* so that a character is whole, or does not fit */

                snprintf(code, sizeof(code), "EXIT_%d", status);
                last_words(in->end->end.log, text, sizeof(text));
                verdict_set_error(v, code, text);
                final = status == EX_USAGE || status == EX_DATAERR || status == EX_NOINPUT;
        }

        v->counts = STORE_COUNTS_ATTEMPT;
        if (final)
                v->state = "failed";
        else
                retry(in, v, d->retry_after_usec);
}

/* A run that was told to stop, but came to its end by itself first, counts as what it is. */
static bool completed_anyway(const RunFrame *end)
{
        return end->end.exit == 0 && !end->end.error_code &&
                (end->end.result == RUN_RESULT_OK || end->end.result == RUN_RESULT_TEXT);
}

static void verdict_of_stop(const VerdictInput *in, const Directive *d, Verdict *v)
{
        if (completed_anyway(in->end)) {
                verdict_of_success(in, d, v);
                v->cause = run_cause_to_string(RUN_EXIT);
                return;
        }
        v->counts = STORE_COUNTS_NEITHER;
        v->state = in->end->end.cause == RUN_CANCELLED ? "cancelled" : "ready";
}

static void verdict_of_error(const VerdictInput *in, Verdict *v)
{
        const char *message = "";
        char span[TIMESPAN_MAX], text[200];

        switch (in->end->end.cause) {
        case RUN_SIGNAL:
                snprintf(text, sizeof(text), "the handler was killed by signal %d (%s)",
                        in->end->end.signal, strsignal(in->end->end.signal));
                verdict_set_error(v, "SIGNAL", text);
                break;
        case RUN_TIMEOUT:
                snprintf(text, sizeof(text), "it ran longer than TimeoutSec=%s",
                        format_timespan(span, in->kind->timeout_usec));
                verdict_set_error(v, "TIMEOUT", text);
                break;
        case RUN_WATCHDOG:
                verdict_set_error(
                        v, "WATCHDOG", "the handler gave no sign of life within WatchdogSec=");
                break;
        default:
                last_words(in->end->end.log, text, sizeof(text));
                message = text;
                verdict_set_error(v, "INPUT_ERROR", message);
        }
        retry(in, v, 0);
}

static void verdict_of_no_start(const VerdictInput *in, Verdict *v)
{
        const KindExec *exec = &in->kind->exec;
        const char *program = in->join && exec->join ? exec->join[0] : exec->start[0];
        bool missing = in->end->end.cause == RUN_MISSING;
        char text[400];

        snprintf(text, sizeof(text),
                missing ? "there is no program %.200s, or not the interpreter that its first line "
                          "names"
                        : "%.200s cannot be executed: see its mode, and its first line if it is a "
                          "script",
                program);
        verdict_of_no_handler(
                v->cause, missing ? "HANDLER_MISSING" : "HANDLER_NOT_EXECUTABLE", text, v);
}

int verdict_of_run(const VerdictInput *input, Verdict *ret)
{
        _cleanup_(json_document_freep) JsonDocument *document = NULL;
        RunCause cause = input->end->end.cause;
        Directive d = {};
        int r;

        *ret = (Verdict){ .state = "failed", .cause = run_cause_to_string(cause) };
        r = read_directive(input->result, &document, &d, ret);
        if (r == -ENOMEM)
                return r;

        /* A handler that has outlived what the kernel killed, and names an error, knows better. */
        if (cause == RUN_OOM_KILL && input->end->end.exit >= 0 && (d.error_code || r == -EINVAL))
                cause = RUN_EXIT;
        if (cause == RUN_OOM_KILL)
                verdict_of_interruption(
                        ret->cause, input->interruptions, input->max_interruptions, ret);
        else if (cause == RUN_CANCELLED || cause == RUN_DRAINED)
                verdict_of_stop(input, &d, ret);
        else if (cause == RUN_MISSING || cause == RUN_NOT_EXECUTABLE)
                verdict_of_no_start(input, ret);
        else if (cause == RUN_INPUT_ERROR && input->end->end.error_code) /* the host's fault */
                verdict_of_no_handler(
                        "not-run", input->end->end.error_code, input->end->end.error_message, ret);
        else if (r == -EINVAL)
                return 0; /* the directive itself was wrong: read_directive() has made the verdict
                           */
        else if (cause == RUN_EXIT)
                verdict_of_exit(input, &d, ret);
        else
                verdict_of_error(input, ret);

        if (d.children && streq(ret->state, "waiting")) {
                ret->children = strndup(d.children, d.children_size);
                if (!ret->children)
                        return -ENOMEM;
                ret->at_once = d.at_once;
                ret->progress_from = d.progress_from;
                ret->progress_to = d.progress_to;
        }
        return 0;
}

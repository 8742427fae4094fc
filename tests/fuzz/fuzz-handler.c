/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a handler says: the first byte chooses how its run ended, and in which pieces its words
 * came. The rest is taken as lines on its descriptor 3, as a datagram of sd_notify(3), as its
 * standard error and as its result. Whatever it is, what the worker and the database get is within
 * their bounds and valid UTF-8. */
#include "exec-log.h"
#include "exec-progress.h"
#include "fuzz.h"
#include "json-check.h"
#include "parse-util.h"
#include "verdict.h"

static void check_text(const char *s)
{
        CHECK(utf8_is_valid(s, strlen(s)));
}

static void check_progress(const ExecProgress *p)
{
        CHECK(p->progress >= -1 && p->progress <= 100);
        check_text(p->status);
        CHECK(strlen(p->status) <= REEVE_STATUS_TEXT_MAX);
        for (const char *c = p->status; *c; c++)
                CHECK((unsigned char) *c >= ' ');
        CHECK(!p->extend || p->extend_usec <= USEC_PER_DAY * 365);
        CHECK(p->n_bad == 0 || p->bad[0]);
}

static void check_lines(const char *text, size_t size, size_t piece)
{
        ExecProgress whole, cut;

        exec_progress_reset(&whole);
        exec_progress_reset(&cut);
        exec_progress_feed(&whole, 7, text, size);
        for (size_t at = 0; at < size; at += piece)
                exec_progress_feed(&cut, 7, text + at, size - at < piece ? size - at : piece);
        check_progress(&whole);
        CHECK(whole.progress == cut.progress && streq(whole.status, cut.status));
        CHECK(whole.n_bad == cut.n_bad && whole.alive == cut.alive);
        CHECK(whole.line_too_long == cut.line_too_long);
}

static void check_datagram(const char *text)
{
        _cleanup_(freep) char *copy = strdup(text);
        ExecProgress p;

        CHECK(copy);
        exec_progress_reset(&p);
        exec_progress_notify(&p, copy);
        check_progress(&p);
}

/* The tail of a log that the ring has gone around in, at the place that turn says. */
static void check_tail(const char *text, size_t size, size_t turn)
{
        static ExecLog log;
        _cleanup_(strbuf_done) StrBuf b = {};

        exec_log_reset(&log, 0);
        memset(log.tail, 'x', sizeof(log.tail));
        log.total = turn * 777;
        for (size_t i = 0; i < size; i++)
                log.tail[log.total++ % sizeof(log.tail)] = text[i];
        CHECK(exec_log_tail(&log, &b) == (log.total > sizeof(log.tail)));
        CHECK(b.len <= 3 * sizeof(log.tail) && strlen(strbuf_str(&b)) == b.len);
        check_text(strbuf_str(&b));
}

static void check_verdict(const VerdictInput *in)
{
        static const char *const states[] = { "succeeded", "failed", "cancelled", "scheduled",
                "ready", "waiting" };
        Verdict v;
        bool known = false;

        CHECK(verdict_of_run(in, &v) == 0);
        for (size_t i = 0; i < ELEMENTSOF(states); i++)
                known = known || streq(states[i], v.state);
        CHECK(known && *v.cause);
        check_text(v.error_code);
        check_text(v.error_message);
        CHECK(!streq(v.state, "failed") || v.error_code[0]);
        CHECK(!streq(v.state, "scheduled") || v.delay_usec <= REEVE_RETRY_HINT_MAX_USEC * 2);
        CHECK(streq(v.state, "waiting") == (v.children != NULL));
        if (v.children) {
                CHECK(json_check(v.children, strlen(v.children), REEVE_RESULT_DEPTH_MAX, NULL) ==
                        0);
                CHECK(v.at_once <= REEVE_CHILDREN_MAX && v.progress_from <= v.progress_to &&
                        v.progress_to <= 100);
        }
        CHECK(!v.result || v.result_size <= strlen(in->result));
        free(v.children);
}

static void check_end(const char *text, unsigned choice)
{
        static char *start[] = { (char *) "/bin/handler", NULL };
        static const Kind kind = { .name = (char *) "k",
                .retry = { USEC_PER_SEC, 60 * USEC_PER_SEC },
                .timeout_usec = 5 * USEC_PER_SEC,
                .exec.start = start };
        bool exited = choice % 3 != 0;
        RunFrame end = { .type = RUN_FRAME_END,
                .end = { .cause = (RunCause) (choice % _RUN_CAUSE_MAX),
                        .exit = exited ? (int) (choice % 5 == 0 ? 65 : choice % 2) : -1,
                        .signal = exited ? 0 : 9,
                        .result = RUN_RESULT_OK,
                        .log = text } };
        const VerdictInput in = { .kind = &kind,
                .end = &end,
                .result = text,
                .attempt = choice % 4,
                .max_attempts = 3,
                .interruptions = choice % 4,
                .max_interruptions = 3,
                .random = choice << 24 };

        check_verdict(&in);
        end.end.error_code = text;
        end.end.error_message = text;
        check_verdict(&in);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = NULL;

        if (size < 2)
                return 0;
        text = strndup((const char *) data + 1, size - 1);
        CHECK(text);
        check_lines((const char *) data + 1, size - 1, data[0] % 32U + 1);
        check_datagram(text);
        check_tail((const char *) data + 1, size - 1, data[0]);
        check_end(text, data[0]);
        return 0;
}

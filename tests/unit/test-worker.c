/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kind-hold.h"
#include "lane-table.h"
#include "namesake.h"
#include "parse-util.h"
#include "stand-still.h"
#include "test.h"
#include "verdict.h"

/* ---- lanes
 * -------------------------------------------------------------------------------------------------------
 */

static void add(LaneTable *t, int64_t lane, int64_t priority, const char *queue, bool wanted)
{
        const StoreLane l = { lane, queue, "k", "t", priority };

        assert_int_equal(lane_table_add(t, &l, wanted), 1);
        assert_int_equal(lane_table_add(t, &l, wanted), 0);
}

static const LaneSkip none;

static bool is_thirty(const LaneEntry *e, void *userdata)
{
        return e->lane == 30 && streq(e->tenant, "t");
}

static void test_lanes_by_priority_and_in_turn(void **state)
{
        _cleanup_(lane_table_done) LaneTable t = {};
        StoreCursor c[4];
        bool first[40] = {};

        add(&t, 30, 5, "q", true);
        add(&t, 10, 5, "q", true);
        add(&t, 20, 9, "q", true);
        add(&t, -7, 5, "q", false); /* not ours */
        for (int i = 0; i < 4; i++) {
                assert_int_equal(lane_table_pick(&t, &none, c, 4), 3);
                assert_int_equal(c[0].lane, 20);
                first[c[1].lane] = true;
        }
        assert_true(first[10] && first[30]);
        assert_int_equal(lane_table_pick(&t, &none, c, 2), 2);
        assert_int_equal(lane_table_pick(&t, &(LaneSkip){ .filter = is_thirty }, c, 4), 1);
        assert_int_equal(c[0].lane, 30);
}

static void test_lanes_without_jobs_are_forgotten(void **state)
{
        _cleanup_(lane_table_done) LaneTable t = {};
        StoreClaimedJob job = { .lane = 2, .seq = 40 };
        const usec_t start = USEC_PER_MIN;
        StoreCursor c[4];

        add(&t, 1, 5, "q", true);
        add(&t, 2, 5, "q", true);
        add(&t, 3, 5, "q", false);
        lane_table_begin_round(&t, start);
        assert_int_equal(lane_table_pick(&t, &none, c, 4), 2);
        lane_table_begin_round(&t, start + LANE_FORGET_USEC - 1);
        assert_int_equal(t.n, 3);
        lane_table_claimed(&t, c, 2, &job, 1, true);
        lane_table_begin_round(&t, start + LANE_FORGET_USEC + LANE_RESET_USEC);
        assert_int_equal(t.n, 1);
        assert_int_equal(lane_table_pick(&t, &none, c, 4), 1);
        assert_int_equal(c[0].lane, 2);
        add(&t, 1, 5, "q", true); /* the search found it again */
        lane_table_begin_round(&t, start + 2 * LANE_FORGET_USEC);
        assert_int_equal(t.n, 2);
        lane_table_begin_round(&t, start + 4 * LANE_FORGET_USEC);
        assert_int_equal(t.n, 0);
        assert_int_equal(lane_table_pick(&t, &none, c, 4), 0);
}

static void test_lanes_paused_and_empty(void **state)
{
        _cleanup_(lane_table_done) LaneTable t = {};
        const char *const paused[] = { "p", NULL };
        const LaneSkip skip = { paused, NULL };
        StoreClaimedJob job = { .lane = 1, .seq = 40 };
        StoreCursor c[4];

        add(&t, 1, 5, "q", true);
        add(&t, 2, 5, "p", true);
        assert_int_equal(lane_table_pick(&t, &skip, c, 4), 1);
        assert_int_equal(c[0].lane, 1);
        assert_int_equal(c[0].cursor, 0);

        lane_table_claimed(
                &t, c, 1, &job, 1, false); /* as many as were asked for: there may be more */
        assert_int_equal(lane_table_pick(&t, &skip, c, 4), 1);
        assert_int_equal(c[0].cursor, 40);
        lane_table_claimed(&t, c, 1, NULL, 0, true);
        assert_int_equal(lane_table_pick(&t, &skip, c, 4), 0);

        /* Within a second the cursor stays; then it goes back, for late commits. */
        t.reset_usec = 10 * USEC_PER_SEC;
        lane_table_begin_round(&t, 10 * USEC_PER_SEC + LANE_RESET_USEC / 2);
        assert_int_equal(lane_table_pick(&t, &skip, c, 4), 1);
        assert_int_equal(c[0].cursor, 40);
        lane_table_begin_round(&t, 10 * USEC_PER_SEC + LANE_RESET_USEC);
        assert_int_equal(lane_table_pick(&t, &skip, c, 4), 1);
        assert_int_equal(c[0].cursor, 0);
}

/* Kinds with limits and those without are never in one claim, and none waits for the other's lower
 * priorities. */
static void test_lanes_of_kinds_with_limits(void **state)
{
        _cleanup_(lane_table_done) LaneTable t = {};
        const char *const limited[] = { "l", NULL };
        const LaneSkip skip = { .limited = limited };
        const StoreLane high = { 7, "q", "l", "t", 9 }, same = { 8, "q", "l", "t", 5 };
        bool first[2] = {};
        StoreCursor c[8];

        add(&t, 1, 5, "q", true);
        add(&t, 2, 5, "q", true);
        add(&t, 3, 4, "q", true);
        assert_int_equal(lane_table_add(&t, &same, true), 1);
        for (int i = 0; i < 8; i++) {
                unsigned n = lane_table_pick(&t, &skip, c, 8);

                first[c[0].limited] = true;
                assert_int_equal(n, c[0].limited ? 1 : 2); /* nothing of priority 4 */
                for (unsigned k = 0; k < n; k++)
                        assert_int_equal(c[k].priority, 5);
        }
        assert_true(first[0] && first[1]);

        assert_int_equal(lane_table_add(&t, &high, true), 1);
        for (int i = 0; i < 8; i++) {
                assert_int_equal(lane_table_pick(&t, &skip, c, 8), 2);
                assert_true(c[0].lane == 7 && c[0].limited && c[1].lane == 8);
        }
        assert_int_equal(lane_table_pick(&t, &none, c, 8), 5);
        assert_false(c[0].limited);
}

static void test_rules_are_replaced(void **state)
{
        const StoreClaimRule told[] = { { "p", true }, { "l", false }, { "q", true } };
        _cleanup_(claim_rules_done) ClaimRules r = {};

        assert_int_equal(claim_rules_set(&r, told, 3), 0);
        assert_string_equal(r.paused[0], "p");
        assert_string_equal(r.paused[1], "q");
        assert_null(r.paused[2]);
        assert_string_equal(r.limited[0], "l");
        assert_null(r.limited[1]);
        assert_int_equal(claim_rules_set(&r, NULL, 0), 0);
        assert_null(r.paused[0]);
        assert_null(r.limited[0]);
}

/* ---- kinds that cannot be run
 * ----------------------------------------------------------------------------------------
 */

static void test_lanes_of_a_held_kind(void **state)
{
        _cleanup_(lane_table_done) LaneTable t = {};
        const StoreLane broken = { 7, "q", "broken", "t", 10 };
        const char *const held[] = { "broken", NULL };
        const LaneSkip skip = { NULL, held };
        StoreCursor c[4];

        assert_int_equal(lane_table_add(&t, &broken, true), 1);
        add(&t, 1, 5, "q", true);
        assert_int_equal(lane_table_pick(&t, &none, c, 4), 2);
        assert_int_equal(lane_table_pick(&t, &skip, c, 4), 1);
        assert_int_equal(c[0].lane, 1);
}

static void test_a_kind_is_held_longer_each_time_but_not_for_long(void **state)
{
        const RetryPolicy policy = { 3 * USEC_PER_SEC, USEC_PER_HOUR }, at_once = {};
        usec_t now = USEC_PER_MIN;
        KindHold h = {};

        assert_false(kind_hold_is_on(&h, now));
        assert_false(kind_hold_end(&h));
        for (unsigned i = 1; i <= 8; i++) {
                usec_t pause = i > 5 ? USEC_PER_MIN : (3 * USEC_PER_SEC) << (i - 1);

                assert_int_equal(kind_hold_begin(&h, &policy, "NO_SOCKET", "m", now, 0),
                        i == 1 || i == 2 || i == 4 || i == 8);
                /* Those that were claimed together with it. */
                assert_false(kind_hold_begin(&h, &policy, "NO_SOCKET", "m", now + 1, 0));
                assert_int_equal(h.until_usec, now + pause);
                assert_true(kind_hold_is_on(&h, now + pause - 1));
                assert_false(kind_hold_is_on(&h, now + pause));
                now += pause;
        }
        /* Another reason is another beginning. */
        assert_true(kind_hold_begin(&h, &policy, "HANDLER_MISSING", "m", now, 0));
        assert_int_equal(h.until_usec, now + 3 * USEC_PER_SEC);
        assert_true(kind_hold_end(&h));
        assert_false(kind_hold_is_on(&h, now));
        /* RetrySec=0 is no circle without rest. */
        assert_true(kind_hold_begin(&h, &at_once, "NO_SOCKET", "m", now, 0));
        assert_int_equal(h.until_usec, now + USEC_PER_SEC);
}

/* ---- who stands still
 * ---------------------------------------------------------------------------------------------
 */

static usec_t look(StandStills *t, int64_t beat, usec_t at_sec)
{
        const StoreBeat beats[] = { { 7, beat }, { 8, (int64_t) at_sec } };

        assert_int_equal(stand_stills_look(t, beats, 2, at_sec * USEC_PER_SEC), 0);
        assert_int_equal(t->entries[1].stood_usec, 0);
        return t->entries[0].stood_usec / USEC_PER_SEC;
}

static void test_a_counter_that_stands_still_is_seen(void **state)
{
        StandStills t = {};

        assert_int_equal(look(&t, 1, 100), 0);
        assert_int_equal(look(&t, 1, 105), 5);
        assert_int_equal(look(&t, 1, 110), 10);
        assert_int_equal(look(&t, 2, 115), 0);
        assert_int_equal(look(&t, 2, 120), 5);
        assert_int_equal(stand_stills_look(&t, NULL, 0, 125 * USEC_PER_SEC), 0);
        assert_int_equal(look(&t, 2, 130), 0);
        stand_stills_done(&t);
}

/* While nobody looks, nobody is seen standing: the looker may have been stopped, or the database
 * may have been away, and with it everybody's heartbeats. */
static void test_time_without_a_look_does_not_count(void **state)
{
        StandStills t = {};

        assert_int_equal(look(&t, 1, 100), 0);
        assert_int_equal(look(&t, 1, 105), 5);
        assert_int_equal(look(&t, 1, 105 + 3600), 0);
        assert_int_equal(look(&t, 1, 110 + 3600), 5);
        stand_stills_forget(&t); /* the connection was lost */
        assert_int_equal(look(&t, 1, 115 + 3600), 0);
        assert_int_equal(look(&t, 1, 120 + 3600), 5);
        stand_stills_done(&t);
}

/* ---- those of one name
 * ---------------------------------------------------------------------------------------------
 */

static char *named(const char *own, int pid, unsigned long long start)
{
        static char name[256];
        const char *p = strchr(strchr(own, '.') + 1, '.');

        (void) snprintf(name, sizeof(name), "%.*s.%d.%llu", (int) (p - own), own, pid, start);
        return name;
}

static void test_a_namesake_is_gone_when_its_process_is(void **state)
{
        _cleanup_(freep) char *own = NULL, *machine = NULL, *child = NULL, *no_machine = NULL;
        int ends[2], status;
        siginfo_t info;
        pid_t pid;

        assert_int_equal(namesake_identify(&own, &machine), 0);
        assert_non_null(own);
        assert_int_equal(namesake_find(own, machine, own, machine), NAMESAKE_GONE);

        assert_int_equal(pipe(ends), 0);
        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                int r = namesake_identify(&child, &no_machine);
                ssize_t n = r < 0 ? 0 : write(ends[1], child, strlen(child) + 1);

                _exit(n <= 0);
        }
        child = new0(char, 256);
        assert_true(read(ends[0], child, 255) > 0);
        assert_int_equal(waitid(P_PID, (id_t) pid, &info, WEXITED | WNOWAIT), 0);
        assert_int_equal(namesake_find(child, machine, own, machine), NAMESAKE_GONE); /* a zombie */
        assert_int_equal(waitpid(pid, &status, 0), pid);
        assert_int_equal(status, 0);
        assert_int_equal(namesake_find(child, machine, own, machine), NAMESAKE_GONE);
        close(ends[0]);
        close(ends[1]);

        pid = fork();
        assert_true(pid >= 0);
        if (pid == 0) {
                (void) pause();
                _exit(0);
        }
        /* Its PID was somebody else's before. */
        assert_int_equal(namesake_find(named(own, pid, 1), machine, own, machine), NAMESAKE_GONE);
        (void) kill(pid, SIGKILL);
        (void) waitpid(pid, &status, 0);
}

static void test_a_namesake_whose_process_lives(void **state)
{
        _cleanup_(freep) char *own = NULL, *machine = NULL;
        char other[300];

        assert_int_equal(namesake_identify(&own, &machine), 0);
        /* To somebody else's eyes: we are another process than the one that asks. */
        assert_int_equal(namesake_find(own, machine, named(own, 1, 1), machine), NAMESAKE_HERE);

        (void) snprintf(other, sizeof(other), "x%s", own); /* another boot */
        assert_int_equal(namesake_find(other, "m", own, "m"), NAMESAKE_NEAR);
        assert_int_equal(namesake_find(other, "n", own, "m"), NAMESAKE_ELSEWHERE);
        assert_int_equal(namesake_find(other, NULL, own, NULL), NAMESAKE_ELSEWHERE);
        assert_int_equal(namesake_find(NULL, NULL, own, "m"), NAMESAKE_ELSEWHERE);
        assert_int_equal(namesake_find(own, "m", NULL, "m"), NAMESAKE_NEAR);
        for (const char *const *s = (const char *const[]){ "", ".", "..", "...", "a.b", NULL }; *s;
                s++) {
                assert_int_equal(namesake_find(*s, "n", own, "m"), NAMESAKE_ELSEWHERE);
                assert_int_equal(namesake_find(own, "n", *s, "m"), NAMESAKE_ELSEWHERE);
        }
}

static void test_how_long_a_namesake_is_watched(void **state)
{
        const usec_t s = USEC_PER_SEC;

        assert_int_equal(namesake_patience(NAMESAKE_GONE, 30 * s, 5 * s), 0);
        assert_int_equal(namesake_patience(NAMESAKE_HERE, 30 * s, 5 * s), 30 * s);
        assert_int_equal(namesake_patience(NAMESAKE_ELSEWHERE, 30 * s, 5 * s), 30 * s);
        assert_int_equal(namesake_patience(NAMESAKE_NEAR, 30 * s, 5 * s), 15 * s);
        assert_int_equal(namesake_patience(NAMESAKE_NEAR, 30 * s, 25 * s), 30 * s);
}

/* ---- verdicts
 * ----------------------------------------------------------------------------------------------------
 */

static char *start[] = { (char *) "/bin/handler", NULL };
static const Kind kind = {
        .name = (char *) "k",
        .retry = { USEC_PER_SEC, 60 * USEC_PER_SEC },
        .timeout_usec = 5 * USEC_PER_SEC,
        .exec.start = start,
};

static Verdict verdict(RunFrame *end, const char *result, int64_t attempt)
{
        const VerdictInput in = { .kind = &kind,
                .end = end,
                .result = result,
                .attempt = attempt,
                .max_attempts = 3,
                .max_interruptions = 3,
                .interruptions = attempt };
        Verdict v;

        if (!end->end.log)
                end->end.log = "";
        assert_int_equal(verdict_of_run(&in, &v), 0);
        return v;
}

static void test_exit_statuses(void **state)
{
        static const struct {
                int exit;
                int64_t attempt;
                const char *state, *code;
        } cases[] = {
                { 0, 0, "succeeded", "" },
                { 1, 0, "scheduled", "EXIT_1" },
                { 1, 2, "failed", "EXIT_1" },
                { 64, 0, "failed", "EXIT_64" },
                { 65, 0, "failed", "EXIT_65" },
                { 66, 0, "failed", "EXIT_66" },
                { 75, 1, "scheduled", "EXIT_75" },
                { 255, 0, "scheduled", "EXIT_255" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RunFrame end = {
                        .type = RUN_FRAME_END,
                        .end = { .cause = RUN_EXIT, .exit = cases[i].exit, .result = RUN_RESULT_OK }
                };
                Verdict v = verdict(&end, "1", cases[i].attempt);

                assert_string_equal(v.state, cases[i].state);
                assert_string_equal(v.error_code, cases[i].code);
                assert_int_equal(v.counts, STORE_COUNTS_ATTEMPT);
                assert_true(v.delay_usec >= USEC_PER_SEC || !streq(v.state, "scheduled"));
        }
}

static void test_stopped_runs(void **state)
{
        RunFrame end = { .type = RUN_FRAME_END,
                .end = { .cause = RUN_CANCELLED, .exit = -1, .signal = 15 } };
        Verdict v = verdict(&end, NULL, 0);

        assert_string_equal(v.state, "cancelled");
        assert_int_equal(v.counts, STORE_COUNTS_NEITHER);
        end.end.cause = RUN_DRAINED;
        v = verdict(&end, NULL, 0);
        assert_string_equal(v.state, "ready");

        /* After TERM, 0 counts only with a complete result. */
        end.end.exit = 0;
        v = verdict(&end, NULL, 0);
        assert_string_equal(v.state, "ready");
        end.end.result = RUN_RESULT_OK;
        v = verdict(&end, "1", 0);
        assert_string_equal(v.state, "succeeded");
}

static void test_interruptions(void **state)
{
        RunFrame end = { .type = RUN_FRAME_END,
                .end = { .cause = RUN_OOM_KILL, .exit = -1, .signal = 9 } };
        Verdict v = verdict(&end, NULL, 1);

        assert_string_equal(v.state, "ready");
        assert_int_equal(v.counts, STORE_COUNTS_INTERRUPTION);
        v = verdict(&end, NULL, 2);
        assert_string_equal(v.state, "failed");
        assert_string_equal(v.error_code, "INTERRUPTED_TOO_OFTEN");
}

static void test_an_error_that_is_named_after_an_oom_kill(void **state)
{
        RunFrame end = { .type = RUN_FRAME_END,
                .end = { .cause = RUN_OOM_KILL, .exit = 65, .result = RUN_RESULT_OK } };
        Verdict v = verdict(&end, "{\"$reeve\":{\"error\":{\"code\":\"MEMORY_LIMIT\"}}}", 0);

        assert_string_equal(v.state, "failed");
        assert_string_equal(v.error_code, "MEMORY_LIMIT");
        assert_string_equal(v.cause, "oom-kill");
        assert_int_equal(v.counts, STORE_COUNTS_ATTEMPT);
        v = verdict(&end, "{}", 0);
        assert_string_equal(v.state, "ready");
        assert_int_equal(v.counts, STORE_COUNTS_INTERRUPTION);
}

static void test_a_handler_that_never_ran_costs_the_job_nothing(void **state)
{
        static const RunCause causes[] = { RUN_MISSING, RUN_NOT_EXECUTABLE };
        static const char *const codes[] = { "HANDLER_MISSING", "HANDLER_NOT_EXECUTABLE" };

        for (size_t i = 0; i < ELEMENTSOF(causes); i++) {
                RunFrame end = { .type = RUN_FRAME_END, .end = { .cause = causes[i], .exit = -1 } };
                Verdict v =
                        verdict(&end, NULL, 2); /* its last attempt, and its last interruption */

                assert_string_equal(v.state, "ready");
                assert_string_equal(v.cause, run_cause_to_string(causes[i]));
                assert_string_equal(v.error_code, codes[i]);
                assert_int_equal(v.counts, STORE_COUNTS_NEITHER);
        }
}

static void test_directives(void **state)
{
        static const struct {
                const char *result, *state, *code;
                int exit;
        } cases[] = {
                { "{\"$reeve\":{\"spawn\":[{\"kind\":\"a\"}]}}", "waiting", "", 0 },
                { "{\"$reeve\":{\"spawn\":{}}}", "failed", "BAD_CHILDREN", 0 },
                { "{\"$reeve\":{\"spawn\":[]}}", "waiting", "", 0 },
                { "{\"$reeve\":{\"spawn\":[],\"at_once\":3,\"progress\":[15,75]}}", "waiting", "",
                        0 },
                { "{\"$reeve\":{\"spawn\":[],\"at_once\":0}}", "failed", "BAD_CHILDREN", 0 },
                { "{\"$reeve\":{\"spawn\":[],\"at_once\":\"3\"}}", "failed", "BAD_CHILDREN", 0 },
                { "{\"$reeve\":{\"spawn\":[],\"progress\":[15]}}", "failed", "BAD_CHILDREN", 0 },
                { "{\"$reeve\":{\"spawn\":[],\"progress\":[75,15]}}", "failed", "BAD_CHILDREN", 0 },
                { "{\"$reeve\":{\"spawn\":[],\"progress\":[0,101]}}", "failed", "BAD_CHILDREN", 0 },
                { "{\"$reeve\":{\"spawn\":[],\"progress\":15}}", "failed", "BAD_CHILDREN", 0 },
                { "{\"x\":\"\\\"$reeve\\\"\"}", "succeeded", "", 0 },
                { "[\"$reeve\"]", "succeeded", "", 0 },
                { "{\"$reeve\":{\"error\":{\"code\":\"A\",\"retry\":false}}}", "failed", "A", 1 },
                { "{\"$reeve\":{\"error\":{\"code\":\"A\",\"retry\":true}}}", "scheduled", "A",
                        65 },
                { "{\"$reeve\":{\"error\":{}}}", "scheduled", "HANDLER_ERROR", 1 },
                { "{\"$reeve\":{\"error\":{\"code\":7}}}", "failed", "BAD_DIRECTIVE", 1 },
                { "{\"$reeve\":{\"error\":{\"code\":\"A\",\"retry_after\":20}}}", "scheduled", "A",
                        1 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RunFrame end = {
                        .type = RUN_FRAME_END,
                        .end = { .cause = RUN_EXIT, .exit = cases[i].exit, .result = RUN_RESULT_OK }
                };
                Verdict v = verdict(&end, cases[i].result, 0);

                assert_string_equal(v.state, cases[i].state);
                assert_string_equal(v.error_code, cases[i].code);
                assert_true(streq(v.state, "waiting") == (v.children != NULL));
                if (v.children) {
                        bool told = strstr(cases[i].result, "at_once");

                        assert_int_equal(v.at_once, told ? 3 : 0);
                        assert_int_equal(v.progress_from, told ? 15 : -1);
                        assert_int_equal(v.progress_to, told ? 75 : -1);
                }
                if (strstr(cases[i].result, "retry_after"))
                        assert_true(v.delay_usec >= 20 * USEC_PER_SEC);
                free(v.children);
        }
}

static void test_last_line_is_the_message(void **state)
{
        RunFrame end = { .type = RUN_FRAME_END,
                .end = { .cause = RUN_EXIT, .exit = 1, .log = "one\ntwo\n\n \n" } };
        Verdict v = verdict(&end, NULL, 0);

        assert_string_equal(v.error_message, "two");
        end.end.log = "/srv/x.mjs:3\nthrow new TypeError('no');\n      ^\n\nTypeError: no\n    at "
                      "main (x.mjs:3:7)\n"
                      "  code: 'E' {\n}\n\nNode.js v18.20.4\n";
        v = verdict(&end, NULL, 0);
        assert_string_equal(v.error_message, "TypeError: no");
        end.end.log = "Traceback (most recent call last):\n  File \"x\", line 1\nKeyError: 'a'\n";
        v = verdict(&end, NULL, 0);
        assert_string_equal(v.error_message, "KeyError: 'a'");
        end.end.log = "\n   all of it\n\tis indented \n}\n";
        v = verdict(&end, NULL, 0);
        assert_string_equal(v.error_message, "}");
        end.end.log = "\u00fcber\n--\n";
        v = verdict(&end, NULL, 0);
        assert_string_equal(v.error_message, "\u00fcber");
        end.end.log = "";
        v = verdict(&end, NULL, 0);
        assert_string_equal(v.error_message, "");
}

/* The server refuses half a character, and with it the end of the run. */
static void test_messages_are_cut_between_characters(void **state)
{
        RunFrame end = { .type = RUN_FRAME_END, .end = { .cause = RUN_EXIT, .exit = 1 } };
        char log[2048];
        Verdict v;

        for (size_t shift = 0; shift < 4; shift++) {
                size_t n = shift;

                memset(log, 'x', shift);
                while (n + 4 < 1024) {
                        memcpy(log + n, "\xf0\x9f\x90\x8c", 4);
                        n += 4;
                }
                log[n] = '\0';
                end.end.log = log;
                v = verdict(&end, NULL, 0);
                assert_true(utf8_is_valid(v.error_message, strlen(v.error_message)));
                assert_in_range(strlen(v.error_message), 508, 511);
                assert_memory_equal(v.error_message, log, strlen(v.error_message));
                verdict_set_error(&v, log, log);
                assert_true(utf8_is_valid(v.error_code, strlen(v.error_code)));
                assert_in_range(strlen(v.error_code), 60, 63);
        }
        verdict_set_error(&v, "A", "a\xf0\x9f");
        assert_string_equal(v.error_message, "a??");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_lanes_by_priority_and_in_turn),
                cmocka_unit_test(test_lanes_without_jobs_are_forgotten),
                cmocka_unit_test(test_lanes_paused_and_empty),
                cmocka_unit_test(test_lanes_of_kinds_with_limits),
                cmocka_unit_test(test_rules_are_replaced),
                cmocka_unit_test(test_lanes_of_a_held_kind),
                cmocka_unit_test(test_a_kind_is_held_longer_each_time_but_not_for_long),
                cmocka_unit_test(test_a_handler_that_never_ran_costs_the_job_nothing),
                cmocka_unit_test(test_a_counter_that_stands_still_is_seen),
                cmocka_unit_test(test_time_without_a_look_does_not_count),
                cmocka_unit_test(test_a_namesake_is_gone_when_its_process_is),
                cmocka_unit_test(test_a_namesake_whose_process_lives),
                cmocka_unit_test(test_how_long_a_namesake_is_watched),
                cmocka_unit_test(test_exit_statuses),
                cmocka_unit_test(test_stopped_runs),
                cmocka_unit_test(test_interruptions),
                cmocka_unit_test(test_an_error_that_is_named_after_an_oom_kill),
                cmocka_unit_test(test_directives),
                cmocka_unit_test(test_last_line_is_the_message),
                cmocka_unit_test(test_messages_are_cut_between_characters),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

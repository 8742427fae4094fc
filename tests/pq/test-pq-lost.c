/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <unistd.h>

#include "pq-fixture.h"

/* ---- losing the connection ---- */

static void an_end_within_a_result_is_an_unknown_outcome(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_FIRST("one"),
                FAKE_FIRST("two"),
                { FAKE_CONSUME },
                FAKE_DONE,
                { FAKE_RESULT, PGRES_TUPLES_OK },
                { FAKE_FLUSH },
                { FAKE_CONSUME, -1 },
                { FAKE_RESULT, FAKE_NULL },
                { FAKE_RESULT, PGRES_FATAL_ERROR },
        };

        BEGIN(script, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        (void) send_named(&two, "b", NULL);
        readable();
        assert_told("");
        readable();
        /* The rows had come, but not the word that they are committed: they are not shown. */
        assert_told("a ECONNRESET, b ECONNRESET, down: server closed the connection");
        assert_int_equal(pq_loop_n_pending(loop), 0);
        assert_int_equal(send_named(&one, "a", NULL), -ENOTCONN);
        end();
}

static void an_end_while_idle_is_seen(void **state)
{
        static const FakeCall script[] = { FAKE_CONNECTED, { FAKE_CONSUME, -1 } };

        BEGIN(script);
        assert_told("up");
        readable();
        assert_told("down: server closed  the connection");
        assert_string_equal(pq_loop_last_error(loop), "server closed  the connection");
        end();
}

static void an_end_without_a_word_does_not_hang(void **state)
{
        static const FakeCall script[] = { FAKE_CONNECTED, FAKE_SENT("select 1"),
                { FAKE_CONSUME, -1 } };

        BEGIN(script);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        readable();
        assert_told("a ECONNRESET, down: server closed  the connection");
        end();
}

static void answers_before_an_end_still_count(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED, FAKE_FIRST("one"), FAKE_FIRST("two"), { FAKE_CONSUME, -1 },
                FAKE_DONE, FAKE_ROWS, FAKE_SYNCED, FAKE_DONE,
                { FAKE_RESULT, PGRES_TUPLES_OK }, /* without the word that it is committed */
        };

        BEGIN(script, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        (void) send_named(&two, "b", NULL);
        readable();
        assert_told("a ok rows, b ECONNRESET, down: server closed  the connection");
        end();
}

static void a_terminated_backend_is_a_lost_connection(void **state)
{
        /* Measured: the error comes first, while PQstatus() is still well. */
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_FIRST("one"),
                FAKE_FIRST("two"),
                { FAKE_CONSUME },
                { FAKE_RESULT, PGRES_FATAL_ERROR, .text = "57P01", .severity = "FATAL" },
        };

        BEGIN(script, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        (void) send_named(&two, "b", NULL);
        readable();
        assert_told("a ECONNRESET, b ECONNRESET, down: 57P01");
        end();
}

static void any_fatal_error_is_a_lost_connection(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                { FAKE_RESULT, PGRES_FATAL_ERROR, .text = "25P03", .severity = "FATAL" },
        };

        BEGIN(script);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        readable();
        assert_told("a ECONNRESET, down: 25P03");
        end();
}

static void a_server_that_became_read_only_is_left(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                FAKE_ERROR("25006"),
                FAKE_SYNCED,
        };

        BEGIN(script);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        readable();
        assert_told("a EAGAIN, down: 25006");
        end();
}

static void no_answer_in_time_is_an_overrun(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_FIRST("one"),
                FAKE_FIRST("two"),
                { FAKE_CONSUME }, /* a last look */
                { FAKE_FLUSH },
        };

        BEGIN(script, .prepared = true, .deadline_usec = 30 * USEC_PER_MSEC);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        (void) send_named(&two, "b", NULL);
        assert_true(sd_event_run(event, USEC_PER_SEC) > 0);
        assert_told("a ETIMEDOUT, b ETIMEDOUT, down: the database did not answer in time");
        end();
}

/* A program that was stopped itself (SIGSTOP, a busy host) finds the answer and the deadline at
 * once. */
static void an_answer_that_lay_waiting_is_no_overrun(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                FAKE_ROWS,
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        for (unsigned i = 0; i < 8; i++) {
                BEGIN(script, .deadline_usec = 2 * USEC_PER_MSEC);
                assert_told("up");
                (void) send_named(&one, "a", NULL);
                fake_pq_readable();
                usleep(4000);
                settle();
                assert_told("a ok rows");
                end();
        }
}

static void an_answer_in_time_moves_the_deadline_on(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                FAKE_ROWS,
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        BEGIN(script, .deadline_usec = 40 * USEC_PER_MSEC);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        readable();
        assert_told("a ok rows");
        usleep(50000);
        settle();
        assert_true(pq_loop_is_connected(loop));
        end();
}

static void check_failure_while_sending(const FakeCall *script, size_t n)
{
        begin_with(script, n, (PqConfig){ 0 });
        assert_told("up");
        assert_int_equal(send_named(&one, "a", NULL), 0); /* tell() asserts: nothing in here */
        assert_false(pq_loop_is_connected(loop));
        assert_int_equal(send_named(&two, "b", NULL), -ENOTCONN);
        assert_told("");
        settle();
        assert_told("a ECONNRESET, down: the connection was lost");
        end();
}

static void a_failure_while_sending_is_told_later(void **state)
{
        static const FakeCall at_query[] = { FAKE_CONNECTED, { FAKE_QUERY, .fails = true } };
        static const FakeCall at_sync[] = { FAKE_CONNECTED, { FAKE_QUERY },
                { FAKE_SYNC, .fails = true } };
        static const FakeCall at_flush[] = { FAKE_CONNECTED, { FAKE_QUERY }, { FAKE_SYNC },
                { FAKE_FLUSH, -1 } };

        check_failure_while_sending(at_query, ELEMENTSOF(at_query));
        check_failure_while_sending(at_sync, ELEMENTSOF(at_sync));
        check_failure_while_sending(at_flush, ELEMENTSOF(at_flush));
}

/* ---- prepared statements ---- */

static void a_statement_is_prepared_once(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                { FAKE_PREPARE, .text = "one" },
                { FAKE_EXECUTE, .text = "one" },
                { FAKE_SYNC },
                { FAKE_FLUSH },
                { FAKE_EXECUTE, .text = "one" },
                { FAKE_SYNC },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                FAKE_DONE,
                FAKE_ROWS,
                FAKE_SYNCED,
                FAKE_ROWS,
                FAKE_SYNCED,
                { FAKE_FLUSH },
                { FAKE_CONSUME, -1 },
                FAKE_CONNECTED,
                { FAKE_PREPARE, .text = "one" }, /* the new connection does not know it */
                { FAKE_EXECUTE, .text = "one" },
                { FAKE_SYNC },
                { FAKE_FLUSH },
        };

        BEGIN(script, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        (void) send_named(&one, "b", NULL);
        readable();
        assert_told("a ok rows, b ok rows");
        fake_pause_usec = 1;
        readable();
        assert_told("down: server closed  the connection, up");
        (void) send_named(&one, "c", NULL);
        end();
}

static void a_failed_prepare_costs_no_connection(void **state)
{
        /* No such table: neither of the two, and the next one prepares again. */
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                { FAKE_PREPARE },
                { FAKE_EXECUTE },
                { FAKE_SYNC },
                { FAKE_FLUSH },
                { FAKE_EXECUTE },
                { FAKE_SYNC },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                FAKE_ERROR("42P01"),
                { FAKE_RESULT, PGRES_PIPELINE_ABORTED },
                { FAKE_RESULT, FAKE_NULL },
                FAKE_SYNCED,
                FAKE_ERROR("26000"),
                FAKE_SYNCED,
                { FAKE_FLUSH },
                { FAKE_PREPARE, .text = "one" },
                { FAKE_EXECUTE },
                { FAKE_SYNC },
                { FAKE_FLUSH },
        };

        BEGIN(script, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        (void) send_named(&one, "b", NULL);
        readable();
        assert_told("a EIO, b EAGAIN");
        assert_true(pq_loop_is_connected(loop));
        (void) send_named(&one, "c", NULL);
        end();
}

static void a_statement_taken_away_asks_for_a_new_connection(void **state)
{
        static const FakeCall pooler[] = {
                FAKE_CONNECTED,
                { FAKE_PREPARE },
                { FAKE_EXECUTE },
                { FAKE_SYNC },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                FAKE_DONE,
                FAKE_ERROR("26000"),
                FAKE_SYNCED,
        };
        static const FakeCall migration[] = {
                FAKE_CONNECTED,
                { FAKE_PREPARE },
                { FAKE_EXECUTE },
                { FAKE_SYNC },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                FAKE_DONE,
                { FAKE_RESULT, PGRES_FATAL_ERROR, .text = "0A000",
                        .function = "RevalidateCachedQuery" },
                { FAKE_RESULT, FAKE_NULL },
                FAKE_SYNCED,
        };

        BEGIN(pooler, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        readable();
        assert_told("a EAGAIN, down: 26000");
        end();

        BEGIN(migration, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        readable();
        assert_told("a EAGAIN, down: 0A000");
        end();
}

/* What the server cannot do it cannot do on a new connection either: no endless reconnecting. */
static void a_feature_not_supported_is_an_error(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                FAKE_ERROR("0A000"),
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        BEGIN(script);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        readable();
        assert_told("a EIO");
        assert_true(pq_loop_is_connected(loop));
        end();
}

static void more_statements_than_are_kept_go_unnamed(void **state)
{
        static FakeCall script[4 + 4 * 64 + 3] = { FAKE_CONNECTED };
        static PqStatement statements[65];
        size_t n = 4;

        for (size_t i = 0; i < 64; i++) {
                script[n++] = (FakeCall){ FAKE_PREPARE };
                script[n++] = (FakeCall){ FAKE_EXECUTE };
                script[n++] = (FakeCall){ FAKE_SYNC };
                script[n++] = (FakeCall){ FAKE_FLUSH };
        }
        script[n++] = (FakeCall){ FAKE_QUERY };
        script[n++] = (FakeCall){ FAKE_SYNC };
        script[n++] = (FakeCall){ FAKE_FLUSH };
        BEGIN(script, .prepared = true);
        assert_told("up");
        for (size_t i = 0; i < ELEMENTSOF(statements); i++) {
                statements[i] = (PqStatement){ "s", "select 1", 0 };
                assert_int_equal(send_named(&statements[i], "s", NULL), 0);
        }
        end();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(an_end_within_a_result_is_an_unknown_outcome),
                cmocka_unit_test(an_end_while_idle_is_seen),
                cmocka_unit_test(an_end_without_a_word_does_not_hang),
                cmocka_unit_test(answers_before_an_end_still_count),
                cmocka_unit_test(a_terminated_backend_is_a_lost_connection),
                cmocka_unit_test(any_fatal_error_is_a_lost_connection),
                cmocka_unit_test(a_server_that_became_read_only_is_left),
                cmocka_unit_test(no_answer_in_time_is_an_overrun),
                cmocka_unit_test(an_answer_that_lay_waiting_is_no_overrun),
                cmocka_unit_test(an_answer_in_time_moves_the_deadline_on),
                cmocka_unit_test(a_failure_while_sending_is_told_later),
                cmocka_unit_test(a_statement_is_prepared_once),
                cmocka_unit_test(a_failed_prepare_costs_no_connection),
                cmocka_unit_test(a_statement_taken_away_asks_for_a_new_connection),
                cmocka_unit_test(a_feature_not_supported_is_an_error),
                cmocka_unit_test(more_statements_than_are_kept_go_unnamed),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

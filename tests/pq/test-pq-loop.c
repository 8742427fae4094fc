/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pq-fixture.h"

/* ---- connecting ---- */

static void connects_through_changing_sockets(void **state)
{
        static const FakeCall script[] = {
                { FAKE_CONNECT },
                { FAKE_POLL, PGRES_POLLING_READING },
                { FAKE_POLL, PGRES_POLLING_WRITING, .new_socket = true },
                { FAKE_POLL, PGRES_POLLING_WRITING, .new_socket = true },
                { FAKE_POLL, PGRES_POLLING_OK },
                { FAKE_NONBLOCKING },
                { FAKE_PIPELINE },
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                FAKE_ROWS,
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        BEGIN(script, .user = "reeve_worker", .application_name = "reeve-test");
        assert_told("");
        assert_false(pq_loop_is_connected(loop));
        assert_int_equal(send_named(&one, "a", NULL), -ENOTCONN);
        assert_string_equal(fake_pq_setting("user"), "reeve_worker");
        assert_string_equal(fake_pq_setting("application_name"), "reeve-test");
        readable(); /* then the new sockets are ready for writing by themselves */
        assert_told("up");
        assert_true(pq_loop_is_connected(loop));
        assert_int_equal(send_named(&one, "a", NULL), 0);
        readable();
        assert_told("a ok rows");
        assert_true(pq_loop_last_answer_usec(loop) > 0);
        end();
}

static void the_connection_string_overrules_the_user(void **state)
{
        static const FakeCall script[] = { FAKE_CONNECTED };

        BEGIN(script, .conninfo = "host=/nowhere user=somebody", .user = "reeve_worker");
        assert_null(fake_pq_setting("user"));
        assert_told("up");
        end();
}

static void every_failed_attempt_is_told_and_tried_again(void **state)
{
        static const FakeCall script[] = {
                { FAKE_CONNECT, -1 },
                { FAKE_CONNECT, -2 },
                { FAKE_CONNECT },
                { FAKE_POLL, PGRES_POLLING_FAILED },
                { FAKE_CONNECT },
                { FAKE_POLL, PGRES_POLLING_OK },
                { FAKE_NONBLOCKING },
                { FAKE_PIPELINE, -1 },
                FAKE_CONNECTED,
        };

        fake_pq_begin(script, ELEMENTSOF(script));
        fake_pause_usec = 1;
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(
                pq_loop_new(event, &(PqConfig){ .conninfo = "host=/nowhere", .on_state = on_state },
                        &loop),
                0);
        assert_int_equal(pq_loop_last_attempt_usec(loop), 0);
        settle();
        assert_told("down: server closed  the connection, down: out of memory, "
                    "down: the connection was lost, down: the connection was lost, up");
        assert_true(pq_loop_last_attempt_usec(loop) > 0);
        assert_int_equal(fake_n_pauses, 4);
        end();
}

static void pauses_grow_and_are_bounded(void **state)
{
        static FakeCall script[14];
        static const usec_t expected[] = { 100, 200, 400, 800, 1000, 1000, 1000, 1000, 1000, 1000 };

        for (size_t i = 0; i < 11; i++)
                script[i] = (FakeCall){ FAKE_CONNECT, -1 };
        fake_pq_begin(script, 11);
        fake_pause_usec = 1;
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(
                pq_loop_new(event, &(PqConfig){ .conninfo = "x", .retry_max_usec = USEC_PER_SEC },
                        &loop),
                0);
        for (unsigned i = 0; fake_n_pauses < 11 && i < 1000; i++) {
                assert_true(sd_event_run(event, USEC_PER_SEC) >= 0);
                if (fake_n_pauses == 10)
                        fake_pause_usec = USEC_PER_HOUR;
        }
        for (size_t i = 0; i < ELEMENTSOF(expected); i++) {
                assert_true(fake_pauses[i] <= expected[i] * USEC_PER_MSEC);
                assert_true(fake_pauses[i] >= expected[i] * USEC_PER_MSEC * 3 / 4);
        }
        end();
}

static void an_attempt_that_hangs_is_ended(void **state)
{
        static const FakeCall script[] = { { FAKE_CONNECT }, { FAKE_POLL, PGRES_POLLING_READING } };

        fake_pq_begin(script, ELEMENTSOF(script));
        fake_pause_usec = 20 * USEC_PER_MSEC;
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(pq_loop_new(event,
                                 &(PqConfig){ .conninfo = "x",
                                         .on_state = on_state,
                                         .connect_timeout_usec = 2 * USEC_PER_SEC },
                                 &loop),
                0);
        while (fake_pq_n_left() > 0)
                assert_true(sd_event_run(event, USEC_PER_SEC) > 0);
        fake_pause_usec = USEC_PER_HOUR;
        assert_int_equal(fake_pauses[0], 2 * USEC_PER_SEC);
        assert_true(sd_event_run(event, USEC_PER_SEC) > 0);
        assert_told("down: no connection to the database in time");
        end();
}

/* ---- sending and answers ---- */

static void a_full_socket_is_written_on_when_there_is_room(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                { FAKE_QUERY },
                { FAKE_SYNC },
                { FAKE_FLUSH, 1 },
                { FAKE_CONSUME },
                { FAKE_FLUSH, 1 },
                { FAKE_CONSUME },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                FAKE_ROWS,
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        BEGIN(script);
        assert_told("up");
        assert_int_equal(send_named(&one, "a", NULL), 0);
        settle();
        assert_int_equal(fake_pq_n_left(), 5); /* and not looked at again without need */
        readable();
        assert_told("a ok rows");
        end();
}

static void results_that_come_in_pieces_reach_their_requests(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_FIRST("one"),
                FAKE_FIRST("two"),
                { FAKE_CONSUME },
                FAKE_DONE,
                { FAKE_RESULT, PGRES_TUPLES_OK },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                { FAKE_RESULT, FAKE_NULL },
                FAKE_SYNCED,
                FAKE_DONE,
                { FAKE_RESULT, PGRES_TUPLES_OK },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                { FAKE_RESULT, FAKE_NULL },
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        BEGIN(script, .prepared = true);
        assert_told("up");
        assert_int_equal(send_named(&one, "a", NULL), 0);
        assert_int_equal(send_named(&two, "b", NULL), 0);
        assert_int_equal(pq_loop_n_pending(loop), 2);
        readable();
        assert_told("");
        readable();
        assert_told("a ok rows");
        assert_int_equal(pq_loop_n_pending(loop), 1);
        readable();
        assert_told("");
        readable();
        assert_told("b ok rows");
        assert_int_equal(pq_loop_n_pending(loop), 0);
        assert_int_equal(pq_loop_oldest_age_usec(loop), 0);
        end();
}

static void an_error_harms_no_neighbour(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_FIRST("one"),
                FAKE_FIRST("two"),
                FAKE_NEXT("one"),
                FAKE_NEXT("two"),
                { FAKE_CONSUME },
                FAKE_DONE,
                FAKE_ERROR("23505"),
                { FAKE_RESULT, PGRES_PIPELINE_ABORTED },
                { FAKE_RESULT, FAKE_NULL },
                FAKE_SYNCED,
                FAKE_DONE,
                FAKE_DONE,
                FAKE_SYNCED,
                FAKE_ERROR("40P01"),
                FAKE_SYNCED,
                FAKE_ERROR("53100"),
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        BEGIN(script, .prepared = true);
        assert_told("up");
        (void) send_named(&one, "a", NULL);
        (void) send_named(&two, "b", NULL);
        (void) send_named(&one, "c", NULL);
        (void) send_named(&two, "d", NULL);
        readable();
        assert_told("a EIO, b ok, c EAGAIN, d EAGAIN");
        assert_true(pq_loop_is_connected(loop));
        end();
}

/* PgBouncer 1.18 gives the answers of pipelined unnamed statements to others. */
static void unnamed_statements_go_one_by_one(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                FAKE_ERROR("23505"),
                FAKE_SYNCED,
                FAKE_SENT("select $1"),
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                FAKE_ROWS,
                FAKE_SYNCED,
                FAKE_SENT("select 2"),
                { FAKE_FLUSH },
        };
        static const PqStatement with_value = { "with-value", "select $1", 2 };
        char value[] = "kept";
        const char *values[] = { value, NULL };

        BEGIN(script);
        assert_told("up");
        assert_int_equal(send_named(&one, "a", NULL), 0);
        assert_int_equal(pq_loop_send(loop, &with_value, values, on_result, (void *) "b", NULL), 0);
        memset(value, 'x', CONST_STRLEN(value)); /* it was copied */
        assert_int_equal(send_named(&two, "c", NULL), 0);
        fake_fail_after = 3; /* its request, its array, its value */
        assert_int_equal(pq_loop_send(loop, &with_value, values, on_result, NULL, NULL), -ENOMEM);
        assert_int_equal(pq_loop_n_pending(loop), 3);
        readable();
        assert_told("a EIO");
        assert_string_equal(fake_pq_value(0), "kept");
        assert_null(fake_pq_value(1));
        readable();
        assert_told("b ok rows");
        assert_int_equal(pq_loop_n_pending(loop), 1);
        end();
}

static int again(void)
{
        return pq_loop_send(loop, &two, NULL, on_result, (void *) "second", NULL);
}

static void on_result_send(PqRequest *q, int error, const PGresult *result, void *userdata)
{
        tell("first %d", error);
        tell("sent %d", again());
}

static void a_callback_may_send(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("select 1"),
                { FAKE_CONSUME },
                FAKE_ROWS,
                FAKE_SYNCED,
                FAKE_SENT("select 2"),
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                FAKE_ROWS,
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };

        BEGIN(script);
        assert_told("up");
        assert_int_equal(pq_loop_send(loop, &one, NULL, on_result_send, NULL, NULL), 0);
        readable();
        assert_told("first 0, sent 0");
        readable();
        assert_told("second ok rows");
        end();
}

static void the_queue_has_an_end(void **state)
{
        static const FakeCall script[] = { FAKE_CONNECTED, FAKE_SENT("select 3") };
        static const PqStatement many = { "many", "select 3", 0 };

        BEGIN(script);
        assert_told("up");
        for (size_t i = 0; i < 1024; i++)
                assert_int_equal(send_named(&many, "m", NULL), 0);
        assert_int_equal(send_named(&many, "m", NULL), -ENOBUFS);
        assert_int_equal(pq_loop_n_pending(loop), 1024);
        end(); /* drops them without a word */
}

static void nothing_follows_a_cancel(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_FIRST("one"),
                FAKE_FIRST("two"),
                { FAKE_CONSUME },
                FAKE_DONE,
                FAKE_ROWS,
                FAKE_SYNCED,
                FAKE_DONE,
                FAKE_ROWS,
                FAKE_SYNCED,
                { FAKE_FLUSH },
        };
        PqRequest *q = NULL;

        BEGIN(script, .prepared = true);
        assert_told("up");
        assert_int_equal(send_named(&one, "a", &q), 0);
        assert_int_equal(send_named(&two, "b", NULL), 0);
        assert_null(pq_request_cancel(q));
        assert_null(pq_request_cancel(NULL));
        assert_int_equal(pq_loop_n_pending(loop), 2); /* its answer is still to come */
        readable();
        assert_told("b ok rows");
        end();
}

/* ---- notifications ---- */

static void notifications_come_while_idle(void **state)
{
        static const FakeCall script[] = {
                FAKE_CONNECTED,
                FAKE_SENT("listen \"reeve_hint\""),
                { FAKE_CONSUME },
                FAKE_DONE,
                FAKE_SYNCED,
                { FAKE_FLUSH },
                { FAKE_CONSUME },
                { FAKE_NOTIFY },
                { FAKE_NOTIFY },
                { FAKE_FLUSH },
        };

        BEGIN(script, .listen = "reeve_hint", .prepared = true);
        assert_told("up");
        readable();
        assert_told("notify"); /* what came before we listened */
        readable();
        assert_told("notify"); /* two at once are one hint */
        end();
}

/* ---- memory ---- */

static void making_one_fails_whole(void **state)
{
        const PqConfig config = { .conninfo = "x", .user = "u", .listen = "l" };
        unsigned n = 0;
        int r;

        do {
                sd_event *e = NULL;
                PqLoop *p = NULL;

                fake_pq_begin(NULL, 0);
                assert_true(sd_event_new(&e) >= 0);
                fake_fail_after = ++n;
                r = pq_loop_new(e, &config, &p);
                fake_fail_after = 0;
                assert_true(r == 0 || (r == -ENOMEM && !p));
                pq_loop_free(p);
                sd_event_unref(e);
        } while (r < 0);
        assert_true(n >= 6);
}

static void a_request_without_memory_changes_nothing(void **state)
{
        static const FakeCall script[] = { FAKE_CONNECTED };

        BEGIN(script);
        assert_told("up");
        fake_fail_after = 1;
        assert_int_equal(send_named(&one, "a", NULL), -ENOMEM);
        assert_int_equal(pq_loop_n_pending(loop), 0);
        assert_true(pq_loop_is_connected(loop));
        end();
}

static void an_attempt_without_memory_is_told(void **state)
{
        static const FakeCall refused[] = { { FAKE_CONNECT } };
        PqConfig config = { .conninfo = "x", .on_state = on_state, .listen = "l" };

        /* The first attempt: its timer, then its socket. */
        for (unsigned n = 1; n <= 2; n++) {
                fake_pq_begin(refused, ELEMENTSOF(refused));
                assert_true(sd_event_new(&event) >= 0);
                assert_int_equal(pq_loop_new(event, &config, &loop), 0);
                fake_fail_after = n;
                settle();
                assert_told("down: out of memory");
                end();
        }
}

static void a_pause_that_cannot_be_set_ends_the_program(void **state)
{
        static const FakeCall script[] = { { FAKE_CONNECT, -1 } };
        int code = 0;

        fake_pq_begin(script, ELEMENTSOF(script));
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(pq_loop_new(event, &(PqConfig){ .conninfo = "x" }, &loop), 0);
        fake_fail_after = 1;
        settle();
        assert_int_equal(sd_event_get_exit_code(event, &code), 0);
        assert_int_equal(code, -ENOMEM);
        end();
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(connects_through_changing_sockets),
                cmocka_unit_test(the_connection_string_overrules_the_user),
                cmocka_unit_test(every_failed_attempt_is_told_and_tried_again),
                cmocka_unit_test(pauses_grow_and_are_bounded),
                cmocka_unit_test(an_attempt_that_hangs_is_ended),
                cmocka_unit_test(a_full_socket_is_written_on_when_there_is_room),
                cmocka_unit_test(results_that_come_in_pieces_reach_their_requests),
                cmocka_unit_test(an_error_harms_no_neighbour),
                cmocka_unit_test(unnamed_statements_go_one_by_one),
                cmocka_unit_test(a_callback_may_send),
                cmocka_unit_test(the_queue_has_an_end),
                cmocka_unit_test(nothing_follows_a_cancel),
                cmocka_unit_test(notifications_come_while_idle),
                cmocka_unit_test(making_one_fails_whole),
                cmocka_unit_test(a_request_without_memory_changes_nothing),
                cmocka_unit_test(an_attempt_without_memory_is_told),
                cmocka_unit_test(a_pause_that_cannot_be_set_ends_the_program),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

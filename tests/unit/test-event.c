/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-cursor.h"
#include "sse.h"
#include "test.h"

#define JOB_A "018f0000-0000-7000-8000-00000000000a"
#define JOB_B "018f0000-0000-7000-8000-00000000000b"
#define JOB_C "018f0000-0000-7000-8000-00000000000c"

static Uuid uuid(const char *text)
{
        Uuid u;

        assert_int_equal(uuid_parse(text, &u), 0);
        return u;
}

static EventCursor cursor(const char *text)
{
        EventCursor c;

        assert_int_equal(event_cursor_parse(text, &c), 0);
        return c;
}

static EventSnapshot snapshot(const char *text)
{
        EventSnapshot s;

        assert_int_equal(event_snapshot_parse(text, &s), 0);
        return s;
}

static void assert_cursor(const EventCursor *c, const char *want)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        event_cursor_format(c, &b);
        assert_string_equal(strbuf_str(&b), want);
}

static void take(EventCursor *c, const EventSnapshot *s, uint64_t xid, const char *job)
{
        Uuid u = uuid(job);

        assert_false(event_cursor_has(c, xid, &u));
        event_cursor_take(c, s, xid, &u);
        assert_true(event_cursor_has(c, xid, &u));
}

static void test_texts(void **state)
{
        static const char *const good[] = { "1", "18446744073709551615", "7." JOB_A,
                "7." JOB_A ",3,5." JOB_B, "7,6" };
        static const char *const bad[] = { "", "0", "01", "-1", "+1", " 1", "1 ", "x",
                "18446744073709551616", "7,", "7,7", "7,8", "7,3,3", "7,4,3", "7.", "7.0",
                "7." JOB_A "0", "7." JOB_A ".", ",", "7,,3", "7;3" };

        for (size_t i = 0; i < ELEMENTSOF(good); i++) {
                EventCursor c = cursor(good[i]);

                assert_cursor(&c, good[i]);
        }
        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                EventCursor c = { .n_open = 77 };

                assert_int_equal(event_cursor_parse(bad[i], &c), -EINVAL);
                assert_int_equal(c.n_open, 77);
        }
}

static void test_snapshots(void **state)
{
        static const char *const bad[] = { "", "5", "5:", "5:7", "7:5:", "5:7:7", "5:7:4",
                "5:7:5,5", "5:7:5,", "5:7:,", "0:7:", "5:7:6,5", "5:7:x" };
        _cleanup_(strbuf_done) StrBuf many = {};
        EventSnapshot s = snapshot("5:9:5,7");

        assert_int_equal(s.xmax, 9);
        assert_int_equal(s.n_open, 2);
        assert_int_equal(snapshot("5:5:").n_open, 0);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(event_snapshot_parse(bad[i], &s), -EINVAL);

        /* More than fit: as if it had been taken before the first that does not. */
        strbuf_puts(&many, "1000:9000:1000");
        for (unsigned i = 1; i < REEVE_EVENT_OPEN_MAX + 10; i++)
                strbuf_printf(&many, ",%u", 1000 + 2 * i);
        s = snapshot(strbuf_str(&many));
        assert_int_equal(s.n_open, REEVE_EVENT_OPEN_MAX);
        assert_int_equal(s.xmax, 1000 + 2 * REEVE_EVENT_OPEN_MAX);
}

/* Transactions 10 (open), 11 (two jobs) and 12; then 10 is committed. */
static void test_late_commits(void **state)
{
        EventSnapshot first = snapshot("10:13:10");
        EventSnapshot then = snapshot("13:13:");
        EventCursor c = cursor("10");

        take(&c, &first, 11, JOB_A);
        assert_cursor(&c, "11." JOB_A ",10");
        take(&c, &first, 11, JOB_B);
        take(&c, &first, 12, JOB_A);
        assert_cursor(&c, "12." JOB_A ",10");
        event_cursor_finish(&c, &first);
        assert_cursor(&c, "13,10");
        assert_false(event_cursor_has(&c, 10, &(Uuid){ { 1 } }));
        take(&c, &then, 10, JOB_A);
        assert_cursor(&c, "13,10." JOB_A);
        assert_false(event_cursor_has(&c, 10, &(Uuid){ { 0xff } }));
        event_cursor_finish(&c, &then);
        assert_cursor(&c, "13");
}

/* What was open and is closed without having done anything is forgotten as soon as it is passed. */
static void test_closed_without_a_change(void **state)
{
        EventSnapshot s = snapshot("14:20:14,19");
        EventCursor c = cursor("15,10,12." JOB_A ",14");

        take(&c, &s, 12, JOB_B);
        assert_cursor(&c, "15,12." JOB_B ",14");
        take(&c, &s, 17, JOB_A);
        assert_cursor(&c, "17." JOB_A ",14");
        event_cursor_finish(&c, &s);
        assert_cursor(&c, "20,14,19");
}

static void assert_sse(StrBuf *b, const char *want)
{
        assert_string_equal(strbuf_str(b), want);
        strbuf_clear(b);
}

static void test_sse(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        sse_put_event(&b, "state", "7,3", "{\"a\": 1}");
        assert_sse(&b, "event: state\nid: 7,3\ndata: {\"a\": 1}\n\n");
        sse_put_event(&b, "x", NULL, "one\ntwo\r\nthree\rfour\n");
        assert_sse(&b, "event: x\ndata: one\ndata: two\ndata: three\ndata: four\ndata: \n\n");
        sse_put_comment(&b, "");
        assert_sse(&b, ": \n\n");
        sse_put_comment(&b, "a\nevent: b");
        assert_sse(&b, ": a\n: event: b\n\n");
        sse_put_id(&b, "7");
        assert_sse(&b, "id: 7\n\n");
        sse_put_retry(&b, 2000);
        assert_sse(&b, "retry: 2000\n\n");
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_texts),
                cmocka_unit_test(test_snapshots),
                cmocka_unit_test(test_late_commits),
                cmocka_unit_test(test_closed_without_a_change),
                cmocka_unit_test(test_sse),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

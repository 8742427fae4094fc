/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "guard.h"
#include "head-text.h"
#include "reeve-limits.h"
#include "strbuf.h"
#include "test.h"

static int check(const char *text, Guard *ret)
{
        _cleanup_(freep) char *copy = strdup(text);
        HttpField fields[128];
        HttpHead head;

        assert_true(head_from_text(copy, strlen(text), fields, &head));
        return guard_check(&head, REEVE_HTTP_HEAD_MAX, ret);
}

#define H "Host: h\r\n"

static const struct {
        const char *text;
        int problem;
} requests[] = {
        { "GET / HTTP/1.1\r\n" H "\r\n", 0 },
        { "GET /a/b?x=%20y&z HTTP/1.1\r\n" H "\r\n", 0 },
        { "GET / HTTP/1.0\r\n\r\n", 0 },
        { "OPTIONS * HTTP/1.1\r\n" H "\r\n", 0 },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nExpect: 100-Continue\r\n\r\n", 0 },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: Chunked\r\n\r\n", 0 },
        { "POST / HTTP/1.1\r\n" H "Content-Encoding: identity\r\n\r\n", 0 },
        { "GET / HTTP/1.1\r\nHost: [::1]:8380\r\nX-A: \xc3\xa9\tb\r\n\r\n", 0 },
        /* the request line */
        { "BREW / HTTP/1.1\r\n" H "\r\n", PROBLEM_NOT_IMPLEMENTED },
        { "get / HTTP/1.1\r\n" H "\r\n", PROBLEM_NOT_IMPLEMENTED },
        { "TRACE / HTTP/1.1\r\n" H "\r\n", PROBLEM_NOT_IMPLEMENTED },
        { "CONNECT h:80 HTTP/1.1\r\n" H "\r\n", PROBLEM_NOT_IMPLEMENTED },
        { "G(T / HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_REQUEST },
        { "GET * HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET http://h/ HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /a b HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /a%00b HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /?a=%00 HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /a%zz HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /a% HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /a%1 HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /a#b HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /\xc3\xa9 HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET /a\\b HTTP/1.1\r\n" H "\r\n", PROBLEM_BAD_TARGET },
        { "GET / HTTP/1.2\r\n" H "\r\n", PROBLEM_HTTP_VERSION },
        { "GET / HTTP/2.0\r\n" H "\r\n", PROBLEM_HTTP_VERSION },
        /* Host */
        { "GET / HTTP/1.1\r\n\r\n", PROBLEM_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost:\r\n\r\n", PROBLEM_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a b\r\n\r\n", PROBLEM_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", PROBLEM_BAD_HOST },
        { "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", PROBLEM_BAD_HOST },
        { "GET / HTTP/1.1\r\n" H "host: h\r\n\r\n", PROBLEM_BAD_HEADER },
        { "GET / HTTP/1.1\r\nHost : h\r\n\r\n", PROBLEM_BAD_HEADER },
        /* fields */
        { "GET / HTTP/1.1\r\n" H ": x\r\n\r\n", PROBLEM_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A B: x\r\n\r\n", PROBLEM_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A: x\x01y\r\n\r\n", PROBLEM_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "A: x\x7f\r\n\r\n", PROBLEM_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "Authorization: a\r\nauthorization: b\r\n\r\n",
                PROBLEM_BAD_HEADER },
        { "GET / HTTP/1.1\r\n" H "Accept: a\r\nAccept: b\r\n\r\n", 0 },
        /* framing */
        { "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 4\r\n\r\n",
                PROBLEM_BAD_HEADER },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nContent-Length: 3\r\n\r\n",
                PROBLEM_BAD_HEADER },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 3, 3\r\n\r\n", PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.1\r\n" H "Content-Length: +3\r\n\r\n", PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.1\r\n" H "Content-Length: -3\r\n\r\n", PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 0x3\r\n\r\n", PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 3 \r\n\r\n", PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.1\r\n" H "Content-Length:\r\n\r\n", PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 99999999999999999999\r\n\r\n",
                PROBLEM_BODY_TOO_LARGE },
        { "POST / HTTP/1.1\r\n" H "Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n",
                PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", PROBLEM_BAD_FRAMING },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip\r\n\r\n", PROBLEM_NOT_IMPLEMENTED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: gzip, chunked\r\n\r\n",
                PROBLEM_NOT_IMPLEMENTED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked \r\n\r\n", PROBLEM_NOT_IMPLEMENTED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: xchunked\r\n\r\n", PROBLEM_NOT_IMPLEMENTED },
        { "POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n",
                PROBLEM_BAD_HEADER },
        /* expectations */
        { "POST / HTTP/1.1\r\n" H "Expect: 200-ok\r\n\r\n", PROBLEM_EXPECTATION },
        { "POST / HTTP/1.1\r\n" H "Content-Encoding: gzip\r\n\r\n", PROBLEM_MEDIA_TYPE },
};

static void test_requests(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(requests); i++) {
                Guard g;
                int r = check(requests[i].text, &g);

                if (r != requests[i].problem)
                        fail_msg("%s: %s, not %s (%s)", requests[i].text,
                                problem_to_string((Problem) r),
                                problem_to_string((Problem) requests[i].problem), g.detail);
                if (r != 0)
                        assert_non_null(g.detail);
        }
}

static void test_what_is_told_of_the_body(void **state)
{
        Guard g;

        assert_int_equal(check("GET / HTTP/1.1\r\n" H "\r\n", &g), 0);
        assert_false(g.has_body || g.framed);
        assert_int_equal(g.method, HTTP_GET);
        assert_int_equal(check("POST / HTTP/1.1\r\n" H "Content-Length: 0\r\n\r\n", &g), 0);
        assert_true(g.framed && !g.has_body && g.length == 0);
        assert_int_equal(check("PUT / HTTP/1.1\r\n" H "Content-Length: 0012\r\n\r\n", &g), 0);
        assert_true(g.has_body && g.length == 12);
        assert_int_equal(
                check("PUT / HTTP/1.1\r\n" H "Content-Length: 922337203685477579\r\n\r\n", &g), 0);
        assert_true(g.length == 922337203685477579ULL);
        assert_int_equal(
                check("POST / HTTP/1.1\r\n" H "Transfer-Encoding: chunked\r\n\r\n", &g), 0);
        assert_true(g.has_body && g.length == GUARD_NO_LENGTH);
}

static void test_limits_of_the_head(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        Guard g;

        strbuf_puts(&b, "GET /");
        for (unsigned i = 1; i < REEVE_HTTP_TARGET_MAX; i++)
                strbuf_putc(&b, 'a');
        strbuf_puts(&b, " HTTP/1.1\r\n" H "\r\n");
        assert_int_equal(check(strbuf_str(&b), &g), 0);
        strbuf_clear(&b);
        strbuf_puts(&b, "GET /");
        for (unsigned i = 0; i < REEVE_HTTP_TARGET_MAX; i++)
                strbuf_putc(&b, 'a');
        strbuf_puts(&b, " HTTP/1.1\r\n" H "\r\n");
        assert_int_equal(check(strbuf_str(&b), &g), PROBLEM_URI_TOO_LONG);

        for (unsigned n = REEVE_HTTP_FIELDS_MAX; n <= REEVE_HTTP_FIELDS_MAX + 1; n++) {
                strbuf_clear(&b);
                strbuf_puts(&b, "GET / HTTP/1.1\r\n" H);
                for (unsigned i = 1; i < n; i++)
                        strbuf_puts(&b, "A: b\r\n");
                strbuf_puts(&b, "\r\n");
                assert_int_equal(check(strbuf_str(&b), &g),
                        n > REEVE_HTTP_FIELDS_MAX ? PROBLEM_HEAD_TOO_LARGE : 0);
        }

        strbuf_clear(&b);
        strbuf_puts(&b, "GET / HTTP/1.1\r\n" H "A: ");
        while (b.len < REEVE_HTTP_HEAD_MAX - 4)
                strbuf_putc(&b, 'a');
        strbuf_puts(&b, "\r\n\r\n");
        assert_int_equal(check(strbuf_str(&b), &g), 0);
        strbuf_puts(&b, "x");
        assert_int_equal(check(strbuf_str(&b), &g), PROBLEM_HEAD_TOO_LARGE);
}

static void test_an_inexact_head_is_refused(void **state)
{
        static const HttpField field = { "Host", 4, "h", 1 };
        HttpHead head = { "GET", "/", "HTTP/1.1", &field, 1, 30, false };
        Guard g;

        assert_int_equal(guard_check(&head, REEVE_HTTP_HEAD_MAX, &g), PROBLEM_BAD_REQUEST);
        head.exact = true;
        assert_int_equal(guard_check(&head, REEVE_HTTP_HEAD_MAX, &g), 0);
}

static void test_methods_round_trip(void **state)
{
        for (int m = 0; m < _HTTP_METHOD_MAX; m++)
                assert_int_equal(http_method_from_string(http_method_to_string((HttpMethod) m)), m);
        assert_int_equal(http_method_from_string("Get"), _HTTP_METHOD_INVALID);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_requests),
                cmocka_unit_test(test_what_is_told_of_the_body),
                cmocka_unit_test(test_limits_of_the_head),
                cmocka_unit_test(test_an_inexact_head_is_refused),
                cmocka_unit_test(test_methods_round_trip),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

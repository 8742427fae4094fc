/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http-field.h"
#include "multipart.h"
#include "problem.h"
#include "test.h"
#include "uri.h"

static void test_every_problem_is_complete(void **state)
{
        for (int p = PROBLEM_NONE + 1; p < _PROBLEM_MAX; p++) {
                assert_non_null(problem_to_string((Problem) p));
                assert_true(problem_title((Problem) p)[0] != '\0');
                assert_in_range(problem_status((Problem) p), 400, 599);
                for (int q = PROBLEM_NONE + 1; q < p; q++) {
                        assert_string_not_equal(
                                problem_to_string((Problem) p), problem_to_string((Problem) q));
                        assert_string_not_equal(
                                problem_title((Problem) p), problem_title((Problem) q));
                }
        }
        assert_null(problem_to_string(PROBLEM_NONE));
        assert_null(problem_to_string(_PROBLEM_MAX));
        assert_int_equal(problem_status(_PROBLEM_MAX), 0);
}

static void test_every_outcome_has_a_problem(void **state)
{
        for (int m = MULTIPART_DONE + 1; m < _MULTIPART_MAX; m++) {
                assert_int_not_equal(problem_from_multipart(m), PROBLEM_NONE);
                assert_non_null(multipart_to_string(m));
        }
        assert_int_equal(problem_from_multipart(-ENOSPC), PROBLEM_NO_SPACE);
        for (int e = 1; e < 134; e++)
                assert_in_range(problem_status(problem_from_errno(-e)), 400, 599);
        assert_int_equal(problem_from_errno(-ENOENT), PROBLEM_NOT_FOUND);
        assert_int_equal(problem_from_errno(-EIO), PROBLEM_INTERNAL);
}

static void extend(JsonWriter *w, void *userdata)
{
        json_put_int(w, "line", *(int *) userdata);
}

static void test_problem_json(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        int line = 7;
        const ProblemReport report = { .problem = PROBLEM_BAD_JSON,
                .detail = "a \"quote\" and \xff",
                .instance = "/api/jobs",
                .extend = extend,
                .userdata = &line };
        const ProblemReport bare = { .problem = PROBLEM_GONE };

        assert_int_equal(problem_write(&report, &b), 0);
        assert_string_equal(strbuf_str(&b),
                "{\"type\":\"urn:reeve:problem:bad-json\",\"title\":\"The body is not valid JSON\","
                "\"status\":400,\"detail\":\"a \\\"quote\\\" and \xef\xbf\xbd\","
                "\"instance\":\"/api/jobs\",\"line\":7}");
        strbuf_clear(&b);
        assert_int_equal(problem_write(&bare, &b), 0);
        assert_string_equal(strbuf_str(&b),
                "{\"type\":\"urn:reeve:problem:gone\",\"title\":\"It was there and is no more\","
                "\"status\":410}");
}

static void test_query(void **state)
{
        static const char query[] = "a=1&b=%C3%A9+x%2B&c&d==&e=%26";
        static const struct {
                const char *text;
                int result;
        } bad[] = { { "=x", URI_MALFORMED }, { "a&&b", URI_MALFORMED }, { "a=%", URI_MALFORMED },
                { "a=%ff", URI_MALFORMED }, { "a=%0a", URI_MALFORMED }, { "a=%00", URI_MALFORMED },
                { "%00=a", URI_MALFORMED }, { "a=1&a=2", URI_DUPLICATE },
                { "a=1&%61=2", URI_DUPLICATE }, { "1&2&3&4&5&6&7&8&9", URI_TOO_MANY } };
        UriParams p = {};

        assert_int_equal(uri_params_parse(query, strlen(query), 8, false, &p), URI_DONE);
        assert_int_equal(p.n_items, 5);
        assert_string_equal(uri_params_get(&p, "a"), "1");
        assert_string_equal(uri_params_get(&p, "b"), "\xc3\xa9 x+");
        assert_string_equal(uri_params_get(&p, "c"), "");
        assert_string_equal(uri_params_get(&p, "d"), "=");
        assert_string_equal(uri_params_get(&p, "e"), "&");
        assert_null(uri_params_get(&p, "f"));
        uri_params_done(&p);
        assert_int_equal(uri_params_parse("", 0, 0, false, &p), URI_DONE);
        assert_int_equal(p.n_items, 0);
        uri_params_done(&p);
        assert_int_equal(uri_params_parse("a=1%0D%0A2", 10, 1, true, &p), URI_DONE);
        assert_string_equal(uri_params_get(&p, "a"), "1\r\n2");
        uri_params_done(&p);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                assert_int_equal(uri_params_parse(bad[i].text, strlen(bad[i].text), 8, false, &p),
                        bad[i].result);
}

static void test_types_and_parameters(void **state)
{
        char buf[8];

        assert_true(http_type_is("application/json", "application/json"));
        assert_true(http_type_is(" Application/JSON ; charset=utf-8", "application/json"));
        assert_false(http_type_is("application/jsonx", "application/json"));
        assert_false(http_type_is(NULL, "application/json"));
        assert_int_equal(http_param_get("a; b=c", "b", buf, sizeof(buf)), 1);
        assert_string_equal(buf, "c");
        assert_int_equal(http_param_get("a;x=\"b=z;\";B=\"1\\\"2\" ;", "b", buf, sizeof(buf)), 1);
        assert_string_equal(buf, "1\"2");
        assert_int_equal(http_param_get("a", "b", buf, sizeof(buf)), 0);
        assert_int_equal(http_param_get("a;b=1;b=2", "b", buf, sizeof(buf)), -EINVAL);
        assert_int_equal(http_param_get("a;b", "b", buf, sizeof(buf)), -EINVAL);
        assert_int_equal(http_param_get("a;b=\"x", "b", buf, sizeof(buf)), -EINVAL);
        assert_int_equal(http_param_get("a;b=x y", "b", buf, sizeof(buf)), -EINVAL);
        assert_int_equal(http_param_get("a;b=12345678", "b", buf, sizeof(buf)), -ENOBUFS);
        assert_int_equal(http_param_get("a;b=1234567", "b", buf, sizeof(buf)), 1);
}

static void test_accept(void **state)
{
        assert_true(http_accepts(NULL, "text/plain"));
        assert_true(http_accepts("*/*", "text/plain"));
        assert_true(http_accepts("text/html, text/*;q=0.5", "text/plain"));
        assert_true(http_accepts("TEXT/plain", "text/plain"));
        assert_false(http_accepts("text/html", "text/plain"));
        assert_false(http_accepts("*/*, text/plain;q=0", "text/plain"));
        assert_false(http_accepts("text/plain;q=0.000", "text/plain"));
        assert_true(http_accepts("text/plain;q=0.001", "text/plain"));
        assert_true(http_accepts("*/*;q=0, text/plain", "text/plain"));
        assert_false(http_accepts("text/pla", "text/plain"));
}

static void test_etags(void **state)
{
        assert_false(http_etag_matches(NULL, "\"a\""));
        assert_true(http_etag_matches("\"a\"", "\"a\""));
        assert_true(http_etag_matches("W/\"a\"", "\"a\""));
        assert_true(http_etag_matches("\"x\", W/\"y\" ,\"a\"", "W/\"a\""));
        assert_true(http_etag_matches(" * ", "\"a\""));
        assert_false(http_etag_matches("\"ab\"", "\"a\""));
        assert_false(http_etag_matches("a", "\"a\""));
        assert_false(http_etag_matches("\"a", "\"a\""));
        assert_false(http_etag_matches("", "\"a\""));
}

static void test_ranges(void **state)
{
        static const struct {
                const char *field;
                uint64_t size;
                int result;
                uint64_t first, length;
        } cases[] = {
                { NULL, 10, RANGE_WHOLE },
                { "bytes=0-4", 10, RANGE_PART, 0, 5 },
                { "bytes=9-9", 10, RANGE_PART, 9, 1 },
                { "bytes=4-", 10, RANGE_PART, 4, 6 },
                { "bytes=4-99", 10, RANGE_PART, 4, 6 },
                { "bytes=-3", 10, RANGE_PART, 7, 3 },
                { "bytes=-30", 10, RANGE_PART, 0, 10 },
                { "bytes=10-", 10, RANGE_OUTSIDE },
                { "bytes=-0", 10, RANGE_OUTSIDE },
                { "bytes=0-", 0, RANGE_OUTSIDE },
                { "bytes=-5", 0, RANGE_OUTSIDE },
                { "bytes=5-4", 10, RANGE_WHOLE },
                { "bytes=0-1,3-4", 10, RANGE_WHOLE },
                { "bytes=a-b", 10, RANGE_WHOLE },
                { "bytes=-", 10, RANGE_WHOLE },
                { "bytes=", 10, RANGE_WHOLE },
                { "bytes=99999999999999999999-", 10, RANGE_WHOLE },
                { "pages=1-2", 10, RANGE_WHOLE },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                uint64_t first = 77;
                uint64_t length = 77;
                int r = http_range_parse(cases[i].field, cases[i].size, &first, &length);

                if (r != cases[i].result)
                        fail_msg("%s: %d", cases[i].field, r);
                assert_int_equal(first, r == RANGE_PART ? cases[i].first : 77);
                assert_int_equal(length, r == RANGE_PART ? cases[i].length : 77);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_problem_is_complete),
                cmocka_unit_test(test_every_outcome_has_a_problem),
                cmocka_unit_test(test_problem_json),
                cmocka_unit_test(test_query),
                cmocka_unit_test(test_types_and_parameters),
                cmocka_unit_test(test_accept),
                cmocka_unit_test(test_etags),
                cmocka_unit_test(test_ranges),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

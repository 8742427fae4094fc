/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "router.h"
#include "strbuf.h"
#include "test.h"

static const HttpRoute table[] = {
        { HTTP_GET, "/", .summary = "root" },
        { HTTP_GET, "/api/jobs", .summary = "list" },
        { HTTP_POST, "/api/jobs", .summary = "create" },
        { HTTP_GET, "/api/jobs/{id}", .summary = "get" },
        { HTTP_DELETE, "/api/jobs/{id}", .summary = "delete" },
        { HTTP_POST, "/api/jobs/create", .summary = "literal" },
        { HTTP_GET, "/api/jobs/{job}/files/{name...}", .summary = "file" },
        { HTTP_GET, "/api/jobs/{id}/files/index", .summary = "index" },
        { HTTP_GET, "/api/{group}/x/{y}/end", .summary = "deep" },
        { HTTP_HEAD, "/own", .summary = "own head" },
        { HTTP_GET, "/own", .summary = "own get" },
        { HTTP_OPTIONS, "/own", .summary = "own options" },
        {},
};

static int setup(void **state)
{
        Router *r;

        if (router_new(&r) < 0)
                return -1;
        *state = r;
        return router_add(r, table);
}

static int teardown(void **state)
{
        router_free(*state);
        return 0;
}

/* "summary name=value ..." or the number of the outcome, for comparing. */
static char *match(Router *r, HttpMethod method, const char *path)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(router_match_done) RouteMatch m = {};
        char allow[ROUTER_ALLOW_MAX];
        int k = router_match(r, method, path, strlen(path), &m);

        if (k == ROUTER_FOUND)
                strbuf_puts(&b, m.route->summary);
        else
                strbuf_printf(&b, "%d", k);
        if (k == ROUTER_NO_METHOD || k == ROUTER_OPTIONS)
                strbuf_printf(&b, " %s", router_format_allow(m.allow, allow));
        for (unsigned i = 0; i < m.n_params; i++)
                strbuf_printf(&b, " %.*s=%s", (int) m.params[i].name_size, m.params[i].name,
                        m.params[i].value);
        return strbuf_steal(&b);
}

static void test_paths(void **state)
{
        static const struct {
                HttpMethod method;
                const char *path;
                const char *result;
        } cases[] = {
                { HTTP_GET, "/", "root" },
                { HTTP_GET, "/api/jobs", "list" },
                { HTTP_POST, "/api/jobs", "create" },
                { HTTP_HEAD, "/api/jobs", "list" },
                { HTTP_GET, "/api/jobs/17", "get id=17" },
                { HTTP_DELETE, "/api/jobs/a%20b", "delete id=a b" },
                { HTTP_GET, "/api/jobs/%C3%A9", "get id=\xc3\xa9" },
                { HTTP_GET, "/api/jobs/a+b", "get id=a+b" },
                { HTTP_GET, "/api/jobs/a%2525", "get id=a%25" },
                { HTTP_GET, "/%61pi/jobs", "list" },
                { HTTP_POST, "/api/jobs/create", "literal" },
                { HTTP_GET, "/api/jobs/1/files/a/b.txt", "file job=1 name=a/b.txt" },
                { HTTP_GET, "/api/jobs/1/files/a%2Fb.txt", "file job=1 name=a/b.txt" },
                { HTTP_GET, "/api/jobs/1/files/index", "index id=1" },
                { HTTP_GET, "/api/jobs/1/files/index/x", "file job=1 name=index/x" },
                { HTTP_GET, "/api/jobs/x/7/end", "deep group=jobs y=7" },
                { HTTP_HEAD, "/own", "own head" },
                { HTTP_OPTIONS, "/own", "own options" },
                /* literal segments win, whatever the method: 405, not GET of a job "create" */
                { HTTP_GET, "/api/jobs/create", "2 POST, OPTIONS" },
                { HTTP_PUT, "/api/jobs", "2 GET, HEAD, POST, OPTIONS" },
                { HTTP_OPTIONS, "/api/jobs/1", "3 GET, HEAD, DELETE, OPTIONS" },
                { HTTP_GET, "/api", "1" },
                { HTTP_GET, "/nothing", "1" },
                { HTTP_GET, "/api/jobs/", "1" },
                { HTTP_GET, "//", "1" },
                { HTTP_GET, "/api//jobs", "1" },
                { HTTP_GET, "/api/jobs/1/files", "1" },
                { HTTP_GET, "/API/jobs", "1" },
                { HTTP_GET, "/1/2/3/4/5/6/7/8/9/10/11/12/13/14/15/16/17", "1" },
                { HTTP_GET, "", "4" },
                { HTTP_GET, "api", "4" },
                { HTTP_GET, "/api/jobs/a%2Fb", "4" },
                { HTTP_GET, "/api/jobs/..", "4" },
                { HTTP_GET, "/api/./jobs", "4" },
                { HTTP_GET, "/api/jobs/%2e%2E", "4" },
                { HTTP_GET, "/api/jobs/1/files/a/%2e./b", "4" },
                { HTTP_GET, "/api/jobs/1/files/a%2F..%2Fb", "4" },
                { HTTP_GET, "/api/jobs/1/files/..%5Cb", "4" },
                { HTTP_GET, "/api/jobs/%ff", "4" },
                { HTTP_GET, "/api/jobs/%C0%AF", "4" },
                { HTTP_GET, "/api/jobs/%ED%A0%80", "4" },
                { HTTP_GET, "/api/jobs/%00", "4" },
                { HTTP_GET, "/api/jobs/%0a", "4" },
                { HTTP_GET, "/api/jobs/%7f", "4" },
                { HTTP_GET, "/api/jobs/%4", "4" },
                { HTTP_GET, "/api/jobs/%g0", "4" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *s = match(*state, cases[i].method, cases[i].path);

                if (!streq(s, cases[i].result))
                        fail_msg("%s: \"%s\", not \"%s\"", cases[i].path, s, cases[i].result);
        }
}

static void test_a_path_is_read_no_further_than_its_size(void **state)
{
        _cleanup_(router_match_done) RouteMatch m = {};

        assert_int_equal(router_match(*state, HTTP_GET, "/api/jobs?x=/..", 9, &m), ROUTER_FOUND);
        assert_string_equal(m.route->summary, "list");
}

static void test_tables_are_checked(void **state)
{
        static const HttpRoute twice[] = { { HTTP_GET, "/a/{x}" }, { HTTP_GET, "/a/{y}" }, {} };
        static const char *const bad[] = { "", "a", "/a/", "//", "/a/{", "/a/{}", "/{A}", "/{a}b",
                "/{a...}/b", "/{...}", "/a}b", "/%41", "/1/2/3/4/5/6/7/8/9/0/1/2/3/4/5/6/7",
                "/{a}/{b}/{c}/{d}/{e}/{f}/{g}/{h}/{i}" };

        for (size_t i = 0; i < ELEMENTSOF(bad); i++) {
                const HttpRoute one[] = { { HTTP_GET, bad[i] }, {} };
                _cleanup_(router_freep) Router *r = NULL;

                assert_int_equal(router_new(&r), 0);
                if (router_add(r, one) != -EINVAL)
                        fail_msg("%s was taken", bad[i]);
        }
        _cleanup_(router_freep) Router *r = NULL;

        assert_int_equal(router_new(&r), 0);
        assert_int_equal(router_add(r, twice), -EEXIST);
}

static void test_list_has_the_order_of_adding(void **state)
{
        const HttpRoute *const *list;
        size_t n;

        list = router_list(*state, &n);
        assert_int_equal(n, ELEMENTSOF(table) - 1);
        for (size_t i = 0; i < n; i++)
                assert_ptr_equal(list[i], &table[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test_setup_teardown(test_paths, setup, teardown),
                cmocka_unit_test_setup_teardown(
                        test_a_path_is_read_no_further_than_its_size, setup, teardown),
                cmocka_unit_test(test_tables_are_checked),
                cmocka_unit_test_setup_teardown(test_list_has_the_order_of_adding, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

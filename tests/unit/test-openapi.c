/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-reader.h"
#include "openapi.h"
#include "test.h"

/* The document's own form; what Reeve's says is held against the API in tests/api. */

static const OpenapiText texts[] = { { "GET /a/{id}", "Says \"so\"." }, {} };
static const OpenapiPart first = { .schemas = "\"A\":{\"type\":\"object\"}",
        .parameters = "\"path-id\":{\"name\":\"id\",\"in\":\"path\",\"required\":true}",
        .headers = "",
        .texts = texts };
static const OpenapiPart second = { .schemas = "\"B\":{}", .parameters = "", .headers = "" };

static unsigned put_roles(JsonWriter *w, const HttpRoute *route)
{
        if (route->auth == 0)
                return 0;
        json_put_string(w, NULL, "admin");
        return 1;
}

static int write_doc(const HttpRoute *routes, const HttpRoute *more, StrBuf *out)
{
        const HttpRoute *const tables[] = { routes, more, NULL };
        const OpenapiPart *const parts[] = { &first, &second, NULL };
        const OpenapiConfig config = { .title = "T",
                .version = "1",
                .description = "D",
                .tables = tables,
                .parts = parts,
                .security_schemes = "{}",
                .scheme = "key",
                .put_roles = put_roles };

        return openapi_write(&config, out);
}

static void assert_at(const JsonDocument *d, const char *pointer, const char *want)
{
        const JsonValue *v = NULL;
        const char *text;
        size_t n;

        if (json_value_pointer(json_document_root(d), pointer, &v) < 0)
                fail_msg("nothing at %s", pointer);
        text = json_value_text(v, &n);
        if (strlen(want) != n || memcmp(text, want, n) != 0)
                fail_msg("at %s: %.*s", pointer, (int) n, text);
}

static void test_document(void **state)
{
        static const HttpRoute routes[] = {
                { HTTP_GET, "/a/{id}", NULL, 1, 0, 0, "an a", 0,
                        { "getA", "as", "q", NULL, "200=A|B;ETag 409" } },
                { HTTP_POST, "/a/{id}", NULL, 0, HTTP_BODY_JSON, 9, "change it", 0,
                        { "postA", "as", NULL, "A text/plain", "200=text/plain 400=A|Problem" } },
                {},
        };
        static const HttpRoute more[] = {
                { HTTP_DELETE, "/a/{id}", NULL, 1, HTTP_BODY_JSON | HTTP_BODY_OPTIONAL, 9, "go", 0,
                        { "deleteA", "as", "{id}=number", "B", "204" } },
                { HTTP_GET, "/b/{name...}", NULL, 1, 0, 0, "a b", 0,
                        { "getB", "bs", NULL, NULL, "200=*/*" } },
                {},
        };
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(json_document_freep) JsonDocument *d = NULL;

        assert_int_equal(write_doc(routes, more, &b), 0);
        assert_int_equal(json_parse(strbuf_str(&b), b.len, 32, &d, NULL), 0);
        assert_at(d, "/tags", "[{\"name\":\"as\"},{\"name\":\"bs\"}]");
        assert_at(d, "/paths/~1a~1{id}/get/description", "\"Says \\\"so\\\".\"");
        assert_at(d, "/paths/~1a~1{id}/get/security", "[{\"key\":[]}]");
        assert_at(d, "/paths/~1a~1{id}/get/x-roles", "[\"admin\"]");
        assert_at(d, "/paths/~1a~1{id}/post/security", "[]");
        assert_at(d, "/paths/~1a~1{id}/get/parameters",
                "[{\"$ref\":\"#/components/parameters/path-id\"},"
                "{\"$ref\":\"#/components/parameters/q\"}]");
        assert_at(d, "/paths/~1a~1{id}/delete/parameters",
                "[{\"$ref\":\"#/components/parameters/number\"}]");
        assert_at(d, "/paths/~1a~1{id}/get/responses/200/content",
                "{\"application/json\":{\"schema\":{\"anyOf\":[{\"$ref\":\"#/components/schemas/"
                "A\"},"
                "{\"$ref\":\"#/components/schemas/B\"}]}}}");
        assert_at(d, "/paths/~1a~1{id}/get/responses/200/headers/ETag",
                "{\"$ref\":\"#/components/headers/ETag\"}");
        assert_at(d, "/paths/~1a~1{id}/get/responses/409",
                "{\"$ref\":\"#/components/responses/409\"}");
        assert_at(d, "/paths/~1a~1{id}/post/responses/400/content",
                "{\"application/json\":{\"schema\":{\"$ref\":\"#/components/schemas/A\"}},"
                "\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/"
                "Problem\"}}}");
        assert_at(d, "/paths/~1a~1{id}/post/requestBody",
                "{\"required\":true,\"content\":{\"application/json\":{\"schema\":{\"$ref\":\"#/"
                "components/schemas/A\"}},\"text/plain\":{}}}");
        assert_at(d, "/paths/~1a~1{id}/delete/requestBody/required", "false");
        assert_at(d, "/paths/~1b~1{name}/get/operationId", "\"getB\"");
        assert_at(d, "/components/schemas", "{\"A\":{\"type\":\"object\"},\"B\":{}}");
        assert_at(d, "/components/headers", "{}");
        /* Nobody needs a key for one of them, so that 401 is not among its answers. */
        assert_non_null(strstr(strbuf_str(&b), "\"401\""));
        assert_at(d, "/components/responses/409/content",
                "{\"application/problem+json\":{\"schema\":{\"$ref\":\"#/components/schemas/"
                "Problem\"}}}");
}

static void test_a_route_that_says_nothing(void **state)
{
        static const HttpRoute none[] = { {} };
        const HttpRouteDoc wrong[] = {
                {},
                { "id", NULL, NULL, NULL, "200" },
                { NULL, "tag", NULL, NULL, "200" },
                { "id", "tag", NULL, NULL, NULL },
                { "id", "tag", NULL, NULL, "ok" },
                { "id", "tag", NULL, NULL, "200 700=A" },
                { "id", "tag", NULL, NULL, "=A" },
        };

        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                const HttpRoute routes[] = { { HTTP_GET, "/a", .doc = wrong[i] }, {} };
                _cleanup_(strbuf_done) StrBuf b = {};

                assert_int_equal(write_doc(routes, none, &b), -EINVAL);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_document),
                cmocka_unit_test(test_a_route_that_says_nothing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Base, JSON, what reads and writes HTTP, and what files of Reeve are made into: each allocation of
 * each call fails in turn (torture.h). */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "event-cursor.h"
#include "fd-util.h"
#include "json-reader.h"
#include "json-writer.h"
#include "kind.h"
#include "multipart.h"
#include "openapi.h"
#include "pool.h"
#include "problem.h"
#include "router.h"
#include "settings.h"
#include "sha256.h"
#include "sse.h"
#include "torture.h"
#include "uri.h"
#include "words.h"

/* What a call found wrong with a result. */
#define WRONG (-EPROTO)

static char dir[] = "/tmp/test-torture-XXXXXX";

static void put_file(const char *name, const char *text)
{
        char path[128];
        _cleanup_(closep) int fd = -EBADF;

        (void) snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
}

/* ---- base ---- */

static int grow_strbuf(void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(freep) char *s = NULL;

        strbuf_putc(&b, 'a');
        for (unsigned i = 0; i < 200; i++)
                strbuf_printf(&b, "%u %s", i, "twenty bytes of text");
        strbuf_append(&b, "b", 1);
        if (strbuf_error(&b) < 0)
                return strbuf_steal(&b) ? WRONG : -ENOMEM;
        strbuf_consume(&b, 1);
        s = strbuf_steal(&b);
        return s && s[strlen(s) - 1] == 'b' ? 0 : WRONG;
}

static int steal_nothing(void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(freep) char *s = strbuf_steal(&b);

        return s ? 0 : -ENOMEM;
}

static int replace_string(void *userdata)
{
        _cleanup_(freep) char *s = NULL;
        int r = free_and_strdup(&s, "one");

        if (r < 0)
                return s ? WRONG : r;
        r = free_and_strdup(&s, "two");
        if (r < 0)
                return streq(s, "one") ? r : WRONG;
        return free_and_strdup(&s, NULL);
}

static int split_words(void *userdata)
{
        _cleanup_(words_freep) char **words = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        int r = words_parse("/bin/sh -c \"echo 'a b'\" \\x41 'c' d e f g h i j k l", &words);

        if (r < 0)
                return words ? WRONG : r;
        words_quote(&b, words, WORD_UNIT);
        return strbuf_error(&b);
}

static int hash(void *userdata)
{
        char hex[SHA256_HEX_MAX] = "";
        int r = sha256_hex("abc", 3, hex);

        return r == 0 && strncmp(hex, "ba7816bf", 8) != 0 ? WRONG : r;
}

static int hash_in_pieces(void *userdata)
{
        _cleanup_(sha256_freep) Sha256 *s = NULL;
        char hex[SHA256_HEX_MAX];
        int r = sha256_new(&s);

        if (r >= 0)
                r = sha256_update(s, "abc", 3);
        return r < 0 ? r : sha256_final(s, hex);
}

static int read_a_file(void *userdata)
{
        _cleanup_(freep) char *text = NULL;
        int r = read_file(AT_FDCWD, "/proc/self/status", 1UL << 20, &text, NULL);

        return r < 0 && text ? WRONG : r;
}

static void count(void *userdata, ConfLevel level, const char *file, unsigned line, const char *s)
{
        (*(unsigned *) userdata)++;
}

static const char text_of_conf[] = "[A]\n"
                                   "Sum=1\nSize=1K\nYes=yes\nName=a\nText=b \\\n c\nSpan=1s\n"
                                   "[B]\nc=1\nc=2\nc=3\nc=4\nc=5\nc=6\nc=7\nc=8\nc=9\nc=10\nc=11\n";

static int read_conf_text(void *userdata)
{
        _cleanup_(conf_done) Conf c = {};
        unsigned n = 0;
        int r = conf_read_text(&c, "f", text_of_conf, strlen(text_of_conf), count, &n);

        return n > 0 ? WRONG : r < 0 || streq(conf_get(&c, "A", "Text"), "b   c") ? r : WRONG;
}

static int apply_conf(void *userdata)
{
        struct {
                unsigned number;
                uint64_t size;
                bool yes;
                char *name, *text;
                usec_t span;
        } v = {};
#define AT(member) offsetof(typeof(v), member)
        static const ConfEntry table[] = {
                { "A", "Sum", conf_parse_unsigned, AT(number), "a number", 0, 9 },
                { "A", "Size", conf_parse_size, AT(size), "a size", 0, 0 },
                { "A", "Yes", conf_parse_bool, AT(yes), "yes or no", 0, 0 },
                { "A", "Name", conf_parse_name, AT(name), "a name", 0, 0 },
                { "A", "Text", conf_parse_string, AT(text), "text", 0, 0 },
                { "A", "Span", conf_parse_usec, AT(span), "a span", 0, 0 },
                {},
        };
        _cleanup_(conf_done) Conf c = {};
        unsigned n = 0;
        int r;

        torture_hold();
        r = conf_read_text(&c, "f", text_of_conf, strlen(text_of_conf), NULL, NULL);
        torture_release();
        if (r >= 0)
                r = conf_apply(&c, table, &v, count, &n);
        free(v.name);
        free(v.text);
        return r < 0 || (n > 0 && v.number == 1 && v.size == 1024) ? r : WRONG;
}

static int read_conf_dirs(void *userdata)
{
        const char *const dirs[] = { dir, "/nonexistent", NULL };
        _cleanup_(conf_done) Conf c = {};
        unsigned n = 0;
        int r = conf_read_dirs(&c, dirs, "x.conf", count, &n);

        if (r < 0)
                return r;
        return r == CONF_DONE && n == 0 && c.n_items == 3 ? 0 : WRONG;
}

static int list_conf_names(void *userdata)
{
        const char *const dirs[] = { dir, "/nonexistent", NULL };
        _cleanup_(conf_names_freep) char **names = NULL;
        int r = conf_list_names(dirs, ".conf", &names);

        if (r < 0)
                return names ? WRONG : r;
        return names[0] && streq(names[0], "x.conf") && !names[1] ? 0 : WRONG;
}

/* ---- JSON ---- */

static const char text_of_json[] =
        "{\"a\":[1,2.5,\"\\u20ac\",null,true],\"b\":{\"c\":{}},\"d\":\"\"}";

static int parse_json(void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const JsonValue *v;
        JsonError e = {};
        int r = json_parse(text_of_json, strlen(text_of_json), 20, &d, &e);

        if (r < 0)
                return d || e.text[0] ? WRONG : r;
        r = json_value_check_fields(json_document_root(d), NULL, &e);
        if (r < 0)
                return e.text[0] ? WRONG : r;
        return json_value_pointer(json_document_root(d), "/b/c", &v);
}

static int write_json(void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_put_string(&w, "a", "x\n\xff");
        json_put_raw(&w, "b", text_of_json, strlen(text_of_json));
        json_open_array(&w, "c");
        for (unsigned i = 0; i < 50; i++)
                json_put_double(&w, NULL, i / 3.0);
        json_close(&w);
        json_put_int(&w, "d", -1);
        json_put_null(&w, "e");
        json_close(&w);
        return json_writer_end(&w);
}

/* ---- HTTP ---- */

static int take_part(const MultipartPart *p, void *userdata)
{
        return strbuf_puts(userdata, p->name), 0;
}

static int take_data(const void *data, size_t size, void *userdata)
{
        return strbuf_append(userdata, data, size), 0;
}

static int end_part(void *userdata)
{
        return 0;
}

static int read_form(void *userdata)
{
        static const MultipartLimits limits = { 8, 128, 1024 };
        static const MultipartOps ops = { take_part, take_data, end_part };
        static const char body[] =
                "--b\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\n1\r\n"
                "--b\r\nContent-Disposition: form-data; name=\"f\"; filename=\"x.pdf\"\r\n"
                "Content-Type: application/pdf\r\n\r\n%PDF\r\n--b--\r\n";
        _cleanup_(multipart_freep) Multipart *m = NULL;
        _cleanup_(strbuf_done) StrBuf log = {};
        int r = multipart_new("multipart/form-data; boundary=b", &limits, &ops, &log, &m);

        for (size_t i = 0; i < CONST_STRLEN(body) && r == 0; i++)
                r = multipart_feed(m, body + i, 1);
        if (r == 0)
                r = multipart_finish(m);
        return r < 0 ? r : r > 0 ? WRONG : strbuf_error(&log);
}

static const HttpRoute routes[] = {
        { HTTP_GET, "/", .summary = "all", .doc = { "getAll", "t", NULL, NULL, "200=A" } },
        { HTTP_GET, "/a/{x}", .summary = "one",
                .doc = { "getOne", "t", NULL, NULL, "200=A;ETag" } },
        { HTTP_POST, "/a/{x}/b", .body = HTTP_BODY_JSON, .summary = "more",
                .doc = { "addOne", "t", NULL, "A", "201=A" } },
        { HTTP_PUT, "/f/{name...}", .body = HTTP_BODY_ANY, .summary = "file",
                .doc = { "putFile", "t", NULL, "*/*=A", "200=A" } },
        {},
};

static int route(void *userdata)
{
        static const char path[] = "/a/%E2%82%ac";
        _cleanup_(router_freep) Router *router = NULL;
        _cleanup_(router_match_done) RouteMatch m = {};
        int r = router_new(&router);

        if (r >= 0)
                r = router_add(router, routes);
        if (r >= 0)
                r = router_match(router, HTTP_GET, path, strlen(path), &m);
        return r < 0 ? r : r == ROUTER_FOUND && streq(m.params[0].value, "\u20ac") ? 0 : WRONG;
}

static int read_query(void *userdata)
{
        static const char text[] = "a=1&b=%20&c&d=+&e=5";
        UriParams p = {};
        int r = uri_params_parse(text, strlen(text), 16, false, &p);

        if (r == URI_DONE && (p.n_items != 5 || !streq(uri_params_get(&p, "b"), " ")))
                r = WRONG;
        uri_params_done(&p);
        return r > 0 ? WRONG : r;
}

static void extend(JsonWriter *w, void *userdata)
{
        json_put_int(w, "more", 1);
}

static int write_problem(void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        const ProblemReport report = { .problem = PROBLEM_INVALID,
                .detail = "a detail of some length, so that it does not fit at once",
                .instance = "/x",
                .extend = extend };

        return problem_write(&report, &b);
}

static unsigned put_roles(JsonWriter *w, const HttpRoute *r)
{
        json_put_string(w, NULL, "admin");
        return 1;
}

static int describe(void *userdata)
{
        static const OpenapiPart part = { "\"A\":{\"type\":\"object\"}", "",
                "\"ETag\":{\"schema\":{\"type\":\"string\"}}", NULL };
        static const HttpRoute *const tables[] = { routes, NULL };
        static const OpenapiPart *const parts[] = { &part, NULL };
        static const OpenapiConfig config = { "t", "1", "d", tables, parts, "{\"k\":{}}", "k",
                put_roles };
        _cleanup_(strbuf_done) StrBuf b = {};

        return openapi_write(&config, &b);
}

static int write_event(void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        EventCursor c;

        if (event_cursor_parse("5:00000000-0000-0000-0000-000000000000", &c) < 0)
                memset(&c, 0, sizeof(c));
        event_cursor_format(&c, &b);
        sse_put_event(&b, "job", "7", "one\ntwo and more than that, for a longer line");
        sse_put_comment(&b, "x");
        sse_put_id(&b, "8");
        sse_put_retry(&b, 2000);
        return strbuf_error(&b);
}

/* ---- core ---- */

static const char program[] =
        "[Kind]\nDescription=d\nQueue=q\nConcurrency=3\nConcurrencyKey=tenant \"/a b\"\n"
        "RateLimit=5/min\nRateLimitKey=subject\nOnCalendar=daily\n[Exec]\nStart=/bin/a \"b c\" d\n"
        "Join=/bin/j\nMode=persistent\n[Service]\nMemoryMax=1G\nBindPaths=/a\nBindPaths=/b\n";
static const char provider[] =
        "[Kind]\n[Http]\nUrl=https://a.example/\nMethod=POST\nBody=b\nResult=/r\nCredential=c\n"
        "RetryStatus=429 500-599\n";
static const char pulled[] = "[Kind]\n[Pull]\nLeaseSec=30s\n";

static int hold_conf(const char *text, Conf *c)
{
        int r;

        torture_hold();
        r = conf_read_text(c, "f", text, strlen(text), NULL, NULL);
        torture_release();
        return r;
}

static int make_kind(void *userdata)
{
        _cleanup_(kind_freep) Kind *k = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(conf_done) Conf c = {};
        unsigned n = 0;
        int r = hold_conf(userdata, &c);

        if (r >= 0)
                r = kind_new_from_conf("k", &c, count, &n, &k);
        if (r < 0)
                return k || n > 0 ? WRONG : r;
        kind_format(k, &b);
        if (k->type == KIND_EXEC)
                kind_put_launcher_words(&b, k, WORD_UNIT);
        return strbuf_error(&b);
}

static int make_pool(void *userdata)
{
        _cleanup_(pool_freep) Pool *p = NULL;
        _cleanup_(conf_done) Conf c = {};
        unsigned n = 0;
        int r = hold_conf("[Pool]\nQueues=a b !c *\nSlots=3\n", &c);

        if (r >= 0)
                r = pool_new_from_conf("p", &c, count, &n, &p);
        return r < 0 ? (p || n > 0 ? WRONG : r) : pool_serves(p, "x") ? 0 : WRONG;
}

static int make_settings(void *userdata)
{
        _cleanup_(settings_done) Settings s = {};
        _cleanup_(conf_done) Conf c = {};
        unsigned n = 0;
        int r = hold_conf("[Database]\nDatabase=host=db dbname=x\n[Limits]\nRate=5/min\n"
                          "RouteRate=GET /api/jobs 5/h\nRouteRate=POST /api/jobs off\n"
                          "[Peer]\nAllow=www submit shop\nAllow=root admin *\n",
                &c);

        if (r >= 0)
                r = settings_from_conf(&s, &c, count, &n);
        return n > 0 && r < 0 ? WRONG : r < 0 || !settings_is_embedded(&s) ? r : WRONG;
}

/* ---- */

static void test_base(void **state)
{
        static const TortureCase cases[] = {
                { "strbuf", grow_strbuf, NULL, false },
                { "strbuf_steal", steal_nothing, NULL, false },
                { "free_and_strdup", replace_string, NULL, false },
                { "words", split_words, NULL, false },
                { "sha256_hex", hash, NULL, false },
                { "sha256", hash_in_pieces, NULL, false },
                { "read_file", read_a_file, NULL, false },
                { "conf_read_text", read_conf_text, NULL, false },
                { "conf_apply", apply_conf, NULL, false },
                { "conf_read_dirs", read_conf_dirs, NULL, false },
                { "conf_list_names", list_conf_names, NULL, false },
                {},
        };

        torture_all(cases);
}

static void test_json(void **state)
{
        static const TortureCase cases[] = {
                { "json_parse", parse_json, NULL, false },
                { "json_writer", write_json, NULL, false },
                {},
        };

        torture_all(cases);
}

static void test_http(void **state)
{
        static const TortureCase cases[] = {
                { "multipart", read_form, NULL, false },
                { "router", route, NULL, false },
                { "uri_params_parse", read_query, NULL, false },
                { "problem_write", write_problem, NULL, false },
                { "openapi_write", describe, NULL, false },
                { "sse", write_event, NULL, false },
                {},
        };

        torture_all(cases);
}

static void test_core(void **state)
{
        static const TortureCase cases[] = {
                { "kind of a program", make_kind, (void *) program, false },
                { "kind of a provider", make_kind, (void *) provider, false },
                { "kind that is pulled", make_kind, (void *) pulled, false },
                { "pool_new_from_conf", make_pool, NULL, false },
                { "settings_from_conf", make_settings, NULL, false },
                {},
        };

        torture_all(cases);
}

static int setup(void **state)
{
        char path[128];

        assert_non_null(mkdtemp(dir));
        put_file("x.conf", "[A]\nB=1\nC=2\n");
        (void) snprintf(path, sizeof(path), "%s/x.conf.d", dir);
        assert_int_equal(mkdir(path, 0755), 0);
        put_file("x.conf.d/1.conf", "[A]\nE=3\n");
        return 0;
}

static int teardown(void **state)
{
        char command[128];

        (void) snprintf(command, sizeof(command), "rm -r %s", dir);
        return system(command); // NOLINT(cert-env33-c): a path from mkdtemp
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_base),
                cmocka_unit_test(test_json),
                cmocka_unit_test(test_http),
                cmocka_unit_test(test_core),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}

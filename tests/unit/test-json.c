/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <stdio.h>

#include "json-reader.h"
#include "json-writer.h"
#include "parse-util.h"
#include "test.h"

static int check(const char *text, size_t size, JsonError *e)
{
        _cleanup_(freep) char *exact = malloc(size ? size : 1);

        /* Exactly as long as the text, so that the sanitizer sees a read behind it. */
        memcpy(exact, text, size);
        return json_check(exact, size, 8, e);
}

static void test_check_accepts(void **state)
{
        static const char *const texts[] = { "0", "-0", "10", "-1.5e+10", "1E-5", "0.00", "\"\"",
                "\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\ud83d\\ude00\"", "\"\x7f\"",
                "\"\xf0\x9f\x98\x80\"", "\"\\uffff\"", "true", "false", "null", " [ ] ",
                "\t{\r\n}\n", "[1,[2,[3]]]", "{\"a\":{\"\":[]},\"a\":1}", "[[[[[[[[]]]]]]]]",
                "0e131071", "0e-16383", "1e131071", "0.001e131074" };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                JsonError e = { 0 };

                if (check(texts[i], strlen(texts[i]), &e) != 0)
                        fail_msg("%s: %u:%u: %s", texts[i], e.line, e.column, e.text);
        }
}

#define VALUE  "expected a value (an object, array, string, number, true, false or null), "
#define DIGITS "this number has more digits than the database can hold"

static const struct {
        const char *text;
        size_t size; /* 0: strlen */
        unsigned line, column;
        const char *error;
} refused[] = {
        { "", 0, 1, 1, VALUE "but the text ends" },
        { "nul", 0, 1, 1, VALUE "not 'n'" },
        { "NaN", 0, 1, 1, VALUE "not 'N'" },
        { "-Infinity", 0, 1, 2, "expected a digit, not 'I'" },
        { "'a'", 0, 1, 1, VALUE "not '''" },
        { "\xef\xbb\xbf{}", 0, 1, 1, VALUE "not byte 0xef" },
        { "{} x", 0, 1, 4, "expected nothing after the value, not 'x'" },
        { "1\0", 2, 1, 2, "expected nothing after the value, not byte 0x00" },
        { "[1,]", 0, 1, 4, VALUE "not ']'" },
        { "[1 2]", 0, 1, 4, "expected ',' or ']', not '2'" },
        { "[1}", 0, 1, 3, "expected ',' or ']', not '}'" },
        { "{\"a\":1]", 0, 1, 7, "expected ',' or '}', not ']'" },
        { "{\"a\" 1}", 0, 1, 6, "expected ':' after the name, not '1'" },
        { "{a:1}", 0, 1, 2, "expected a name in double quotes or '}', not 'a'" },
        { "{\"a\":1,}", 0, 1, 8, "expected a name in double quotes, not '}'" },
        { "{\n \"\xc3\xa9\": tru}", 0, 2, 7, VALUE "not 't'" },
        { "[[[[[[[[[]]]]]]]]]", 0, 1, 9, "nested too deep" },
        { "[\n\"abc", 0, 2, 1, "this string has no closing quote" },
        { "\"a\nb\"", 0, 1, 3, "a control character in a string must be escaped" },
        { "\"a\0b\"", 5, 1, 3, "a control character in a string must be escaped" },
        { "\"\\x\"", 0, 1, 3, "expected one of \"\\/bfnrtu after the backslash, not 'x'" },
        { "\"\\", 0, 1, 3, "expected a character after the backslash, but the text ends" },
        { "\"\\u12", 0, 1, 2, "expected four hexadecimal digits after \\u" },
        { "\"\\u12g4\"", 0, 1, 2, "expected four hexadecimal digits after \\u" },
        { "\"\\u0000\"", 0, 1, 2, "\\u0000 cannot be stored" },
        { "\"\\ud83d\"", 0, 1, 2, "a surrogate without its other half" },
        { "\"\\ud83d\\u0041\"", 0, 1, 2, "a surrogate without its other half" },
        { "\"\\ude00\"", 0, 1, 2, "a surrogate without its other half" },
        { "\"\xff\"", 0, 1, 2, "expected valid UTF-8, not byte 0xff" },
        { "\"\xed\xa0\x80\"", 0, 1, 2, "expected valid UTF-8, not byte 0xed" },
        { "\"\xc3", 0, 1, 2, "expected valid UTF-8, not byte 0xc3" },
        { "01", 0, 1, 1, "a number may not start with a zero and more digits" },
        { "-", 0, 1, 2, "expected a digit, but the text ends" },
        { "+1", 0, 1, 1, VALUE "not '+'" },
        { "5.", 0, 1, 3, "expected a digit after the point, but the text ends" },
        { ".5", 0, 1, 1, VALUE "not '.'" },
        { "1e", 0, 1, 3, "expected a digit of the exponent, but the text ends" },
        { "1e+x", 0, 1, 4, "expected a digit of the exponent, not 'x'" },
        { "1e131072", 0, 1, 1, DIGITS },
        { "12345e131068", 0, 1, 1, DIGITS },
        { "1e-16384", 0, 1, 1, DIGITS },
        { "0e-16384", 0, 1, 1, DIGITS },
        { "0.001e131075", 0, 1, 1, DIGITS },
        { "1e99999999999999999999", 0, 1, 1, DIGITS },
        { "0e99999999999999999999", 0, 1, 1, DIGITS },
};

static void test_check_refuses(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(refused); i++) {
                size_t size = refused[i].size ? refused[i].size : strlen(refused[i].text);
                JsonError e = { 0 };

                if (check(refused[i].text, size, &e) != -EBADMSG)
                        fail_msg("%s was taken", refused[i].text);
                assert_string_equal(e.text, refused[i].error);
                assert_int_equal(e.line, refused[i].line);
                assert_int_equal(e.column, refused[i].column);
        }
}

/* Every cut of a text must be refused without reading behind it. */
static void test_check_cut_anywhere(void **state)
{
        static const char text[] =
                "{\"k\\u00e9\":[1.5e-3,\"\\ud83d\\ude00\xc3\xa9\",true,false,null,{}]}";

        assert_int_equal(check(text, CONST_STRLEN(text), NULL), 0);
        for (size_t n = 0; n < CONST_STRLEN(text); n++)
                assert_int_equal(check(text, n, NULL), -EBADMSG);
}

static void test_check_digits(void **state)
{
        size_t n = JSON_NUMBER_BEFORE_POINT_MAX;
        _cleanup_(freep) char *t = malloc(n + 2);

        memset(t, '9', n + 1);
        assert_int_equal(json_check(t, n, 0, NULL), 0);
        assert_int_equal(json_check(t, n + 1, 0, NULL), -EBADMSG);
        t[1] = '.';
        assert_int_equal(json_check(t, JSON_NUMBER_AFTER_POINT_MAX + 2, 0, NULL), 0);
        assert_int_equal(json_check(t, JSON_NUMBER_AFTER_POINT_MAX + 3, 0, NULL), -EBADMSG);
}

static void test_check_depth_uses_no_stack(void **state)
{
        char t[2 * JSON_DEPTH_LIMIT + 2];

        memset(t, '[', sizeof(t) / 2);
        memset(t + sizeof(t) / 2, ']', sizeof(t) / 2);
        assert_int_equal(json_check(t + 1, 2UL * JSON_DEPTH_LIMIT, JSON_DEPTH_LIMIT, NULL), 0);
        assert_int_equal(json_check(t, sizeof(t), JSON_DEPTH_LIMIT, NULL), -EBADMSG);
        assert_int_equal(json_check("1", 1, 0, NULL), 0);
        assert_int_equal(json_check("[]", 2, 0, NULL), -EBADMSG);
}

static JsonDocument *parse(const char *text)
{
        JsonDocument *d = NULL;

        assert_int_equal(json_parse(text, strlen(text), 16, &d, NULL), 0);
        return d;
}

static void test_read_scalars(void **state)
{
        _cleanup_(json_document_freep) JsonDocument *d =
                parse("{\"i\":-9223372036854775808,\"u\":18446744073709551615,\"over\":"
                      "18446744073709551616,"
                      "\"d\":1.5e3,\"b\":true,\"n\":null,\"big\":1e400,"
                      "\"s\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\\u00e9\\u20ac\\ud83d\\ude00x\"}");
        const JsonValue *v = json_document_root(d);
        JsonError e = { 0 };
        const char *s = "untouched";
        int64_t i = 1;
        uint64_t u = 1;
        double f = 1;
        bool b = false;

        assert_int_equal(json_get_int64(v, "i", INT64_MIN, INT64_MAX, &i, &e), JSON_FOUND);
        assert_true(i == INT64_MIN);
        assert_int_equal(json_get_uint64(v, "u", 0, UINT64_MAX, &u, &e), JSON_FOUND);
        assert_true(u == UINT64_MAX);
        assert_int_equal(json_get_double(v, "d", &f, &e), JSON_FOUND);
        assert_true(f == 1500);
        assert_int_equal(json_get_bool(v, "b", &b, &e), JSON_FOUND);
        assert_true(b);
        assert_int_equal(json_get_string(v, "n", &s, &e), JSON_MISSING);
        assert_int_equal(json_get_string(v, "absent", &s, &e), JSON_MISSING);
        assert_string_equal(s, "untouched");
        assert_int_equal(json_get_string(v, "s", &s, &e), JSON_FOUND);
        assert_string_equal(s, "\"\\/\b\f\n\r\t\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80x");

        /* The json-c trap: 18446744073709551616 became ...615 without a word. */
        assert_int_equal(json_get_uint64(v, "over", 0, UINT64_MAX, &u, &e), -ERANGE);
        assert_string_equal(e.text, "\"over\": expected 0 to 18446744073709551615");
        assert_int_equal(json_get_double(v, "big", &f, &e), -ERANGE);
        assert_true(f == 1500);
}

static void test_read_wrong_types(void **state)
{
        _cleanup_(json_document_freep) JsonDocument *d =
                parse("{\"s\":\"12x\",\n  \"f\":1.0,\"e\":1e3,\"neg\":-1,\"o\":{},\"mz\":-0}");
        const JsonValue *v = json_document_root(d), *c;
        JsonError e = { 0 };
        int64_t i = 7;
        uint64_t u = 7;
        const char *s;

        assert_int_equal(json_get_int64(v, "s", 0, 9, &i, &e), -EINVAL);
        assert_string_equal(e.text, "\"s\": expected an integer, not a string");
        assert_int_equal(json_get_int64(v, "f", 0, 9, &i, &e), -EINVAL);
        assert_string_equal(e.text, "\"f\": expected an integer, not 1.0");
        assert_int_equal(e.line, 2);
        assert_int_equal(e.column, 7);
        assert_int_equal(json_get_int64(v, "e", 0, 9999, &i, &e), -EINVAL);
        assert_int_equal(json_get_uint64(v, "neg", 0, 9, &u, &e), -ERANGE);
        assert_int_equal(json_get_int64(v, "neg", 0, 9, &i, &e), -ERANGE);
        assert_string_equal(e.text, "\"neg\": expected 0 to 9");
        assert_int_equal(json_get_string(v, "o", &s, &e), -EINVAL);
        assert_string_equal(e.text, "\"o\": expected a string, not an object");
        assert_int_equal(i, 7);
        assert_int_equal(u, 7);
        assert_int_equal(json_get_uint64(v, "mz", 0, 9, &u, &e), JSON_FOUND);
        assert_int_equal(u, 0);

        c = json_value_member(v, "f");
        assert_int_equal(json_get_string(c, "x", &s, &e), -EINVAL);
        assert_string_equal(e.text, "expected an object, not a number");
}

static void test_read_walk(void **state)
{
        _cleanup_(json_document_freep) JsonDocument *d =
                parse("{ \"a\" : [1, {\"x\":[]}, \"s\"] , \"b\":{} , \"c\":2 }");
        const JsonValue *v = json_document_root(d), *c;
        char seen[64] = "";
        const char *name, *text;
        size_t size;

        assert_int_equal(json_value_count(v), 3);
        for (c = json_value_first(v, &name); c; c = json_value_next(v, c, &name)) {
                text = json_value_text(c, &size);
                (void) snprintf(seen + strlen(seen), sizeof(seen) - strlen(seen), "%s=%.*s;", name,
                        (int) size, text);
        }
        assert_string_equal(seen, "a=[1, {\"x\":[]}, \"s\"];b={};c=2;");

        v = json_value_member(v, "a");
        assert_int_equal(json_value_count(v), 3);
        c = json_value_first(v, &name);
        assert_null(name);
        c = json_value_next(v, c, &name);
        assert_int_equal(json_value_type(c), JSON_OBJECT);
        c = json_value_next(v, c, NULL);
        assert_int_equal(json_value_type(c), JSON_STRING);
        assert_null(json_value_next(v, c, NULL));
        assert_null(json_value_first(c, NULL));
}

static void test_read_pointer(void **state)
{
        /* The examples of RFC 6901, section 5, and some that name nothing. */
        static const struct {
                const char *pointer;
                int r;
                const char *text;
        } cases[] = {
                { "/foo", 0, "[\"bar\",\"baz\"]" },
                { "/foo/0", 0, "\"bar\"" },
                { "/", 0, "0" },
                { "/a~1b", 0, "1" },
                { "/c%d", 0, "2" },
                { "/ ", 0, "7" },
                { "/m~0n", 0, "8" },
                { "/o/p/0/q", 0, "true" },
                { "/foo/2", -ENOENT, NULL },
                { "/foo/-", -ENOENT, NULL },
                { "/foo/00", -ENOENT, NULL },
                { "/foo/+1", -ENOENT, NULL },
                { "/foo/0/x", -ENOENT, NULL },
                { "/nope/~2", -EINVAL, NULL },
                { "/m~", -EINVAL, NULL },
                { "foo", -EINVAL, NULL },
        };
        _cleanup_(json_document_freep) JsonDocument *d =
                parse("{\"foo\":[\"bar\",\"baz\"],\"\":0,\"a/b\":1,\"c%d\":2,\" \":7,\"m~n\":8,"
                      "\"o\":{\"p\":[{\"q\":true}]}}");
        const JsonValue *root = json_document_root(d), *v;

        assert_int_equal(json_value_pointer(root, "", &v), 0);
        assert_ptr_equal(v, root);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                size_t size;
                const char *text;

                assert_int_equal(json_value_pointer(root, cases[i].pointer, &v), cases[i].r);
                if (cases[i].r < 0)
                        continue;
                text = json_value_text(v, &size);
                assert_int_equal(size, strlen(cases[i].text));
                assert_memory_equal(text, cases[i].text, size);
        }
}

static void test_read_fields(void **state)
{
        static const char *const known[] = { "a", "b", NULL };
        _cleanup_(json_document_freep) JsonDocument *ok = parse("{\"b\":1,\"a\":2}");
        _cleanup_(json_document_freep) JsonDocument *unknown = parse("{\"a\":1,\n\"aa\":2}");
        _cleanup_(json_document_freep) JsonDocument *twice =
                parse("{\"a\":1,\"b\":2,\n\"\\u0061\":3}");
        JsonError e = { 0 };
        int64_t i;

        assert_int_equal(json_value_check_fields(json_document_root(ok), known, &e), 0);
        assert_int_equal(json_value_check_fields(json_document_root(unknown), known, &e), -EINVAL);
        assert_string_equal(e.text, "unknown field \"aa\"");
        assert_int_equal(e.line, 2);
        assert_int_equal(json_value_check_fields(json_document_root(unknown), NULL, &e), 0);
        assert_int_equal(json_value_check_fields(json_document_root(twice), NULL, &e), -EINVAL);
        assert_string_equal(e.text, "field \"a\" is given twice");
        assert_int_equal(e.line, 2);
        /* Who does not refuse it reads what jsonb would. */
        assert_int_equal(json_get_int64(json_document_root(twice), "a", 0, 9, &i, &e), JSON_FOUND);
        assert_int_equal(i, 3);
}

static void test_read_refuses(void **state)
{
        JsonDocument *d = NULL;
        JsonError e = { 0 };

        assert_int_equal(json_parse("{\"a\":[1,2,{\"b\":}]}", 19, 16, &d, &e), -EBADMSG);
        assert_null(d);
        assert_int_equal(e.offset, 15);
        assert_int_equal(json_parse("x", JSON_DOCUMENT_MAX + 1, 16, &d, &e), -EFBIG);
        assert_null(json_document_free(NULL));
}

static void test_write(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_put_string(&w, "s", "a\"\\/\b\f\n\r\t\x01\x7f\xc3\xa9");
        json_put_string(&w, "none", NULL);
        json_put_string_n(&w, "bad", "x\xff\0y\xed\xa0\x80\xc3", 8);
        json_open_array(&w, "l");
        json_put_int(&w, NULL, INT64_MIN);
        json_put_uint(&w, NULL, UINT64_MAX);
        json_open_array(&w, NULL);
        json_close(&w);
        json_open_object(&w, NULL);
        json_close(&w);
        json_put_bool(&w, NULL, true);
        json_put_null(&w, NULL);
        json_close(&w);
        json_put_raw(&w, "r\n", "[1, 2]", 6);
        json_close(&w);
        assert_int_equal(json_writer_end(&w), 0);
        assert_string_equal(strbuf_str(&b),
                "{\"s\":\"a\\\"\\\\/\\b\\f\\n\\r\\t\\u0001\x7f\xc3\xa9\",\"none\":null,"
                "\"bad\":"
                "\"x\xef\xbf\xbd\xef\xbf\xbdy\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\","
                "\"l\":[-9223372036854775808,18446744073709551615,[],{},true,null],"
                "\"r\\n\":[1, 2]}");
        assert_int_equal(json_check(b.data, b.len, 8, NULL), 0);
}

static void test_write_doubles(void **state)
{
        static const double values[] = { 0, -0.0, 0.1, 1.0 / 3, 1e300, 5e-324,
                123456789012345680.0 };

        for (size_t i = 0; i < ELEMENTSOF(values); i++) {
                _cleanup_(strbuf_done) StrBuf b = {};
                JsonWriter w = json_writer(&b);

                json_put_double(&w, NULL, values[i]);
                assert_int_equal(json_writer_end(&w), 0);
                assert_int_equal(json_check(b.data, b.len, 0, NULL), 0);
                assert_true(strtod(b.data, NULL) == values[i]);
        }
        for (int i = 0; i < 2; i++) {
                _cleanup_(strbuf_done) StrBuf b = {};
                JsonWriter w = json_writer(&b);

                json_put_double(&w, NULL, i ? (double) INFINITY : (double) NAN);
                assert_string_equal(strbuf_str(&b), "null");
        }
}

static void test_write_raw_is_checked(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_array(&w, NULL);
        json_put_raw(&w, NULL, "1],[2", 5);
        json_close(&w);
        assert_string_equal(strbuf_str(&b), "[null]");
        assert_int_equal(json_writer_end(&w), -EBADMSG);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_check_accepts),
                cmocka_unit_test(test_check_refuses),
                cmocka_unit_test(test_check_cut_anywhere),
                cmocka_unit_test(test_check_digits),
                cmocka_unit_test(test_check_depth_uses_no_stack),
                cmocka_unit_test(test_read_scalars),
                cmocka_unit_test(test_read_wrong_types),
                cmocka_unit_test(test_read_walk),
                cmocka_unit_test(test_read_pointer),
                cmocka_unit_test(test_read_fields),
                cmocka_unit_test(test_read_refuses),
                cmocka_unit_test(test_write),
                cmocka_unit_test(test_write_doubles),
                cmocka_unit_test(test_write_raw_is_checked),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

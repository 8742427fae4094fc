/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "multipart-log.h"
#include "problem.h"
#include "reeve-limits.h"
#include "test.h"

static const MultipartLimits limits = { .n_parts = 4, .field_size = 64, .file_size = 4096 };

static size_t piece;

static size_t cut_even(size_t offset, void *userdata)
{
        return piece;
}

/* Parses with every size of piece and expects the same each time. */
static void expect(const char *type, const char *body, size_t size, int result, const char *log)
{
        for (piece = 1; piece <= size + 1; piece++) {
                _cleanup_(strbuf_done) StrBuf out = {};
                int r = multipart_log(type, &limits, body, size, cut_even, &out);

                if (r != result)
                        fail_msg("%s in pieces of %zu: %d, not %d", body, piece, r, result);
                if (log)
                        assert_string_equal(strbuf_str(&out), log);
        }
}

#define T "multipart/form-data; boundary=xYz"
#define D "Content-Disposition: form-data; "

static void test_forms(void **state)
{
        static const struct {
                const char *body;
                int result;
                const char *log;
        } cases[] = {
                { "--xYz\r\n" D "name=\"a\"\r\n\r\n1\r\n--xYz--\r\n", 0, "<a|-|->1;" },
                { "--xYz\r\n" D "name=a\r\n\r\n1\r\n--xYz--", 0, "<a|-|->1;" },
                { "preamble\r\n--xYz \t\r\n" D "name=a\r\n\r\n1\r\n--xYz--\r\nepilogue --xYz", 0,
                        "<a|-|->1;" },
                { "--xYz\r\n" D "name=a\r\n\r\n\r\n--xYz--", 0, "<a|-|->;" },
                { "--xYz\r\n" D "name=a\r\n\r\n--xYz--", 0, "<a|-|->;" },
                { "--xYz--", 0, "" },
                { "--xYz\r\n" D
                  "name=\"f\"; filename=\"p.pdf\"\r\nContent-Type: application/pdf\r\n"
                  "\r\n\r\n\r\n\r--xY\r\n--xY\r\n--x\r\n--xYz\r\n" D "name=b\r\n\r\nB\r\n--xYz--",
                        0, "<f|p.pdf|application/pdf>\r\n\r\n\r--xY\r\n--xY\r\n--x;<b|-|->B;" },
                { "--xYz\r\ncontent-disposition:form-data;name=a;filename=\"\"\r\n"
                  "Content-Transfer-Encoding: BINARY\r\n\r\n\r\n--xYz--",
                        0, "<a||->;" },
                /* file names: only the last part of a path, no way up, quotes */
                { "--xYz\r\n" D "name=a; filename=\"C:\\dir\\x.pdf\"\r\n\r\n\r\n--xYz--", 0,
                        "<a|x.pdf|->;" },
                { "--xYz\r\n" D "name=a; filename=\"../../etc/passwd\"\r\n\r\n\r\n--xYz--", 0,
                        "<a|passwd|->;" },
                { "--xYz\r\n" D "name=a; filename=\"x/..\"\r\n\r\n\r\n--xYz--", 0, "<a||->;" },
                { "--xYz\r\n" D "name=a; filename=\"a\\\"b;c%22d%41\"\r\n\r\n\r\n--xYz--", 0,
                        "<a|a\"b;c\"d%41|->;" },
                { "--xYz\r\n" D "name=a; filename=x; filename*=UTF-8''na%C3%AFve.pdf\r\n\r\n"
                  "\r\n--xYz--",
                        0, "<a|na\xc3\xafve.pdf|->;" },
                { "--xYz\r\n" D "name=a; filename*=utf-8'de'%2e%2e%2Fup\r\n\r\n\r\n--xYz--", 0,
                        "<a|up|->;" },
                /* errors */
                { "", MULTIPART_TRUNCATED, "" },
                { "rubbish", MULTIPART_TRUNCATED, "" },
                { "--xYz\r\n" D "name=a\r\n\r\n1\r\n--xYz", MULTIPART_TRUNCATED, "<a|-|->1;" },
                { "--xYz\r\n" D "name=a\r\n\r\n1\r\n--xYz-", MULTIPART_TRUNCATED, "<a|-|->1;" },
                { "--xYz\r\n" D "name=a\r\n\r\n1\r\n--xYw--", MULTIPART_TRUNCATED, NULL },
                { "--xYz\r\n" D "name=a\r\n", MULTIPART_TRUNCATED, "" },
                { "--xYzz\r\n" D "name=a\r\n\r\n1\r\n--xYz--", MULTIPART_MALFORMED, "" },
                { "--xYz\n" D "name=a\r\n\r\n1\r\n--xYz--", MULTIPART_MALFORMED, "" },
                { "--xYz-x", MULTIPART_MALFORMED, "" },
                { "--xYz\r\r\n", MULTIPART_MALFORMED, "" },
                { "--xYz\r\n" D "name=a\r\n folded\r\n\r\n1\r\n--xYz--", MULTIPART_MALFORMED, "" },
                { "--xYz\r\n" D "name=a\nX: y\r\n\r\n1\r\n--xYz--", MULTIPART_MALFORMED, "" },
                { "--xYz\r\nrubbish\r\n\r\n1\r\n--xYz--", MULTIPART_MALFORMED, "" },
                { "--xYz\r\n\r\n1\r\n--xYz--", MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\nContent-Type: a/b\r\n\r\n1\r\n--xYz--", MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\nContent-Disposition: attachment; name=a\r\n\r\n1\r\n--xYz--",
                        MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "filename=a\r\n\r\n1\r\n--xYz--", MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "name=a; name=b\r\n\r\n1\r\n--xYz--", MULTIPART_BAD_DISPOSITION,
                        "" },
                { "--xYz\r\n" D "name=\"a\r\n\r\n1\r\n--xYz--", MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "name=\xff\r\n\r\n1\r\n--xYz--", MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "name=a; filename=\"\x01\"\r\n\r\n1\r\n--xYz--",
                        MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "name=a; filename*=latin1''x\r\n\r\n1\r\n--xYz--",
                        MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "name=a; filename*=UTF-8''%00\r\n\r\n1\r\n--xYz--",
                        MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "name=a\r\n" D "name=b\r\n\r\n1\r\n--xYz--",
                        MULTIPART_BAD_DISPOSITION, "" },
                { "--xYz\r\n" D "name=a\r\nContent-Transfer-Encoding: base64\r\n\r\n1\r\n--xYz--",
                        MULTIPART_BAD_ENCODING, "" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                expect(T, cases[i].body, strlen(cases[i].body), cases[i].result, cases[i].log);
}

static void test_types(void **state)
{
        static const char one[] = "--a b\r\n" D "name=n\r\n\r\n1\r\n--a b--";
        char long_type[200];

        expect("text/plain", "", 0, MULTIPART_NOT_MULTIPART, "");
        expect("multipart/form-datax; boundary=a", "", 0, MULTIPART_NOT_MULTIPART, "");
        expect("multipart/form-data", "", 0, MULTIPART_BAD_BOUNDARY, "");
        expect("multipart/form-data; boundary=", "", 0, MULTIPART_BAD_BOUNDARY, "");
        expect("multipart/form-data; boundary=\"\"", "", 0, MULTIPART_BAD_BOUNDARY, "");
        expect("multipart/form-data; boundary=\"a \"", "", 0, MULTIPART_BAD_BOUNDARY, "");
        expect("multipart/form-data; boundary=a*", "", 0, MULTIPART_BAD_BOUNDARY, "");
        expect("multipart/form-data; boundary=a; boundary=b", "", 0, MULTIPART_BAD_BOUNDARY, "");
        expect("Multipart/Form-Data; charset=utf-8; Boundary=\"a b\"", one, strlen(one), 0,
                "<n|-|->1;");
        snprintf(long_type, sizeof(long_type), "multipart/form-data; boundary=%071d", 1);
        expect(long_type, "", 0, MULTIPART_BAD_BOUNDARY, "");
        snprintf(long_type, sizeof(long_type), "multipart/form-data; boundary=%070d", 1);
        expect(long_type, "", 0, MULTIPART_TRUNCATED, "");
}

static void form_of(StrBuf *b, const char *disposition, size_t size)
{
        strbuf_clear(b);
        strbuf_printf(b, "--xYz\r\n" D "%s\r\n\r\n", disposition);
        for (size_t i = 0; i < size; i++)
                strbuf_putc(b, (char) ('a' + i % 26));
        strbuf_puts(b, "\r\n--xYz--");
}

static void test_limits(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        form_of(&b, "name=a", limits.field_size);
        expect(T, b.data, b.len, 0, NULL);
        form_of(&b, "name=a", limits.field_size + 1);
        expect(T, b.data, b.len, MULTIPART_FIELD_TOO_LARGE, NULL);
        form_of(&b, "name=a; filename=f", limits.file_size);
        expect(T, b.data, b.len, 0, NULL);
        form_of(&b, "name=a; filename=f", limits.file_size + 1);
        expect(T, b.data, b.len, MULTIPART_FILE_TOO_LARGE, NULL);

        for (unsigned n = limits.n_parts; n <= limits.n_parts + 1; n++) {
                strbuf_clear(&b);
                for (unsigned i = 0; i < n; i++)
                        strbuf_puts(&b, "--xYz\r\n" D "name=a\r\n\r\n1\r\n");
                strbuf_puts(&b, "--xYz--");
                expect(T, b.data, b.len, n > limits.n_parts ? MULTIPART_TOO_MANY_PARTS : 0, NULL);
        }

        strbuf_clear(&b);
        strbuf_puts(&b, "--xYz\r\nX: ");
        for (unsigned i = 0; i < REEVE_HTTP_PART_HEADER_MAX; i++)
                strbuf_putc(&b, 'x');
        expect(T, b.data, b.len, MULTIPART_HEADER_TOO_LARGE, "");

        strbuf_clear(&b);
        strbuf_puts(&b, "--xYz\r\n" D "name=\"");
        for (unsigned i = 0; i < REEVE_HTTP_PART_NAME_MAX + 1; i++)
                strbuf_putc(&b, 'x');
        strbuf_puts(&b, "\"\r\n\r\n1\r\n--xYz--");
        expect(T, b.data, b.len, MULTIPART_BAD_DISPOSITION, "");
}

/* Every byte, NUL included, and things that look like the delimiter. */
static void test_data_is_exact(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {}, out = {};
        char data[2048];
        unsigned seed = 7;

        for (size_t i = 0; i < sizeof(data); i++) {
                seed = seed * 1103515245 + 12345;
                data[i] = i < 256 ? (char) i : "\r\n-xYz\0"[(seed >> 16) % 7];
        }
        for (size_t i = 0; i + 7 <= sizeof(data); i++)
                if (memcmp(data + i, "\r\n--xYz", 7) == 0)
                        data[i] = '!';
        strbuf_puts(&b, "--xYz\r\n" D "name=a; filename=f\r\n\r\n");
        strbuf_append(&b, data, sizeof(data));
        strbuf_puts(&b, "\r\n--xYz--");
        for (piece = 1; piece < 64; piece++) {
                strbuf_clear(&out);
                assert_int_equal(multipart_log(T, &limits, b.data, b.len, cut_even, &out), 0);
                assert_int_equal(out.len, strlen("<a|f|->") + sizeof(data) + 1);
                assert_memory_equal(out.data + strlen("<a|f|->"), data, sizeof(data));
        }
}

static int fail_part(const MultipartPart *p, void *userdata)
{
        return *(int *) userdata;
}

static int no_data(const void *data, size_t size, void *userdata)
{
        fail_msg("called after a failure");
        return 0;
}

static int no_end(void *userdata)
{
        fail_msg("called after a failure");
        return 0;
}

static void test_a_callback_ends_the_parsing(void **state)
{
        static const MultipartOps ops = { fail_part, no_data, no_end };
        static const char body[] = "--xYz\r\n" D "name=a\r\n\r\n1\r\n--xYz--";

        for (int result = -5; result <= 100; result += 105) {
                _cleanup_(multipart_freep) Multipart *m = NULL;

                assert_int_equal(multipart_new(T, &limits, &ops, &result, &m), 0);
                assert_int_equal(multipart_feed(m, body, strlen(body)), result);
                assert_int_equal(multipart_feed(m, body, strlen(body)), result);
                assert_int_equal(multipart_finish(m), result);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_forms),
                cmocka_unit_test(test_types),
                cmocka_unit_test(test_limits),
                cmocka_unit_test(test_data_is_exact),
                cmocka_unit_test(test_a_callback_ends_the_parsing),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd-util.h"
#include "json-reader.h"
#include "pdf-merge.h"
#include "pdf-plan.h"
#include "pdf-text.h"
#include "test.h"

/* ---- the plan ---- */

static void test_every_page_is_in_a_chunk(void **state)
{
        for (unsigned n = 1; n <= PDF_PAGES_MAX; n++) {
                PdfPlan p = pdf_plan(n);
                unsigned first, last, before = 0;

                assert_in_range(p.n_chunks, 1, PDF_CHUNKS_MAX);
                for (unsigned i = 0; i < p.n_chunks; i++) {
                        pdf_plan_chunk(&p, i, &first, &last);
                        assert_int_equal(first, i == 0 ? 1 : before);
                        assert_true(last > before && last - first + 1 <= p.n_each);
                        before = last;
                }
                assert_int_equal(before, n);
        }
}

static void test_the_table(void **state)
{
        static const struct {
                unsigned n_pages, n_chunks, n_each, n_at_once;
        } cases[] = {
                { 1, 1, 30, 1 },
                { 30, 1, 30, 1 },
                { 31, 2, 20, 3 },
                { 100, 6, 20, 3 },
                { 101, 8, 15, 5 },
                { 300, 22, 15, 5 },
                { 500, 36, 15, 5 },
                { 1000, 72, 15, 5 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                PdfPlan p = pdf_plan(cases[i].n_pages);

                assert_int_equal(p.n_chunks, cases[i].n_chunks);
                assert_int_equal(p.n_each, cases[i].n_each);
                assert_int_equal(p.n_at_once, cases[i].n_at_once);
        }
}

/* ---- text ---- */

static void test_words(void **state)
{
        assert_int_equal(pdf_count_words("", 0), 0);
        assert_int_equal(pdf_count_words(" \n\t\f\v\r", 6), 0);
        assert_int_equal(pdf_count_words("one", 3), 1);
        assert_int_equal(pdf_count_words(" one  two\nthree ", 16), 3);
        assert_int_equal(pdf_count_words("a\0b c", 5), 2);
}

static void test_heads(void **state)
{
        static const char smile[4] = { '\xf0', '\x9f', '\x98', '\x80' };
        char head[PDF_HEAD_MAX], other[PDF_HEAD_MAX], text[1000];

        pdf_head("  Some\n\n TEXT \xc3\x9c ", 17, head);
        assert_string_equal(head, "some text \xc3\x9c");
        pdf_head("", 0, head);
        assert_string_equal(head, "");
        /* 100 characters, whatever their bytes are. */
        for (unsigned i = 0; i < 250; i++)
                memcpy(text + 4 * (size_t) i, smile, sizeof(smile));
        pdf_head(text, sizeof(text), head);
        assert_int_equal(strlen(head), 400);
        memset(text, 'x', sizeof(text));
        pdf_head(text, sizeof(text), head);
        assert_int_equal(strlen(head), 100);
        text[150] = 'y';
        pdf_head(text, sizeof(text), other);
        assert_string_equal(head, other);
        text[99] = 'y';
        pdf_head(text, sizeof(text), other);
        assert_string_not_equal(head, other);
        memset(text, '\xff', sizeof(text)); /* no characters: bytes */
        pdf_head(text, sizeof(text), head);
        assert_int_equal(strlen(head), 100);
}

static void test_pages_are_split(void **state)
{
        size_t sizes[3];

        assert_int_equal(pdf_split_pages("one\ftwo\f\f", 9, 3, sizes), 0);
        assert_int_equal(sizes[0], 3);
        assert_int_equal(sizes[1], 3);
        assert_int_equal(sizes[2], 0);
        assert_int_equal(pdf_split_pages("one\ftwo\f", 8, 3, sizes), 1);
        assert_int_equal(pdf_split_pages("one\ftwo\f\f", 9, 2, sizes), 1); /* one in a page */
        assert_int_equal(pdf_split_pages("one\ftwo", 7, 2, sizes), 1);
        assert_int_equal(pdf_split_pages("", 0, 1, sizes), 1);
}

static void test_lines(void **state)
{
        static const char text[] = "\n  \n first line \nsecond\xc3\x9c\n\nlast";
        const char *at = text, *end = text + CONST_STRLEN(text), *line;
        size_t n;

        line = pdf_next_line(&at, end, 200, &n);
        assert_int_equal(n, 10);
        assert_memory_equal(line, "first line", n);
        line = pdf_next_line(&at, end, 7, &n); /* half a character does not fit */
        assert_int_equal(n, 6);
        assert_memory_equal(line, "second", n);
        line = pdf_next_line(&at, end, 200, &n);
        assert_memory_equal(line, "last", n);
        assert_null(pdf_next_line(&at, end, 200, &n));
}

/* ---- merging ---- */

typedef struct Dirs {
        char path[64];
        int in, out;
} Dirs;

static int make_dir(const char *base, const char *name)
{
        char path[256];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", base, name);
        assert_return_code(mkdir(path, 0755), errno);
        fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_true(fd >= 0);
        return fd;
}

static int setup(void **state)
{
        Dirs *d = new0(Dirs, 1);

        snprintf(d->path, sizeof(d->path), "/tmp/test-pdf-XXXXXX");
        assert_non_null(mkdtemp(d->path));
        d->in = make_dir(d->path, "in");
        d->out = make_dir(d->path, "out");
        assert_return_code(mkdirat(d->in, "children", 0755), errno);
        *state = d;
        return 0;
}

static int teardown(void **state)
{
        Dirs *d = *state;
        char command[128];
        int r;

        snprintf(command, sizeof(command), "rm -rf %s", d->path);
        r = system(command); // NOLINT(cert-env33-c)
        safe_close(d->in);
        safe_close(d->out);
        free(d);
        return r;
}

static void put_file(int dir, const char *name, const char *text)
{
        int fd = openat(dir, name, O_WRONLY | O_CREAT | O_TRUNC, 0644);

        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        safe_close(fd);
}

static void put_child(const Dirs *d, unsigned index, const char *text)
{
        char name[64];

        snprintf(name, sizeof(name), "children/%u", index);
        assert_return_code(mkdirat(d->in, name, 0755), errno);
        snprintf(name, sizeof(name), "children/%u/text", index);
        put_file(d->in, name, text);
}

static char *get_file(int dir, const char *name)
{
        char *text = NULL;

        return read_file(dir, name, 4096, &text, NULL) < 0 ? NULL : text;
}

static void expect_file(int dir, const char *name, const char *text)
{
        _cleanup_(freep) char *got = get_file(dir, name);

        if (!text)
                assert_null(got);
        else
                assert_string_equal(got ? got : "(none)", text);
}

/* Two chunks of 31 pages: 1 to 20, 20 to 31. */
static const char *const two =
        "{\"index\":0,\"state\":\"succeeded\",\"result\":{\"pages\":[[1,3],[20,4]],"
        "\"failed\":[{\"page\":2,\"code\":\"TIMEOUT\"}]}}\n"
        "{\"index\":1,\"state\":\"succeeded\",\"result\":{\"pages\":[[20,4],[31,5]],\"failed\":[]}}"
        "\n";

static void test_a_merge(void **state)
{
        const Dirs *d = *state;
        _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;
        _cleanup_(json_document_freep) JsonDocument *doc = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        const PdfPlan p = pdf_plan(31);
        const JsonValue *v;
        uint64_t n;

        put_file(d->in, "children.ndjson", two);
        put_child(d, 0, "oneTWO\n");
        put_child(d, 1, "two\nthree");
        assert_int_equal(pdf_merge_new(&p, d->in, &m), 0);
        assert_int_equal(pdf_merge_n_succeeded(m), 2);
        assert_int_equal(pdf_merge_n_rounds(m), 1);
        assert_int_equal(pdf_merge_write(m, d->out), 0);
        expect_file(d->out, "page-0001.txt", "one");
        expect_file(d->out, "page-0002.txt", NULL);
        expect_file(d->out, "page-0020.txt", "TWO\n"); /* the first chunk's */
        expect_file(d->out, "page-0031.txt", "three");
        assert_int_equal(pdf_merge_result(m, &b), 0);
        assert_int_equal(json_parse(strbuf_str(&b), b.len, 32, &doc, NULL), 0);
        v = json_document_root(doc);
        assert_int_equal(json_get_uint64(v, "pages_read", 0, 99, &n, NULL), 0);
        assert_int_equal(n, 3);
        assert_int_equal(json_get_uint64(v, "words", 0, 99, &n, NULL), 0);
        assert_int_equal(n, 3);
        assert_int_equal(json_get_uint64(v, "duplicates", 0, 99, &n, NULL), 0);
        assert_int_equal(n, 1);
        assert_int_equal(json_get_uint64(v, "differing", 0, 99, &n, NULL), 0);
        assert_int_equal(n, 0); /* capitals are no difference */
        assert_int_equal(json_value_count(json_value_member(v, "missing")), 28);
        assert_int_equal(json_value_pointer(v, "/missing/0/code", &v), 0);
}

static void test_a_chunk_that_lies_has_failed(void **state)
{
        static const char *const texts[] = { "oneTWO", "oneTWO\nx", "" };
        const Dirs *d = *state;
        const PdfPlan p = pdf_plan(31);

        put_file(d->in, "children.ndjson", two);
        put_child(d, 0, "");
        put_child(d, 1, "two\nthree");
        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;

                put_file(d->in, "children/0/text", texts[i]);
                assert_int_equal(pdf_merge_new(&p, d->in, &m), 0);
                assert_int_equal(pdf_merge_write(m, d->out), 0);
                assert_int_equal(pdf_merge_n_succeeded(m), 1);
                expect_file(d->out, "page-0001.txt", NULL);
                expect_file(d->out, "page-0020.txt", "two\n"); /* the other one has it */
                assert_return_code(unlinkat(d->out, "page-0020.txt", 0), errno);
                assert_return_code(unlinkat(d->out, "page-0031.txt", 0), errno);
        }
}

static void test_results_that_are_none(void **state)
{
        static const char *const results[] = { "{}", "{\"pages\":7}", "{\"pages\":[7]}",
                "{\"pages\":[[0,3]]}", "{\"pages\":[[21,3]]}", "{\"pages\":[[2,1],[1,2]]}",
                "{\"pages\":[[1,1],[1,2]]}", "{\"pages\":[[1,18446744073709551615],[2,4]]}",
                "{\"pages\":[[1,-3]]}", "{\"pages\":[[1]]}", "null", "\"x\"" };
        const Dirs *d = *state;
        const PdfPlan p = pdf_plan(20 + 11);
        char line[512];

        put_child(d, 0, "abc");
        for (size_t i = 0; i < ELEMENTSOF(results); i++) {
                _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;

                snprintf(line, sizeof(line),
                        "{\"state\":\"succeeded\",\"result\":%s}\n{\"state\":\"cancelled\"}\n",
                        results[i]);
                put_file(d->in, "children.ndjson", line);
                assert_int_equal(pdf_merge_new(&p, d->in, &m), 0);
                assert_int_equal(pdf_merge_write(m, d->out), 0);
                assert_int_equal(pdf_merge_n_succeeded(m), 0);
                assert_string_equal(pdf_merge_get(m, 0)->code, "PROCESSING_ERROR");
                assert_string_equal(pdf_merge_get(m, 1)->code, "CANCELLED");
                expect_file(d->out, "page-0001.txt", NULL);
        }
}

static void test_the_second_round(void **state)
{
        const Dirs *d = *state;
        _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;
        const PdfPlan p = pdf_plan(31);

        put_file(d->in, "children.ndjson",
                "{\"state\":\"failed\",\"error\":{\"code\":\"TIMEOUT\",\"message\":\"slow\"}}\n"
                "{\"state\":\"failed\",\"error\":{\"code\":\"A\"}}\n"
                "{\"state\":\"failed\",\"error\":{\"code\":\"B\",\"message\":\"again\"}}\n"
                "{\"state\":\"succeeded\",\"result\":{\"chunk\":2,\"pages\":[[1,3]]}}\n"
                "{\"state\":\"succeeded\",\"result\":{\"chunk\":0,\"pages\":[[1,3]]}}\n");
        put_child(d, 4, "one");
        assert_int_equal(pdf_merge_new(&p, d->in, &m), 0);
        assert_int_equal(pdf_merge_n_rounds(m), 2);
        assert_true(pdf_merge_has(m, 0));
        assert_false(pdf_merge_has(m, 1));
        assert_string_equal(pdf_merge_get(m, 1)->code, "A");
        assert_string_equal(pdf_merge_get(m, 1)->message, "pages 20 to 31: ");
        assert_int_equal(pdf_merge_n_cancelled(m), 0);
        assert_int_equal(pdf_merge_write(m, d->out), 0);
        expect_file(d->out, "page-0001.txt", "one");
}

/* One that was read again although it had succeeded: the last counts, and no memory is lost. */
static void test_a_chunk_that_is_read_twice(void **state)
{
        const Dirs *d = *state;
        _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;
        const PdfPlan p = pdf_plan(1);

        put_file(d->in, "children.ndjson",
                "{\"state\":\"succeeded\",\"result\":{\"chunk\":0,\"pages\":[[1,3]]}}\n"
                "{\"state\":\"cancelled\"}\n"
                "{\"state\":\"succeeded\",\"result\":{\"chunk\":0,\"pages\":[[1,5]]}}\n");
        put_child(d, 0, "one");
        put_child(d, 2, "again");
        assert_int_equal(pdf_merge_new(&p, d->in, &m), 0);
        assert_int_equal(pdf_merge_n_cancelled(m), 1);
        assert_int_equal(pdf_merge_write(m, d->out), 0);
        expect_file(d->out, "page-0001.txt", "again");
}

static void test_children_that_do_not_fit(void **state)
{
        static const struct {
                unsigned n_failed; /* lines before the last */
                const char *last;
        } cases[] = { { 0, "" }, { 1, "" }, { 1, "nonsense\n" }, { 1, "7\n" } };
        const Dirs *d = *state;
        const PdfPlan p = pdf_plan(31);

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(strbuf_done) StrBuf b = {};
                PdfMerge *m = NULL;

                for (unsigned n = 0; n < cases[i].n_failed; n++)
                        strbuf_puts(&b, "{\"state\":\"failed\"}\n");
                strbuf_puts(&b, cases[i].last);
                put_file(d->in, "children.ndjson", strbuf_str(&b));
                assert_int_equal(pdf_merge_new(&p, d->in, &m), -EBADMSG);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_every_page_is_in_a_chunk),
                cmocka_unit_test(test_the_table),
                cmocka_unit_test(test_words),
                cmocka_unit_test(test_heads),
                cmocka_unit_test(test_pages_are_split),
                cmocka_unit_test(test_lines),
                cmocka_unit_test_setup_teardown(test_a_merge, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_chunk_that_lies_has_failed, setup, teardown),
                cmocka_unit_test_setup_teardown(test_results_that_are_none, setup, teardown),
                cmocka_unit_test_setup_teardown(test_the_second_round, setup, teardown),
                cmocka_unit_test_setup_teardown(test_a_chunk_that_is_read_twice, setup, teardown),
                cmocka_unit_test_setup_teardown(test_children_that_do_not_fit, setup, teardown),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

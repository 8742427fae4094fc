/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf.h"
#include "fd-util.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "strbuf.h"
#include "test.h"
#include "time-util.h"
#include "uuid.h"

static void test_parse_timespan(void **state)
{
        static const struct {
                const char *text;
                int r;
                usec_t usec;
        } cases[] = {
                { "0", 0, 0 },
                { "5", 0, 5 * USEC_PER_SEC },
                { "5min 20s", 0, 320 * USEC_PER_SEC },
                { "1.5h", 0, 90 * USEC_PER_MIN },
                { " 250ms ", 0, 250 * USEC_PER_MSEC },
                { "1d2h", 0, 26 * USEC_PER_HOUR },
                { "infinity", 0, USEC_INFINITY },
                { "0.000001s", 0, 1 },
                { "", -EINVAL, 0 },
                { "-1", -EINVAL, 0 },
                { "5 parsecs", -EINVAL, 0 },
                { ".", -EINVAL, 0 },
                { "99999999999999999999s", -ERANGE, 0 },
                { "9999999999999999w", -ERANGE, 0 },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                usec_t v = 42;

                assert_int_equal(parse_timespan(cases[i].text, &v), cases[i].r);
                assert_int_equal(v, cases[i].r == 0 ? cases[i].usec : 42);
        }
}

static void test_format_time(void **state)
{
        char buf[TIMESPAN_MAX], when[RFC3339_MAX];

        assert_string_equal(format_timespan(buf, 0), "0");
        assert_string_equal(format_timespan(buf, USEC_INFINITY), "infinity");
        assert_string_equal(format_timespan(buf, 3723 * USEC_PER_SEC), "1h 2min 3s");
        assert_string_equal(format_timespan(buf, 1500), "1ms 500us");
        assert_string_equal(format_rfc3339(when, 1700000000125000ULL), "2023-11-14T22:13:20.125Z");
}

static void test_parse_numbers(void **state)
{
        uint64_t u;
        int64_t i;
        unsigned n;
        bool b;

        assert_int_equal(parse_u64("18446744073709551615", 0, UINT64_MAX, &u), 0);
        assert_true(u == UINT64_MAX);
        assert_int_equal(parse_u64("18446744073709551616", 0, UINT64_MAX, &u), -ERANGE);
        assert_int_equal(parse_u64("12x", 0, UINT64_MAX, &u), -EINVAL);
        assert_int_equal(parse_u64("", 0, UINT64_MAX, &u), -EINVAL);
        assert_int_equal(parse_u64("+1", 0, UINT64_MAX, &u), -EINVAL);
        assert_int_equal(parse_i64("-9223372036854775808", &i), 0);
        assert_true(i == INT64_MIN);
        assert_int_equal(parse_i64("9223372036854775808", &i), -ERANGE);
        assert_int_equal(parse_unsigned("7", 1, 6, &n), -ERANGE);
        assert_int_equal(parse_size("64K", &u), 0);
        assert_int_equal(u, 65536);
        assert_int_equal(parse_size("1KB", &u), -EINVAL);
        assert_int_equal(parse_size("99999999999T", &u), -ERANGE);
        assert_int_equal(parse_bool("Yes", &b), 0);
        assert_true(b);
        assert_int_equal(parse_bool("2", &b), -EINVAL);
}

static void test_utf8(void **state)
{
        assert_true(utf8_is_valid("gr\xc3\xbc\xc3\x9f", 6));
        assert_true(utf8_is_valid("\xf0\x9f\x98\x80", 4));
        assert_false(utf8_is_valid("\xc0\x80", 2)); /* overlong NUL */
        assert_false(utf8_is_valid("\xed\xa0\x80", 3)); /* surrogate */
        assert_false(utf8_is_valid("\xf4\x90\x80\x80", 4)); /* above U+10FFFF */
        assert_false(utf8_is_valid("\xe2\x82", 2)); /* cut off */
}

static void test_names(void **state)
{
        char longest[REEVE_NAME_MAX + 2];

        memset(longest, 'a', sizeof(longest));
        longest[REEVE_NAME_MAX + 1] = '\0';
        assert_false(name_is_valid(longest));
        longest[REEVE_NAME_MAX] = '\0';
        assert_true(name_is_valid(longest));
        assert_true(name_is_valid("pdf-chunk"));
        assert_false(name_is_valid(""));
        assert_false(name_is_valid("../etc"));
        assert_false(name_is_valid("a/b"));
        assert_false(name_is_valid("-a"));
}

static void test_uuid(void **state)
{
        char text[UUID_TEXT_SIZE];
        Uuid a, b;

        assert_int_equal(uuid_new_v7(0x0123456789abULL * USEC_PER_MSEC, &a), 0);
        uuid_format(&a, text);
        assert_memory_equal(text, "01234567-89ab-7", 15);
        assert_non_null(strchr("89ab", text[19]));
        assert_int_equal(uuid_parse(text, &b), 0);
        assert_memory_equal(&a, &b, sizeof(a));
        assert_int_equal(uuid_parse("01234567-89ab-7000-8000-00000000000", &b), -EINVAL);
        assert_int_equal(uuid_parse("0123456789ab-7000-8000-0000000000000", &b), -EINVAL);
        assert_int_equal(uuid_parse("g1234567-89ab-7000-8000-000000000000", &b), -EINVAL);
}

static void test_strbuf(void **state)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_puts(&b, "abc");
        strbuf_printf(&b, "%d-%s", 7, "x");
        assert_string_equal(strbuf_str(&b), "abc7-x");
        strbuf_consume(&b, 3);
        assert_string_equal(strbuf_str(&b), "7-x");
        assert_int_equal(strbuf_error(&b), 0);
}

static unsigned n_findings;
static char last_finding[600];

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        n_findings++;
        snprintf(last_finding, sizeof(last_finding), "%s:%u: %s", file, line, text);
}

typedef struct Target {
        unsigned slots;
        usec_t timeout;
        char *name;
        bool on;
} Target;

static const ConfEntry target_entries[] = {
        { "Pool", "Slots", conf_parse_unsigned, offsetof(Target, slots), "1 to 9", 1, 9 },
        { "Pool", "TimeoutSec", conf_parse_usec, offsetof(Target, timeout), "a time span" },
        { "Pool", "Name", conf_parse_name, offsetof(Target, name), "a name" },
        { "Pool", "On", conf_parse_bool, offsetof(Target, on), "yes or no" },
        { 0 },
};

static void test_conf_text(void **state)
{
        static const char text[] = "# comment\n[Pool]\nSlots = 4\nTimeoutSec=5 \\\n  min\n"
                                   "Name=default\nOn=yes\nSlots=5\nColour=red\n";
        _cleanup_(conf_done) Conf c = {};
        Target t = { 0 };

        n_findings = 0;
        assert_int_equal(
                conf_read_text(&c, "x.conf", text, CONST_STRLEN(text), on_finding, NULL), 0);
        assert_int_equal(conf_apply(&c, target_entries, &t, on_finding, NULL), 0);
        assert_int_equal(t.slots, 5);
        assert_int_equal(t.timeout, 5 * USEC_PER_MIN);
        assert_string_equal(t.name, "default");
        assert_true(t.on);
        assert_int_equal(n_findings, 1);
        assert_string_equal(
                last_finding, "x.conf:9: unknown key Colour= in section [Pool], ignored");
        free(t.name);
}

static void test_conf_unknown_section(void **state)
{
        static const char text[] =
                "Early=1\n[Pool]\nSlots=4\n\n[Foo]\nx=1\ny=2\nz=3\n[Pool]\nName=a\n";
        _cleanup_(conf_done) Conf c = {};
        Target t = { 0 };

        n_findings = 0;
        assert_int_equal(
                conf_read_text(&c, "x.conf", text, CONST_STRLEN(text), on_finding, NULL), 0);
        assert_int_equal(conf_apply(&c, target_entries, &t, on_finding, NULL), 0);
        assert_int_equal(n_findings, 2);
        assert_string_equal(last_finding, "x.conf:5: unknown section [Foo], ignored");
        assert_int_equal(t.slots, 4);
        free(t.name);
}

static void test_conf_errors(void **state)
{
        static const struct {
                const char *text;
                size_t size;
                const char *finding;
                int error; /* 0: -EBADMSG */
        } cases[] = {
                { "[Pool\n", 6, "f:1: a section must be written [Name]" },
                { "[Pool]\nSlots\n", 13, "f:2: expected Key=Value or [Section]" },
                { "=x\n", 3, "f:1: expected Key=Value or [Section]" },
                { "a=\0\n", 4, "f:1: not a text file in UTF-8", -EILSEQ },
                { "a=\xff\n", 4, "f:1: not a text file in UTF-8", -EILSEQ },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(conf_done) Conf c = {};

                assert_int_equal(
                        conf_read_text(&c, "f", cases[i].text, cases[i].size, on_finding, NULL),
                        cases[i].error ? cases[i].error : -EBADMSG);
                assert_string_equal(last_finding, cases[i].finding);
        }
}

static void test_conf_wrong_value(void **state)
{
        static const char text[] = "[Pool]\n\nSlots=10\n";
        _cleanup_(conf_done) Conf c = {};
        Target t = { .slots = 3 };

        assert_int_equal(
                conf_read_text(&c, "p.conf", text, CONST_STRLEN(text), on_finding, NULL), 0);
        assert_int_equal(conf_apply(&c, target_entries, &t, on_finding, NULL), -EINVAL);
        assert_string_equal(last_finding, "p.conf:3: Slots=10: expected 1 to 9");
        assert_int_equal(t.slots, 3);
}

static void put_file(const char *dir, const char *name, const char *text)
{
        char path[512];
        int fd;

        snprintf(path, sizeof(path), "%s/%s", dir, name);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, text, strlen(text)), 0);
        safe_close(fd);
}

static void test_conf_dropins(void **state)
{
        char a[] = "/tmp/reeve-test-XXXXXX", b[] = "/tmp/reeve-test-XXXXXX", path[512];
        const char *dirs[] = { a, b, NULL };
        _cleanup_(conf_done) Conf c = {};
        _cleanup_(conf_names_freep) char **names = NULL;

        assert_non_null(mkdtemp(a));
        assert_non_null(mkdtemp(b));
        snprintf(path, sizeof(path), "%s/x.conf.d", a);
        assert_int_equal(mkdir(path, 0700), 0);
        snprintf(path, sizeof(path), "%s/x.conf.d", b);
        assert_int_equal(mkdir(path, 0700), 0);
        put_file(b, "x.conf", "[S]\nk=main\n");
        put_file(b, "x.conf.d/10.conf", "[S]\nk=hidden\n");
        put_file(a, "x.conf.d/10.conf", "[S]\nk=ten\n");
        put_file(b, "x.conf.d/20.conf", "[S]\nk=twenty\n");
        put_file(b, "x.conf.d/30.conf", "");

        assert_int_equal(conf_read_dirs(&c, dirs, "x.conf", on_finding, NULL), CONF_DONE);
        assert_int_equal(c.n_items, 3);
        assert_string_equal(c.items[1].value, "ten");
        assert_string_equal(conf_get(&c, "S", "k"), "twenty");

        put_file(a, "x.conf", "");
        assert_int_equal(conf_read_dirs(&c, dirs, "x.conf", on_finding, NULL), CONF_MASKED);
        assert_int_equal(conf_read_dirs(&c, dirs, "y.conf", on_finding, NULL), CONF_NOT_FOUND);
        assert_int_equal(conf_list_names(dirs, ".conf", &names), 0);
        assert_string_equal(names[0], "x.conf");
        assert_null(names[1]);

        snprintf(path, sizeof(path), "rm -r %s %s", a, b);
        assert_int_equal(system(path), 0); // NOLINT(cert-env33-c): paths from mkdtemp
}

/* A comment that ended in a backslash took the next line with it. */
static void test_a_comment_is_not_continued(void **state)
{
        static const char text[] = "[A]\n# a path: C:\\\nB=1\nC=2 \\\n; between \\\n3\n"
                                   "E=4\\\n#\n";
        _cleanup_(conf_done) Conf c = {};

        assert_int_equal(conf_read_text(&c, "f", text, strlen(text), NULL, NULL), 0);
        assert_int_equal(c.n_items, 3);
        assert_string_equal(conf_get(&c, "A", "B"), "1");
        assert_int_equal(c.items[0].line, 3);
        assert_string_equal(conf_get(&c, "A", "C"), "2  3");
        assert_int_equal(c.items[1].line, 4);
        assert_string_equal(conf_get(&c, "A", "E"), "4");
}

/* fuzz-kind: with white space behind it a last backslash was taken for the value's, and so was
 * written as "continued" into the canonical text and into the unit. */
static void test_a_value_stays_a_line(void **state)
{
        static const struct {
                const char *text, *value; /* NULL: refused */
        } cases[] = {
                { "[A]\nB=/a \\ \nC=1\n", NULL },
                { "[A]\nB=/a \\\\\\\t\nC=1\n", NULL },
                { "[A]\nB=/a\\\\\nC=1\n", "/a\\\\" },
                { "[A]\nB=/a\\\\\\\nb\n", "/a\\\\ b" },
                { "[A]\nB=/a\\\r\nb\r\n", "/a b" },
                { "[A]\nB=/a\tb\n", "/a\tb" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(conf_done) Conf c = {};
                int r = conf_read_text(&c, "f", cases[i].text, strlen(cases[i].text), NULL, NULL);
                const char *value = conf_get(&c, "A", "B");

                if (r != (cases[i].value ? 0 : -EBADMSG) || !streq_ptr(value, cases[i].value))
                        fail_msg("%zu: %d, %s", i, r, value ? value : "-");
        }
}

static void test_rfc3339(void **state)
{
        static const char *const bad[] = { "", "2026-11-22", "2026-13-01T00:00:00Z",
                "2026-02-29T00:00:00Z", "2026-11-22T10:20:30", "2026-11-22T10:20:30.Z",
                "2026-11-22T10:20:30Zx", "2026-11-22T10:20:30+0100", "1969-12-31T23:59:59Z",
                "1970-01-01T00:00:00+01:00", "9999-12-31T23:59:60Z", /* fuzz-value */
                "9999-12-31T23:30:00-01:00" };
        usec_t usec = 0;

        assert_int_equal(parse_rfc3339("1970-01-01T00:00:01.5Z", &usec), 0);
        assert_int_equal(usec, 1500000);
        assert_int_equal(parse_rfc3339("9999-12-31T23:59:59.999999Z", &usec), 0);
        assert_int_equal(parse_rfc3339("2026-11-22T10:20:30.123456+00:00", &usec), 0);
        assert_int_equal(usec, 1795342830123456);
        assert_int_equal(parse_rfc3339("2026-11-22T11:20:30.123456789+01:00", &usec), 0);
        assert_int_equal(usec, 1795342830123456);
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (parse_rfc3339(bad[i], &usec) != -EINVAL)
                        fail_msg("taken: %s", bad[i]);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_rfc3339),
                cmocka_unit_test(test_a_value_stays_a_line),
                cmocka_unit_test(test_parse_timespan),
                cmocka_unit_test(test_format_time),
                cmocka_unit_test(test_parse_numbers),
                cmocka_unit_test(test_utf8),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_uuid),
                cmocka_unit_test(test_strbuf),
                cmocka_unit_test(test_conf_text),
                cmocka_unit_test(test_conf_unknown_section),
                cmocka_unit_test(test_conf_errors),
                cmocka_unit_test(test_conf_wrong_value),
                cmocka_unit_test(test_conf_dropins),
                cmocka_unit_test(test_a_comment_is_not_continued),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

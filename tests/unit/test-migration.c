/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration-files.h"
#include "test.h"

static void test_line_counts_characters(void **state)
{
        static const char script[] = "-- \u00e9 \u6f22\nselect 1;\nselect x;";

        assert_int_equal(migration_line(script, 1), 1);
        assert_int_equal(migration_line(script, 6), 1); /* the last of "-- é 漢" */
        assert_int_equal(migration_line(script, 8), 2);
        assert_int_equal(migration_line(script, 17), 2);
        assert_int_equal(migration_line(script, 18), 3);
        assert_int_equal(migration_line(script, 9999), 3);
        assert_int_equal(migration_line("", 5), 1);
}

static void test_destroys_is_said_in_the_first_comment_only(void **state)
{
        static const struct {
                const char *script, *text;
        } cases[] = {
                { "-- Destructive: all jobs\ndrop table t;", "all jobs" },
                { "-- About this\n--Destructive:rows\r\n", "rows" },
                { "-- Destructive:", "" },
                { "drop table t;\n-- Destructive: too late\n", NULL },
                { "\n-- Destructive: not first\n", NULL },
                { "-- not Destructive: no\n", NULL },
                { "", NULL },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(freep) char *text = NULL;

                assert_int_equal(migration_destroys(cases[i].script, &text), 0);
                assert_true(streq_ptr(text, cases[i].text));
        }
}

static void test_difference_names_the_first_line(void **state)
{
        MigrationDifference d;

        assert_false(migration_difference("a\nb", "a\nb", &d));
        assert_true(migration_difference("a\nb\nc", "a\nX\nY", &d));
        assert_int_equal(d.line, 2);
        assert_int_equal(d.n_lines, 2);
        assert_int_equal(d.a_length, 1);
        assert_memory_equal(d.a, "b", 1);
        assert_memory_equal(d.b, "X", 1);
        assert_false(d.only_space);
        assert_true(migration_difference("a\n", "a\n b", &d));
        assert_int_equal(d.line, 2);
        assert_int_equal(d.a_length, -1);
        assert_int_equal(d.b_length, 2);
        assert_true(migration_difference("a \nb", "a\r\nb\n", &d));
        assert_true(d.only_space);
        assert_int_equal(d.line, 1);
        /* The one difference that no line shows. */
        assert_true(migration_difference("a", "a\n", &d));
        assert_true(d.only_space);
        assert_int_equal(d.line, 1);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_line_counts_characters),
                cmocka_unit_test(test_destroys_is_said_in_the_first_comment_only),
                cmocka_unit_test(test_difference_names_the_first_line),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

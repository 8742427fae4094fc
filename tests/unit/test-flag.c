/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flag.h"

#include <stdio.h>

#include "flag-rules.h"
#include "reeve-limits.h"
#include "strbuf.h"
#include "test.h"

/* ---- buckets: vectors of flagd's own tests ---- */

static void test_murmur3(void **state)
{
        static const struct {
                const char *a, *b;
                uint32_t hash;
        } known[] = {
                { "", "", 0 },
                { "hello", "", 0x248bfa47 },
                { "", "hello", 0x248bfa47 },
                { "hel", "lo", 0x248bfa47 },
                { "hello, world", "", 0x149bbb7f },
                { "hello, ", "world", 0x149bbb7f },
                { "The quick brown fox jumps", " over the lazy dog", 0x2e4ff723 },
        };

        for (unsigned i = 0; i < ELEMENTSOF(known); i++)
                assert_int_equal(flag_hash(known[i].a, known[i].b), known[i].hash);
}

/* The variant of flagd's "fractional" with four of 25 each. */
static const char *four_way(const char *seed, const char *name)
{
        static const char *const variants[] = { "red", "blue", "green", "yellow" };
        char subject[64];

        snprintf(subject, sizeof(subject), "%s@faas.com", name);
        return variants[flag_bucket(flag_hash(seed, subject), 100) / 25];
}

static void test_flagd_fractional(void **state)
{
        static const char *const names[] = { "rachel", "monica", "joey", "ross" };
        static const char *const header[] = { "blue", "yellow", "red", "blue" };
        static const char *const seeded[] = { "green", "red", "blue", "green" };

        for (unsigned i = 0; i < ELEMENTSOF(names); i++) {
                assert_string_equal(four_way("headerColor", names[i]), header[i]);
                assert_string_equal(four_way("my-seed", names[i]), seeded[i]);
        }
}

static Flag make(unsigned percent)
{
        return (Flag){ .key = (char *) "async-processing", .enabled = true, .percent = percent };
}

static bool is_on(const Flag *f, const char *subject)
{
        return flag_evaluate(f, subject, NULL, NULL).on;
}

static void test_who_is_in_ten_percent(void **state)
{
        static const unsigned on[] = { 19, 23, 24, 33, 76, 80, 88, 91 };
        Flag f = make(10000);
        unsigned k = 0;

        for (unsigned i = 1; i <= 100; i++) {
                char subject[16];
                bool expected = k < ELEMENTSOF(on) && on[k] == i;

                snprintf(subject, sizeof(subject), "user-%u", i);
                k += expected;
                if (i <= 91) /* what the vector covers */
                        assert_int_equal(is_on(&f, subject), expected);
        }
        assert_int_equal(k, ELEMENTSOF(on));
}

static void test_a_larger_percentage_takes_nobody_out(void **state)
{
        static const unsigned steps[] = { 0, 1, 500, 10000, 25000, 50000, 75000, 99999, 100000 };
        static const FlagBucketing ways[] = { FLAG_MURMUR3, FLAG_MODULO };
        unsigned counts[ELEMENTSOF(steps)] = {};

        for (unsigned w = 0; w < ELEMENTSOF(ways); w++)
                for (int i = 0; i < 10000; i++) {
                        bool before = false;
                        char subject[16];

                        snprintf(subject, sizeof(subject), "%d", i);
                        for (unsigned s = 0; s < ELEMENTSOF(steps); s++) {
                                Flag f = make(steps[s]);
                                bool now;

                                f.bucketing = ways[w];
                                now = is_on(&f, subject);
                                assert_true(now || !before);
                                before = now;
                                counts[s] += now;
                        }
                }
        assert_int_equal(counts[0], 0);
        assert_in_range(counts[3], 1850, 2150); /* 10 % of 20000 */
        assert_in_range(counts[4], 4700, 5300);
        assert_int_equal(counts[8], 20000);
}

static void test_a_thousandth_of_a_percent(void **state)
{
        unsigned n = 0;
        Flag f = make(1);

        for (unsigned i = 0; i < 1000000; i++) {
                char subject[16];

                snprintf(subject, sizeof(subject), "%u", i);
                n += is_on(&f, subject);
        }
        assert_in_range(n, 1, 30); /* 10 of a million */
}

static void test_a_seed_shared_by_flags_takes_the_same_people(void **state)
{
        Flag a = make(10000), b = make(10000);
        unsigned n_apart = 0;

        b.key = (char *) "other";
        for (unsigned i = 0; i < 1000; i++) {
                char subject[16];

                snprintf(subject, sizeof(subject), "%u", i);
                a.seed = b.seed = NULL;
                n_apart += is_on(&a, subject) != is_on(&b, subject);
                a.seed = b.seed = (char *) "both";
                assert_int_equal(is_on(&a, subject), is_on(&b, subject));
        }
        assert_true(n_apart > 100);
}

static void assert_result(const Flag *f, const char *subject, bool on, FlagReason reason)
{
        FlagResult r = flag_evaluate(f, subject, NULL, NULL);

        assert_int_equal(r.on, on);
        assert_string_equal(flag_reason_to_string(r.reason), flag_reason_to_string(reason));
        assert_int_equal(reason == FLAG_ERROR, r.error != NULL);
}

static void test_modulo(void **state)
{
        Flag f = make(25000);

        f.bucketing = FLAG_MODULO;
        assert_result(&f, "24", true, FLAG_SPLIT);
        assert_result(&f, "25", false, FLAG_SPLIT);
        assert_result(&f, "1700", true, FLAG_SPLIT);
        assert_result(&f, "9223372036854775807", true, FLAG_SPLIT); /* ...07 */
        assert_result(&f, "-1", false, FLAG_SPLIT); /* 99, as Python has it */
        assert_result(&f, "-99", true, FLAG_SPLIT); /* 1 */
        assert_result(&f, "-9223372036854775808", false, FLAG_SPLIT); /* 92 */
        assert_result(&f, "seven", false, FLAG_ERROR);
        assert_result(&f, "7.0", false, FLAG_ERROR);
        assert_result(&f, " 7", false, FLAG_ERROR);
        assert_result(&f, "9223372036854775808", false, FLAG_ERROR);
        assert_result(&f, "", false, FLAG_ERROR);
        assert_result(&f, NULL, false, FLAG_ERROR);
        f.percent = 500; /* half a percent: only those whose rest is 0 */
        assert_result(&f, "100", true, FLAG_SPLIT);
        assert_result(&f, "101", false, FLAG_SPLIT);
}

static void test_everybody_and_nobody_need_no_subject(void **state)
{
        for (int way = 0; way < _FLAG_BUCKETING_MAX; way++) {
                Flag f = make(REEVE_FLAG_PERCENT_MAX);

                f.bucketing = (FlagBucketing) way;
                assert_result(&f, NULL, true, FLAG_STATIC);
                assert_result(&f, "", true, FLAG_STATIC);
                assert_result(&f, "x", true, FLAG_STATIC);
                f.percent = 0;
                assert_result(&f, NULL, false, FLAG_STATIC);
                assert_result(&f, "7", false, FLAG_STATIC);
                f.percent = 50000;
                assert_result(&f, NULL, false, FLAG_ERROR);
        }
}

static void test_allow_list(void **state)
{
        char *allow[] = { (char *) "ann", (char *) "7", NULL };
        Flag f = make(0);

        f.allow = allow;
        assert_result(&f, "ann", true, FLAG_TARGETING_MATCH);
        assert_result(&f, "7", true, FLAG_TARGETING_MATCH);
        assert_result(&f, "Ann", false, FLAG_STATIC);
        assert_result(&f, NULL, false, FLAG_STATIC);
        f.bucketing = FLAG_MODULO;
        f.percent = 50000;
        assert_result(&f, "ann", true, FLAG_TARGETING_MATCH);
        f.enabled = false;
        assert_result(&f, "ann", false, FLAG_DISABLED);
        f.percent = REEVE_FLAG_PERCENT_MAX;
        assert_result(&f, "x", false, FLAG_DISABLED);
}

static void test_stale(void **state)
{
        Flag f = make(0);

        f.on_stale = FLAG_STALE_ON;
        assert_true(flag_when_stale(&f).on);
        f.on_stale = FLAG_STALE_OFF;
        assert_false(flag_when_stale(&f).on);
}

/* ---- rules ---- */

/* Whether a flag with these rules, at 0 %, is on in this context. */
static bool rules_hold(const char *rules, const char *context)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(flag_rules_done) FlagRules parsed = {};
        FlagContext c;
        Flag f = make(0);
        FlagResult r;

        assert_int_equal(flag_rules_parse(rules, strlen(rules), &parsed, NULL), 0);
        assert_int_equal(json_parse(context, strlen(context), 8, &d, NULL), 0);
        assert_int_equal(flag_context_init(&c, json_document_root(d), NULL), 0);
        f.rules = parsed;
        r = flag_context_evaluate(&c, &f);
        assert_int_equal(r.reason, r.on ? FLAG_TARGETING_MATCH : FLAG_STATIC);
        return r.on;
}

static void test_rules(void **state)
{
        static const struct {
                const char *rules, *yes[6], *no[8];
        } cases[] = {
                { "[{\"property\":\"size\",\"op\":\">\",\"value\":10485760}]",
                        { "{\"size\":10485761}", "{\"size\":1e8}" },
                        { "{\"size\":10485760}", "{\"size\":\"99999999\"}", "{}", "{\"size\":null}",
                                "{\"size\":[99999999]}", "{\"Size\":99999999}" } },
                { "[{\"property\":\"n\",\"op\":\"<=\",\"value\":-0.5}]",
                        { "{\"n\":-0.5}", "{\"n\":-1}" }, { "{\"n\":0}", "{\"n\":true}" } },
                { "[{\"property\":\"n\",\"op\":\"<\",\"value\":9007199254740993}]",
                        { "{\"n\":9007199254740992}" }, { "{\"n\":9007199254740993}" } },
                { "[{\"property\":\"n\",\"op\":\">=\",\"value\":3}]", { "{\"n\":3.0}" },
                        { "{\"n\":2.99}" } },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":1}]",
                        { "{\"a\":1}", "{\"a\":1.0}" },
                        { "{\"a\":\"1\"}", "{\"a\":true}", "{\"a\":9007199254740993}" } },
                { "[{\"property\":\"a\",\"op\":\"!=\",\"value\":\"x\"}]",
                        { "{\"a\":\"y\"}", "{\"a\":1}" }, { "{\"a\":\"x\"}", "{}" } },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":false}]", { "{\"a\":false}" },
                        { "{\"a\":true}", "{\"a\":0}", "{}" } },
                { "[{\"property\":\"a\",\"op\":\"in\",\"value\":[\"fr\",3,true]}]",
                        { "{\"a\":\"fr\"}", "{\"a\":3}", "{\"a\":true}" },
                        { "{\"a\":\"FR\"}", "{\"a\":\"3\"}", "{\"a\":false}" } },
                { "[{\"property\":\"a\",\"op\":\"starts-with\",\"value\":\"ab\"}]",
                        { "{\"a\":\"ab\"}", "{\"a\":\"abc\"}" },
                        { "{\"a\":\"a\"}", "{\"a\":\"cab\"}", "{\"a\":1}" } },
                { "[{\"property\":\"a\",\"op\":\"ends-with\",\"value\":\"@x.org\"}]",
                        { "{\"a\":\"me@x.org\"}" }, { "{\"a\":\"me@x.org.evil\"}" } },
                { "[{\"property\":\"targetingKey\",\"op\":\"==\",\"value\":\"ann\"}]",
                        { "{\"targetingKey\":\"ann\"}" }, { "{\"targetingKey\":\"bob\"}" } },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":1},"
                  "{\"property\":\"b\",\"op\":\"==\",\"value\":2}]",
                        { "{\"a\":1}", "{\"b\":2}", "{\"a\":1,\"b\":2}" },
                        { "{\"a\":2,\"b\":1}", "{}" } },
                { "[]", { NULL }, { "{}", "{\"a\":1}" } },
        };

        for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
                for (unsigned k = 0; k < 6 && cases[i].yes[k]; k++)
                        if (!rules_hold(cases[i].rules, cases[i].yes[k]))
                                fail_msg("%s: %s", cases[i].rules, cases[i].yes[k]);
                for (unsigned k = 0; k < 8 && cases[i].no[k]; k++)
                        if (rules_hold(cases[i].rules, cases[i].no[k]))
                                fail_msg("%s: not %s", cases[i].rules, cases[i].no[k]);
        }
}

static void test_rules_that_are_none(void **state)
{
        static const struct {
                const char *text;
                int error;
                const char *why;
        } cases[] = {
                { "", -EBADMSG, "" },
                { "[", -EBADMSG, "" },
                { "{}", -EINVAL, "array" },
                { "[1]", -EINVAL, "object" },
                { "[{}]", -EINVAL, "a rule has" },
                { "[{\"property\":\"a\",\"op\":\"==\"}]", -EINVAL, "a rule has" },
                { "[{\"property\":\"a\",\"op\":\"=\",\"value\":1}]", -EINVAL, "no such operator" },
                { "[{\"property\":\"\",\"op\":\"==\",\"value\":1}]", -EINVAL, "1 to 64" },
                { "[{\"property\":1,\"op\":\"==\",\"value\":1}]", -EINVAL, "string" },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":null}]", -EINVAL, "expected a" },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":[1]}]", -EINVAL, "expected a" },
                { "[{\"property\":\"a\",\"op\":\">\",\"value\":\"1\"}]", -EINVAL, "numbers" },
                { "[{\"property\":\"a\",\"op\":\"<\",\"value\":true}]", -EINVAL, "numbers" },
                { "[{\"property\":\"a\",\"op\":\"in\",\"value\":1}]", -EINVAL, "array" },
                { "[{\"property\":\"a\",\"op\":\"in\",\"value\":[]}]", -EINVAL, "not empty" },
                { "[{\"property\":\"a\",\"op\":\"in\",\"value\":[[]]}]", -EINVAL, "expected a" },
                { "[{\"property\":\"a\",\"op\":\"starts-with\",\"value\":\"\"}]", -EINVAL,
                        "not empty" },
                { "[{\"property\":\"a\",\"op\":\"ends-with\",\"value\":1}]", -EINVAL, "string" },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":1,\"and\":2}]", -EINVAL, "and" },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":1,\"value\":2}]", -EINVAL,
                        "value" },
                { "[{\"property\":\"a\",\"op\":\"==\",\"value\":1e999}]", -EINVAL, "expected a" },
        };

        for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
                FlagRules rules = {};
                JsonError e = {};

                assert_int_equal(flag_rules_parse(cases[i].text, strlen(cases[i].text), &rules, &e),
                        cases[i].error);
                assert_true(e.text[0] && e.line > 0);
                if (!strstr(e.text, cases[i].why))
                        fail_msg("%s: %s", cases[i].text, e.text);
                assert_null(rules.items);
        }
}

static void test_rules_have_limits(void **state)
{
        for (unsigned n = REEVE_FLAG_RULES_MAX; n <= REEVE_FLAG_RULES_MAX + 1; n++) {
                _cleanup_(flag_rules_done) FlagRules rules = {};
                _cleanup_(strbuf_done) StrBuf b = {};

                strbuf_putc(&b, '[');
                for (unsigned i = 0; i < n; i++)
                        strbuf_printf(&b, "%s{\"property\":\"p%u\",\"op\":\"==\",\"value\":%u}",
                                i > 0 ? "," : "", i, i);
                strbuf_putc(&b, ']');
                assert_int_equal(flag_rules_parse(b.data, b.len, &rules, NULL),
                        n > REEVE_FLAG_RULES_MAX ? -EINVAL : 0);
        }
}

/* ---- contexts and allow lists ---- */

static void test_subjects_of_contexts(void **state)
{
        static const struct {
                const char *context, *subject;
                int result;
        } cases[] = {
                { "{\"targetingKey\":\"ann\"}", "ann", 0 },
                { "{\"targetingKey\":42}", "42", 0 },
                { "{\"targetingKey\":-42}", "-42", 0 },
                { "{}", NULL, 0 },
                { "{\"targetingKey\":null}", NULL, 0 },
                { "{\"targetingKey\":1.5}", NULL, -EINVAL },
                { "{\"targetingKey\":{}}", NULL, -EINVAL },
                { "{\"targetingKey\":true}", NULL, -EINVAL },
        };

        for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(json_document_freep) JsonDocument *d = NULL;
                FlagContext c;

                assert_int_equal(
                        json_parse(cases[i].context, strlen(cases[i].context), 8, &d, NULL), 0);
                assert_int_equal(
                        flag_context_init(&c, json_document_root(d), NULL), cases[i].result);
                assert_true(streq_ptr(c.subject, cases[i].subject));
        }
}

static void test_allow_lists(void **state)
{
        static const char *const wrong[] = { "{}", "[1]", "[\"\"]", "[null]", "[\"a\",]", "\"a\"" };
        const char *text = "[\"ann\",\"\\u00fc\"]";
        char **list = NULL;

        assert_int_equal(flag_allow_parse(text, strlen(text), &list, NULL), 0);
        assert_string_equal(list[0], "ann");
        assert_string_equal(list[1], "ü");
        assert_null(list[2]);
        flag_done(&(Flag){ .allow = list });
        for (unsigned i = 0; i < ELEMENTSOF(wrong); i++)
                assert_true(flag_allow_parse(wrong[i], strlen(wrong[i]), &list, NULL) < 0);
}

static void test_percentages(void **state)
{
        static const struct {
                const char *text;
                int result;
                unsigned percent;
                const char *again;
        } cases[] = {
                { "0", 0, 0, "0" },
                { "100", 0, 100000, "100" },
                { "100.000%", 0, 100000, "100" },
                { "12.5", 0, 12500, "12.5" },
                { "10", 0, 10000, "10" },
                { "0.001", 0, 1, "0.001" },
                { "99.990%", 0, 99990, "99.99" },
                { "007", 0, 7000, "7" },
                { "100.001", -ERANGE, 0, NULL },
                { "999999", -ERANGE, 0, NULL },
                { "1000000", -EINVAL, 0, NULL },
                { "0.0001", -EINVAL, 0, NULL },
                { "", -EINVAL, 0, NULL },
                { "%", -EINVAL, 0, NULL },
                { ".5", -EINVAL, 0, NULL },
                { "5.", -EINVAL, 0, NULL },
                { "-1", -EINVAL, 0, NULL },
                { "1e1", -EINVAL, 0, NULL },
                { "10%%", -EINVAL, 0, NULL },
                { " 10", -EINVAL, 0, NULL },
        };

        for (unsigned i = 0; i < ELEMENTSOF(cases); i++) {
                char buf[FLAG_PERCENT_MAX];
                unsigned percent = 4711;

                assert_int_equal(flag_percent_parse(cases[i].text, &percent), cases[i].result);
                assert_int_equal(percent, cases[i].result < 0 ? 4711 : cases[i].percent);
                if (cases[i].again)
                        assert_string_equal(flag_percent_format(buf, percent), cases[i].again);
        }
}

static void test_names(void **state)
{
        for (int i = 0; i < _FLAG_OP_MAX; i++)
                assert_int_equal(flag_op_from_string(flag_op_to_string((FlagOp) i)), i);
        for (int i = 0; i < _FLAG_BUCKETING_MAX; i++)
                assert_int_equal(
                        flag_bucketing_from_string(flag_bucketing_to_string((FlagBucketing) i)), i);
        for (int i = 0; i < _FLAG_ON_STALE_MAX; i++)
                assert_int_equal(
                        flag_on_stale_from_string(flag_on_stale_to_string((FlagOnStale) i)), i);
        assert_true(flag_op_from_string("=") < 0 && flag_bucketing_from_string("") < 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_murmur3),
                cmocka_unit_test(test_flagd_fractional),
                cmocka_unit_test(test_who_is_in_ten_percent),
                cmocka_unit_test(test_a_larger_percentage_takes_nobody_out),
                cmocka_unit_test(test_a_thousandth_of_a_percent),
                cmocka_unit_test(test_a_seed_shared_by_flags_takes_the_same_people),
                cmocka_unit_test(test_modulo),
                cmocka_unit_test(test_everybody_and_nobody_need_no_subject),
                cmocka_unit_test(test_allow_list),
                cmocka_unit_test(test_stale),
                cmocka_unit_test(test_rules),
                cmocka_unit_test(test_rules_that_are_none),
                cmocka_unit_test(test_rules_have_limits),
                cmocka_unit_test(test_subjects_of_contexts),
                cmocka_unit_test(test_allow_lists),
                cmocka_unit_test(test_percentages),
                cmocka_unit_test(test_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

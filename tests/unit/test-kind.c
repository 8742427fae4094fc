/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "calendar.h"
#include "kind.h"
#include "reeve-limits.h"
#include "test.h"
#include "words.h"

/* What was reported while one text was read. */
typedef struct Findings {
        unsigned n_warnings, n_errors;
        unsigned line; /* of the last one */
        char file[64];
        char text[512];
} Findings;

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        Findings *f = userdata;

        *(level == CONF_ERROR ? &f->n_errors : &f->n_warnings) += 1;
        f->line = line;
        snprintf(f->file, sizeof(f->file), "%s", file);
        snprintf(f->text, sizeof(f->text), "%s", text);
}

static int make(const char *text, Findings *f, Kind **ret)
{
        _cleanup_(conf_done) Conf c = {};

        *f = (Findings){ 0 };
        assert_int_equal(conf_read_text(&c, "/k/a.kind", text, strlen(text), on_finding, f), 0);
        return kind_new_from_conf("a", &c, on_finding, f, ret);
}

static Kind *good(const char *text)
{
        Kind *k = NULL;
        Findings f;

        assert_int_equal(make(text, &f, &k), 0);
        assert_int_equal(f.n_errors, 0);
        return k;
}

static void test_defaults(void **state)
{
        _cleanup_(kind_freep) Kind *k = good("[Exec]\nStart=/bin/true\n");

        assert_string_equal(k->name, "a");
        assert_string_equal(k->file, "/k/a.kind");
        assert_null(k->description);
        assert_string_equal(k->queue, "default");
        assert_int_equal(k->priority, 5);
        assert_int_equal(k->max_attempts, 3);
        assert_int_equal(k->max_interruptions, REEVE_INTERRUPTIONS_MAX);
        assert_int_equal(k->retry.first_usec, 2 * USEC_PER_SEC);
        assert_int_equal(k->retry.max_usec, 60 * USEC_PER_SEC);
        assert_int_equal(k->timeout_usec, 5 * USEC_PER_MIN);
        assert_int_equal(k->stop_usec, 5 * USEC_PER_SEC);
        assert_true(k->watchdog_usec == USEC_INFINITY);
        assert_true(k->deadline_usec == USEC_INFINITY);
        assert_int_equal(k->keep_result_usec, 7 * USEC_PER_DAY);
        assert_int_equal(k->concurrency, 0);
        assert_int_equal(k->rate_limit.n, 0);
        assert_int_equal(k->missed, KIND_MISSED_SKIP);
        assert_int_equal(k->type, KIND_EXEC);
        assert_int_equal(words_count(k->exec.start), 1);
        assert_null(k->exec.join);
        assert_int_equal(k->exec.max_runs, 1);
        assert_int_equal(k->exec.mode, KIND_MODE_EXEC);
        assert_int_equal(k->exec.output, KIND_OUTPUT_JSON);
        assert_int_equal(strlen(k->hash), 64);
}

static void test_every_key(void **state)
{
        _cleanup_(kind_freep) Kind *k = good(
                "[Kind]\nDescription=Text of a PDF\nQueue=pdf\nPriority=10\nMaxAttempts=7\n"
                "MaxInterruptions=4\nRetrySec=1s\nRetryMaxSec=2min\nTimeoutSec=infinity\n"
                "StopSec=0\nWatchdogSec=30s\nDeadlineSec=1h\nKeepResult=infinity\n"
                "Concurrency=8\nConcurrencyKey=tenant "
                "/subject\nUniqueFor=10min\nRateLimit=100/min\n"
                "RateBurst=7\nRateLimitKey=subject\n"
                "OnCalendar=Mon..Fri 08:30\nMissed=one\n"
                "[Exec]\nStart=/bin/a 'b c' 100%\nJoin='/bin/j x'\nMaxRuns=50\nMode=persistent\n"
                "Output=json\n[Service]\nMemoryMax=512M\nBindPaths=/a\nBindPaths=/b\n");

        assert_string_equal(k->description, "Text of a PDF");
        assert_string_equal(k->queue, "pdf");
        assert_int_equal(k->priority, 10);
        assert_int_equal(k->max_attempts, 7);
        assert_int_equal(k->max_interruptions, 4);
        assert_int_equal(k->retry.first_usec, USEC_PER_SEC);
        assert_int_equal(k->retry.max_usec, 2 * USEC_PER_MIN);
        assert_true(k->timeout_usec == USEC_INFINITY);
        assert_int_equal(k->stop_usec, 0);
        assert_int_equal(k->watchdog_usec, 30 * USEC_PER_SEC);
        assert_int_equal(k->deadline_usec, USEC_PER_HOUR);
        assert_true(k->keep_result_usec == USEC_INFINITY);
        assert_int_equal(k->concurrency, 8);
        assert_string_equal(k->concurrency_key[0], "tenant");
        assert_string_equal(k->concurrency_key[1], "/subject");
        assert_null(k->concurrency_key[2]);
        assert_int_equal(k->unique_usec, 10 * USEC_PER_MIN);
        assert_int_equal(k->rate_burst, 7);
        assert_string_equal(k->rate_key[0], "subject");
        assert_int_equal(k->rate_limit.n, 100);
        assert_int_equal(k->rate_limit.interval_usec, USEC_PER_MIN);
        assert_string_equal(k->on_calendar, "Mon..Fri 08:30");
        assert_int_equal(k->missed, KIND_MISSED_ONE);
        assert_string_equal(k->exec.start[1], "b c");
        assert_string_equal(k->exec.start[2], "100%");
        assert_string_equal(k->exec.join[0], "/bin/j x");
        assert_int_equal(k->exec.max_runs, 50);
        assert_int_equal(k->exec.mode, KIND_MODE_PERSISTENT);
        assert_int_equal(k->n_service, 3);
        assert_string_equal(k->service[1].value, "/a");
        assert_string_equal(kind_service_get(k, "BindPaths"), "/b");
        assert_null(kind_service_get(k, "User"));
}

static void test_http(void **state)
{
        _cleanup_(kind_freep) Kind *k =
                good("[Http]\nMethod=PUT\nUrl=http://127.0.0.1:11434/api/embed\n"
                     "Credential=openai\nBody={\"input\":\"${/text}\",\"x\":\"$${no}\"}\n"
                     "Result=/embeddings/0\nRetryStatus=429 500-502\n");
        _cleanup_(kind_freep) Kind *plain = good("[Http]\nUrl=https://[::1]/\n");
        _cleanup_(kind_freep) Kind *pull = good("[Pull]\nLeaseSec=90s\n");

        assert_int_equal(k->type, KIND_HTTP);
        assert_string_equal(k->http.method, "PUT");
        assert_string_equal(k->http.credential, "openai");
        assert_string_equal(k->http.result, "/embeddings/0");
        assert_int_equal(k->http.n_retry_status, 2);
        assert_int_equal(k->http.retry_status[1].first, 500);
        assert_int_equal(k->http.retry_status[1].last, 502);
        assert_string_equal(plain->http.method, "POST");
        assert_int_equal(pull->type, KIND_PULL);
        assert_true(pull->pull.lease_usec == 90 * USEC_PER_SEC);
        assert_int_equal(plain->http.n_retry_status, 3);
}

static void test_the_burst_of_a_rate(void **state)
{
        static const struct {
                KindRate rate;
                unsigned burst;
        } cases[] = {
                { { 100, USEC_PER_MIN }, 1 },
                { { 10, USEC_PER_SEC }, 1 },
                { { 20, USEC_PER_SEC }, 2 },
                { { 1000, USEC_PER_SEC }, 100 },
                { { 5, 10 * USEC_PER_MSEC }, 5 }, /* no more than the number */
                { { 1000000, 3650 * USEC_PER_DAY }, 1 },
        };
        _cleanup_(kind_freep) Kind *k = good("[Kind]\nRateLimit=1000/s\n[Exec]\nStart=/bin/a\n");

        for (size_t i = 0; i < ELEMENTSOF(cases); i++)
                assert_int_equal(kind_rate_burst(&cases[i].rate), cases[i].burst);
        assert_int_equal(k->rate_burst, 100);
        assert_null(k->rate_key);
}

/* Otherwise the database's claims fail, those of all kinds with limits. */
static void test_a_burst_is_no_longer_than_ten_years(void **state)
{
        static const char *const far[] = {
                "1/3650d\nRateBurst=2\n",
                "3/1d\nRateBurst=10951\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(far); i++) {
                _cleanup_(strbuf_done) StrBuf b = {};
                Kind *k = NULL;
                Findings f;

                strbuf_printf(&b, "[Exec]\nStart=/bin/a\n[Kind]\nRateLimit=%s", far[i]);
                assert_int_equal(make(strbuf_str(&b), &f, &k), -EINVAL);
                assert_int_equal(f.line, 5);
                assert_non_null(strstr(f.text, "ten years"));
        }
        kind_free(good("[Exec]\nStart=/bin/a\n[Kind]\nRateLimit=1/3650d\n"));
        kind_free(good("[Exec]\nStart=/bin/a\n[Kind]\nRateLimit=3/1d\nRateBurst=10950\n"));
}

/* Each with the line that must be named. */
static void test_a_wrong_value_keeps_the_kind_out_and_names_its_line(void **state)
{
#define E "[Exec]\nStart=/bin/true\n"
#define H "[Http]\nUrl=http://h/\n"
        static const struct {
                const char *text;
                unsigned line;
                const char *says;
        } cases[] = {
                { E "[Kind]\nPriority=0\n", 4, "Priority=0: expected a number from 1 to 10" },
                { E "[Kind]\nPriority=11\n", 4, "1 to 10" },
                { E "[Kind]\nPriority=high\n", 4, "1 to 10" },
                { E "[Kind]\n\n# x\nQueue=a b\n", 6, "queue's name" },
                { E "[Kind]\nQueue=\n", 4, "queue's name" },
                { E "[Kind]\nMaxAttempts=0\n", 4, "1 to 1000" },
                { E "[Kind]\nMaxInterruptions=101\n", 4, "1 to 100" },
                { E "[Kind]\nRetrySec=infinity\n", 4, "time span" },
                { E "[Kind]\nRetrySec=5 parsecs\n", 4, "time span" },
                { E "[Kind]\nRetrySec=10s\nRetryMaxSec=5s\n", 5, "less than RetrySec=" },
                { E "[Kind]\nTimeoutSec=5us\n", 4, "time span" },
                { E "[Kind]\nTimeoutSec=11000d\n", 4, "time span" },
                { E "[Kind]\nStopSec=-1\n", 4, "time span" },
                { E "[Kind]\nConcurrency=-1\n", 4, "number of runs" },
                { E "[Kind]\nConcurrency=2\nConcurrencyKey=user\n", 5, "JSON pointer" },
                { E "[Kind]\nConcurrency=2\nConcurrencyKey=/1 /2 /3 /4 /5\n", 5, "JSON pointer" },
                { E "[Kind]\nConcurrencyKey=/subject\n", 4, "needs Concurrency=" },
                { E "[Kind]\nRateLimit=10\n", 4, "100/1min" },
                { E "[Kind]\nRateLimit=0/s\n", 4, "100/1min" },
                { E "[Kind]\nRateLimit=10/\n", 4, "100/1min" },
                { E "[Kind]\nOnCalendar=sometimes\n", 4, "calendar event" },
                { E "[Kind]\nMissed=all\n", 4, "skip or one" },
                { "[Exec]\nStart=true\n", 2, "absolute path" },
                { "[Exec]\nStart=/bin/\n", 2, "absolute path" },
                { "[Exec]\nStart=-/bin/true\n", 2, "absolute path" },
                { "[Exec]\nStart=/bin/sh -c 'open\n", 2, "quoted as in a unit file" },
                { "[Exec]\nMaxRuns=1\n", 2, "Start= is missing" },
                { "[Exec]\nStart=/bin/true\nStart=\n", 3, "Start= is missing" },
                { E "Join=join\n", 3, "absolute path" },
                { E "Join=/bin/join x\n", 3, "without arguments" },
                { E "MaxRuns=0\n", 3, "1 to 1000000" },
                { E "Mode=fork\n", 3, "exec or persistent" },
                { E "Output=xml\n", 3, "json or text" },
                { E "Mode=persistent\nOutput=text\n", 4, "not possible" },
                { E H, 4, "not two" },
                { E "[Pull]\nLeaseSec=60s\n", 4, "not two" },
                { "[Pull]\nLeaseSec=0s\n", 2, "from 1s to 1d" },
                { "[Pull]\nLeaseSec=2d\n", 2, "from 1s to 1d" },
                { "[Pull]\nLeaseSec=infinity\n", 2, "from 1s to 1d" },
                { "[Kind]\nQueue=q\n", 2, "neither [Exec]" },
                { "[Http]\nMethod=GET\n", 2, "Url= is missing" },
                { "[Http]\nUrl=ftp://x/\n", 2, "http://" },
                { "[Http]\nUrl=http://\n", 2, "http://" },
                { "[Http]\nUrl=http://:80/\n", 2, "http://" },
                { "[Http]\nUrl=http://me:secret@h/\n", 2, "without user name" },
                { "[Http]\nUrl=http://h/a b\n", 2, "http://" },
                { H "Method=get\n", 3, "GET" },
                { H "Credential=../key\n", 3, "credential's name" },
                { H "Body=${text}\n", 3, "JSON pointer" },
                { H "Body=${/text\n", 3, "JSON pointer" },
                { H "Result=/a~2\n", 3, "JSON pointer" },
                { H "RetryStatus=99\n", 3, "status codes" },
                { H "RetryStatus=500-400\n", 3, "status codes" },
                { E "[Service]\nExecStart=/bin/false\n", 4, "Start= in [Exec]" },
                { E "[Service]\nStandardInput=null\n", 4, "connection" },
                { E "[Service]\nMemory Max=1\n", 4, "no directive" },
                { E "[Service]\nFoo=a\rUser=root\n", 4, "control character" },
                { E "[Kind]\nDescription=a\x01z\n", 4, "one line of text" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Kind *k = NULL;
                Findings f;

                if (make(cases[i].text, &f, &k) != -EINVAL || f.n_errors != 1 ||
                        f.line != cases[i].line || !strstr(f.text, cases[i].says))
                        fail_msg("%s: %u errors, line %u: %s", cases[i].text, f.n_errors, f.line,
                                f.text);
                assert_string_equal(f.file, "/k/a.kind");
                assert_null(k);
        }
}

static void test_unknown_keys_warn_only(void **state)
{
        static const char *const texts[] = {
                "[Kind]\nColour=blue\n" E,
                "[Strange]\nKey=1\n" E,
                E "[Kind]\nMissed=one\n",
                H "[Service]\nMemoryMax=1G\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(kind_freep) Kind *k = NULL;
                Findings f;

                assert_int_equal(make(texts[i], &f, &k), 0);
                assert_int_equal(f.n_warnings, 1);
                assert_int_equal(f.n_errors, 0);
                assert_true(f.line > 0);
        }
}

static void test_all_errors_are_told_at_once(void **state)
{
        Kind *k = NULL;
        Findings f;

        assert_int_equal(make("[Kind]\nPriority=0\nQueue=?\n[Exec]\nStart=x\n", &f, &k), -EINVAL);
        assert_int_equal(f.n_errors, 3);
}

static void test_names(void **state)
{
        static const struct {
                const char *name;
                int r;
        } cases[] = {
                { "a", 0 },
                { "a-b.c_d9", 0 },
                { "9", 0 },
                { "a@b", -EINVAL },
                { "a b", -EINVAL },
                { "a%b", -EINVAL },
                { "-a", -EINVAL },
                { ".a", -EINVAL },
                { "", -EINVAL },
                { "\xc3\xa4", -EINVAL },
                { "a/b", -EINVAL },
                { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", 0 },
                { "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", -EINVAL },
        };
        _cleanup_(conf_done) Conf c = {};

        assert_int_equal(conf_read_text(&c, "f", E, strlen(E), NULL, NULL), 0);
        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                _cleanup_(kind_freep) Kind *k = NULL;
                Findings f = {};

                assert_int_equal(
                        kind_new_from_conf(cases[i].name, &c, on_finding, &f, &k), cases[i].r);
                assert_int_equal(f.n_errors, cases[i].r < 0);
        }
}

static void test_the_hash_is_of_the_meaning(void **state)
{
        _cleanup_(kind_freep) Kind *a = good("[Kind]\nTimeoutSec=1min\n" E);
        _cleanup_(kind_freep) Kind *b =
                good("# other\n" E "MaxRuns=1\n[Kind]\nTimeoutSec=5\nTimeoutSec=60s\nColour=x\n");
        _cleanup_(kind_freep) Kind *c = good("[Kind]\nTimeoutSec=61s\n" E);
        _cleanup_(kind_freep) Kind *d = good("[Kind]\nTimeoutSec=1min\n" E "[Service]\nA=1\nA=2\n");
        _cleanup_(kind_freep) Kind *e = good("[Kind]\nTimeoutSec=1min\n" E "[Service]\nA=2\nA=1\n");

        assert_string_equal(a->hash, b->hash);
        assert_string_not_equal(a->hash, c->hash);
        assert_string_not_equal(a->hash, d->hash);
        assert_string_not_equal(d->hash, e->hash);
}

static void test_the_canonical_text_makes_the_same_kind(void **state)
{
        static const char *const texts[] = {
                E,
                "[Kind]\nDescription=100% \\done\nRateLimit=3/90s\nOnCalendar=daily\n[Exec]\n"
                "Start=/bin/a \"\" \\x09 ';' %n $HOME\n[Service]\nEnvironment=\"A=%n b\"\n",
                H "Body=${/a} $${\nRetryStatus=\n",
        };

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                _cleanup_(kind_freep) Kind *k = good(texts[i]), *again = NULL;
                _cleanup_(strbuf_done) StrBuf b = {};

                kind_format(k, &b);
                again = good(strbuf_str(&b));
                assert_string_equal(again->hash, k->hash);
        }
}

static void test_calendar(void **state)
{
        static const char *const valid[] = { "daily", "Weekly Europe/Berlin", "Mon", "mon-fri",
                "Mon..Fri 08:30", "Mon,Wed *-*-* 12:00:00 UTC", "*:0/15", "2026-01-01", "01-01",
                "*-02~03", "8..18/2:00", "08,12,16:00", "10:00:0..30/5" };
        static const char *const invalid[] = { "", " ", "hello", "10", "25:00", "10:60", "13-01",
                "*-*-32", "1969-01-01", "2200-01-01", "18..8:00", "Sun..Tue 10:00", "Mon..",
                "*:*/15", "Mon 10", "@1395716396", "10:00 10:00", "*", "**:00", "10:00 UTC x",
                "10:00 ../../etc/passwd" };

        for (size_t i = 0; i < ELEMENTSOF(valid); i++)
                if (!calendar_is_valid(valid[i]))
                        fail_msg("%s", valid[i]);
        for (size_t i = 0; i < ELEMENTSOF(invalid); i++)
                if (calendar_is_valid(invalid[i]))
                        fail_msg("%s", invalid[i]);
        assert_true(calendar_has_zone("daily UTC"));
        assert_true(calendar_has_zone("Mon..Fri 08:30 Europe/Berlin"));
        assert_false(calendar_has_zone("Mon..Fri 08:30"));
        assert_false(calendar_has_zone("daily"));
        assert_false(calendar_has_zone("rubbish UTC"));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_defaults),
                cmocka_unit_test(test_every_key),
                cmocka_unit_test(test_http),
                cmocka_unit_test(test_the_burst_of_a_rate),
                cmocka_unit_test(test_a_burst_is_no_longer_than_ten_years),
                cmocka_unit_test(test_a_wrong_value_keeps_the_kind_out_and_names_its_line),
                cmocka_unit_test(test_unknown_keys_warn_only),
                cmocka_unit_test(test_all_errors_are_told_at_once),
                cmocka_unit_test(test_names),
                cmocka_unit_test(test_the_hash_is_of_the_meaning),
                cmocka_unit_test(test_the_canonical_text_makes_the_same_kind),
                cmocka_unit_test(test_calendar),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

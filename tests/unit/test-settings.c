/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "pool.h"
#include "reeve-limits.h"
#include "retry.h"
#include "settings.h"
#include "test.h"

typedef struct Findings {
        unsigned n_warnings, n_errors, line;
} Findings;

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        Findings *f = userdata;

        *(level == CONF_ERROR ? &f->n_errors : &f->n_warnings) += 1;
        f->line = line;
}

static Findings findings;

static Settings read_settings(const char *text, int expected)
{
        _cleanup_(conf_done) Conf c = {};
        Settings s;

        findings = (Findings){ 0 };
        assert_int_equal(conf_read_text(&c, "f", text, strlen(text), on_finding, &findings), 0);
        assert_int_equal(settings_from_conf(&s, &c, on_finding, &findings), expected);
        return s;
}

static void test_settings_defaults(void **state)
{
        _cleanup_(settings_done) Settings s = read_settings("", 0);

        assert_string_equal(s.database, "host=/run/reeve-postgres dbname=reeve");
        assert_true(settings_is_embedded(&s));
        assert_true(settings_prepared(&s));
        assert_int_equal(s.lease_usec, 30 * USEC_PER_SEC);
        assert_int_equal(s.heartbeat_usec, 5 * USEC_PER_SEC);
        assert_int_equal(s.sync_timeout_usec, 60 * USEC_PER_SEC);
        assert_false(s.inline_when_off);
        assert_int_equal(s.sunset_usec, 30 * USEC_PER_DAY);
        assert_int_equal(s.rate.n, 100);
        assert_int_equal(s.rate.per_usec, 3600 * USEC_PER_SEC);
        assert_int_equal(s.body_max, REEVE_BODY_MAX);
        assert_int_equal(s.upload_max, REEVE_UPLOAD_MAX);
        assert_int_equal(s.keep_jobs_usec, REEVE_KEEP_JOBS_USEC);
        assert_int_equal(s.orphan_usec, REEVE_ORPHAN_USEC);
        assert_int_equal(s.connections, 1024);
        assert_int_equal(s.client_connections, 1008);
        assert_int_equal(s.head_max, 8 * 1024);
        assert_int_equal(s.head_usec, 10 * USEC_PER_SEC);
        assert_int_equal(s.body_usec, 30 * USEC_PER_SEC);
        assert_int_equal(s.send_usec, 30 * USEC_PER_SEC);
        assert_int_equal(s.idle_usec, 60 * USEC_PER_SEC);
        assert_int_equal(s.event_streams, 1000);
        assert_int_equal(s.event_buffer, 8 << 20);
        assert_int_equal(s.event_comment_usec, 15 * USEC_PER_SEC);
}

static void test_settings_of_http_have_bounds(void **state)
{
        static const char *const wrong[] = { "Connections=15", "Connections=4097",
                "ConnectionsPerClient=0", "ConnectionsPerClient=4097", "HeadMax=1023",
                "HeadMax=65K", "HeadSec=999ms", "BodySec=infinity", "SendSec=61min", "IdleSec=0",
                "EventStreams=4097", "EventBufferMax=63K", "EventCommentSec=999ms" };
        _cleanup_(settings_done) Settings s = read_settings(
                "[Limits]\nConnections=4096\nHeadMax=64K\nHeadSec=1s\nBodySec=1h\nSendSec=2min\n"
                "IdleSec=5s\n",
                0);

        assert_int_equal(s.connections, 4096);
        assert_int_equal(s.client_connections, 4032);
        assert_int_equal(s.head_max, 64 * 1024);
        assert_int_equal(s.head_usec, USEC_PER_SEC);
        assert_int_equal(s.body_usec, 3600 * USEC_PER_SEC);
        assert_int_equal(s.send_usec, 120 * USEC_PER_SEC);
        assert_int_equal(s.idle_usec, 5 * USEC_PER_SEC);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_(settings_done) Settings t = {};
                char text[64];

                (void) snprintf(text, sizeof(text), "[Limits]\n%s\n", wrong[i]);
                t = read_settings(text, -EINVAL);
                assert_int_equal(findings.n_errors, 1);
        }
}

static void test_rates(void **state)
{
        static const char *const wrong[] = { "Rate=", "Rate=10", "Rate=10/", "Rate=/h", "Rate=0/h",
                "Rate=-1/h", "Rate=1.5/h", "Rate=10/week", "Rate=1000001/s", "Rate=on",
                "Rate=99999999999999999999/h", "RouteRate=POST /api/jobs", "RouteRate=POST x 1/h",
                "RouteRate=POST /api/jobs 1/h 2", "RouteRate=POST /api/jobs never" };
        _cleanup_(settings_done) Settings s =
                read_settings("[Limits]\nRouteRate=GET /x 1/s\nRouteRate=\nRate=1000000/d\n"
                              "RouteRate=POST /api/jobs 5/min\nRouteRate=GET /api/jobs off\n",
                        0);

        assert_int_equal(s.rate.n, 1000000);
        assert_int_equal(s.rate.per_usec, USEC_PER_DAY);
        assert_int_equal(s.route_rates.n_items, 2);
        assert_string_equal(s.route_rates.items[0].words[1], "/api/jobs");
        assert_int_equal(s.route_rates.items[0].rate.n, 5);
        assert_int_equal(s.route_rates.items[0].rate.per_usec, USEC_PER_MIN);
        assert_int_equal(s.route_rates.items[1].rate.n, 0);
        for (size_t i = 0; i < ELEMENTSOF(wrong); i++) {
                _cleanup_(settings_done) Settings t = {};
                char text[80];

                (void) snprintf(text, sizeof(text), "[Limits]\n%s\n", wrong[i]);
                t = read_settings(text, -EINVAL);
                assert_int_equal(findings.n_errors, 1);
                assert_int_equal(t.rate.n, 100);
                assert_int_equal(t.route_rates.n_items, 0);
        }
}

static void test_settings_are_read(void **state)
{
        _cleanup_(settings_done) Settings s = read_settings(
                "[Database]\nDatabase=host=db1,db2 dbname=app\nPrepared=yes\n[Worker]\n"
                "LeaseSec=12s\nHeartbeatSec=1s\n[Api]\nSyncTimeoutSec=10s\nWhenFlagOff=inline\n"
                "SunsetSec=7d\n[Limits]\n"
                "BodyMax=1M\nUploadMax=2G\n[Maintenance]\nKeepJobs=30d\nOrphanSec=2h\n",
                0);

        assert_string_equal(s.database, "host=db1,db2 dbname=app");
        assert_false(settings_is_embedded(&s));
        assert_true(settings_prepared(&s));
        assert_int_equal(s.lease_usec, 12 * USEC_PER_SEC);
        assert_int_equal(s.heartbeat_usec, USEC_PER_SEC);
        assert_int_equal(s.sync_timeout_usec, 10 * USEC_PER_SEC);
        assert_true(s.inline_when_off);
        assert_int_equal(s.sunset_usec, 7 * USEC_PER_DAY);
        assert_int_equal(s.body_max, 1 << 20);
        assert_int_equal(s.upload_max, 2ULL << 30);
        assert_int_equal(s.keep_jobs_usec, 30 * USEC_PER_DAY);
        assert_int_equal(s.orphan_usec, 2 * USEC_PER_HOUR);
        assert_int_equal(findings.n_warnings + findings.n_errors, 0);
}

static void test_a_wrong_setting_is_told_and_its_default_stays(void **state)
{
        _cleanup_(settings_done) Settings s = read_settings(
                "[Worker]\nLeaseSec=soon\nColour=1\n[Api]\nSyncTimeoutSec=5s\n", -EINVAL);

        assert_int_equal(s.lease_usec, 30 * USEC_PER_SEC);
        assert_int_equal(s.sync_timeout_usec, 5 * USEC_PER_SEC);
        assert_int_equal(findings.n_errors, 1);
        assert_int_equal(findings.n_warnings, 1);
}

static void test_a_lease_outlives_two_heartbeats(void **state)
{
        _cleanup_(settings_done) Settings s = read_settings("[Worker]\nHeartbeatSec=20s\n", 0);
        _cleanup_(settings_done) Settings quiet = {};

        assert_int_equal(s.heartbeat_usec, 10 * USEC_PER_SEC);
        assert_int_equal(findings.n_warnings, 1);
        assert_int_equal(findings.line, 2);
        quiet = read_settings("[Worker]\nLeaseSec=6s\n", 0);
        assert_int_equal(quiet.heartbeat_usec, 2 * USEC_PER_SEC);
        assert_int_equal(findings.n_warnings, 0);
}

static void test_embedded_is_told_by_the_host(void **state)
{
        static const struct {
                const char *database;
                bool embedded;
        } cases[] = {
                { "host=/run/reeve-postgres dbname=reeve", true },
                { "dbname=reeve  host = '/run/reeve-postgres' application_name='a b'", true },
                { "host=/run/reeve\\-postgres", true },
                { "host=db dbname=reeve host=/run/reeve-postgres", true },
                { "host=/run/reeve-postgres host=db", false },
                { "host=/run/reeve-postgres2", false }, { "dbname=/run/reeve-postgres", false },
                { "hostaddr=127.0.0.1", false },
                { "postgresql://h/reeve?host=/run/reeve-postgres", false },
                { "service=reeve", false }, { "nonsense", false },
                { "host='/run/reeve-postgres", true }, /* libpq then says what is wrong */
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                Settings s = { .database = (char *) cases[i].database, .prepared = -1 };

                if (settings_is_embedded(&s) != cases[i].embedded)
                        fail_msg("%s", cases[i].database);
                assert_int_equal(settings_prepared(&s), cases[i].embedded);
        }
}

static int read_pool(const char *name, const char *text, Pool **ret)
{
        _cleanup_(conf_done) Conf c = {};

        findings = (Findings){ 0 };
        assert_int_equal(conf_read_text(&c, "f", text, strlen(text), on_finding, &findings), 0);
        return pool_new_from_conf(name, &c, on_finding, &findings, ret);
}

static void test_pool_defaults(void **state)
{
        _cleanup_(pool_freep) Pool *p = NULL, *in = NULL;

        assert_int_equal(read_pool("default", "", &p), 0);
        assert_true(pool_serves(p, "pdf"));
        assert_false(pool_serves(p, "inline"));
        assert_int_equal(p->slots, 0);
        assert_int_equal(p->min, 1);
        assert_int_equal(p->max, 1);
        assert_int_equal(p->drain_usec, 60 * USEC_PER_SEC);
        assert_int_equal(read_pool("inline", "", &in), 0);
        assert_true(pool_serves(in, "inline"));
        assert_false(pool_serves(in, "pdf"));
}

static void test_pool_is_read(void **state)
{
        _cleanup_(pool_freep) Pool *p = NULL, *all = NULL;

        assert_int_equal(
                read_pool("big",
                        "[Pool]\nQueues=pdf ocr\nSlots=8\nMin=2\nDrainSec=5min\nRecycleJobs=9\n",
                        &p),
                0);
        assert_string_equal(p->name, "big");
        assert_true(pool_serves(p, "pdf"));
        assert_true(pool_serves(p, "ocr"));
        assert_false(pool_serves(p, "other"));
        assert_int_equal(p->slots, 8);
        assert_int_equal(p->min, 2);
        assert_int_equal(p->max, 2);
        assert_int_equal(p->drain_usec, 5 * USEC_PER_MIN);
        assert_int_equal(p->recycle_jobs, 9);
        assert_int_equal(read_pool("all", "[Pool]\nQueues=!slow * slow\nMin=0\n", &all), 0);
        assert_false(pool_serves(all, "slow"));
        assert_true(pool_serves(all, "inline"));
}

static void test_a_wrong_pool_is_refused(void **state)
{
        static const char *const texts[] = { "Queues=", "Queues=a,b", "Queues=!", "Slots=0",
                "Slots=513", "Min=65", "Max=0", "Min=3\nMax=2", "DrainSec=infinity",
                "RecycleJobs=-1", "RecycleJobs=1000000001" };
        char text[100];
        Pool *p = NULL;

        for (size_t i = 0; i < ELEMENTSOF(texts); i++) {
                snprintf(text, sizeof(text), "[Pool]\n%s\n", texts[i]);
                if (read_pool("a", text, &p) != -EINVAL || findings.n_errors != 1)
                        fail_msg("%s", texts[i]);
                assert_null(p);
        }
        assert_int_equal(read_pool("a b", "", &p), -EINVAL);
        assert_int_equal(findings.n_errors, 1);
}

static void test_backoff_doubles_up_to_its_limit(void **state)
{
        const RetryPolicy p = { .first_usec = 2 * USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC };
        const RetryPolicy huge = { .first_usec = 3, .max_usec = USEC_INFINITY - 1 };
        const RetryPolicy none = { .first_usec = 0, .max_usec = 60 * USEC_PER_SEC };
        static const unsigned seconds[] = { 2, 2, 4, 8, 16, 32, 60, 60 };

        for (unsigned i = 0; i < ELEMENTSOF(seconds); i++)
                assert_int_equal(retry_backoff_usec(&p, i), seconds[i] * USEC_PER_SEC);
        assert_int_equal(retry_backoff_usec(&p, UINT32_MAX), 60 * USEC_PER_SEC);
        assert_true(retry_backoff_usec(&huge, 63) == 3ULL << 62);
        assert_true(retry_backoff_usec(&huge, 64) == huge.max_usec);
        assert_true(retry_backoff_usec(&huge, 65) == huge.max_usec);
        assert_int_equal(retry_backoff_usec(&none, 40), 0);
}

static void test_delay_takes_the_later_of_backoff_and_hint(void **state)
{
        const RetryPolicy p = { .first_usec = 2 * USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC };
        const RetryPolicy huge = { .first_usec = USEC_INFINITY - 1, .max_usec = USEC_INFINITY - 1 };

        assert_int_equal(retry_delay_usec(&p, 1, 0, 0), 2 * USEC_PER_SEC);
        assert_int_equal(retry_delay_usec(&p, 1, USEC_PER_SEC, 0), 2 * USEC_PER_SEC);
        assert_int_equal(retry_delay_usec(&p, 1, 300 * USEC_PER_SEC, 0), 300 * USEC_PER_SEC);
        assert_true(retry_delay_usec(&p, 1, USEC_INFINITY, 0) == REEVE_RETRY_HINT_MAX_USEC);
        assert_true(retry_delay_usec(&huge, 1, 0, UINT32_MAX) == USEC_INFINITY - 1);
}

static void test_jitter_adds_up_to_an_eighth(void **state)
{
        const RetryPolicy p = { .first_usec = 8 * USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC };
        const RetryPolicy day = { .first_usec = 8 * USEC_PER_DAY, .max_usec = 8 * USEC_PER_DAY };

        assert_int_equal(retry_delay_usec(&p, 1, 0, 1U << 31), 8500 * USEC_PER_MSEC);
        assert_int_equal(retry_delay_usec(&p, 1, 0, UINT32_MAX), 9 * USEC_PER_SEC - 1);
        assert_int_equal(retry_delay_usec(&day, 1, 0, 1U << 31), 17 * USEC_PER_DAY / 2);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_settings_defaults),
                cmocka_unit_test(test_rates),
                cmocka_unit_test(test_settings_are_read),
                cmocka_unit_test(test_settings_of_http_have_bounds),
                cmocka_unit_test(test_a_wrong_setting_is_told_and_its_default_stays),
                cmocka_unit_test(test_a_lease_outlives_two_heartbeats),
                cmocka_unit_test(test_embedded_is_told_by_the_host),
                cmocka_unit_test(test_pool_defaults),
                cmocka_unit_test(test_pool_is_read),
                cmocka_unit_test(test_a_wrong_pool_is_refused),
                cmocka_unit_test(test_backoff_doubles_up_to_its_limit),
                cmocka_unit_test(test_delay_takes_the_later_of_backoff_and_hint),
                cmocka_unit_test(test_jitter_adds_up_to_an_eighth),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-doctor.h"
#include "test.h"

/* What "doctor" makes of what reeve-doctor and the API say. That they say it when it is so is in
 * tests/system/test_doctor.py and tests/pg/test_diagnose.py. */

#define WELL                                                                                       \
        "{\"embedded\":true,\"server\":{\"version\":\"15.20\",\"version_num\":150020,"             \
        "\"database\":\"reeve\",\"encoding\":\"UTF8\",\"standby\":false,\"read_only\":false,"      \
        "\"registry\":true},\"faults\":[],\"facts\":{\"connections\":10,\"connections_max\":97,"   \
        "\"autovacuum\":true,\"hidden\":0,\"old_transactions\":[],\"prepared\":[],\"slots\":[],"   \
        "\"dead_rows\":[]},\"skew_usec\":-900,\"round_trip_usec\":2000,\"schema\":{\"version\":%"  \
        "d,"                                                                                       \
        "\"interrupted\":0,\"failed\":2,\"succeeded\":18,\"in_default\":false,\"keys\":[]}}"

/* Judges WELL with one text in it replaced; the codes, each followed by a blank. */
static char *judge(const char *from, const char *to, bool root)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(strbuf_done) StrBuf text = {}, whole = {}, codes = {};
        Faults f = {};
        const char *at, *p;

        strbuf_printf(&text, WELL, REEVE_SCHEMA_VERSION);
        at = *from ? strstr(strbuf_str(&text), from) : strbuf_str(&text);
        assert_non_null(at);
        strbuf_append(&whole, text.data, (size_t) (at - text.data));
        strbuf_puts(&whole, to);
        strbuf_puts(&whole, at + strlen(from));
        assert_int_equal(json_parse(strbuf_str(&whole), whole.len, 8, &d, NULL), 0);
        doctor_judge_database(&f, json_document_root(d), root);
        assert_int_equal(faults_error(&f), 0);
        for (p = strbuf_str(&f.json); (p = strstr(p, "\"code\":\"")); p++)
                strbuf_printf(&codes, "%.*s ", (int) strcspn(p + 8, "\""), p + 8);
        faults_done(&f);
        return strbuf_steal(&codes);
}

static void check(const char *from, const char *to, const char *codes)
{
        _cleanup_(freep) char *said = judge(from, to, true);

        assert_string_equal(said, codes);
}

static void test_a_healthy_database_gives_no_finding(void **state)
{
        check("", "", "");
}

static void test_each_fact_has_its_finding(void **state)
{
        check("150020", "140011", "SERVER_OLD ");
        check("\"standby\":false", "\"standby\":true", "SERVER_READ_ONLY ");
        check("\"read_only\":false", "\"read_only\":true", "SERVER_READ_ONLY ");
        check("UTF8", "LATIN1", "ENCODING ");
        check("\"registry\":true", "\"registry\":false", "SCHEMA_MISSING ");
        check("\"connections\":10", "\"connections\":78", "CONNECTIONS ");
        check("\"connections\":10", "\"connections\":77", "");
        check("\"autovacuum\":true", "\"autovacuum\":false", "AUTOVACUUM_OFF ");
        check("\"hidden\":0", "\"hidden\":3", "NOT_LOOKED_AT ");
        check("\"old_transactions\":[]",
                "\"old_transactions\":[{\"pid\":7,\"user\":\"a\",\"application\":\"psql\","
                "\"state\":\"idle in transaction\",\"sec\":400}]",
                "TRANSACTION_OLD ");
        check("\"prepared\":[]", "\"prepared\":[{\"gid\":\"x\",\"sec\":400}]", "TRANSACTION_OLD ");
        check("\"slots\":[]", "\"slots\":[\"one\",\"two\"]", "SLOT_UNUSED SLOT_UNUSED ");
        check("\"dead_rows\":[]", "\"dead_rows\":[{\"table\":\"reeve.lease\",\"dead\":60000}]",
                "DEAD_ROWS ");
        check("\"skew_usec\":-900", "\"skew_usec\":-2003000", "CLOCK_SKEW ");
        check("\"skew_usec\":-900", "\"skew_usec\":3600000000", "CLOCK_SKEW ");
        check("\"skew_usec\":-900", "\"skew_usec\":-1900000", "");
        check("\"interrupted\":0", "\"interrupted\":1", "POISON ");
        check("\"failed\":2", "\"failed\":3", "MANY_FAILED ");
        check("\"in_default\":false", "\"in_default\":true", "PARTITIONS ");
        check("\"keys\":[]", "\"keys\":[{\"id\":1,\"name\":\"a\",\"sec\":-3},{\"id\":2,\"sec\":9}]",
                "KEY_EXPIRED KEY_EXPIRES ");
        check("\"schema\":{\"version\":", "\"schema\":{\"version\":9", "SCHEMA_NEW ");
        check("\"schema\":{\"version\":", "\"schema\":{\"version\":1,\"old\":", "SCHEMA_OLD ");
        check("\"schema\":{", "\"schema_error\":\"no table\",\"other\":{", "SCHEMA_BROKEN ");
        check("\"faults\":[]",
                "\"faults\":[{\"level\":\"error\",\"object\":\"server setting "
                "fsync\",\"text\":\"is "
                "off\"},{\"level\":\"warning\",\"object\":\"role reeve_api\",\"text\":\"x\"}]",
                "SERVER_SETTING ROLES ");
}

static void test_who_may_not_look_is_told_in_a_note(void **state)
{
        _cleanup_(freep) char *root = judge("{", "{\"error\":\"no such host\",", true);
        _cleanup_(freep) char *other = judge("{", "{\"error\":\"no such host\",", false);

        assert_string_equal(root, "DATABASE_UNREACHABLE ");
        assert_string_equal(other, "NOT_LOOKED_AT ");
}

static void check_waiting(const char *queue, unsigned busy, usec_t now, const char *code)
{
        _cleanup_(json_document_freep) JsonDocument *q = NULL, *w = NULL;
        char workers[200];
        Faults f = {};

        snprintf(workers, sizeof(workers),
                "[{\"queues\":[\"*\",\"!own\"],\"slots\":2,\"busy\":%u}]", busy);
        assert_int_equal(json_parse(queue, strlen(queue), 8, &q, NULL), 0);
        assert_int_equal(json_parse(workers, strlen(workers), 8, &w, NULL), 0);
        doctor_judge_waiting(&f, json_document_root(q), json_document_root(w), now);
        assert_int_equal(strstr(strbuf_str(&f.json), code) != NULL, *code != '\0' || f.n == 0);
        assert_int_equal(f.n, *code ? 1 : 0);
        faults_done(&f);
}

static void test_jobs_that_wait(void **state)
{
        static const char queue[] = "[{\"name\":\"q\",\"oldest_at\":\"2026-11-22T10:00:00Z\"}]";
        static const char own[] = "[{\"name\":\"own\",\"oldest_at\":\"2026-11-22T10:00:00Z\"}]";
        static const char paused[] =
                "[{\"name\":\"q\",\"paused\":true,\"oldest_at\":\"2026-11-22T10:00:00Z\"}]";
        static const char empty[] = "[{\"name\":\"q\"}]";
        usec_t at;

        assert_int_equal(parse_rfc3339("2026-11-22T10:00:00Z", &at), 0);
        check_waiting(queue, 1, at + 61 * USEC_PER_SEC, "WORKERS_IDLE");
        check_waiting(queue, 1, at + 59 * USEC_PER_SEC, "");
        check_waiting(queue, 2, at + 599 * USEC_PER_SEC, "");
        check_waiting(queue, 2, at + 601 * USEC_PER_SEC, "PENDING_STUCK");
        check_waiting(own, 0, at + 601 * USEC_PER_SEC, "");
        check_waiting(paused, 0, at + 601 * USEC_PER_SEC, "");
        check_waiting(empty, 0, at + 601 * USEC_PER_SEC, "");
        check_waiting(queue, 0, at - USEC_PER_SEC, ""); /* a clock that was set back */
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_a_healthy_database_gives_no_finding),
                cmocka_unit_test(test_each_fact_has_its_finding),
                cmocka_unit_test(test_who_may_not_look_is_told_in_a_note),
                cmocka_unit_test(test_jobs_that_wait),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

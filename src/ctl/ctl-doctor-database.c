/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-doctor.h"

#include <inttypes.h>

#define SERVER_MIN        150000
#define SKEW_USEC         (2 * USEC_PER_SEC)
#define CONNECTIONS_SHARE 80U /* percent of those that there may be */
#define FAILED_SHARE      10U /* percent of the last hour's jobs */
#define FAILED_MIN        20U /* fewer jobs prove nothing */

static int64_t member_i64(const JsonValue *v, const char *name)
{
        int64_t n = 0;

        (void) json_get_int64(v, name, INT64_MIN, INT64_MAX, &n, NULL);
        return n;
}

static const char *span_of(char buf[static TIMESPAN_MAX], int64_t sec)
{
        return format_timespan(buf, (usec_t) sec * USEC_PER_SEC);
}

static void judge_server(Faults *f, const JsonValue *server)
{
        if (member_i64(server, "version_num") < SERVER_MIN)
                faults_add(f, FAULT_ERROR, "SERVER_OLD", "apt-get install postgresql-15",
                        "The server is PostgreSQL %s; Reeve needs 15 or newer.",
                        member_text(server, "version"));
        if (member_bool(server, "standby") || member_bool(server, "read_only"))
                faults_add(f, FAULT_ERROR, "SERVER_READ_ONLY",
                        "editor /etc/reeve/reeve.conf: with several hosts in Database=, "
                        "target_session_attrs=read-write finds the one that can be written to",
                        "The server is %s: nothing can be done there.",
                        member_bool(server, "standby") ? "a standby" : "read-only");
        if (!streq(member_text(server, "encoding"), "UTF8"))
                faults_add(f, FAULT_ERROR, "ENCODING",
                        "createdb --template=template0 --encoding=UTF8 ...: see reeve-migrate(8)",
                        "The database %s has the encoding %s; Reeve needs UTF8.",
                        member_text(server, "database"), member_text(server, "encoding"));
        if (!member_bool(server, "registry"))
                faults_add(f, FAULT_ERROR, "SCHEMA_MISSING",
                        "systemctl start reeve-migrate.service; journalctl -u reeve-migrate",
                        "The database %s has no schema of Reeve's.",
                        member_text(server, "database"));
}

/* What "reevectl migrate check" says as well. */
static void judge_faults(Faults *f, const JsonValue *faults)
{
        static const struct {
                const char *object, *code, *remedy;
        } sorts[] = {
                { "server setting ", "SERVER_SETTING",
                        "psql -c 'alter system set NAME = on' -c 'select pg_reload_conf()', as the "
                        "superuser; or where it is set: /etc/reeve/postgres.conf" },
                { "", "SERVER_SETTING", /* of a role or a database */
                        "psql -c 'alter role NAME reset synchronous_commit' -c 'alter database "
                        "NAME reset synchronous_commit', as the superuser" },
                { "index ", "INDEX_INVALID", "reevectl migrate check" },
                { "role ", "ROLES",
                        "psql -X -v ON_ERROR_STOP=1 -d postgres -f " REEVE_DATADIR
                        "/migrations/bootstrap.sql, as the superuser; the embedded server: "
                        "systemctl restart reeve-postgres.service" },
        };

        for (const JsonValue *v = json_value_first(faults, NULL); v;
                v = json_value_next(faults, v, NULL)) {
                const char *object = member_text(v, "object"), *level = member_text(v, "level");
                size_t i = 0;

                while (i + 1 < ELEMENTSOF(sorts) &&
                        (strncmp(object, sorts[i].object, strlen(sorts[i].object)) != 0 ||
                                (!*sorts[i].object &&
                                        !strstr(member_text(v, "text"), "synchronous_commit"))))
                        i++;
                faults_add(f, streq(level, "error") ? FAULT_ERROR : FAULT_WARNING, sorts[i].code,
                        sorts[i].remedy, "%c%s %s.",
                        *object >= 'a' && *object <= 'z' ? *object - 'a' + 'A' : *object,
                        *object ? object + 1 : "", member_text(v, "text"));
        }
}

static void judge_transactions(Faults *f, const JsonValue *facts)
{
        const JsonValue *list = json_value_member(facts, "old_transactions");
        char span[TIMESPAN_MAX], remedy[128];

        for (const JsonValue *v = list ? json_value_first(list, NULL) : NULL; v;
                v = json_value_next(list, v, NULL)) {
                (void) snprintf(remedy, sizeof(remedy),
                        "psql -c 'select pg_terminate_backend(%" PRIi64
                        ")', as the superuser or that role",
                        member_i64(v, "pid"));
                faults_add(f, FAULT_WARNING, "TRANSACTION_OLD", remedy,
                        "A transaction of %s (%s, process %" PRIi64 ", %s) has been open for %s: "
                        "what jobs leave behind cannot be cleaned up.",
                        member_text(v, "user"), member_text(v, "application"), member_i64(v, "pid"),
                        member_text(v, "state"), span_of(span, member_i64(v, "sec")));
        }
        list = json_value_member(facts, "prepared");
        for (const JsonValue *v = list ? json_value_first(list, NULL) : NULL; v;
                v = json_value_next(list, v, NULL))
                faults_add(f, FAULT_WARNING, "TRANSACTION_OLD",
                        "psql -c \"rollback prepared 'GID'\", or commit it",
                        "The prepared transaction %s has been open for %s: what jobs leave behind "
                        "cannot be cleaned up.",
                        member_text(v, "gid"), span_of(span, member_i64(v, "sec")));
        list = json_value_member(facts, "slots");
        for (const JsonValue *v = list ? json_value_first(list, NULL) : NULL; v;
                v = json_value_next(list, v, NULL)) {
                const char *name = "";

                (void) json_value_string(v, &name);
                faults_add(f, FAULT_WARNING, "SLOT_UNUSED",
                        "start the standby that uses it; or psql -c \"select "
                        "pg_drop_replication_slot('NAME')\"",
                        "Nobody reads the replication slot %s: the server keeps its log for it "
                        "until the disk is full.",
                        name);
        }
}

static void judge_facts(Faults *f, const JsonValue *facts)
{
        uint64_t n = member_u64(facts, "connections"), max = member_u64(facts, "connections_max");
        const JsonValue *dead = json_value_member(facts, "dead_rows");

        if (n * 100 >= max * CONNECTIONS_SHARE)
                faults_add(f, FAULT_WARNING, "CONNECTIONS",
                        "editor /etc/reeve/postgres.conf: max_connections = ...; systemctl restart "
                        "reeve-postgres.service",
                        "%" PRIu64 " of the %" PRIu64 " connections that the server takes are "
                        "used.",
                        n, max);
        if (!member_bool(facts, "autovacuum"))
                faults_add(f, FAULT_WARNING, "AUTOVACUUM_OFF",
                        "psql -c 'alter system set autovacuum = on' -c 'select pg_reload_conf()', "
                        "as the superuser",
                        "autovacuum or track_counts is off: the queue becomes slower with each "
                        "job.");
        if (member_u64(facts, "hidden") > 0)
                faults_add(f, FAULT_NOTE, FAULT_NOT_LOOKED_AT,
                        "psql -X -v ON_ERROR_STOP=1 -d postgres -f " REEVE_DATADIR
                        "/migrations/bootstrap.sql, as the superuser",
                        "Transactions of others were not looked at: reeve_owner is no member of "
                        "pg_read_all_stats.");
        judge_transactions(f, facts);
        for (const JsonValue *v = dead ? json_value_first(dead, NULL) : NULL; v;
                v = json_value_next(dead, v, NULL)) {
                char remedy[160];

                (void) snprintf(remedy, sizeof(remedy), "psql -c 'vacuum (analyze) %s'",
                        member_text(v, "table"));
                faults_add(f, FAULT_WARNING, "DEAD_ROWS", remedy,
                        "The table %s has %" PRIu64 " dead rows and %" PRIu64 " living ones: "
                        "nobody cleans it up, or an old transaction keeps them.",
                        member_text(v, "table"), member_u64(v, "dead"), member_u64(v, "live"));
        }
}

static void judge_keys(Faults *f, const JsonValue *keys)
{
        for (const JsonValue *v = json_value_first(keys, NULL); v;
                v = json_value_next(keys, v, NULL)) {
                int64_t sec = member_i64(v, "sec");
                char span[TIMESPAN_MAX], remedy[80];

                (void) snprintf(remedy, sizeof(remedy),
                        "reevectl key create ...; reevectl key revoke %" PRIi64,
                        member_i64(v, "id"));
                if (sec < 0)
                        faults_add(f, FAULT_WARNING, "KEY_EXPIRED", remedy,
                                "The key %s expired %s ago.", member_text(v, "name"),
                                span_of(span, -sec));
                else
                        faults_add(f, FAULT_WARNING, "KEY_EXPIRES", remedy,
                                "The key %s expires in %s.", member_text(v, "name"),
                                span_of(span, sec));
        }
}

static void judge_schema(Faults *f, const JsonValue *schema)
{
        int64_t version = member_i64(schema, "version");
        uint64_t failed = member_u64(schema, "failed"), good = member_u64(schema, "succeeded");
        const JsonValue *keys = json_value_member(schema, "keys");

        if (version < REEVE_SCHEMA_VERSION)
                faults_add(f, FAULT_ERROR, "SCHEMA_OLD",
                        "systemctl start reeve-migrate.service; reevectl migrate status",
                        "The schema has version %" PRIi64 ", %d is needed.", version,
                        REEVE_SCHEMA_VERSION);
        else if (version > REEVE_SCHEMA_VERSION)
                faults_add(f, FAULT_NOTE, "SCHEMA_NEW", "reevectl migrate status",
                        "The schema has version %" PRIi64 ", newer than the %d of this package: "
                        "that works, and another host is ahead.",
                        version, REEVE_SCHEMA_VERSION);
        if (member_u64(schema, "interrupted") > 0)
                faults_add(f, FAULT_WARNING, "POISON",
                        "reevectl list --state=failed; reevectl show ID --history",
                        "%" PRIu64 " jobs of the last day were given up because each of their runs "
                        "was cut off: they may be what kills their workers.",
                        member_u64(schema, "interrupted"));
        if (failed + good >= FAILED_MIN && failed * 100 > (failed + good) * FAILED_SHARE)
                faults_add(f, FAULT_WARNING, "MANY_FAILED",
                        "reevectl list --state=failed; reevectl show ID; reevectl logs ID",
                        "%" PRIu64 " of %" PRIu64 " jobs of the last hour that have ended failed.",
                        failed, failed + good);
        if (member_bool(schema, "in_default"))
                faults_add(f, FAULT_WARNING, "PARTITIONS",
                        "systemctl start reeve-maintenance.service; journalctl -u "
                        "reeve-maintenance",
                        "There are jobs of a week that has no partition of its own: it makes lists "
                        "slow, and they cannot be dropped when they are old.");
        if (keys)
                judge_keys(f, keys);
}

static void judge_away(Faults *f, const JsonValue *facts, bool root)
{
        const char *error = member_text(facts, "error");

        if (!root)
                faults_add(f, FAULT_NOTE, FAULT_NOT_LOOKED_AT, "sudo reevectl doctor",
                        "The database was not looked at: only root may (%s).", error);
        else if (member_bool(facts, "embedded"))
                faults_add(f, FAULT_ERROR, "DATABASE_UNREACHABLE",
                        "systemctl start reeve-postgres.service; journalctl -u reeve-postgres",
                        "The database cannot be reached: %s.", error);
        else
                faults_add(f, FAULT_ERROR, "DATABASE_UNREACHABLE",
                        "look at the server that Database= in /etc/reeve/reeve.conf names",
                        "The database cannot be reached: %s.", error);
}

void doctor_judge_database(Faults *f, const JsonValue *facts, bool root)
{
        const JsonValue *v;
        int64_t skew = member_i64(facts, "skew_usec");
        usec_t away = (usec_t) (skew < 0 ? -skew : skew);
        char span[TIMESPAN_MAX];

        if (*member_text(facts, "error")) {
                judge_away(f, facts, root);
                return;
        }
        if ((v = json_value_member(facts, "server")))
                judge_server(f, v);
        if ((v = json_value_member(facts, "faults")))
                judge_faults(f, v);
        if ((v = json_value_member(facts, "facts")))
                judge_facts(f, v);
        if (away > SKEW_USEC + member_u64(facts, "round_trip_usec"))
                faults_add(f, FAULT_WARNING, "CLOCK_SKEW",
                        "timedatectl set-ntp true, here and on the database's host",
                        "The database's clock is %s %s of this host's: run_at=, lists by time and "
                        "ages are off by as much.",
                        format_timespan(span, away / USEC_PER_MSEC * USEC_PER_MSEC),
                        skew < 0 ? "behind" : "ahead");
        if ((v = json_value_member(facts, "schema")))
                judge_schema(f, v);
        else if (*member_text(facts, "schema_error"))
                faults_add(f, FAULT_ERROR, "SCHEMA_BROKEN", "reevectl migrate check",
                        "The schema cannot be read: %s.", member_text(facts, "schema_error"));
}

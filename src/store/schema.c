/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "schema.h"

#include <stdio.h>

#include "store-sql.h"
#include "strbuf.h"

struct Schema {
        PGconn *conn;
        SchemaError error;
        PGresult *error_result; /* owns the strings of error, or NULL */
        char *error_text; /* owns error.text if there is no result */
};

const SchemaError *schema_error(const Schema *s)
{
        return &s->error;
}

static void error_clear(Schema *s)
{
        PQclear(STEAL(s->error_result));
        s->error_text = mfree(s->error_text);
        s->error = (SchemaError){ .text = "" };
}

Schema *schema_free(Schema *s)
{
        if (!s)
                return NULL;
        error_clear(s);
        PQfinish(s->conn);
        free(s);
        return NULL;
}

/* libpq's messages as one line: "connection to server ... failed: ..." has several, tabs and all.
 */
static char *one_line(const char *text)
{
        StrBuf b = {};
        bool blank = false;

        for (; *text; text++) {
                if (strchr(" \t\r\n", *text)) {
                        blank = true;
                        continue;
                }
                if (blank && b.len > 0)
                        strbuf_putc(&b, ' ');
                blank = false;
                strbuf_putc(&b, *text);
        }
        return strbuf_steal(&b);
}

int schema_conninfo_is_local(const char *conninfo, bool *ret, char **ret_text)
{
        char *error = NULL;
        PQconninfoOption *options = PQconninfoParse(conninfo, &error);
        const char *host = NULL;

        if (!options) {
                char *text = one_line(error ? error : "no memory");

                PQfreemem(error);
                if (!text)
                        return -ENOMEM;
                *ret_text = text;
                return -EINVAL;
        }
        for (const PQconninfoOption *o = options; o->keyword; o++)
                if ((streq(o->keyword, "host") || streq(o->keyword, "hostaddr")) && o->val &&
                        *o->val)
                        host = o->val;
        if (!host)
                host = getenv("PGHOST");
        *ret = !host || !*host || strchr("/@", *host);
        PQconninfoFree(options);
        return 0;
}

int schema_connect(const SchemaConfig *config, Schema **ret, char **ret_text)
{
        _cleanup_(schema_freep) Schema *s = new0(Schema, 1);
        /* A later keyword wins over an earlier one, dbname is expanded where it stands. A name that
         * is no connection string stays the database's name. */
        const char *keywords[] = { "user", "connect_timeout", "fallback_application_name", "dbname",
                "client_encoding", config->user ? "user" : NULL, NULL };
        const char *values[] = { config->default_user, "10", config->application_name,
                config->conninfo, "UTF8", config->user, NULL };

        if (!s)
                return SCHEMA_NO_MEMORY;
        error_clear(s);
        s->conn = PQconnectdbParams(keywords, values, 1);
        if (!s->conn)
                return SCHEMA_NO_MEMORY;
        if (PQstatus(s->conn) != CONNECTION_OK) {
                char *text = one_line(PQerrorMessage(s->conn));

                if (!text)
                        return SCHEMA_NO_MEMORY;
                *ret_text = text;
                return SCHEMA_LOST;
        }
        *ret = TAKE_PTR(s);
        return SCHEMA_DONE;
}

static int fail(Schema *s, int outcome, const char *text)
{
        error_clear(s);
        s->error_text = one_line(text);
        s->error.text = s->error_text ? s->error_text : "no memory";
        return outcome;
}

/* Where in the script an error is. The script runs inside execute, so the server tells a position
 * in an "internal query": the script itself, or the body of a function in it. */
static unsigned error_position(const PGresult *result, const char *script)
{
        const char *position = PQresultErrorField(result, PG_DIAG_INTERNAL_POSITION);
        const char *query = PQresultErrorField(result, PG_DIAG_INTERNAL_QUERY);
        const char *found;
        unsigned n;

        if (!script || !position || !query || !*query)
                return 0;
        found = strstr(script, query);
        if (!found)
                return 0;
        n = (unsigned) strtoul(position, NULL, 10);
        for (const char *p = script; p < found; p++)
                n += (*p & 0xC0) != 0x80; /* characters, not bytes */
        return n;
}

/* Keeps what a failed statement said. Takes the result. */
static int fail_result(Schema *s, PGresult *result, const char *script)
{
        const char *state = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;

        if (PQstatus(s->conn) != CONNECTION_OK || !state || strncmp(state, "57P", 3) == 0 ||
                strncmp(state, "08", 2) == 0) {
                int r = fail(s, SCHEMA_LOST, PQerrorMessage(s->conn));

                PQclear(result);
                return r;
        }
        error_clear(s);
        s->error_result = result;
        (void) snprintf(s->error.sqlstate, sizeof(s->error.sqlstate), "%s", state);
        s->error.text = PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY);
        s->error.detail = PQresultErrorField(result, PG_DIAG_MESSAGE_DETAIL);
        s->error.hint = PQresultErrorField(result, PG_DIAG_MESSAGE_HINT);
        s->error.position = error_position(result, script);
        if (!s->error.text)
                s->error.text = "the server gave no reason";
        return streq(state, "55P03") || streq(state, "40P01") ? SCHEMA_LOCKED : SCHEMA_REFUSED;
}

/* Runs one statement of store/sql. ret may be NULL; else the caller clears it. */
static int run(Schema *s, const PqStatement *statement, const char *const *values, PGresult **ret)
{
        PGresult *result;

        error_clear(s);
        result = PQexecParams(
                s->conn, statement->sql, (int) statement->n_params, NULL, values, NULL, NULL, 0);
        if (PQresultStatus(result) != PGRES_TUPLES_OK && PQresultStatus(result) != PGRES_COMMAND_OK)
                return fail_result(s, result, NULL);
        if (ret)
                *ret = result;
        else
                PQclear(result);
        return SCHEMA_DONE;
}

/* A text without parameters or rows: BEGIN, COMMIT, ROLLBACK. */
static int command(Schema *s, const char *text)
{
        PGresult *result;

        error_clear(s);
        result = PQexec(s->conn, text);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
                return fail_result(s, result, NULL);
        PQclear(result);
        return SCHEMA_DONE;
}

/* A copy of a field, found by its column's name; NULL is NULL. *error is set when memory is out. */
static char *field(const PGresult *result, int row, const char *name, bool *error)
{
        int column = PQfnumber(result, name);
        char *copy;

        assert(column >= 0);
        if (PQgetisnull(result, row, column))
                return NULL;
        copy = strdup(PQgetvalue(result, row, column));
        if (!copy)
                *error = true;
        return copy;
}

static bool field_bool(const PGresult *result, int row, const char *name)
{
        int column = PQfnumber(result, name);

        assert(column >= 0);
        return *PQgetvalue(result, row, column) == 't';
}

static long field_long(const PGresult *result, int row, const char *name)
{
        int column = PQfnumber(result, name);

        assert(column >= 0);
        return strtol(PQgetvalue(result, row, column), NULL, 10);
}

void schema_server_done(SchemaServer *server)
{
        free(server->version);
        free(server->database);
        free(server->role);
        free(server->encoding);
        free(server->missing_roles);
        *server = (SchemaServer){ 0 };
}

int schema_describe(Schema *s, SchemaServer *ret)
{
        _cleanup_(schema_server_done) SchemaServer server = {};
        PGresult *result;
        bool oom = false;
        int r;

        r = run(s, &sql_describe_server, NULL, &result);
        if (r != SCHEMA_DONE)
                return r;
        server.version_num = (int) field_long(result, 0, "version_num");
        server.version = field(result, 0, "version", &oom);
        server.database = field(result, 0, "database", &oom);
        server.role = field(result, 0, "role", &oom);
        server.encoding = field(result, 0, "encoding", &oom);
        server.missing_roles = field(result, 0, "missing_roles", &oom);
        server.standby = field_bool(result, 0, "standby");
        server.read_only = field_bool(result, 0, "read_only");
        server.registry = field_bool(result, 0, "registry");
        server.instances = field_bool(result, 0, "instances");
        PQclear(result);
        if (oom)
                return SCHEMA_NO_MEMORY;
        *ret = STEAL(server);
        return SCHEMA_DONE;
}

void schema_records_done(SchemaRecords *r)
{
        for (size_t i = 0; i < r->n; i++) {
                free(r->records[i].name);
                free(r->records[i].checksum);
                free(r->records[i].up);
                free(r->records[i].down);
                free(r->records[i].applied_at);
                free(r->records[i].applied_by);
                free(r->records[i].program_version);
        }
        free(r->records);
        *r = (SchemaRecords){ 0 };
}

static void read_record(const PGresult *result, int row, SchemaRecord *record, bool *oom)
{
        *record = (SchemaRecord){
                .version = (unsigned) field_long(result, row, "version"),
                .name = field(result, row, "name", oom),
                .checksum = field(result, row, "checksum", oom),
                .up = field(result, row, "up_script", oom),
                .down = field(result, row, "down_script", oom),
                .applied_at = field(result, row, "applied_at", oom),
                .applied_by = field(result, row, "applied_by", oom),
                .program_version = field(result, row, "program_version", oom),
                .intact = field_bool(result, row, "intact"),
        };
}

int schema_list(Schema *s, SchemaRecords *ret)
{
        _cleanup_(schema_records_done) SchemaRecords records = {};
        PGresult *result;
        bool oom = false;
        int r;

        r = run(s, &sql_list_migrations, NULL, &result);
        if (r == SCHEMA_REFUSED &&
                (streq(s->error.sqlstate, "42P01") || streq(s->error.sqlstate, "3F000"))) {
                *ret = STEAL(records);
                return SCHEMA_DONE;
        }
        if (r != SCHEMA_DONE)
                return r;
        records.records = new0(SchemaRecord, (size_t) PQntuples(result));
        if (records.records)
                for (int i = 0; i < PQntuples(result); i++, records.n++)
                        read_record(result, i, &records.records[i], &oom);
        PQclear(result);
        if (!records.records || oom)
                return SCHEMA_NO_MEMORY;
        *ret = STEAL(records);
        return SCHEMA_DONE;
}

static int set_lock_timeout(Schema *s, usec_t usec)
{
        char text[32];
        const char *values[] = { text };

        /* 0 would mean for ever. */
        (void) snprintf(text, sizeof(text), "%llums",
                (unsigned long long) (usec < USEC_PER_MSEC ? 1 : usec / USEC_PER_MSEC));
        return run(s, &sql_set_migration_settings, values, NULL);
}

int schema_begin(Schema *s, usec_t queue_usec, usec_t lock_usec)
{
        int r;

        r = command(s, "begin");
        if (r != SCHEMA_DONE)
                return r;
        r = set_lock_timeout(s, queue_usec);
        if (r == SCHEMA_DONE)
                r = run(s, &sql_lock_schema, NULL, NULL);
        if (r == SCHEMA_DONE)
                r = set_lock_timeout(s, lock_usec);
        if (r != SCHEMA_DONE)
                (void) schema_end(s, false);
        return r;
}

int schema_end(Schema *s, bool commit)
{
        PGresult *result;

        /* What went wrong before stays to be read. */
        if (!commit) {
                PQclear(PQexec(s->conn, "rollback"));
                return SCHEMA_DONE;
        }
        error_clear(s);
        result = PQexec(s->conn, "commit");
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
                return fail_result(s, result, NULL);
        /* A transaction in which something failed is answered "ROLLBACK", without an error. */
        if (!streq(PQcmdStatus(result), "COMMIT")) {
                PQclear(result);
                return fail(s, SCHEMA_REFUSED, "the server undid the transaction");
        }
        PQclear(result);
        return SCHEMA_DONE;
}

int schema_make_registry(Schema *s)
{
        static const PqStatement *const statements[] = { &sql_create_schema,
                &sql_create_schema_migration, &sql_grant_schema, &sql_grant_schema_migration };
        _cleanup_(schema_server_done) SchemaServer server = {};
        int r;

        r = schema_describe(s, &server);
        if (r != SCHEMA_DONE || server.registry)
                return r;
        for (size_t i = 0; i < ELEMENTSOF(statements) && r == SCHEMA_DONE; i++)
                r = run(s, statements[i], NULL, NULL);
        return r;
}

int schema_newest(Schema *s, unsigned *ret)
{
        PGresult *result;
        int r;

        r = run(s, &sql_get_schema_version, NULL, &result);
        if (r != SCHEMA_DONE)
                return r;
        *ret = (unsigned) field_long(result, 0, "version");
        PQclear(result);
        return SCHEMA_DONE;
}

int schema_run(Schema *s, const char *script)
{
        const char *values[] = { script };
        PGresult *result;
        int r;

        r = run(s, &sql_set_script, values, NULL);
        if (r != SCHEMA_DONE)
                return r;
        result = PQexecParams(s->conn, sql_run_script.sql, 0, NULL, NULL, NULL, NULL, 0);
        if (PQresultStatus(result) != PGRES_COMMAND_OK)
                return fail_result(s, result, script);
        PQclear(result);
        return SCHEMA_DONE;
}

int schema_record(Schema *s, const SchemaRecord *record)
{
        char version[16];
        const char *values[] = { version, record->name, record->up, record->down,
                record->applied_by, record->program_version };

        (void) snprintf(version, sizeof(version), "%u", record->version);
        return run(s, &sql_record_migration, values, NULL);
}

int schema_forget(Schema *s, unsigned version)
{
        char text[16];
        const char *values[] = { text };
        PGresult *result;
        int r;

        (void) snprintf(text, sizeof(text), "%u", version);
        r = run(s, &sql_forget_migration, values, &result);
        if (r != SCHEMA_DONE)
                return r;
        if (!streq(PQcmdTuples(result), "1"))
                r = fail(s, SCHEMA_REFUSED, "there is no such record any more");
        PQclear(result);
        return r;
}

char **schema_lines_free(char **lines)
{
        for (char **l = lines; l && *l; l++)
                free(*l);
        free(lines);
        return NULL;
}

static int list_lines(
        Schema *s, const PqStatement *statement, const char *const *values, char ***ret)
{
        _cleanup_(schema_lines_freep) char **lines = NULL;
        PGresult *result;
        bool oom = false;
        int r;

        r = run(s, statement, values, &result);
        if (r != SCHEMA_DONE)
                return r;
        lines = new0(char *, (size_t) PQntuples(result) + 1);
        for (int i = 0; lines && !oom && i < PQntuples(result); i++)
                lines[i] = field(result, i, "line", &oom);
        PQclear(result);
        if (!lines || oom)
                return SCHEMA_NO_MEMORY;
        *ret = TAKE_PTR(lines);
        return SCHEMA_DONE;
}

int schema_list_living(Schema *s, unsigned version, char ***ret)
{
        char text[16];
        const char *values[] = { text };
        int r;

        (void) snprintf(text, sizeof(text), "%u", version);
        r = run(s, &sql_lock_instances, NULL, NULL);
        if (r != SCHEMA_DONE)
                return r;
        return list_lines(s, &sql_list_living_instances, values, ret);
}

int schema_list_lock_holders(Schema *s, char ***ret)
{
        return list_lines(s, &sql_list_lock_holders, NULL, ret);
}

void schema_faults_done(SchemaFaults *f)
{
        for (size_t i = 0; i < f->n; i++) {
                free(f->faults[i].level);
                free(f->faults[i].object);
                free(f->faults[i].text);
        }
        free(f->faults);
        *f = (SchemaFaults){ 0 };
}

int schema_find_faults(Schema *s, SchemaFaults *ret)
{
        _cleanup_(schema_faults_done) SchemaFaults faults = {};
        PGresult *result;
        bool oom = false;
        int r;

        r = run(s, &sql_find_schema_faults, NULL, &result);
        if (r != SCHEMA_DONE)
                return r;
        faults.faults = new0(SchemaFault, (size_t) PQntuples(result));
        if (faults.faults)
                for (int i = 0; i < PQntuples(result); i++, faults.n++)
                        faults.faults[i] = (SchemaFault){
                                .level = field(result, i, "level", &oom),
                                .object = field(result, i, "object", &oom),
                                .text = field(result, i, "text", &oom),
                        };
        PQclear(result);
        if (!faults.faults || oom)
                return SCHEMA_NO_MEMORY;
        *ret = STEAL(faults);
        return SCHEMA_DONE;
}

static int get_facts(Schema *s, const PqStatement *statement, char **ret)
{
        PGresult *result;
        bool oom = false;
        char *facts;
        int r = run(s, statement, NULL, &result);

        if (r != SCHEMA_DONE)
                return r;
        facts = field(result, 0, "facts", &oom);
        PQclear(result);
        if (!facts)
                return SCHEMA_NO_MEMORY;
        *ret = facts;
        return SCHEMA_DONE;
}

int schema_diagnose_server(Schema *s, char **ret)
{
        return get_facts(s, &sql_diagnose_server, ret);
}

int schema_diagnose(Schema *s, char **ret)
{
        return get_facts(s, &sql_diagnose_schema, ret);
}

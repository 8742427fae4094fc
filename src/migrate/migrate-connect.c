/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "log.h"
#include "migrate.h"
#include "strbuf.h"

#define RETRY_USEC (500 * USEC_PER_MSEC)

static void pause_usec(usec_t usec)
{
        struct timespec ts = { .tv_sec = (time_t) (usec / USEC_PER_SEC),
                .tv_nsec = (long) (usec % USEC_PER_SEC * 1000) };

        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
                ;
}

static void tell_bootstrap(const Migrate *m)
{
        log_error("Reeve's roles and database are made once, by a superuser of that server:");
        log_error("    psql -X -v ON_ERROR_STOP=1 -d postgres -f %s/bootstrap.sql",
                REEVE_DATADIR "/migrations");
        log_error("(-v database=NAME if the database is not called reeve), see reeve-migrate(8).");
}

int migrate_tell(const Migrate *m, int outcome, const char *where, const char *script)
{
        const SchemaError *e = schema_error(m->schema);

        switch (outcome) {
        case SCHEMA_NO_MEMORY:
                (void) log_oom();
                return EXIT_FAULT;
        case SCHEMA_LOST:
                log_error("%s: the connection to the database was lost: %s.", where, e->text);
                return EXIT_AWAY;
        default:
                break;
        }
        if (script && e->position > 0)
                log_error("%s:%u: %s (SQLSTATE %s)", where, migration_line(script, e->position),
                        e->text, e->sqlstate);
        else
                log_error("%s: %s (SQLSTATE %s)", where, e->text,
                        *e->sqlstate ? e->sqlstate : "none");
        if (e->detail)
                log_error("    %s", e->detail);
        if (e->hint)
                log_error("    %s", e->hint);
        if (script && (streq(e->sqlstate, "0A000") || streq(e->sqlstate, "2D000")) &&
                strstr(e->text, "transaction"))
                log_error("    A migration may not begin, commit or undo a transaction: it runs in "
                          "one, together with its record, so that it is done whole or not at all.");
        return EXIT_FAULT;
}

/* One attempt. *ret_text is set if the database cannot be reached. */
static int attempt(Migrate *m, char **ret_text)
{
        const SchemaConfig config = {
                .conninfo = m->conninfo,
                .user = m->options.user,
                .default_user = "reeve_owner",
                .application_name = "reeve-migrate",
        };
        int r;

        m->schema = schema_free(m->schema);
        schema_server_done(&m->server);
        schema_records_done(&m->records);
        r = schema_connect(&config, &m->schema, ret_text);
        if (r != SCHEMA_DONE)
                return r;
        r = schema_describe(m->schema, &m->server);
        if (r == SCHEMA_DONE)
                r = schema_list(m->schema, &m->records);
        return r;
}

/* Tells a reason for waiting once, not at each attempt. Takes text. */
static void tell_waiting(char **last, char *text)
{
        if (!streq_ptr(*last, text))
                log_notice("Waiting for the database: %s", text);
        free(*last);
        *last = text;
}

static bool is_over(usec_t start, usec_t wait_usec)
{
        return wait_usec != USEC_INFINITY && now_usec(CLOCK_MONOTONIC) - start >= wait_usec;
}

static char *failure(const Migrate *m, int outcome, char *text)
{
        if (text)
                return text;
        return strdup(outcome == SCHEMA_NO_MEMORY ? "no memory" : schema_error(m->schema)->text);
}

int migrate_connect(Migrate *m)
{
        _cleanup_(freep) char *last = NULL;
        usec_t start = now_usec(CLOCK_MONOTONIC);

        for (;;) {
                char *text = NULL;
                int r = attempt(m, &text);

                if (r == SCHEMA_DONE)
                        return EXIT_DONE;
                if (r != SCHEMA_LOST) {
                        free(text);
                        return migrate_tell(m, r, "Cannot read the schema", NULL);
                }
                text = failure(m, r, text);
                if (!text) {
                        (void) log_oom();
                        return EXIT_FAULT;
                }
                if (is_over(start, m->options.wait_usec)) {
                        log_error("Cannot reach the database: %s", text);
                        if (strstr(text, "does not exist"))
                                tell_bootstrap(m);
                        free(text);
                        return EXIT_AWAY;
                }
                tell_waiting(&last, text);
                pause_usec(RETRY_USEC);
        }
}

int migrate_wait(Migrate *m)
{
        _cleanup_(freep) char *last = NULL;
        unsigned want = m->options.to_given ? m->options.to : REEVE_SCHEMA_VERSION;
        usec_t start = now_usec(CLOCK_MONOTONIC);

        for (;;) {
                _cleanup_(freep) char *text = NULL;
                char *reason = NULL;
                int r = attempt(m, &text);

                if (r == SCHEMA_DONE && migrate_newest(m) >= want)
                        return EXIT_DONE;
                if (r == SCHEMA_DONE) {
                        StrBuf b = {};

                        strbuf_printf(
                                &b, "its schema has version %u, not %u", migrate_newest(m), want);
                        reason = strbuf_steal(&b);
                } else
                        reason = failure(m, r, TAKE_PTR(text));
                if (!reason) {
                        (void) log_oom();
                        return EXIT_FAULT;
                }
                if (is_over(start, m->options.wait_usec)) {
                        log_error("Gave up waiting for the database: %s", reason);
                        free(reason);
                        return r == SCHEMA_DONE ? EXIT_PENDING : EXIT_AWAY;
                }
                tell_waiting(&last, reason);
                pause_usec(RETRY_USEC);
        }
}

int migrate_require_writable(const Migrate *m)
{
        const SchemaServer *s = &m->server;

        if (s->standby || s->read_only) {
                log_error("The server is %s: nothing can be changed there. With several hosts in "
                          "Database=, target_session_attrs=read-write finds the one that can.",
                        s->standby ? "a standby" : "read-only");
                return EXIT_AWAY;
        }
        if (s->version_num < 150000) {
                log_error("The server is PostgreSQL %s; Reeve needs 15 or newer.", s->version);
                return EXIT_FAULT;
        }
        if (!streq(s->encoding, "UTF8")) {
                log_error("The database \"%s\" has the encoding %s; Reeve needs UTF8.", s->database,
                        s->encoding);
                return EXIT_FAULT;
        }
        if (s->missing_roles) {
                log_error("The server has no role %s.", s->missing_roles);
                tell_bootstrap(m);
                return EXIT_ROLES;
        }
        return EXIT_DONE;
}

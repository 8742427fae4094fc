/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "macros.h"
#include "time-util.h"

/* The record of migrations, over a plain blocking connection: for reeve-migrate, never for a
 * service's event loop. Everything between schema_begin() and schema_end() is one transaction,
 * which works through PgBouncer in transaction mode too.
 *
 * GLOSSARY
 * record   a row of reeve.schema_migration: a migration that was applied, with both its scripts
 * intact   the scripts of a record are those that its checksums were made of
 * newest   the highest version of all records; 0 if nothing was applied
 */

typedef struct Schema Schema;

/* What each call returns. */
enum {
        SCHEMA_DONE = 0,
        SCHEMA_REFUSED = 1, /* by the server: schema_error() */
        SCHEMA_LOCKED = 2, /* not got a lock in time, or a deadlock: nothing was done, may be tried
                              again */
        SCHEMA_LOST = 3, /* the connection: what was not committed is undone */
        SCHEMA_NO_MEMORY = 4,
};

/* The last thing that went wrong. The strings belong to the Schema and stay until its next call. */
typedef struct SchemaError {
        char sqlstate[6]; /* "" if it does not come from the server */
        unsigned position; /* in the script of schema_run(), in characters from 1; 0: not told */
        const char *text; /* one line, no full stop */
        const char *detail, *hint; /* NULL: none */
} SchemaError;

typedef struct SchemaConfig {
        const char *conninfo; /* libpq connection string */
        const char *user; /* role; NULL: the one of conninfo, else default_user */
        const char *default_user;
        const char *application_name;
} SchemaConfig;

/* Connects within conninfo's connect_timeout (10 s if it has none). On SCHEMA_LOST *ret_text says
 * why, in one line that the caller frees. */
int schema_connect(const SchemaConfig *config, Schema **ret, char **ret_text);
/* NULL-safe, returns NULL. An open transaction is undone. */
Schema *schema_free(Schema *s);
DEFINE_CLEANUP(Schema, schema_free)

const SchemaError *schema_error(const Schema *s);

/* Whether a connection string leads to a unix socket. *ret_text (the caller frees it) says what is
 * wrong with one that is none. Returns 0, -EINVAL or -ENOMEM. */
int schema_conninfo_is_local(const char *conninfo, bool *ret, char **ret_text);

typedef struct SchemaServer {
        int version_num; /* 150020 */
        char *version, *database, *role, *encoding;
        char *missing_roles; /* NULL: none */
        bool standby, read_only;
        bool registry; /* reeve.schema_migration is there */
        bool instances; /* reeve.instance is there */
} SchemaServer;

void schema_server_done(SchemaServer *server);
int schema_describe(Schema *s, SchemaServer *ret);

typedef struct SchemaRecord {
        unsigned version;
        char *name, *checksum, *up;
        char *down; /* NULL: nothing takes it back */
        char *applied_at; /* RFC 3339, UTC */
        char *applied_by, *program_version;
        bool intact;
} SchemaRecord;

typedef struct SchemaRecords {
        SchemaRecord *records; /* by version, ascending */
        size_t n;
} SchemaRecords;

void schema_records_done(SchemaRecords *r);
/* All records; none if the table is not there. Outside a transaction only. */
int schema_list(Schema *s, SchemaRecords *ret);

/* Begins a transaction and takes the migration's lock, waiting for another that holds it for
 * queue_usec at most. Then statements wait for locks for lock_usec at most. On failure nothing is
 * open. */
int schema_begin(Schema *s, usec_t queue_usec, usec_t lock_usec);
/* Makes the schema and the table of records unless they are there. */
int schema_make_registry(Schema *s);
/* The newest version, as this transaction sees it. */
int schema_newest(Schema *s, unsigned *ret);
/* Runs a script. The server refuses it (0A000) if it begins or ends a transaction, so that nothing
 * of it can stay behind. */
int schema_run(Schema *s, const char *script);
/* Only version, name, up, down, applied_by and program_version of the record are used. */
int schema_record(Schema *s, const SchemaRecord *record);
/* SCHEMA_REFUSED if there is no such record. */
int schema_forget(Schema *s, unsigned version);
/* Commits or undoes. Undoing always succeeds. */
int schema_end(Schema *s, bool commit);

/* Lines of text for people, ended by NULL; freed by the caller with schema_lines_free(). */
char **schema_lines_free(char **lines);
DEFINE_CLEANUP(char *, schema_lines_free)
/* In a transaction: keeps new instances out until it ends, and lists those living that need more
 * than the version. */
int schema_list_living(Schema *s, unsigned version, char ***ret);
/* Who holds locks that a migration may wait for. */
int schema_list_lock_holders(Schema *s, char ***ret);

typedef struct SchemaFault {
        char *level; /* "error" or "warning" */
        char *object, *text;
} SchemaFault;

typedef struct SchemaFaults {
        SchemaFault *faults;
        size_t n;
} SchemaFaults;

void schema_faults_done(SchemaFaults *f);
/* What is wrong with roles, indexes and the server's settings. */
int schema_find_faults(Schema *s, SchemaFaults *ret);

/* Facts for reeve-doctor, a JSON object that the caller frees: of the server, and of what is in the
 * schema. */
int schema_diagnose_server(Schema *s, char **ret);
int schema_diagnose(Schema *s, char **ret);

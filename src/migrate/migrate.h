/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "migration-files.h"
#include "schema.h"

/* reeve-migrate(8): its commands and what they share. Only for this program: its functions log. */

/* Exit codes; reeve-migrate(8) has them. */
enum {
        EXIT_DONE = 0,
        EXIT_FAULT = 1, /* a script failed, a lock was not got, check found something wrong */
        EXIT_USAGE = 2,
        EXIT_PENDING = 3, /* the schema is older than it should be */
        EXIT_MISMATCH = 4, /* files and database do not tell the same story */
        EXIT_REFUSED = 5, /* data would be lost, or a living instance needs what would go */
        EXIT_AWAY = 6, /* the database cannot be reached, or cannot be written to */
        EXIT_ROLES = 7, /* bootstrap.sql has not been run */
};

typedef struct Options {
        const char *directory;
        bool directory_given;
        const char *database; /* NULL: reeve.conf's */
        const char *user; /* NULL: not given */
        unsigned to;
        bool to_given;
        unsigned steps; /* 0: not given */
        unsigned show; /* version */
        bool dry_run, json, confirm_data_loss, show_down;
        usec_t wait_usec; /* how long to wait for the database, or for the schema */
        usec_t queue_usec, lock_usec, pause_usec;
        unsigned tries;
} Options;

typedef struct Migrate {
        Options options;
        char *conninfo;
        char *actor; /* who is recorded: user@host */
        MigrationFiles files;
        SchemaServer server;
        SchemaRecords records;
        Schema *schema;
} Migrate;

/* NULL if there is no file of that version. */
static inline const MigrationFile *migrate_file(const Migrate *m, size_t version)
{
        return m->files.files && version >= 1 && version <= m->files.n
                ? &m->files.files[version - 1]
                : NULL;
}

static inline unsigned migrate_newest(const Migrate *m)
{
        return m->records.records && m->records.n > 0 ? m->records.records[m->records.n - 1].version
                                                      : 0;
}

/* migrate-run.c: what goes into the transactions. All return an exit code. */
int migrate_up(Migrate *m);
int migrate_down(Migrate *m);

/* migrate-report.c */
int migrate_status(Migrate *m);
int migrate_check(Migrate *m);
int migrate_show(Migrate *m);
/* Tells every way in which files and records disagree (edited, missing, damaged). Returns their
 * number. */
unsigned migrate_compare(const Migrate *m);

/* migrate-connect.c: connects, waiting as long as the options say, and reads server and records. */
int migrate_connect(Migrate *m);
/* Waits until the schema has the version that is asked for. */
int migrate_wait(Migrate *m);
/* Refuses a server that cannot be written to, or is not prepared. */
int migrate_require_writable(const Migrate *m);
/* Tells what the last call to schema.h said. script (may be NULL) is what was run, where is its
 * name. Returns an exit code. */
int migrate_tell(const Migrate *m, int outcome, const char *where, const char *script);

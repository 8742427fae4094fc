/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "json-writer.h"
#include "log.h"
#include "migrate.h"

typedef enum RecordState {
        RECORD_APPLIED, /* as in the file */
        RECORD_EDITED, /* the file was changed after it was applied */
        RECORD_RENAMED, /* the file with this number is another migration */
        RECORD_DAMAGED, /* the stored scripts are not those that were applied */
        RECORD_NEWER, /* than all files: applied by a newer program */
} RecordState;

static const char *const state_names[] = {
        [RECORD_APPLIED] = "applied",
        [RECORD_EDITED] = "edited",
        [RECORD_RENAMED] = "renamed",
        [RECORD_DAMAGED] = "damaged",
        [RECORD_NEWER] = "newer",
};

static RecordState record_state(const Migrate *m, const SchemaRecord *r)
{
        const MigrationFile *f;

        if (!r->intact)
                return RECORD_DAMAGED;
        if (r->version > m->files.n)
                return RECORD_NEWER;
        f = &m->files.files[r->version - 1];
        if (!streq(f->name, r->name))
                return RECORD_RENAMED;
        return streq(f->up, r->up) ? RECORD_APPLIED : RECORD_EDITED;
}

static void tell_edited(const Migrate *m, const SchemaRecord *r)
{
        const MigrationFile *f = &m->files.files[r->version - 1];
        MigrationDifference d;

        if (!migration_difference(r->up, f->up, &d))
                return;
        log_error("%s was edited after it was applied (%s, by %s, version %s).", f->path,
                r->applied_at, r->applied_by, r->program_version);
        log_error("    %u line%s differ%s%s, the first is line %u:", d.n_lines,
                d.n_lines == 1 ? "" : "s", d.n_lines == 1 ? "s" : "",
                d.only_space ? " (only in white space)" : "", d.line);
        if (d.a_length >= 0)
                log_error("    applied: %.*s", d.a_length > 200 ? 200 : d.a_length, d.a);
        else
                log_error("    applied: (ends before)");
        if (d.b_length >= 0)
                log_error("    file:    %.*s", d.b_length > 200 ? 200 : d.b_length, d.b);
        else
                log_error("    file:    (ends before)");
        log_error("    What was applied does not change with its file. Put the file back as it was "
                  "(reeve-migrate show %u prints it; apt-get install --reinstall reeve), and what "
                  "you want to change into a new migration.",
                r->version);
}

static void tell_record(const Migrate *m, const SchemaRecord *r, RecordState state)
{
        switch (state) {
        case RECORD_EDITED:
                tell_edited(m, r);
                break;
        case RECORD_RENAMED:
                log_error("Migration %04u was applied as \"%s\" (%s, by %s, version %s), but %s is "
                          "another one. The files are not those of this database: install the "
                          "package that it belongs to.",
                        r->version, r->name, r->applied_at, r->applied_by, r->program_version,
                        m->files.files[r->version - 1].path);
                break;
        case RECORD_DAMAGED:
                log_error("Migration %04u_%s: the scripts stored in reeve.schema_migration are not "
                          "those that were applied (their checksums differ): somebody changed the "
                          "table. Restore it from a backup.",
                        r->version, r->name);
                break;
        case RECORD_APPLIED:
        case RECORD_NEWER:
                break;
        }
}

unsigned migrate_compare(const Migrate *m)
{
        unsigned n = 0, expected = 1;

        for (size_t i = 0; i < m->records.n; i++) {
                const SchemaRecord *r = &m->records.records[i];
                RecordState state = record_state(m, r);

                if (r->version != expected) {
                        log_error("The record of migration %04u is missing from "
                                  "reeve.schema_migration, that of %04u is there: somebody changed "
                                  "the table. Restore it from a backup.",
                                expected, r->version);
                        n++;
                }
                expected = r->version + 1;
                if (state != RECORD_APPLIED && state != RECORD_NEWER) {
                        tell_record(m, r, state);
                        n++;
                }
        }
        return n;
}

/* Pending migrations, and what the disagreements make of the whole. */
static int status_code(const Migrate *m)
{
        for (size_t i = 0; i < m->records.n; i++) {
                RecordState state = record_state(m, &m->records.records[i]);

                if (m->records.records[i].version != i + 1 ||
                        (state != RECORD_APPLIED && state != RECORD_NEWER))
                        return EXIT_MISMATCH;
        }
        return migrate_newest(m) < m->files.n ? EXIT_PENDING : EXIT_DONE;
}

static int print_json(const Migrate *m)
{
        StrBuf b = {};
        JsonWriter w = json_writer(&b);
        const MigrationFile *f;

        json_open_object(&w, NULL);
        json_put_string(&w, "database", m->server.database);
        json_put_string(&w, "role", m->server.role);
        json_put_string(&w, "server_version", m->server.version);
        json_put_bool(&w, "writable", !m->server.standby && !m->server.read_only);
        json_put_uint(&w, "version", migrate_newest(m));
        json_put_uint(&w, "package_version", m->files.n);
        json_open_array(&w, "migrations");
        for (size_t i = 0; i < m->records.n; i++) {
                const SchemaRecord *r = &m->records.records[i];
                _cleanup_(freep) char *destroys = NULL;

                if (r->down && migration_destroys(r->down, &destroys) < 0)
                        return -ENOMEM;
                json_open_object(&w, NULL);
                json_put_uint(&w, "version", r->version);
                json_put_string(&w, "name", r->name);
                json_put_string(&w, "state", state_names[record_state(m, r)]);
                json_put_string(&w, "checksum", r->checksum);
                json_put_string(&w, "applied_at", r->applied_at);
                json_put_string(&w, "applied_by", r->applied_by);
                json_put_string(&w, "program_version", r->program_version);
                json_put_bool(&w, "reversible", r->down != NULL);
                json_put_string(&w, "destroys", destroys);
                json_close(&w);
        }
        for (size_t v = migrate_newest(m) + 1; (f = migrate_file(m, v)); v++) {
                json_open_object(&w, NULL);
                json_put_uint(&w, "version", f->version);
                json_put_string(&w, "name", f->name);
                json_put_string(&w, "state", "pending");
                json_put_bool(&w, "reversible", f->down != NULL);
                json_close(&w);
        }
        json_close(&w);
        json_close(&w);
        if (json_writer_end(&w) < 0) {
                strbuf_done(&b);
                return -ENOMEM;
        }
        printf("%s\n", strbuf_str(&b));
        strbuf_done(&b);
        return 0;
}

int migrate_status(Migrate *m)
{
        const MigrationFile *f;

        if (m->options.json) {
                if (print_json(m) < 0) {
                        (void) log_oom();
                        return EXIT_FAULT;
                }
                return status_code(m);
        }
        printf("Database \"%s\", PostgreSQL %s%s: schema version %u, this program's is %zu\n",
                m->server.database, m->server.version,
                m->server.standby             ? " (standby)"
                        : m->server.read_only ? " (read-only)"
                                              : "",
                migrate_newest(m), m->files.n);
        for (size_t i = 0; i < m->records.n; i++) {
                const SchemaRecord *r = &m->records.records[i];

                printf("%04u_%-24s %-8s %s by %s, version %s\n", r->version, r->name,
                        state_names[record_state(m, r)], r->applied_at, r->applied_by,
                        r->program_version);
        }
        for (size_t v = migrate_newest(m) + 1; (f = migrate_file(m, v)); v++)
                printf("%04u_%-24s pending\n", f->version, f->name);
        (void) fflush(stdout);
        (void) migrate_compare(m);
        return status_code(m);
}

/* Everything that is not as it should be; says so when all is. */
int migrate_check(Migrate *m)
{
        _cleanup_(schema_faults_done) SchemaFaults faults = {};
        unsigned n_errors = 0, n_mismatches;
        const MigrationFile *f;
        int code, r;

        n_mismatches = migrate_compare(m);
        for (size_t i = 0; i < m->records.n; i++) {
                const SchemaRecord *record = &m->records.records[i];

                f = migrate_file(m, record->version);
                if (f && streq(f->name, record->name) && !streq_ptr(f->down, record->down))
                        log_warning("%s: the down script in the package is not the one that was "
                                    "stored; the stored one is what \"down\" runs.",
                                f->label);
        }
        if (migrate_newest(m) > m->files.n)
                log_notice("The schema has version %u, newer than this program's %zu. It can work "
                           "with it; \"down --to %zu\" takes it back.",
                        migrate_newest(m), m->files.n, m->files.n);
        for (size_t v = migrate_newest(m) + 1; (f = migrate_file(m, v)); v++)
                log_warning("%s is pending: reeve-migrate up", f->label);

        r = schema_find_faults(m->schema, &faults);
        if (r != SCHEMA_DONE)
                return migrate_tell(m, r, "Cannot check the schema", NULL);
        for (size_t i = 0; i < faults.n; i++) {
                const SchemaFault *fault = &faults.faults[i];
                bool error = streq(fault->level, "error");

                n_errors += error;
                (void) log_full(error ? LOG_ERR : LOG_WARNING, 0, "%s: %s %s.", fault->level,
                        fault->object, fault->text);
        }
        code = n_mismatches > 0                  ? EXIT_MISMATCH
                : n_errors > 0                   ? EXIT_FAULT
                : migrate_newest(m) < m->files.n ? EXIT_PENDING
                                                 : EXIT_DONE;
        if (code == EXIT_DONE)
                printf("The schema has version %u and is as it was applied.\n", migrate_newest(m));
        return code;
}

int migrate_show(Migrate *m)
{
        for (size_t i = 0; i < m->records.n; i++) {
                const SchemaRecord *r = &m->records.records[i];

                if (r->version != m->options.show)
                        continue;
                if (m->options.show_down && !r->down) {
                        log_error("Migration %u was applied without a down script.", r->version);
                        return EXIT_FAULT;
                }
                (void) fputs(m->options.show_down ? r->down : r->up, stdout);
                return EXIT_DONE;
        }
        log_error("Migration %u is not applied: see reeve-migrate status.", m->options.show);
        return EXIT_FAULT;
}

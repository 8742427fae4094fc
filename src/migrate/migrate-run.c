/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "log.h"
#include "migrate.h"

/* One step of up or down, in a transaction that is open. Returns a SCHEMA_ outcome, or STEP_ ones
 * of its own. */
enum {
        STEP_SKIPPED = 100, /* another reeve-migrate was first */
        STEP_MOVED = 101, /* another one changed the schema to something else */
        STEP_NEEDED = 102, /* a living instance needs what would go: told */
};

static void span(char buf[static 32], usec_t start)
{
        (void) snprintf(buf, 32, "%.3f s", (double) (now_usec(CLOCK_MONOTONIC) - start) / 1e6);
}

static int begin(Migrate *m)
{
        return schema_begin(m->schema, m->options.queue_usec, m->options.lock_usec);
}

static void tell_lock_holders(Migrate *m)
{
        _cleanup_(schema_lines_freep) char **lines = NULL;

        if (schema_list_lock_holders(m->schema, &lines) != SCHEMA_DONE)
                return;
        for (char **l = lines; *l; l++)
                log_error("    held by %s", *l);
}

static void pause_before_retry(const Migrate *m)
{
        struct timespec ts = { .tv_sec = (time_t) (m->options.pause_usec / USEC_PER_SEC),
                .tv_nsec = (long) (m->options.pause_usec % USEC_PER_SEC * 1000) };

        while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
                ;
}

/* Puts a transaction around a step, and tries again when a lock is not got. */
static int run_transaction(
        Migrate *m, int (*step)(Migrate *m, const void *what), const void *what, const char *where)
{
        char pause[TIMESPAN_MAX];

        for (unsigned i = 1;; i++) {
                int r = begin(m);

                if (r == SCHEMA_LOCKED) {
                        log_error("%s: another migration has been at work for too long.", where);
                        tell_lock_holders(m);
                        return r;
                }
                if (r != SCHEMA_DONE)
                        return r;
                r = step(m, what);
                if (r == SCHEMA_DONE)
                        return schema_end(m->schema, true);
                (void) schema_end(m->schema, false);
                if (r != SCHEMA_LOCKED)
                        return r;
                log_error("%s: a lock was not got within %llu ms (try %u of %u).", where,
                        (unsigned long long) (m->options.lock_usec / USEC_PER_MSEC), i,
                        m->options.tries);
                tell_lock_holders(m);
                if (i >= m->options.tries)
                        return r;
                log_notice("%s: next try in %s.", where,
                        format_timespan(pause, m->options.pause_usec));
                pause_before_retry(m);
        }
}

/* After a step that did not succeed: an exit code, everything told. */
static int tell_step(Migrate *m, int outcome, const char *where, const char *script)
{
        switch (outcome) {
        case SCHEMA_LOCKED:
                log_error("%s: nothing was changed. End what holds the locks, or try again later.",
                        where);
                return EXIT_FAULT;
        case STEP_NEEDED:
                return EXIT_REFUSED;
        case STEP_MOVED:
                log_error(
                        "%s: somebody else changed the schema meanwhile: see reeve-migrate status.",
                        where);
                return EXIT_FAULT;
        default:
                return migrate_tell(m, outcome, where, script);
        }
}

/* ---- up -------------------------------------------------------------------------------------- */

static int apply(Migrate *m, const MigrationFile *f)
{
        const SchemaRecord record = {
                .version = f->version,
                .name = f->name,
                .up = f->up,
                .down = f->down,
                .applied_by = m->actor,
                .program_version = (char *) REEVE_VERSION,
        };
        unsigned newest;
        int r;

        r = schema_make_registry(m->schema);
        if (r == SCHEMA_DONE)
                r = schema_newest(m->schema, &newest);
        if (r != SCHEMA_DONE)
                return r;
        if (newest >= f->version)
                return STEP_SKIPPED;
        if (newest + 1 != f->version)
                return STEP_MOVED;
        r = schema_run(m->schema, f->up);
        return r == SCHEMA_DONE ? schema_record(m->schema, &record) : r;
}

static int apply_step(Migrate *m, const void *what)
{
        return apply(m, what);
}

/* All in one transaction, which is undone. */
static int dry_run_up(Migrate *m, unsigned first, unsigned last)
{
        const char *where = "dry run";
        const char *script = NULL;
        char took[32];
        int r;

        r = begin(m);
        for (unsigned v = first; v <= last && r == SCHEMA_DONE; v++) {
                const MigrationFile *f = &m->files.files[v - 1];
                usec_t start = now_usec(CLOCK_MONOTONIC);

                where = f->path;
                script = f->up;
                r = apply(m, f);
                span(took, start);
                if (r == SCHEMA_DONE)
                        printf("%s: would be applied (took %s)\n", f->label, took);
        }
        (void) schema_end(m->schema, false);
        if (r == STEP_SKIPPED)
                r = STEP_MOVED;
        if (r != SCHEMA_DONE)
                return tell_step(m, r, where, script);
        printf("Dry run: undone; the schema still has version %u.\n", migrate_newest(m));
        return EXIT_DONE;
}

/* Finds out from which to which version to go. */
static int plan_up(const Migrate *m, unsigned *ret_last)
{
        unsigned newest = migrate_newest(m);
        unsigned last = m->options.to_given ? m->options.to : (unsigned) m->files.n;

        if (last > m->files.n) {
                log_error("There is no migration %u: the newest in %s is %zu.", last,
                        m->options.directory, m->files.n);
                return EXIT_USAGE;
        }
        if (m->options.to_given && last < newest) {
                log_error(
                        "The schema has version %u already: reeve-migrate down --to %u goes back.",
                        newest, last);
                return EXIT_USAGE;
        }
        *ret_last = last;
        return EXIT_DONE;
}

int migrate_up(Migrate *m)
{
        unsigned newest = migrate_newest(m), last;
        int r;

        r = migrate_require_writable(m);
        if (r != EXIT_DONE)
                return r;
        if (migrate_compare(m) > 0)
                return EXIT_MISMATCH;
        r = plan_up(m, &last);
        if (r != EXIT_DONE)
                return r;
        if (newest > m->files.n) {
                printf("The schema has version %u, newer than this program's %zu, which can work "
                       "with it: nothing to do.\n",
                        newest, m->files.n);
                return EXIT_DONE;
        }
        if (last <= newest) {
                printf("Up to date: the schema has version %u.\n", newest);
                return EXIT_DONE;
        }
        if (m->options.dry_run)
                return dry_run_up(m, newest + 1, last);
        for (unsigned v = newest + 1; v <= last; v++) {
                const MigrationFile *f = &m->files.files[v - 1];
                usec_t start = now_usec(CLOCK_MONOTONIC);
                char took[32];

                r = run_transaction(m, apply_step, f, f->path);
                span(took, start);
                if (r == SCHEMA_DONE)
                        printf("%s: applied (%s)\n", f->label, took);
                else if (r == STEP_SKIPPED)
                        printf("%s: applied by somebody else meanwhile\n", f->label);
                else
                        return tell_step(m, r, f->path, f->up);
                (void) fflush(stdout);
        }
        return EXIT_DONE;
}

/* ---- down ------------------------------------------------------------------------------------ */

typedef struct Down {
        const SchemaRecord *record;
        unsigned target; /* of the whole command: what instances may not need */
} Down;

static void label(char buf[static 128], const SchemaRecord *r)
{
        (void) snprintf(buf, 128, "%04u_%.100s", r->version, r->name);
}

static void where_down(char buf[static 160], const SchemaRecord *r)
{
        (void) snprintf(buf, 160, "stored down script of %04u_%.100s", r->version, r->name);
}

static int find_living(Migrate *m, unsigned target)
{
        _cleanup_(schema_server_done) SchemaServer server = {};
        _cleanup_(schema_lines_freep) char **lines = NULL;
        int r;

        r = schema_describe(m->schema, &server); /* a step before may have taken the table */
        if (r != SCHEMA_DONE || !server.instances)
                return r;
        r = schema_list_living(m->schema, target, &lines);
        if (r != SCHEMA_DONE || !lines[0])
                return r;
        log_error("Living workers need a schema newer than version %u:", target);
        for (char **l = lines; *l; l++)
                log_error("    %s", *l);
        log_error("Stop them (systemctl stop 'reeve-worker@*'), or run an older version there.");
        return STEP_NEEDED;
}

static int revert(Migrate *m, const Down *d)
{
        unsigned newest;
        int r;

        r = schema_newest(m->schema, &newest);
        if (r != SCHEMA_DONE)
                return r;
        if (newest != d->record->version)
                return newest < d->record->version ? STEP_SKIPPED : STEP_MOVED;
        r = find_living(m, d->target);
        if (r == SCHEMA_DONE)
                r = schema_run(m->schema, d->record->down);
        return r == SCHEMA_DONE ? schema_forget(m->schema, d->record->version) : r;
}

static int revert_step(Migrate *m, const void *what)
{
        return revert(m, what);
}

static int dry_run_down(Migrate *m, size_t last, unsigned target)
{
        char where[160] = "dry run", name[128], took[32];
        const char *script = NULL;
        int r;

        r = begin(m);
        for (size_t i = m->records.n; i > last && r == SCHEMA_DONE; i--) {
                const Down d = { .record = &m->records.records[i - 1], .target = target };
                usec_t start = now_usec(CLOCK_MONOTONIC);

                where_down(where, d.record);
                label(name, d.record);
                script = d.record->down;
                r = revert(m, &d);
                span(took, start);
                if (r == SCHEMA_DONE)
                        printf("%s: would be taken back (took %s)\n", name, took);
        }
        (void) schema_end(m->schema, false);
        if (r == STEP_SKIPPED)
                r = STEP_MOVED;
        if (r != SCHEMA_DONE)
                return tell_step(m, r, where, script);
        printf("Dry run: undone; the schema still has version %u.\n", migrate_newest(m));
        return EXIT_DONE;
}

/* Whether one migration may be taken back at all. */
static int allow_down(const Migrate *m, const SchemaRecord *r)
{
        _cleanup_(freep) char *destroys = NULL;
        char name[128];

        label(name, r);
        if (!r->down) {
                log_error("%s was applied without a down script: it cannot be taken back.", name);
                return EXIT_REFUSED;
        }
        if (!r->intact) {
                log_error(
                        "%s: the scripts stored in reeve.schema_migration are not those that were "
                        "applied (their checksums differ): they will not be run.",
                        name);
                return EXIT_MISMATCH;
        }
        if (migration_destroys(r->down, &destroys) < 0) {
                (void) log_oom();
                return EXIT_FAULT;
        }
        if (destroys && m->options.dry_run)
                printf("%s: destroys data: %s\n", name, destroys);
        else if (destroys && !m->options.confirm_data_loss) {
                log_error("Taking back %s destroys data: %s", name, destroys);
                return EXIT_REFUSED;
        }
        return EXIT_DONE;
}

static int allow_downs(const Migrate *m, size_t last)
{
        int result = EXIT_DONE;

        for (size_t i = m->records.n; i > last; i--) {
                int r = allow_down(m, &m->records.records[i - 1]);

                if (r != EXIT_DONE)
                        result = r;
        }
        if (result == EXIT_REFUSED && !m->options.confirm_data_loss)
                log_error("Nothing was changed. Make a backup; --confirm-data-loss goes on.");
        return result;
}

/* How many records stay. */
static int plan_down(const Migrate *m, size_t *ret_last, unsigned *ret_target)
{
        unsigned steps = m->options.steps ? m->options.steps : 1;
        size_t last = m->records.n;

        if (!m->options.to_given) {
                last = steps > m->records.n ? 0 : m->records.n - steps;
                *ret_target = last > 0 ? m->records.records[last - 1].version : 0;
                *ret_last = last;
                return EXIT_DONE;
        }
        if (m->options.to > migrate_newest(m)) {
                log_error("The schema has version %u: reeve-migrate up --to %u goes forward.",
                        migrate_newest(m), m->options.to);
                return EXIT_USAGE;
        }
        while (last > 0 && m->records.records[last - 1].version > m->options.to)
                last--;
        *ret_target = m->options.to;
        *ret_last = last;
        return EXIT_DONE;
}

int migrate_down(Migrate *m)
{
        unsigned target;
        size_t last;
        int r;

        r = migrate_require_writable(m);
        if (r == EXIT_DONE)
                r = plan_down(m, &last, &target);
        if (r == EXIT_DONE)
                r = allow_downs(m, last);
        if (r != EXIT_DONE)
                return r;
        if (last == m->records.n) {
                printf("Nothing to take back: the schema has version %u.\n", migrate_newest(m));
                return EXIT_DONE;
        }
        if (m->options.dry_run)
                return dry_run_down(m, last, target);
        for (size_t i = m->records.n; i > last; i--) {
                const Down d = { .record = &m->records.records[i - 1], .target = target };
                usec_t start = now_usec(CLOCK_MONOTONIC);
                char where[160], name[128], took[32];

                where_down(where, d.record);
                label(name, d.record);
                r = run_transaction(m, revert_step, &d, where);
                span(took, start);
                if (r == SCHEMA_DONE)
                        printf("%s: taken back (%s)\n", name, took);
                else if (r == STEP_SKIPPED)
                        printf("%s: taken back by somebody else meanwhile\n", name);
                else
                        return tell_step(m, r, where, d.record->down);
                (void) fflush(stdout);
        }
        return EXIT_DONE;
}

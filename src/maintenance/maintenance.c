/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "maintenance.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>

#include "blob.h"
#include "config-load.h"
#include "log.h"
#include "store-maintenance.h"

#define CONNECT_USEC   (30 * USEC_PER_SEC)
#define STATEMENT_USEC (10 * USEC_PER_MIN)
#define ROWS_MAX       2000U /* of a statement that is repeated: well below a second's work */
#define ROUNDS_MAX     100000U /* of one that finds work again and again */
#define NAMES_MAX      500U /* blobs asked for at once */
#define INSTANCES_USEC (7 * USEC_PER_DAY)
#define WEEKS_MAX      100U /* dropped in one round */
#define BUSY_TRIES     5U

typedef struct Maintenance {
        sd_event *event;
        Store *store;
        BlobStore *blobs;
        Settings settings;

        /* The statement under way. */
        bool answered;
        int error;
        int64_t n;

        bool told_to_end;
        BlobEntry *seen; /* NAMES_MAX of them */
        unsigned n_seen;
        int64_t n_expired, n_keys, n_instances, n_weeks, n_files;
} Maintenance;

/* ---- one statement after the other ---- */

static void on_count(int error, int64_t n, void *userdata)
{
        Maintenance *m = userdata;

        m->error = error;
        m->n = n;
        m->answered = true;
}

static void on_expired(int error, int64_t n_seen, int64_t n_expired, void *userdata)
{
        Maintenance *m = userdata;

        m->n_expired += n_expired;
        on_count(error, n_seen, m);
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        ((Maintenance *) userdata)->told_to_end = true;
        return 0;
}

static int wait_connected(Maintenance *m)
{
        usec_t end = now_usec(CLOCK_MONOTONIC) + CONNECT_USEC;
        int r;

        while (!store_is_connected(m->store)) {
                if (m->told_to_end)
                        return -EINTR;
                if (now_usec(CLOCK_MONOTONIC) >= end)
                        return log_error_errno(-ETIMEDOUT, "No database within %llu s: %s",
                                (unsigned long long) (CONNECT_USEC / USEC_PER_SEC),
                                store_last_error(m->store));
                r = sd_event_run(m->event, USEC_PER_SEC);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* sent: what the function that started the statement returned. Returns what its answer said. */
static int await(Maintenance *m, int sent)
{
        int r;

        if (sent < 0)
                return sent;
        while (!m->answered) {
                r = sd_event_run(m->event, UINT64_MAX);
                if (r < 0)
                        return r;
        }
        return m->told_to_end && m->error == 0 ? -EINTR : m->error;
}

typedef int (*Step)(Maintenance *m);

#define ASK(m, function, ...)                                                                      \
        ((m)->answered = false, await(m, function((m)->store, ##__VA_ARGS__, m, NULL)))

/* ---- the steps ---- */

static int expire_results(Maintenance *m)
{
        int r;

        for (unsigned i = 0; i < ROUNDS_MAX; i++) {
                r = ASK(m, store_expire_results, ROWS_MAX, on_expired);
                if (r < 0)
                        return r;
                if (m->n < ROWS_MAX)
                        break;
        }
        return 0;
}

static int delete_keys(Maintenance *m)
{
        int r;

        for (unsigned i = 0; i < ROUNDS_MAX; i++) {
                r = ASK(m, store_delete_expired_keys, ROWS_MAX, on_count);
                if (r < 0)
                        return r;
                m->n_keys += m->n;
                if (m->n < ROWS_MAX)
                        break;
        }
        return 0;
}

static int forget_buckets(Maintenance *m)
{
        int r;

        for (unsigned i = 0; i < ROUNDS_MAX; i++) {
                r = ASK(m, store_forget_buckets, ROWS_MAX, on_count);
                if (r < 0)
                        return r;
                if (m->n < ROWS_MAX)
                        break;
        }
        return 0;
}

static int delete_instances(Maintenance *m)
{
        int r = ASK(m, store_delete_old_instances, INSTANCES_USEC, on_count);

        m->n_instances = r < 0 ? 0 : m->n;
        return r;
}

static int drop_weeks(Maintenance *m)
{
        usec_t keep = m->settings.keep_jobs_usec;
        unsigned n_busy = 0;
        int r;

        for (unsigned week = 0; week < WEEKS_MAX;) {
                for (unsigned i = 0; i < ROUNDS_MAX; i++) {
                        r = ASK(m, store_forget_week, keep, ROWS_MAX, on_count);
                        if (r < 0)
                                return r;
                        if (m->n == 0)
                                break;
                }
                r = ASK(m, store_drop_week, keep, on_count);
                if (r == -EAGAIN && n_busy++ < BUSY_TRIES)
                        continue;
                if (r < 0 || m->n == 0)
                        return r;
                m->n_weeks++;
                week++;
        }
        return 0;
}

/* The database has forgotten the blob: a writer of the same content since then keeps the file. */
static void remove_file(Maintenance *m, const char *tenant, const char *digest)
{
        int r = blob_remove(m->blobs, tenant, digest, m->settings.orphan_usec);

        if (r == BLOB_REMOVED)
                m->n_files++;
        else if (r < 0 && r != -ENOENT)
                (void) log_warning_errno(
                        r, "Failed to remove file %s of tenant %s: %m", digest, tenant);
}

static void on_forgotten(int error, const StoreBlobName *names, unsigned n, void *userdata)
{
        Maintenance *m = userdata;

        for (unsigned i = 0; error == 0 && i < n; i++)
                remove_file(m, names[i].tenant, names[i].digest);
        on_count(error, n, m);
}

static int remove_orphans(Maintenance *m)
{
        int r = ASK(m, store_mark_orphans, on_count);

        for (unsigned i = 0; r == 0 && i < ROUNDS_MAX; i++) {
                r = ASK(m, store_forget_orphans, m->settings.orphan_usec, NAMES_MAX, on_forgotten);
                if (m->n < NAMES_MAX)
                        break;
        }
        return r;
}

static int ask_for_seen(Maintenance *m)
{
        StoreBlobName names[NAMES_MAX];
        unsigned n = m->n_seen;

        m->n_seen = 0;
        if (n == 0)
                return 0;
        for (unsigned i = 0; i < n; i++)
                names[i] = (StoreBlobName){ m->seen[i].tenant, m->seen[i].digest };
        return ASK(m, store_find_unknown_blobs, names, n, on_forgotten);
}

/* Files of uploads that never became a job's, and of processes that died in between. */
static int remove_unknown(Maintenance *m)
{
        _cleanup_(blob_walk_freep) BlobWalk *walk = NULL;
        usec_t old = now_usec(CLOCK_REALTIME) - m->settings.orphan_usec;
        int r;

        m->seen = new0(BlobEntry, NAMES_MAX);
        if (!m->seen)
                return -ENOMEM;
        r = blob_walk_new(m->blobs, &walk);
        while (r >= 0) {
                r = blob_walk_next(walk, m->seen + m->n_seen);
                if (r == BLOB_WALK_END)
                        break;
                if (r < 0) {
                        (void) log_warning_errno(
                                r, "Cannot read a part of the blob store: %m; going on.");
                        r = 0;
                }
                if (r == BLOB_WALK_ENTRY && m->seen[m->n_seen].changed_usec < old)
                        m->n_seen++;
                if (m->n_seen == NAMES_MAX)
                        r = ask_for_seen(m);
                if (m->told_to_end)
                        return -EINTR;
        }
        return r < 0 ? r : ask_for_seen(m);
}

static int ensure_partitions(Maintenance *m)
{
        return ASK(m, store_ensure_partitions, on_count);
}

static const struct {
        const char *what;
        Step step;
        bool files; /* needs the blob store */
} steps[] = {
        { "make the partitions of the weeks to come", ensure_partitions, false },
        { "forget expired results", expire_results, false },
        { "forget expired idempotency keys", delete_keys, false },
        { "forget rates that nobody used lately", forget_buckets, false },
        { "forget workers that stopped long ago", delete_instances, false },
        { "drop old weeks of jobs", drop_weeks, false },
        { "remove files that no job names", remove_orphans, true },
        { "remove files that the database does not know", remove_unknown, true },
};

static int run_steps(Maintenance *m)
{
        int result = 0;
        int r;

        for (unsigned i = 0; i < ELEMENTSOF(steps); i++) {
                if (steps[i].files && !m->blobs)
                        continue;
                r = wait_connected(m);
                if (r >= 0)
                        r = steps[i].step(m);
                if (r == -EINTR || (r < 0 && !store_is_connected(m->store) && result < 0))
                        return r;
                if (r < 0) {
                        const char *why = store_last_error(m->store);

                        if (*why)
                                log_error("Failed to %s: %s", steps[i].what, why);
                        else
                                (void) log_error_errno(r, "Failed to %s: %m", steps[i].what);
                        result = result < 0 ? result : r;
                }
        }
        return result;
}

/* ---- life ---- */

static void on_report(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        if (level == CONF_ERROR)
                log_warning("%s:%u: %s", file, line, text);
}

static int open_all(Maintenance *m, const MaintenanceOptions *options)
{
        StoreConfig config = {
                .role = "reeve_owner",
                .application_name = "reeve-maintenance",
                .deadline_usec = STATEMENT_USEC,
        };
        int r;

        r = settings_load(options->root, on_report, NULL, &m->settings);
        if (r < 0 && r != -EINVAL)
                return log_error_errno(r, "Cannot read reeve.conf: %m");
        config.conninfo = m->settings.database;
        config.prepared = settings_prepared(&m->settings);
        /* A host without workers and API has no files. */
        r = blob_store_open(options->blobs, &m->blobs);
        if (r < 0 && r != -ENOENT)
                return log_error_errno(r, "Cannot open the blob store %s: %m", options->blobs);
        r = sd_event_add_signal(m->event, NULL, SIGTERM, on_signal, m);
        if (r >= 0)
                r = sd_event_add_signal(m->event, NULL, SIGINT, on_signal, m);
        if (r >= 0)
                r = store_new(m->event, &config, &m->store);
        return r < 0 ? log_error_errno(r, "Failed to set up: %m") : 0;
}

int maintenance_run(sd_event *event, const MaintenanceOptions *options)
{
        Maintenance m = { .event = event };
        int r;

        r = open_all(&m, options);
        if (r >= 0)
                r = run_steps(&m);
        if (m.n_expired + m.n_keys + m.n_instances + m.n_weeks + m.n_files > 0)
                log_info("Results expired: %" PRId64 ", weeks dropped: %" PRId64
                         ", files removed: %" PRId64 ", idempotency keys: %" PRId64
                         ", stopped workers: %" PRId64 ".",
                        m.n_expired, m.n_weeks, m.n_files, m.n_keys, m.n_instances);
        store_free(m.store);
        blob_store_free(m.blobs);
        free(m.seen);
        settings_done(&m.settings);
        return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-reader.h"
#include "log.h"
#include "manager-change.h"

#define JSON_DEPTH 8U

/* ---- rows to objects ---- */

int objects_read_json(Manager *m, const ObjectClass *class, const char *json, ObjectReader read_one,
        Object ***ret_items, unsigned *ret_n)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const JsonValue *root;
        Object **items;
        unsigned n = 0;
        int r = json_parse(json, strlen(json), JSON_DEPTH, &d, NULL);

        if (r < 0)
                return r;
        root = json_document_root(d);
        items = new0(Object *, json_value_count(root));
        if (!items)
                return -ENOMEM;
        for (const JsonValue *v = json_value_first(root, NULL); v && r >= 0;
                v = json_value_next(root, v, NULL)) {
                r = read_one(m, v, items + n);
                n += r >= 0;
        }
        if (r < 0) {
                while (n > 0)
                        object_free(class, items[--n]);
                free(items);
                return r;
        }
        *ret_items = items;
        *ret_n = n;
        return 0;
}

typedef int (*ListReader)(Manager *m, const char *json, Object ***ret_items, unsigned *ret_n);

static int replace_from_json(Manager *m, ObjectList *list, ListReader reader, const char *json)
{
        Object **items = NULL;
        unsigned n = 0;
        int r = reader(m, json, &items, &n);

        if (r < 0)
                return r;
        (void) object_list_replace(list, m->bus, items, n);
        return 0;
}

/* ---- one refresh: several statements at a time ---- */

static void note_answer(Manager *m, int error, const char *what)
{
        if (error < 0 && !m->refresh_failed) {
                m->refresh_failed = true;
                if (error == -EIO || error == -EPROTO || error == -ENOMEM || error == -EINVAL)
                        (void) log_warning_errno(error, "Failed to read %s: %s", what,
                                error == -EIO ? store_last_error(m->store) : strerror(-error));
        }
        if (--m->n_refreshing > 0)
                return;
        m->refresh_took_usec = now_usec(CLOCK_MONOTONIC) - m->refresh_started_usec;
        if (!m->refresh_failed)
                m->refreshed_usec = now_usec(CLOCK_MONOTONIC);
        manager_update(m);
        if (m->refresh_again) {
                m->refresh_again = false;
                manager_refresh(m);
        }
}

static void on_stats(int error, const StoreStats *stats, void *userdata)
{
        Manager *m = userdata;
        ManagerView old = m->view;

        if (error == 0) {
                m->view.queued_jobs =
                        (uint64_t) (stats->n_ready + stats->n_scheduled + stats->n_blocked);
                m->view.active_jobs = (uint32_t) stats->n_running;
                manager_view_changed(m, &old);
        }
        note_answer(m, error, "the numbers of jobs");
}

static void on_queues(int error, const char *const *row, void *userdata)
{
        Manager *m = userdata;

        if (error == 0)
                error = row && row[0] ? replace_from_json(m, &m->queues, queues_read, row[0])
                                      : -EPROTO;
        note_answer(m, error, "the queues");
}

static void on_workers(int error, const char *const *row, void *userdata)
{
        Manager *m = userdata;

        if (error == 0)
                error = row && row[0] ? replace_from_json(m, &m->workers, workers_read, row[0])
                                      : -EPROTO;
        note_answer(m, error, "the workers");
}

static void on_flags(int error, const StoreFlag *rows, unsigned n_rows, void *userdata)
{
        Manager *m = userdata;
        Object **items = NULL;
        unsigned n = 0;

        m->reading_flags = false;
        if (error == 0)
                error = flags_read(m, rows, n_rows, &items, &n);
        if (error == 0) {
                m->flags_read_usec = m->flags_asked_usec;
                (void) object_list_replace(&m->flags, m->bus, items, n);
        } else if (error == -EIO || error == -EPROTO || error == -ENOMEM)
                (void) log_warning_errno(error, "Failed to read the flags: %s",
                        error == -EIO ? store_last_error(m->store) : strerror(-error));
        if (m->flags_again && error != -ECONNRESET && error != -ETIMEDOUT) {
                m->flags_again = false;
                manager_refresh_flags(m);
                if (m->reading_flags)
                        return; /* who changed something since waits for that */
        }
        m->flags_again = false;
        changes_read(m, false);
}

void manager_refresh_flags(Manager *m)
{
        if (m->schema_version < REEVE_SCHEMA_VERSION)
                return;
        if (m->reading_flags) {
                m->flags_again = true;
                return;
        }
        m->flags_asked_usec = now_usec(CLOCK_MONOTONIC);
        m->reading_flags = store_list_flags(m->store, NULL, on_flags, m, NULL) >= 0;
}

/* ---- operations ---- */

static void on_operations(int error, const char *const *row, void *userdata)
{
        Manager *m = userdata;

        m->reading_operations = false;
        if (error == 0)
                error = row && row[0]
                        ? replace_from_json(m, &m->operations, operations_read, row[0])
                        : -EPROTO;
        if (error == -EIO || error == -EPROTO || error == -ENOMEM || error == -EINVAL)
                (void) log_warning_errno(error, "Failed to read the operations: %s",
                        error == -EIO ? store_last_error(m->store) : strerror(-error));
        if (m->operations_again && error != -ECONNRESET && error != -ETIMEDOUT) {
                m->operations_again = false;
                manager_refresh_operations(m);
                if (m->reading_operations)
                        return; /* who started one since waits for that */
        }
        m->operations_again = false;
        changes_read(m, true);
}

static void on_advanced(int error, int64_t n, void *userdata)
{
        Manager *m = userdata;

        m->advancing = false;
        m->advance_took_usec = now_usec(CLOCK_MONOTONIC) - m->advanced_usec;
        if (error == -EIO || error == -EPROTO)
                log_warning("Failed to look at the operations: %s", store_last_error(m->store));
}

void manager_refresh_operations(Manager *m)
{
        if (m->schema_version < REEVE_SCHEMA_VERSION)
                return;
        if (m->reading_operations) {
                m->operations_again = true;
                return;
        }
        /* In one pipeline: what is read is after the step. */
        if (!m->advancing && manager_has_running(m)) {
                m->advanced_usec = now_usec(CLOCK_MONOTONIC);
                m->advancing = store_advance_operations(m->store, on_advanced, m, NULL) >= 0;
        }
        m->reading_operations = store_list_operations(m->store, on_operations, m, NULL) >= 0;
}

static void on_version(int error, int64_t version, void *userdata)
{
        Manager *m = userdata;

        if (error == -EIO && store_lacks_schema(m->store))
                version = 0;
        else if (error < 0) {
                note_answer(m, error, "the schema's version");
                return;
        }
        if (version < REEVE_SCHEMA_VERSION && !m->told_schema) {
                log_notice("The database has schema version %lld, %d is needed: waiting for "
                           "reeve-migrate.",
                        (long long) version, REEVE_SCHEMA_VERSION);
                m->told_schema = true;
        }
        m->schema_version = version;
        if (version >= REEVE_SCHEMA_VERSION) {
                m->told_schema = false;
                m->n_refreshing += store_get_stats(m->store, on_stats, m, NULL) >= 0;
                m->n_refreshing += store_list_queues(m->store, on_queues, m, NULL) >= 0;
                m->n_refreshing += store_list_workers(m->store, on_workers, m, NULL) >= 0;
                manager_refresh_flags(m);
                manager_refresh_operations(m);
        }
        note_answer(m, 0, NULL);
}

void manager_refresh(Manager *m)
{
        if (m->n_refreshing > 0) {
                m->refresh_again = true;
                return;
        }
        if (!store_is_connected(m->store))
                return;
        m->refresh_failed = false;
        m->refresh_started_usec = now_usec(CLOCK_MONOTONIC);
        m->n_refreshing = store_get_schema_version(m->store, on_version, m, NULL) >= 0;
}

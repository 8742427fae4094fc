/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "manager-change.h"

/* A database that neither answers nor refuses is waited for this long before the name is taken. */
#define SETTLE_USEC (5 * USEC_PER_SEC)

/* ---- the database comes and goes ---- */

static void on_store_state(bool connected, const char *text, void *userdata)
{
        Manager *m = userdata;

        if (connected && !m->connected)
                log_info("Connected to the database.");
        else if (!connected && (m->connected || !m->told_away))
                log_warning("The database is away: %s", text);
        m->told_away = !connected;
        m->connected = connected;
        if (connected) {
                m->ever_connected = true;
                manager_refresh(m);
        } else
                m->schema_version = 0;
        manager_update(m);
}

static void on_store_hint(void *userdata)
{
        Manager *m = userdata;

        if (store_is_connected(m->store))
                manager_refresh_flags(m);
}

/* ---- the bus comes and goes ---- */

static int on_bus_open(sd_bus *bus, void *userdata)
{
        Manager *m = userdata;
        int r;

        m->bus = bus;
        r = bus_authority_new(bus, &m->authority);
        if (r >= 0)
                r = manager_add_objects(m);
        return r < 0 ? log_error_errno(r, "Failed to set up the bus: %m") : 0;
}

static void on_bus_close(void *userdata)
{
        Manager *m = userdata;

        changes_drop(m);
        plans_drop(m);
        m->authority = bus_authority_free(m->authority);
        m->bus = NULL;
        m->name_owned = false;
}

static void on_bus_name(bool owned, const char *text, void *userdata)
{
        Manager *m = userdata;

        if (owned && !m->name_owned)
                log_info("Serving org.reeve1 on the bus.");
        else if (!owned && !streq(m->no_name, text))
                log_warning("Not on the bus: %s.", text);
        (void) snprintf(m->no_name, sizeof(m->no_name), "%s", owned ? "" : text);
        m->name_owned = owned;
        if (owned && !m->ready)
                (void) sd_notify(false, "READY=1");
        m->ready = m->ready || owned;
        manager_update(m);
}

/* ---- life ---- */

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        log_full(level == CONF_ERROR ? LOG_ERR : LOG_WARNING, 0, "%s:%u: %s", file, line, text);
}

static int start_store(Manager *m)
{
        const StoreConfig config = {
                .conninfo = m->settings.database,
                .role = "reeve_owner",
                .application_name = "reeved",
                .prepared = settings_prepared(&m->settings),
                .listen = true,
                .channel = STORE_FLAG_CHANNEL,
                .deadline_usec = DEADLINE_USEC,
                .on_state = on_store_state,
                .on_hint = on_store_hint,
                .userdata = m,
        };
        int r = store_new(m->event, &config, &m->store);

        return r < 0 ? log_error_errno(r, "Failed to prepare the connection to the database: %m")
                     : 0;
}

/* Whoever waits for the name (a call on the bus started us) is answered by what the database says:
 * that it is away is said when that is known. */
static bool is_settled(const Manager *m)
{
        return (m->refreshed_usec > 0 && !m->reading_flags && !m->reading_operations) ||
                m->told_away || m->told_schema ||
                now_usec(CLOCK_MONOTONIC) >= m->started_usec + SETTLE_USEC;
}

int manager_serve(Manager *m)
{
        const BusServiceConfig config = {
                .name = "org.reeve1",
                .on_open = on_bus_open,
                .on_close = on_bus_close,
                .on_name = on_bus_name,
                .userdata = m,
        };
        int r;

        if (m->service || !is_settled(m))
                return 0;
        r = bus_service_new(m->event, &config, &m->service);
        return r < 0 ? log_error_errno(r, "Failed to prepare the connection to the bus: %m") : 0;
}

int manager_new(sd_event *event, const ManagerOptions *options, Manager **ret)
{
        _cleanup_(manager_freep) Manager *m = new0(Manager, 1);
        int r;

        if (!m)
                return log_oom();
        m->event = sd_event_ref(event);
        m->started_usec = now_usec(CLOCK_MONOTONIC);
        m->start_usec = now_usec(CLOCK_REALTIME);
        m->version = (char *) REEVE_VERSION;
        m->view.state = (char *) "starting";
        m->view.database_state = (char *) "connecting";
        m->queues.class = &queue_class;
        m->workers.class = &worker_class;
        m->flags.class = &flag_class;
        m->operations.class = &operation_class;
        r = settings_load(options->root, on_finding, NULL, &m->settings);
        if (r < 0 && r != -EINVAL) /* a wrong value was reported, its default stands */
                return log_error_errno(r, "Failed to read reeve.conf: %m");
        r = start_store(m);
        if (r >= 0)
                r = manager_start_health(m);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

Manager *manager_free(Manager *m)
{
        if (!m)
                return NULL;
        bus_service_free(m->service);
        store_free(m->store);
        object_list_done(&m->queues);
        object_list_done(&m->workers);
        object_list_done(&m->flags);
        object_list_done(&m->operations);
        sd_event_source_disable_unref(m->tick);
        settings_done(&m->settings);
        sd_event_unref(m->event);
        return mfree(m);
}

void manager_stop(Manager *m)
{
        if (m->stopping_usec > 0) {
                log_notice("Told to stop again: leaving at once.");
                (void) sd_event_exit(m->event, 0);
                return;
        }
        m->stopping_usec = now_usec(CLOCK_MONOTONIC);
        (void) sd_notify(false, "STOPPING=1");
        manager_update(m);
        if (m->n_changes == 0)
                (void) sd_event_exit(m->event, 0);
}

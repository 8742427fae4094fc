/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "manager-private.h"

/* Health is the truth: the watchdog is fed only by work that got through.
 *
 * connected      the last answer is not older than a refresh's interval and the deadline
 * not connected  attempts to connect end, either way, on schedule */

#define TICK_USEC        (250 * USEC_PER_MSEC)
#define FIRST_TICK_USEC  (50 * USEC_PER_MSEC) /* until the database has been seen */
#define EARLY_USEC       USEC_PER_MIN /* so long the schema is looked for at each tick */
#define REFRESH_USEC     (2 * USEC_PER_SEC)
#define REFRESH_SHARE    20U /* at most a twentieth of the time is spent on refreshing */
#define REFRESH_MAX_USEC (30 * USEC_PER_SEC)
#define ATTEMPT_USEC     (8 * USEC_PER_SEC) /* 5 s for the attempt, 2 s pause */
#define STOP_USEC        (5 * USEC_PER_SEC)
#define ADVANCE_USEC     USEC_PER_SEC /* between two looks at operations that run */

static usec_t refresh_interval(const Manager *m)
{
        usec_t interval = m->refresh_took_usec * REFRESH_SHARE;

        /* Who has just set a host up steers it at once, and the schema is about to come then. */
        if (m->schema_version < REEVE_SCHEMA_VERSION)
                return now_usec(CLOCK_MONOTONIC) < m->started_usec + EARLY_USEC ? TICK_USEC
                                                                                : REFRESH_USEC;
        if (interval > REFRESH_MAX_USEC)
                return REFRESH_MAX_USEC;
        return interval < REFRESH_USEC ? REFRESH_USEC : interval;
}

static bool is_healthy(const Manager *m, usec_t now)
{
        usec_t answer = store_last_answer_usec(m->store);
        usec_t attempt = store_last_attempt_usec(m->store);

        if (attempt < m->started_usec)
                attempt = m->started_usec;
        if (answer < attempt)
                answer = attempt;
        if (!store_is_connected(m->store))
                return now - attempt <= ATTEMPT_USEC;
        return now - answer <= refresh_interval(m) + DEADLINE_USEC + USEC_PER_SEC;
}

static const char *database_state(const Manager *m)
{
        if (!store_is_connected(m->store))
                return m->ever_connected || m->told_away ? "away" : "connecting";
        if (store_oldest_age_usec(m->store) > STALL_USEC)
                return "stuck";
        if (m->refreshed_usec == 0 && m->schema_version == 0 && !m->told_schema)
                return "connecting";
        return m->schema_version < REEVE_SCHEMA_VERSION ? "no-schema" : "ok";
}

bool manager_is_available(const Manager *m, char *text, size_t size)
{
        const char *state = database_state(m);

        if (m->stopping_usec > 0)
                (void) snprintf(text, size, "The service is being stopped or restarted.");
        else if (streq(state, "away") || streq(state, "connecting"))
                (void) snprintf(text, size, "The database is away (%s).",
                        store_last_error(m->store)[0] ? store_last_error(m->store)
                                                      : "not connected yet");
        else if (streq(state, "stuck"))
                (void) snprintf(text, size, "The database does not answer.");
        else if (streq(state, "no-schema"))
                (void) snprintf(text, size,
                        "The database's schema has version %lld, %d is needed: reeve-migrate "
                        "brings it there.",
                        (long long) m->schema_version, REEVE_SCHEMA_VERSION);
        else
                return true;
        return false;
}

static const char *manager_state(const Manager *m, const char *database)
{
        if (m->stopping_usec > 0)
                return "stopping";
        if (streq(database, "ok"))
                return m->refreshed_usec > 0 ? "running" : "starting";
        return streq(database, "connecting") ? "starting" : "degraded";
}

static void describe(const Manager *m, char *buf, size_t size)
{
        char text[300];

        if (m->stopping_usec > 0)
                (void) snprintf(buf, size, "stopping: %u changes are on their way", m->n_changes);
        else if (!m->service)
                (void) snprintf(buf, size, "starting: asking the database");
        else if (!m->name_owned)
                (void) snprintf(buf, size, "degraded: not on the bus (%.200s)",
                        m->no_name[0] ? m->no_name : "connecting");
        else if (!manager_is_available(m, text, sizeof(text)))
                (void) snprintf(buf, size, "degraded: %.280s", text);
        else
                (void) snprintf(buf, size,
                        "serving: %u queues, %u workers, %u flags; %llu jobs wait, %u run",
                        m->queues.n, m->workers.n, m->flags.n,
                        (unsigned long long) m->view.queued_jobs, m->view.active_jobs);
}

static void update_view(Manager *m)
{
        const char *database = database_state(m), *state = manager_state(m, database);
        ManagerView old = m->view;

        if (streq_ptr(m->view.state, state) && streq_ptr(m->view.database_state, database))
                return;
        m->view.state = (char *) state;
        m->view.database_state = (char *) database;
        manager_view_changed(m, &old);
}

void manager_update(Manager *m)
{
        char status[sizeof(m->status)];

        update_view(m);
        describe(m, status, sizeof(status));
        if (streq(status, m->status))
                return;
        memcpy(m->status, status, sizeof(status));
        (void) sd_notifyf(false, "STATUS=%s", status);
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        Manager *m = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        int r;

        if (m->n_refreshing == 0 && now >= m->refresh_started_usec + refresh_interval(m))
                manager_refresh(m);
        else if (manager_has_running(m) && !m->advancing && !m->reading_operations &&
                now >= m->advanced_usec + ADVANCE_USEC + REFRESH_SHARE * m->advance_took_usec &&
                store_is_connected(m->store))
                manager_refresh_operations(m);
        r = manager_serve(m);
        if (r < 0)
                return sd_event_exit(m->event, r);
        manager_update(m);
        if (m->watchdog_usec > 0 && is_healthy(m, now))
                (void) sd_notify(false, "WATCHDOG=1");
        if (m->stopping_usec > 0 && (m->n_changes == 0 || now >= m->stopping_usec + STOP_USEC))
                return sd_event_exit(m->event, 0);
        r = sd_event_source_set_time_relative(
                s, m->stopping_usec > 0 || m->refreshed_usec == 0 ? FIRST_TICK_USEC : TICK_USEC);
        return r < 0 ? r : sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

int manager_start_health(Manager *m)
{
        int r = sd_watchdog_enabled(false, &m->watchdog_usec);

        if (r >= 0)
                r = sd_event_add_time_relative(
                        m->event, &m->tick, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_tick, m);
        if (r >= 0)
                r = sd_event_source_set_description(m->tick, "tick");
        return r < 0 ? log_error_errno(r, "Failed to start the watch over health: %m") : 0;
}

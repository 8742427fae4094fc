/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "release.h"

#include <stdio.h>
#include <unistd.h>

#include "config-load.h"
#include "log.h"
#include "namesake.h"
#include "reaper.h"
#include "store-instance.h"

#define RELEASE_USEC (5 * USEC_PER_SEC)

typedef struct Release {
        sd_event *event;
        Store *store;
        Reaper reaper;
        const char *name;
        char host[256];
        char detail[160];
        char *process, *machine; /* ours: namesake.h */
        unsigned n_stopping; /* instances that are being stopped */
        bool clean; /* it had ended as it should */
} Release;

static void on_reaped(int error, unsigned n_ended, void *userdata)
{
        Release *r = userdata;

        if (n_ended > 0)
                log_notice("Freed %u runs that worker %s left (%s).", n_ended, r->name, r->detail);
        (void) sd_event_exit(r->event, error);
}

static void on_stopped(int error, int64_t n, void *userdata)
{
        Release *r = userdata;

        if (r->n_stopping > 0 && --r->n_stopping > 0 && error >= 0)
                return;
        if (error >= 0)
                error = reaper_start(&r->reaper);
        if (error < 0)
                (void) sd_event_exit(r->event, error);
}

/* Not those of a living worker of that name, on another host of this one's name or here: the same
 * processes that a successor would stop. Versions before did not say which one they were. */
static void on_namesakes(int error, const StoreNamesake *rows, unsigned n, void *userdata)
{
        const char *cause;
        Release *r = userdata;

        cause = r->clean ? "stopped" : "worker-died";
        for (unsigned i = 0; i < n && error >= 0; i++) {
                if (rows[i].process &&
                        namesake_find(rows[i].process, rows[i].machine, r->process, r->machine) !=
                                NAMESAKE_GONE)
                        continue;
                error = store_stop_instance(r->store, rows[i].instance, cause, on_stopped, r, NULL);
                r->n_stopping += error >= 0;
        }
        if (error < 0 || r->n_stopping == 0)
                on_stopped(error, 0, r);
}

static void on_state(bool connected, const char *text, void *userdata)
{
        Release *r = userdata;
        int e;

        if (!connected)
                return;
        e = store_list_namesakes(r->store, r->host, r->name, on_namesakes, r, NULL);
        if (e < 0)
                (void) sd_event_exit(r->event, e);
}

static int on_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
        return sd_event_exit(sd_event_source_get_event(s), -ETIMEDOUT);
}

static const char *environment(const char *name)
{
        const char *v = getenv(name);

        return v && *v ? v : "unknown";
}

static int run(Release *r, const Settings *settings)
{
        const StoreConfig config = {
                .conninfo = settings->database,
                .role = "reeve_worker",
                .application_name = "reeve-worker-release",
                .on_state = on_state,
                .userdata = r,
        };
        int e;

        e = store_new(r->event, &config, &r->store);
        if (e < 0)
                return e;
        r->reaper = (Reaper){ .store = r->store,
                .actor = r->name,
                .detail = r->detail,
                .on_done = on_reaped,
                .userdata = r };
        e = sd_event_add_time_relative(
                r->event, NULL, CLOCK_MONOTONIC, RELEASE_USEC, 0, on_timeout, NULL);
        if (e >= 0)
                e = sd_event_loop(r->event);
        store_free(r->store);
        return e;
}

int release_instance(sd_event *event, const char *name, const char *root)
{
        Release r = { .event = event, .name = name };
        Settings settings;
        int e;

        if (gethostname(r.host, sizeof(r.host) - 1) < 0)
                return log_error_errno(-errno, "Failed to learn the host's name: %m");
        r.clean = streq(environment("SERVICE_RESULT"), "success");
        snprintf(r.detail, sizeof(r.detail), "the worker ended: %s (%s %s)",
                environment("SERVICE_RESULT"), environment("EXIT_CODE"),
                environment("EXIT_STATUS"));

        e = namesake_identify(&r.process, &r.machine);
        if (e < 0)
                return log_oom();
        e = settings_load(root, NULL, NULL, &settings);
        if (e >= 0 || e == -EINVAL)
                e = run(&r, &settings);
        settings_done(&settings);
        free(r.process);
        free(r.machine);
        if (e < 0)
                return log_error_errno(
                        e, "Failed to free the runs of worker %s: %m; its successor will.", name);
        return 0;
}

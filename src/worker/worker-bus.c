/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"
#include "worker-private.h"

static int on_unit_stopped(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const sd_bus_error *e = sd_bus_message_get_error(m);

        if (e)
                log_warning("systemd does not stop the unit: %s", e->message);
        return 0;
}

static int open_bus(Worker *w)
{
        int r;

        if (w->bus && sd_bus_is_open(w->bus) > 0)
                return 0;
        w->bus = sd_bus_flush_close_unref(w->bus);
        r = sd_bus_open_system(&w->bus);
        if (r < 0)
                return r;
        return sd_bus_attach_event(w->bus, w->event, SD_EVENT_PRIORITY_NORMAL);
}

/* The last resort for a launcher that does not even close its connection: a polkit rule allows this
 * user exactly these units (units/50-reeve-worker.rules). */
void worker_stop_unit(Worker *w, const char *unit)
{
        int r;

        if (!unit)
                return;
        log_warning("Stopping %s: its launcher does not answer.", unit);
        r = open_bus(w);
        if (r >= 0)
                r = sd_bus_call_method_async(w->bus, NULL, "org.freedesktop.systemd1",
                        "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager", "StopUnit",
                        on_unit_stopped, NULL, "ss", unit, "replace");
        if (r < 0)
                (void) log_warning_errno(r, "Failed to ask systemd to stop %s: %m", unit);
}

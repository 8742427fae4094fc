/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-service.h"

#include <stdio.h>

#include "time-util.h"

#define RETRY_USEC (USEC_PER_SEC / 2)

/* RequestName's answers, in the D-Bus specification. */
enum { NAME_OWNED = 1, NAME_IN_QUEUE = 2 };

struct BusService {
        BusServiceConfig config;
        sd_event *event;
        sd_event_source *timer; /* opens, or opens again */
        sd_bus *bus;
};

static void tell(BusService *s, bool owned, const char *text)
{
        s->config.on_name(owned, text, s->config.userdata);
}

static void close_bus(BusService *s)
{
        if (!s->bus)
                return;
        s->config.on_close(s->config.userdata);
        s->bus = sd_bus_flush_close_unref(s->bus);
}

static int schedule(BusService *s, usec_t usec)
{
        int r = sd_event_source_set_time_relative(s->timer, usec);

        return r < 0 ? r : sd_event_source_set_enabled(s->timer, SD_EVENT_ONESHOT);
}

static int on_disconnected(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        BusService *s = userdata;
        int r;

        tell(s, false, "the bus has closed the connection");
        /* Not here: this is the bus's own callback. */
        r = schedule(s, RETRY_USEC);
        return r < 0 ? sd_event_exit(s->event, r) : 0;
}

static int on_name_signal(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        BusService *s = userdata;
        const char *name;

        if (sd_bus_message_read(m, "s", &name) < 0 || !streq(name, s->config.name))
                return 0;
        if (sd_bus_message_is_signal(m, "org.freedesktop.DBus", "NameAcquired"))
                tell(s, true, NULL);
        else
                tell(s, false, "the name was taken away");
        return 0;
}

static int on_name_requested(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        BusService *s = userdata;
        const sd_bus_error *e = sd_bus_message_get_error(m);
        uint32_t answer = 0;
        int r;

        if (e) { /* the policy may come later, too: an installation that is not over */
                tell(s, false, e->message ? e->message : e->name);
                r = schedule(s, RETRY_USEC);
                return r < 0 ? sd_event_exit(s->event, r) : 0;
        }
        if (sd_bus_message_read(m, "u", &answer) >= 0 && answer == NAME_IN_QUEUE)
                tell(s, false, "another program has the name");
        return 0; /* NameAcquired says the rest */
}

static int watch_bus(BusService *s)
{
        static const char *const signals[] = { "NameAcquired", "NameLost" };
        int r = sd_bus_match_signal_async(s->bus, NULL, "org.freedesktop.DBus.Local",
                "/org/freedesktop/DBus/Local", "org.freedesktop.DBus.Local", "Disconnected",
                on_disconnected, NULL, s);

        for (unsigned i = 0; i < ELEMENTSOF(signals) && r >= 0; i++)
                r = sd_bus_match_signal_async(s->bus, NULL, "org.freedesktop.DBus",
                        "/org/freedesktop/DBus", "org.freedesktop.DBus", signals[i], on_name_signal,
                        NULL, s);
        return r;
}

/* Returns 0 or why the bus cannot be had now. */
static int open_bus(BusService *s)
{
        int r = sd_bus_open_system_with_description(&s->bus, s->config.name);

        if (r < 0)
                return r;
        r = sd_bus_attach_event(s->bus, s->event, SD_EVENT_PRIORITY_NORMAL);
        return r < 0 ? r : watch_bus(s);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        BusService *s = userdata;
        char text[200];
        int r;

        close_bus(s);
        r = open_bus(s);
        if (r < 0) {
                s->bus = sd_bus_close_unref(s->bus);
                (void) snprintf(text, sizeof(text), "no bus: %s", strerror(-r));
                tell(s, false, text);
                r = schedule(s, RETRY_USEC);
                return r < 0 ? sd_event_exit(s->event, r) : 0;
        }
        r = s->config.on_open(s->bus, s->config.userdata);
        if (r >= 0) /* last: when calls come, everything is there */
                r = sd_bus_request_name_async(
                        s->bus, NULL, s->config.name, SD_BUS_NAME_QUEUE, on_name_requested, s);
        return r < 0 ? sd_event_exit(s->event, r) : 0;
}

int bus_service_new(sd_event *event, const BusServiceConfig *config, BusService **ret)
{
        _cleanup_(bus_service_freep) BusService *s = new0(BusService, 1);
        int r;

        if (!s)
                return -ENOMEM;
        s->config = *config;
        s->event = sd_event_ref(event);
        r = sd_event_add_time_relative(event, &s->timer, CLOCK_MONOTONIC, 0, 0, on_timer, s);
        if (r >= 0)
                r = sd_event_source_set_description(s->timer, "bus-open");
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

BusService *bus_service_free(BusService *s)
{
        if (!s)
                return NULL;
        close_bus(s);
        sd_event_source_disable_unref(s->timer);
        sd_event_unref(s->event);
        return mfree(s);
}

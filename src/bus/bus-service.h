/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <systemd/sd-bus.h>

#include "macros.h"

/* A program's place on the system bus: a connection that comes back by itself, and a well-known
 * name on it. */

typedef struct BusService BusService;

/* A new connection: register objects, start nothing else. Returns 0 or -errno (the program ends).
 */
typedef int (*BusOpenCallback)(sd_bus *bus, void *userdata);
/* The connection is about to be freed: drop everything that refers to it. */
typedef void (*BusCloseCallback)(void *userdata);
/* owned: the name is ours, calls come. Otherwise text says in one line why not. */
typedef void (*BusNameCallback)(bool owned, const char *text, void *userdata);

typedef struct BusServiceConfig {
        const char *name; /* must outlive the service */
        BusOpenCallback on_open;
        BusCloseCallback on_close;
        BusNameCallback on_name;
        void *userdata;
} BusServiceConfig;

/* Starts in the next iteration of the loop; callbacks come from there. If the bus is not there or
 * goes away or refuses the name, it is tried again twice a second; if somebody else has the name,
 * we are next. */
int bus_service_new(sd_event *event, const BusServiceConfig *config, BusService **ret);
/* Closes without the callbacks above, but for on_close. NULL-safe, returns NULL. */
BusService *bus_service_free(BusService *s);
DEFINE_CLEANUP(BusService, bus_service_free)

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Writable properties whose writing takes time. sd-bus answers a setter as soon as it returns, so
 * nobody can be asked in one: these messages are taken before sd-bus sees them. */

/* m stands at the value, of the right type. Returns 1 (taken: the reply comes later, from whoever
 * keeps a reference to m), 0 (not ours after all: sd-bus answers it, for instance that there is no
 * such object), or -errno with *error set: that is the reply. */
typedef int (*BusPropertySet)(
        sd_bus_message *m, const char *path, void *userdata, sd_bus_error *error);

typedef struct BusWritable {
        const char *interface; /* NULL ends the table */
        const char *property;
        const char *type; /* one complete type */
        BusPropertySet set;
} BusWritable;

/* table and userdata must outlive the connection. Returns 0 or -errno. */
typedef struct BusWritables {
        const BusWritable *table;
        void *userdata;
} BusWritables;
int bus_add_writables(sd_bus *bus, const BusWritables *writables);

/* The setter to name in SD_BUS_WRITABLE_PROPERTY() of such a property: it refuses, and is never
 * reached. */
int bus_property_set_refuse(sd_bus *bus, const char *path, const char *interface,
        const char *property, sd_bus_message *value, void *userdata, sd_bus_error *error);

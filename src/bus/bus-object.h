/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* Objects on the bus, as tables. */

/* One interface of one object, or of a family of objects below a path. */
typedef struct BusObject {
        const char *path; /* NULL ends the table */
        const char *interface;
        const sd_bus_vtable *vtable;
        sd_bus_object_find_t find; /* a family's: NULL means one object */
        sd_bus_node_enumerator_t enumerate; /* a family's children, may be NULL */
} BusObject;

/* Registers all of the table, for as long as the connection lives. Returns 0 or -errno. */
int bus_add_objects(sd_bus *bus, const BusObject *table, void *userdata);

/* Emits PropertiesChanged for the properties of the vtable that announce changes, have no getter of
 * their own, and differ between two structures. Types: s (char *, NULL is ""), as (char **), b
 * (int), u, t, d. Returns how many differ, or -errno. bus NULL: only counts. */
int bus_emit_changes(sd_bus *bus, const char *path, const char *interface,
        const sd_bus_vtable *vtable, const void *old, const void *new);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "macros.h"

/* The objects of one family (queues, workers, flags) as the database had them last, by path. What
 * is served on the bus comes from here, never from a statement. */

typedef struct Manager Manager;

/* The first member of each object. */
typedef struct Object {
        Manager *manager;
        char *path;
} Object;

typedef struct ObjectClass {
        const char *prefix; /* "/org/reeve1/queue" */
        const char *interface;
        const sd_bus_vtable *vtable;
        void (*free)(Object *o); /* frees it all but for the path; NULL-safe members */
} ObjectClass;

typedef struct ObjectList {
        const ObjectClass *class;
        Object **items; /* by path */
        unsigned n;
} ObjectList;

/* Names the object after its family and label. Returns 0 or -ENOMEM. */
int object_set_path(Object *o, const ObjectClass *class, const char *label);
void object_free(const ObjectClass *class, Object *o);

void object_list_done(ObjectList *l);
/* Takes over new_items (sorted here; of two with one path the later one stays) and tells the bus
 * what has come, gone or changed. bus may be NULL. Returns how many objects differ. */
unsigned object_list_replace(ObjectList *l, sd_bus *bus, Object **new_items, unsigned n);
/* NULL if there is none. */
Object *object_list_find(const ObjectList *l, const char *path);
/* For a node enumerator. */
int object_list_enumerate(const ObjectList *l, char ***ret_nodes);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-object.h"

#include "macros.h"

#define CHANGES_MAX 32

int bus_add_objects(sd_bus *bus, const BusObject *table, void *userdata)
{
        int r = 0;

        for (const BusObject *o = table; o->path && r >= 0; o++) {
                if (o->find)
                        r = sd_bus_add_fallback_vtable(
                                bus, NULL, o->path, o->interface, o->vtable, o->find, userdata);
                else
                        r = sd_bus_add_object_vtable(
                                bus, NULL, o->path, o->interface, o->vtable, userdata);
                if (r >= 0 && o->enumerate)
                        r = sd_bus_add_node_enumerator(bus, NULL, o->path, o->enumerate, userdata);
        }
        return r;
}

static bool text_differs(const char *a, const char *b)
{
        return !streq(a ? a : "", b ? b : "");
}

static bool list_differs(char *const *a, char *const *b)
{
        static char *const none[] = { NULL };

        for (a = a ? a : none, b = b ? b : none; *a && *b; a++, b++)
                if (!streq(*a, *b))
                        return true;
        return *a || *b;
}

static bool value_differs(char type, const void *a, const void *b)
{
        switch (type) {
        case SD_BUS_TYPE_STRING:
                return text_differs(*(char *const *) a, *(char *const *) b);
        case SD_BUS_TYPE_ARRAY:
                return list_differs(*(char **const *) a, *(char **const *) b);
        case SD_BUS_TYPE_BOOLEAN:
                return !*(const int *) a != !*(const int *) b;
        case SD_BUS_TYPE_UINT32:
                return *(const uint32_t *) a != *(const uint32_t *) b;
        case SD_BUS_TYPE_UINT64:
                return *(const uint64_t *) a != *(const uint64_t *) b;
        case SD_BUS_TYPE_DOUBLE:
                return memcmp(a, b, sizeof(double)) != 0;
        default:
                return false;
        }
}

int bus_emit_changes(sd_bus *bus, const char *path, const char *interface,
        const sd_bus_vtable *vtable, const void *old, const void *new)
{
        const char *names[CHANGES_MAX + 1];
        unsigned n = 0;
        int r;

        for (const sd_bus_vtable *v = vtable; v->type != _SD_BUS_VTABLE_END; v++) {
                size_t at = v->x.property.offset;

                if ((v->type != _SD_BUS_VTABLE_PROPERTY &&
                            v->type != _SD_BUS_VTABLE_WRITABLE_PROPERTY) ||
                        !(v->flags & SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE) || v->x.property.get)
                        continue;
                if (n < CHANGES_MAX &&
                        value_differs(v->x.property.signature[0], (const char *) old + at,
                                (const char *) new + at))
                        names[n++] = v->x.property.member;
        }
        names[n] = NULL;
        if (n == 0 || !bus)
                return (int) n;
        r = sd_bus_emit_properties_changed_strv(bus, path, interface, (char **) names);
        return r < 0 ? r : (int) n;
}

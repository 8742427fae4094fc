/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-property.h"

#include "macros.h"

static const BusWritable *find(const BusWritable *table, const char *interface, const char *name)
{
        for (const BusWritable *w = table; w->interface; w++)
                if (streq(w->interface, interface) && streq(w->property, name))
                        return w;
        return NULL;
}

static int enter_value(sd_bus_message *m, const BusWritable *w, sd_bus_error *error)
{
        const char *contents;
        char type;
        int r = sd_bus_message_peek_type(m, &type, &contents);

        if (r < 0)
                return r;
        if (type != SD_BUS_TYPE_VARIANT || !streq(contents, w->type))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "%s is of type \"%s\", not \"%s\".", w->property, w->type, contents);
        return sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, w->type);
}

static int on_message(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const BusWritables *all = userdata;
        const BusWritable *w;
        const char *interface, *property;
        int r;

        if (!sd_bus_message_is_method_call(m, "org.freedesktop.DBus.Properties", "Set") ||
                sd_bus_message_has_signature(m, "ssv") <= 0)
                return 0;
        r = sd_bus_message_read(m, "ss", &interface, &property);
        if (r < 0)
                return r;
        w = find(all->table, interface, property);
        if (w) {
                r = enter_value(m, w, error);
                if (r < 0)
                        return r;
                r = w->set(m, sd_bus_message_get_path(m), all->userdata, error);
                if (r != 0)
                        return r;
        }
        r = sd_bus_message_rewind(m, true);
        return r < 0 ? r : 0;
}

int bus_add_writables(sd_bus *bus, const BusWritables *writables)
{
        return sd_bus_add_filter(bus, NULL, on_message, (void *) writables);
}

/* sd-bus's prototype. NOLINTNEXTLINE(readability-function-size) */
int bus_property_set_refuse(sd_bus *bus, const char *path, const char *interface,
        const char *property, sd_bus_message *value, void *userdata, sd_bus_error *error)
{
        return sd_bus_error_setf(
                error, SD_BUS_ERROR_ACCESS_DENIED, "%s cannot be set in this way.", property);
}

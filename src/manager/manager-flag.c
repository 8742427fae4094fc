/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <stdio.h>

#include "manager-change.h"

/* ---- from the database ---- */

static void flag_free(Object *o)
{
        FlagObject *f = (FlagObject *) o;

        free(f->key);
        free(f->description);
        free(f->bucketing);
        free(f->seed);
        free(f->rules);
        free(f->on_stale);
        free(f->updated_by);
        free(f->etag);
}

static int fill(FlagObject *f, const StoreFlag *row)
{
        const struct {
                char **to;
                const char *from;
        } texts[] = {
                { &f->key, row->key },
                { &f->description, row->description ? row->description : "" },
                { &f->bucketing, row->bucketing },
                { &f->seed, row->seed ? row->seed : row->key },
                { &f->rules, row->rules },
                { &f->on_stale, row->on_stale },
                { &f->updated_by, row->updated_by },
        };

        for (unsigned i = 0; i < ELEMENTSOF(texts); i++) {
                *texts[i].to = strdup(texts[i].from);
                if (!*texts[i].to)
                        return -ENOMEM;
        }
        if (asprintf(&f->etag, "\"%lld\"", (long long) row->version) < 0) {
                f->etag = NULL;
                return -ENOMEM;
        }
        f->enabled = row->enabled;
        f->percent = (double) row->percent / 1000.0;
        f->updated_usec = row->updated_usec;
        return object_set_path(&f->object, &flag_class, row->key);
}

int flags_read(Manager *m, const StoreFlag *rows, unsigned n, Object ***ret_items, unsigned *ret_n)
{
        Object **items = new0(Object *, n);
        unsigned made = 0;
        int r = items ? 0 : -ENOMEM;

        while (r >= 0 && made < n) {
                FlagObject *f = new0(FlagObject, 1);

                if (!f) {
                        r = -ENOMEM;
                        break;
                }
                f->object.manager = m;
                items[made] = &f->object;
                r = fill(f, rows + made++);
        }
        if (r < 0) {
                while (made > 0)
                        object_free(&flag_class, items[--made]);
                free(items);
                return r;
        }
        *ret_items = items;
        *ret_n = n;
        return 0;
}

/* ---- changes ---- */

int percent_read(double percent, unsigned *ret, sd_bus_error *error)
{
        double thousandths = percent * 1000.0;

        /* Written so that it refuses NaN as well. */
        if (!(percent >= 0.0 && percent <= 100.0))
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                        "A percentage is a number from 0 to 100.");
        if (fabs(thousandths - round(thousandths)) > 1e-6)
                return sd_bus_error_set(
                        error, SD_BUS_ERROR_INVALID_ARGS, "A percentage has steps of 0.001.");
        *ret = (unsigned) lround(thousandths);
        return 0;
}

static int start_enabled(
        FlagObject *f, sd_bus_message *m, bool on, const char *reason, sd_bus_error *error)
{
        const ChangeAsk ask = {
                .type = CHANGE_FLAG_ENABLED, .name = f->key, .on = on, .reason = reason
        };

        return change_start(f->object.manager, m, &ask, error);
}

static int method_set_enabled(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const char *reason;
        int enabled, r = sd_bus_message_read(m, "bs", &enabled, &reason);

        return r < 0 ? r : start_enabled(userdata, m, enabled, reason, error);
}

static int method_set_percent(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        FlagObject *f = userdata;
        ChangeAsk ask = { .type = CHANGE_FLAG_PERCENT, .name = f->key };
        double percent;
        int r = sd_bus_message_read(m, "ds", &percent, &ask.reason);

        if (r >= 0)
                r = percent_read(percent, &ask.percent, error);
        return r < 0 ? r : change_start(f->object.manager, m, &ask, error);
}

/* ---- written properties: see bus-property.h ---- */

#define TWIN "busctl call org.reeve1 /org/reeve1 org.reeve1.Manager "

static int set_enabled(sd_bus_message *m, const char *path, void *userdata, sd_bus_error *error)
{
        Manager *manager = userdata;
        const FlagObject *f = (FlagObject *) object_list_find(&manager->flags, path);
        ChangeAsk ask = { .type = CHANGE_FLAG_ENABLED };
        char twin[300];
        int enabled, r;

        if (!f)
                return 0;
        r = sd_bus_message_read(m, "b", &enabled);
        if (r < 0)
                return r;
        (void) snprintf(twin, sizeof(twin), TWIN "SetFlagEnabled sbs %s %s REASON", f->key,
                enabled ? "true" : "false");
        ask.name = f->key;
        ask.on = enabled;
        ask.twin = twin;
        return change_start(manager, m, &ask, error);
}

static int set_percent(sd_bus_message *m, const char *path, void *userdata, sd_bus_error *error)
{
        Manager *manager = userdata;
        const FlagObject *f = (FlagObject *) object_list_find(&manager->flags, path);
        ChangeAsk ask = { .type = CHANGE_FLAG_PERCENT };
        char twin[300];
        double percent;
        int r;

        if (!f)
                return 0;
        r = sd_bus_message_read(m, "d", &percent);
        if (r >= 0)
                r = percent_read(percent, &ask.percent, error);
        if (r < 0)
                return r;
        (void) snprintf(
                twin, sizeof(twin), TWIN "SetFlagPercent sds %s %.10g REASON", f->key, percent);
        ask.name = f->key;
        ask.twin = twin;
        return change_start(manager, m, &ask, error);
}

const BusWritable flag_writables[] = {
        { FLAG_INTERFACE, "Enabled", "b", set_enabled },
        { FLAG_INTERFACE, "RolloutPercent", "d", set_percent },
        {},
};

#define CONST   SD_BUS_VTABLE_PROPERTY_CONST
#define EMITS   SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define ANYBODY SD_BUS_VTABLE_UNPRIVILEGED

static const sd_bus_vtable flag_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Key", "s", NULL, offsetof(FlagObject, key), CONST),
        SD_BUS_WRITABLE_PROPERTY("Enabled", "b", NULL, bus_property_set_refuse,
                offsetof(FlagObject, enabled), EMITS | ANYBODY),
        SD_BUS_WRITABLE_PROPERTY("RolloutPercent", "d", NULL, bus_property_set_refuse,
                offsetof(FlagObject, percent), EMITS | ANYBODY),
        SD_BUS_PROPERTY("Description", "s", NULL, offsetof(FlagObject, description), EMITS),
        SD_BUS_PROPERTY("Bucketing", "s", NULL, offsetof(FlagObject, bucketing), EMITS),
        SD_BUS_PROPERTY("Seed", "s", NULL, offsetof(FlagObject, seed), EMITS),
        SD_BUS_PROPERTY("Rules", "s", NULL, offsetof(FlagObject, rules), EMITS),
        SD_BUS_PROPERTY("OnStale", "s", NULL, offsetof(FlagObject, on_stale), EMITS),
        SD_BUS_PROPERTY("UpdatedBy", "s", NULL, offsetof(FlagObject, updated_by), EMITS),
        SD_BUS_PROPERTY("UpdatedAt", "t", NULL, offsetof(FlagObject, updated_usec), EMITS),
        SD_BUS_PROPERTY("Etag", "s", NULL, offsetof(FlagObject, etag), EMITS),
        SD_BUS_METHOD_WITH_ARGS("SetEnabled", SD_BUS_ARGS("b", enabled, "s", reason),
                SD_BUS_NO_RESULT, method_set_enabled, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("SetRolloutPercent", SD_BUS_ARGS("d", percent, "s", reason),
                SD_BUS_NO_RESULT, method_set_percent, ANYBODY),
        SD_BUS_VTABLE_END,
};

const ObjectClass flag_class = {
        .prefix = MANAGER_PATH "/flag",
        .interface = FLAG_INTERFACE,
        .vtable = flag_vtable,
        .free = flag_free,
};

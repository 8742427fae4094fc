/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <math.h>
#include <stdio.h>

#include "flag-set.h"
#include "manager-change.h"
#include "manager-flag.h"

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
        free(f->value_on);
        free(f->value_off);
        free(f->updated_by);
        free(f->etag);
        strv_free(f->allow);
        strv_free(f->queues);
        flag_done(&f->flag);
        free(f->fault);
}

static int copy_texts(FlagObject *f, const StoreFlag *row)
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
                { &f->value_on, row->value_on },
                { &f->value_off, row->value_off },
                { &f->updated_by, row->updated_by },
        };

        for (unsigned i = 0; i < ELEMENTSOF(texts); i++) {
                *texts[i].to = strdup(texts[i].from);
                if (!*texts[i].to)
                        return -ENOMEM;
        }
        if (asprintf(&f->etag, "\"%lld\"", (long long) row->version) >= 0)
                return 0;
        f->etag = NULL;
        return -ENOMEM;
}

static int read_flag(FlagObject *f, const StoreFlag *row)
{
        JsonError e = {};
        int r = flag_from_store(row, &f->flag, &e);

        if (r == -ENOMEM || r >= 0)
                return r;
        f->fault = strdup(e.text);
        return f->fault ? 0 : -ENOMEM;
}

static int fill(FlagObject *f, const StoreFlag *row)
{
        int r = copy_texts(f, row);

        if (r >= 0)
                r = read_flag(f, row);
        if (r >= 0)
                r = flag_allow_parse(row->allow, strlen(row->allow), &f->allow, NULL);
        if (r >= 0)
                r = flag_allow_parse(row->queues, strlen(row->queues), &f->queues, NULL);
        if (r < 0 && r != -EBADMSG && r != -EINVAL)
                return r;
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

static int method_set_rules(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        FlagObject *f = userdata;
        ChangeAsk ask = { .type = CHANGE_FLAG_RULES, .name = f->key };
        int r = sd_bus_message_read(m, "ss", &ask.rules, &ask.reason);

        if (r >= 0)
                r = rules_check(ask.rules, error);
        return r < 0 ? r : change_start(f->object.manager, m, &ask, error);
}

static int method_set_allow(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        FlagObject *f = userdata;
        ChangeAsk ask = { .type = CHANGE_FLAG_ALLOW, .name = f->key };
        _cleanup_(strv_freep) char **allow = NULL;
        int r = sd_bus_message_read_strv(m, &allow);

        if (r >= 0)
                r = sd_bus_message_read(m, "s", &ask.reason);
        if (r >= 0)
                r = allow_check((const char *const *) allow, error);
        if (r < 0)
                return r;
        ask.list = TAKE_PTR(allow);
        return change_start(f->object.manager, m, &ask, error);
}

static int method_set_queues(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        FlagObject *f = userdata;
        ChangeAsk ask = { .type = CHANGE_FLAG_QUEUES, .name = f->key };
        _cleanup_(strv_freep) char **queues = NULL;
        int r = sd_bus_message_read_strv(m, &queues);

        if (r >= 0)
                r = sd_bus_message_read(m, "s", &ask.reason);
        if (r >= 0)
                r = queues_check((const char *const *) queues, error);
        if (r >= 0 && !queues) { /* none: not the flag's own, as NULL would be */
                queues = new0(char *, 1);
                r = queues ? 0 : -ENOMEM;
        }
        if (r < 0)
                return r;
        ask.list = TAKE_PTR(queues);
        return change_start(f->object.manager, m, &ask, error);
}

static int method_archive(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        FlagObject *f = userdata;
        const ChangeAsk ask = { .type = CHANGE_FLAG_ARCHIVE, .name = f->key };

        return change_start(f->object.manager, m, &ask, error);
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

static int set_rules(sd_bus_message *m, const char *path, void *userdata, sd_bus_error *error)
{
        Manager *manager = userdata;
        const FlagObject *f = (FlagObject *) object_list_find(&manager->flags, path);
        ChangeAsk ask = { .type = CHANGE_FLAG_RULES };
        char twin[400];
        int r;

        if (!f)
                return 0;
        r = sd_bus_message_read(m, "s", &ask.rules);
        if (r >= 0)
                r = rules_check(ask.rules, error);
        if (r < 0)
                return r;
        (void) snprintf(twin, sizeof(twin),
                "busctl call org.reeve1 %s org.reeve1.Flag SetRules ss RULES REASON", path);
        ask.name = f->key;
        ask.twin = twin;
        return change_start(manager, m, &ask, error);
}

const BusWritable flag_writables[] = {
        { FLAG_INTERFACE, "Enabled", "b", set_enabled },
        { FLAG_INTERFACE, "RolloutPercent", "d", set_percent },
        { FLAG_INTERFACE, "Rules", "s", set_rules },
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
        SD_BUS_WRITABLE_PROPERTY("Rules", "s", NULL, bus_property_set_refuse,
                offsetof(FlagObject, rules), EMITS | ANYBODY),
        SD_BUS_PROPERTY("Allow", "as", NULL, offsetof(FlagObject, allow), EMITS),
        SD_BUS_PROPERTY("Queues", "as", NULL, offsetof(FlagObject, queues), EMITS),
        SD_BUS_PROPERTY("ValueOn", "s", NULL, offsetof(FlagObject, value_on), EMITS),
        SD_BUS_PROPERTY("ValueOff", "s", NULL, offsetof(FlagObject, value_off), EMITS),
        SD_BUS_PROPERTY("OnStale", "s", NULL, offsetof(FlagObject, on_stale), EMITS),
        SD_BUS_PROPERTY("UpdatedBy", "s", NULL, offsetof(FlagObject, updated_by), EMITS),
        SD_BUS_PROPERTY("UpdatedAt", "t", NULL, offsetof(FlagObject, updated_usec), EMITS),
        SD_BUS_PROPERTY("Etag", "s", NULL, offsetof(FlagObject, etag), EMITS),
        SD_BUS_METHOD_WITH_ARGS("SetEnabled", SD_BUS_ARGS("b", enabled, "s", reason),
                SD_BUS_NO_RESULT, method_set_enabled, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("SetRolloutPercent", SD_BUS_ARGS("d", percent, "s", reason),
                SD_BUS_NO_RESULT, method_set_percent, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("SetRules", SD_BUS_ARGS("s", rules, "s", reason), SD_BUS_NO_RESULT,
                method_set_rules, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("SetAllow", SD_BUS_ARGS("as", subjects, "s", reason),
                SD_BUS_NO_RESULT, method_set_allow, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("SetQueues", SD_BUS_ARGS("as", queues, "s", reason),
                SD_BUS_NO_RESULT, method_set_queues, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS(
                "Archive", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_archive, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("Evaluate", SD_BUS_ARGS("s", subject, "a{sv}", context),
                SD_BUS_RESULT("s", value, "s", variant, "s", reason), method_evaluate, ANYBODY),
        SD_BUS_VTABLE_END,
};

const ObjectClass flag_class = {
        .prefix = MANAGER_PATH "/flag",
        .interface = FLAG_INTERFACE,
        .vtable = flag_vtable,
        .free = flag_free,
};

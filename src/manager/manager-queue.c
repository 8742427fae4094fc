/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-reader.h"
#include "manager-change.h"

/* ---- from the database ---- */

static void queue_free(Object *o)
{
        QueueObject *q = (QueueObject *) o;

        free(q->name);
        free(q->reason);
}

static int read_queue(Manager *m, const JsonValue *v, Object **ret)
{
        QueueObject *q = new0(QueueObject, 1);
        const char *name, *reason = "";
        bool paused = false;
        uint64_t ready = 0, running = 0;
        int r;

        if (!q)
                return -ENOMEM;
        r = json_get_string(v, "name", &name, NULL);
        if (r == JSON_MISSING)
                r = -EINVAL;
        if (r >= 0)
                r = json_get_string(v, "reason", &reason, NULL);
        if (r >= 0)
                r = json_get_bool(v, "paused", &paused, NULL);
        if (r >= 0)
                r = json_get_uint64(v, "ready", 0, UINT64_MAX, &ready, NULL);
        if (r >= 0)
                r = json_get_uint64(v, "running", 0, UINT32_MAX, &running, NULL);
        if (r >= 0) {
                q->object.manager = m;
                q->name = strdup(name);
                q->reason = strdup(reason);
                q->paused = paused;
                q->depth = ready;
                q->running = (uint32_t) running;
                r = q->name && q->reason ? object_set_path(&q->object, &queue_class, name)
                                         : -ENOMEM;
        }
        if (r < 0) {
                object_free(&queue_class, &q->object);
                return r;
        }
        *ret = &q->object;
        return 0;
}

int queues_read(Manager *m, const char *json, Object ***ret_items, unsigned *ret_n)
{
        return objects_read_json(m, &queue_class, json, read_queue, ret_items, ret_n);
}

/* ---- on the bus ---- */

static int start(
        QueueObject *q, sd_bus_message *m, bool pause, const char *reason, sd_bus_error *error)
{
        const ChangeAsk ask = {
                .type = CHANGE_QUEUE_PAUSED,
                .name = q->name,
                .reason = reason,
                .on = pause,
        };

        return change_start(q->object.manager, m, &ask, error);
}

static int method_pause(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        const char *reason;
        int r = sd_bus_message_read(m, "s", &reason);

        return r < 0 ? r : start(userdata, m, true, reason, error);
}

static int method_resume(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return start(userdata, m, false, NULL, error);
}

#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable queue_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY(
                "Name", "s", NULL, offsetof(QueueObject, name), SD_BUS_VTABLE_PROPERTY_CONST),
        SD_BUS_PROPERTY("Paused", "b", NULL, offsetof(QueueObject, paused), EMITS),
        SD_BUS_PROPERTY("Reason", "s", NULL, offsetof(QueueObject, reason), EMITS),
        SD_BUS_PROPERTY("Depth", "t", NULL, offsetof(QueueObject, depth), EMITS),
        SD_BUS_PROPERTY("Running", "u", NULL, offsetof(QueueObject, running), EMITS),
        SD_BUS_METHOD_WITH_ARGS("Pause", SD_BUS_ARGS("s", reason), SD_BUS_NO_RESULT, method_pause,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Resume", SD_BUS_NO_ARGS, SD_BUS_NO_RESULT, method_resume,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

const ObjectClass queue_class = {
        .prefix = MANAGER_PATH "/queue",
        .interface = QUEUE_INTERFACE,
        .vtable = queue_vtable,
        .free = queue_free,
};

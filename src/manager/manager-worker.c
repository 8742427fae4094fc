/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "json-reader.h"
#include "manager-private.h"

static void worker_free(Object *o)
{
        WorkerObject *w = (WorkerObject *) o;

        free(w->host);
        free(w->pool);
        free(w->instance);
        free(w->unit);
        free(w->state);
}

typedef struct Row {
        const char *host, *name, *state;
        uint64_t pid, slots, busy, jobs_done;
} Row;

static int read_row(const JsonValue *v, Row *row)
{
        const struct {
                const char *name;
                const char **to;
        } texts[] = { { "host", &row->host }, { "name", &row->name }, { "state", &row->state } };
        const struct {
                const char *name;
                uint64_t max, *to;
        } numbers[] = {
                { "pid", UINT32_MAX, &row->pid },
                { "slots", UINT32_MAX, &row->slots },
                { "busy", UINT32_MAX, &row->busy },
                { "jobs_done", UINT64_MAX, &row->jobs_done },
        };
        int r;

        for (unsigned i = 0; i < ELEMENTSOF(texts); i++) {
                r = json_get_string(v, texts[i].name, texts[i].to, NULL);
                if (r != JSON_FOUND)
                        return r < 0 ? r : -EINVAL;
        }
        for (unsigned i = 0; i < ELEMENTSOF(numbers); i++) {
                r = json_get_uint64(v, numbers[i].name, 0, numbers[i].max, numbers[i].to, NULL);
                if (r != JSON_FOUND)
                        return r < 0 ? r : -EINVAL;
        }
        return 0;
}

static int fill(WorkerObject *w, const Row *row)
{
        const char *colon = strchr(row->name, ':');
        size_t n = colon ? (size_t) (colon - row->name) : strlen(row->name);
        char label[512];

        (void) snprintf(label, sizeof(label), "%s/%s", row->host, row->name);
        w->host = strdup(row->host);
        w->pool = strndup(row->name, n);
        w->instance = strdup(row->name);
        w->state = strdup(row->state);
        w->main_pid = (uint32_t) row->pid;
        w->slots = (uint32_t) row->slots;
        w->busy = (uint32_t) row->busy;
        w->jobs_done = row->jobs_done;
        if (!w->host || !w->pool || !w->instance || !w->state ||
                asprintf(&w->unit, "reeve-worker@%s.service", row->name) < 0) {
                w->unit = NULL;
                return -ENOMEM;
        }
        return object_set_path(&w->object, &worker_class, label);
}

static int read_worker(Manager *m, const JsonValue *v, Object **ret)
{
        Row row = {};
        WorkerObject *w;
        int r = read_row(v, &row);

        if (r < 0)
                return r;
        w = new0(WorkerObject, 1);
        if (!w)
                return -ENOMEM;
        w->object.manager = m;
        r = fill(w, &row);
        if (r < 0) {
                object_free(&worker_class, &w->object);
                return r;
        }
        *ret = &w->object;
        return 0;
}

int workers_read(Manager *m, const char *json, Object ***ret_items, unsigned *ret_n)
{
        return objects_read_json(m, &worker_class, json, read_worker, ret_items, ret_n);
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable worker_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Host", "s", NULL, offsetof(WorkerObject, host), CONST),
        SD_BUS_PROPERTY("Pool", "s", NULL, offsetof(WorkerObject, pool), CONST),
        SD_BUS_PROPERTY("Instance", "s", NULL, offsetof(WorkerObject, instance), CONST),
        SD_BUS_PROPERTY("Unit", "s", NULL, offsetof(WorkerObject, unit), CONST),
        SD_BUS_PROPERTY("MainPID", "u", NULL, offsetof(WorkerObject, main_pid), EMITS),
        SD_BUS_PROPERTY("State", "s", NULL, offsetof(WorkerObject, state), EMITS),
        SD_BUS_PROPERTY("Slots", "u", NULL, offsetof(WorkerObject, slots), EMITS),
        SD_BUS_PROPERTY("Busy", "u", NULL, offsetof(WorkerObject, busy), EMITS),
        SD_BUS_PROPERTY("JobsDone", "t", NULL, offsetof(WorkerObject, jobs_done), EMITS),
        SD_BUS_VTABLE_END,
};

const ObjectClass worker_class = {
        .prefix = MANAGER_PATH "/worker",
        .interface = WORKER_INTERFACE,
        .vtable = worker_vtable,
        .free = worker_free,
};

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "json-reader.h"
#include "manager-change.h"

/* Operations: rows of the database that every reeved shows and any of them takes a step further.
 * Nothing of them is kept here, so who asked for one, and the reeved that it was asked of, may go.
 */

#define PROGRESS_DRAINED 90U /* percent, when what was let in has ended */

/* ---- from the database ---- */

static void operation_free(Object *o)
{
        OperationObject *p = (OperationObject *) o;

        free(p->type);
        free(p->subject);
        free(p->phase);
        free(p->result);
        free(p->error_code);
        free(p->error_message);
        free(p->actor);
        free(p->reason);
        strv_free(p->queues);
}

static int read_texts(OperationObject *p, const JsonValue *v)
{
        const struct {
                const char *name;
                char **to;
        } texts[] = {
                { "type", &p->type },
                { "subject", &p->subject },
                { "phase", &p->phase },
                { "result", &p->result },
                { "error_code", &p->error_code },
                { "error_message", &p->error_message },
                { "actor", &p->actor },
                { "reason", &p->reason },
        };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(texts) && r >= 0; i++) {
                const char *text = "";

                r = json_get_string(v, texts[i].name, &text, NULL);
                if (r >= 0)
                        r = free_and_strdup(texts[i].to, text);
        }
        return r;
}

static int read_numbers(OperationObject *p, const JsonValue *v)
{
        uint64_t jobs = 0, remaining = 0;
        int r = json_get_uint64(v, "id", 1, INT64_MAX, &p->id, NULL);

        if (r == JSON_MISSING)
                r = -EINVAL;
        if (r >= 0)
                r = json_get_uint64(v, "jobs", 0, UINT32_MAX, &jobs, NULL);
        if (r >= 0)
                r = json_get_uint64(v, "remaining", 0, UINT32_MAX, &remaining, NULL);
        if (r >= 0)
                r = json_get_uint64(v, "started_usec", 0, INT64_MAX, &p->started_usec, NULL);
        if (r >= 0)
                r = json_get_uint64(v, "deadline_usec", 0, INT64_MAX, &p->deadline_usec, NULL);
        if (r >= 0)
                r = json_get_uint64(v, "finished_usec", 0, INT64_MAX, &p->finished_usec, NULL);
        p->jobs = (uint32_t) jobs;
        p->remaining = (uint32_t) remaining;
        return r;
}

static int read_queues(OperationObject *p, const JsonValue *v)
{
        const JsonValue *list = json_value_member(v, "queues");
        unsigned n = 0;

        p->queues = new0(char *, (list ? json_value_count(list) : 0) + 1);
        if (!p->queues)
                return -ENOMEM;
        for (const JsonValue *q = list ? json_value_first(list, NULL) : NULL; q;
                q = json_value_next(list, q, NULL)) {
                const char *name;
                int r = json_value_string(q, &name);

                if (r < 0)
                        return r;
                p->queues[n] = strdup(name);
                if (!p->queues[n++])
                        return -ENOMEM;
        }
        return 0;
}

static uint32_t progress(const OperationObject *p)
{
        if (streq(p->result, "done"))
                return 100;
        if (p->jobs == 0 || p->remaining > p->jobs)
                return 0;
        return (uint32_t) ((uint64_t) (p->jobs - p->remaining) * PROGRESS_DRAINED / p->jobs);
}

int operation_path(uint64_t id, char **ret)
{
        char *path;

        if (asprintf(&path, "%s/%llu", operation_class.prefix, (unsigned long long) id) < 0)
                return -ENOMEM;
        *ret = path;
        return 0;
}

static int read_operation(Manager *m, const JsonValue *v, Object **ret)
{
        OperationObject *p = new0(OperationObject, 1);
        int r;

        if (!p)
                return -ENOMEM;
        p->object.manager = m;
        r = read_texts(p, v);
        if (r >= 0)
                r = read_numbers(p, v);
        if (r >= 0)
                r = read_queues(p, v);
        if (r >= 0)
                r = operation_path(p->id, &p->object.path);
        if (r < 0) {
                object_free(&operation_class, &p->object);
                return r;
        }
        p->progress = progress(p);
        *ret = &p->object;
        return 0;
}

int operations_read(Manager *m, const char *json, Object ***ret_items, unsigned *ret_n)
{
        return objects_read_json(m, &operation_class, json, read_operation, ret_items, ret_n);
}

bool manager_has_running(const Manager *m)
{
        for (unsigned i = 0; i < m->operations.n; i++)
                if (streq(((const OperationObject *) m->operations.items[i])->result, "running"))
                        return true;
        return false;
}

/* ---- on the bus ---- */

static const char *state_of(const OperationObject *p, const char *step)
{
        static const char *const order[] = { "disable", "drain", "verify" };
        int is = -1, at = -1;

        if (streq(p->result, "done"))
                return "done";
        for (int i = 0; i < (int) ELEMENTSOF(order); i++) {
                if (streq(order[i], step))
                        is = i;
                if (streq(order[i], p->phase))
                        at = i;
        }
        if (at < 0) /* it has failed: in the first step whose work was not done */
                at = p->remaining > 0 || streq(p->error_code, "FLAG_ON") ? 1 : 2;
        if (is == at)
                return streq(p->result, "failed") ? "failed" : "running";
        return is < at ? "done" : "waiting";
}

/* sd-bus's prototype. NOLINTNEXTLINE(readability-function-size) */
static int property_get_steps(sd_bus *bus, const char *path, const char *interface,
        const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
        const OperationObject *p = userdata;
        uint32_t drained = p->jobs == 0
                ? 100
                : (uint32_t) ((uint64_t) (p->jobs - p->remaining) * 100 / p->jobs);
        int r = sd_bus_message_open_container(reply, 'a', "(ssu)");

        if (r >= 0)
                r = sd_bus_message_append(reply, "(ssu)", "disable", state_of(p, "disable"), 100U);
        if (r >= 0)
                r = sd_bus_message_append(reply, "(ssu)", "drain", state_of(p, "drain"), drained);
        if (r >= 0)
                r = sd_bus_message_append(reply, "(ssu)", "verify", state_of(p, "verify"),
                        streq(p->result, "done") ? 100U : 0U);
        return r < 0 ? r : sd_bus_message_close_container(reply);
}

/* sd-bus's prototype. NOLINTNEXTLINE(readability-function-size) */
static int property_get_error(sd_bus *bus, const char *path, const char *interface,
        const char *property, sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
        const OperationObject *p = userdata;

        return sd_bus_message_append(reply, "(ss)", p->error_code, p->error_message);
}

#define CONST SD_BUS_VTABLE_PROPERTY_CONST
#define EMITS SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE

static const sd_bus_vtable operation_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Id", "t", NULL, offsetof(OperationObject, id), CONST),
        SD_BUS_PROPERTY("Type", "s", NULL, offsetof(OperationObject, type), CONST),
        SD_BUS_PROPERTY("Subject", "s", NULL, offsetof(OperationObject, subject), CONST),
        SD_BUS_PROPERTY("Queues", "as", NULL, offsetof(OperationObject, queues), CONST),
        SD_BUS_PROPERTY("Phase", "s", NULL, offsetof(OperationObject, phase), EMITS),
        SD_BUS_PROPERTY("Progress", "u", NULL, offsetof(OperationObject, progress), EMITS),
        SD_BUS_PROPERTY("Jobs", "u", NULL, offsetof(OperationObject, jobs), EMITS),
        SD_BUS_PROPERTY("Remaining", "u", NULL, offsetof(OperationObject, remaining), EMITS),
        SD_BUS_PROPERTY("Result", "s", NULL, offsetof(OperationObject, result), EMITS),
        SD_BUS_PROPERTY("Error", "(ss)", property_get_error, 0, 0),
        SD_BUS_PROPERTY("Steps", "a(ssu)", property_get_steps, 0, 0),
        SD_BUS_PROPERTY("StartedBy", "s", NULL, offsetof(OperationObject, actor), CONST),
        SD_BUS_PROPERTY("Reason", "s", NULL, offsetof(OperationObject, reason), CONST),
        SD_BUS_PROPERTY("StartedAt", "t", NULL, offsetof(OperationObject, started_usec), CONST),
        SD_BUS_PROPERTY("Deadline", "t", NULL, offsetof(OperationObject, deadline_usec), CONST),
        SD_BUS_PROPERTY("FinishedAt", "t", NULL, offsetof(OperationObject, finished_usec), EMITS),
        SD_BUS_VTABLE_END,
};

const ObjectClass operation_class = {
        .prefix = MANAGER_PATH "/operation",
        .interface = OPERATION_INTERFACE,
        .vtable = operation_vtable,
        .free = operation_free,
};

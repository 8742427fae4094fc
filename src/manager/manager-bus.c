/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"
#include "manager-change.h"
#include "manager-flag.h"

#define EMITS   SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE
#define CONST   SD_BUS_VTABLE_PROPERTY_CONST
#define ANYBODY SD_BUS_VTABLE_UNPRIVILEGED

/* ---- lists ---- */

static int append_queue(sd_bus_message *reply, const Object *o)
{
        return sd_bus_message_append(reply, "(so)", ((const QueueObject *) o)->name, o->path);
}

static int append_worker(sd_bus_message *reply, const Object *o)
{
        const WorkerObject *w = (const WorkerObject *) o;

        return sd_bus_message_append(reply, "(ssso)", w->host, w->instance, w->state, o->path);
}

static int append_flag(sd_bus_message *reply, const Object *o)
{
        const FlagObject *f = (const FlagObject *) o;

        return sd_bus_message_append(reply, "(sbdo)", f->key, f->enabled, f->percent, o->path);
}

static int append_operation(sd_bus_message *reply, const Object *o)
{
        const OperationObject *p = (const OperationObject *) o;

        return sd_bus_message_append(
                reply, "(tsuso)", p->id, p->type, p->progress, p->phase, o->path);
}

static int reply_list(sd_bus_message *m, const ObjectList *list, const char *type,
        int (*append)(sd_bus_message *reply, const Object *o))
{
        sd_bus_message *reply = NULL;
        int r = sd_bus_message_new_method_return(m, &reply);

        if (r >= 0)
                r = sd_bus_message_open_container(reply, SD_BUS_TYPE_ARRAY, type);
        for (unsigned i = 0; i < list->n && r >= 0; i++)
                r = append(reply, list->items[i]);
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        if (r >= 0)
                r = sd_bus_send(NULL, reply, NULL);
        sd_bus_message_unref(reply);
        return r < 0 ? r : 1;
}

static int method_list_queues(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return reply_list(m, &((Manager *) userdata)->queues, "(so)", append_queue);
}

static int method_list_workers(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return reply_list(m, &((Manager *) userdata)->workers, "(ssso)", append_worker);
}

static int method_list_flags(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return reply_list(m, &((Manager *) userdata)->flags, "(sbdo)", append_flag);
}

static int method_list_operations(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return reply_list(m, &((Manager *) userdata)->operations, "(tsuso)", append_operation);
}

/* ---- changes ---- */

static int set_paused(Manager *manager, sd_bus_message *m, bool paused, sd_bus_error *error)
{
        ChangeAsk ask = { .type = CHANGE_QUEUE_PAUSED, .on = paused };
        int r = sd_bus_message_read(m, "s", &ask.name);

        return r < 0 ? r : change_start(manager, m, &ask, error);
}

static int method_pause_queue(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return set_paused(userdata, m, true, error);
}

static int method_resume_queue(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        return set_paused(userdata, m, false, error);
}

static int method_set_flag_enabled(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        ChangeAsk ask = { .type = CHANGE_FLAG_ENABLED };
        int enabled, r = sd_bus_message_read(m, "sbs", &ask.name, &enabled, &ask.reason);

        if (r < 0)
                return r;
        ask.on = enabled;
        return change_start(userdata, m, &ask, error);
}

static int method_set_flag_percent(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        ChangeAsk ask = { .type = CHANGE_FLAG_PERCENT };
        double percent;
        int r = sd_bus_message_read(m, "sds", &ask.name, &percent, &ask.reason);

        if (r >= 0)
                r = percent_read(percent, &ask.percent, error);
        return r < 0 ? r : change_start(userdata, m, &ask, error);
}

static int method_create_flag(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        ChangeAsk ask = { .type = CHANGE_FLAG_CREATE };
        int r = new_flag_read(m, &ask.flag, error);

        if (r < 0)
                return r;
        ask.name = ask.flag->key;
        ask.reason = ask.flag->reason;
        return change_start(userdata, m, &ask, error);
}

/* ---- properties ---- */

static const sd_bus_vtable manager_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Version", "s", NULL, offsetof(Manager, version), CONST),
        SD_BUS_PROPERTY("State", "s", NULL, offsetof(Manager, view.state), EMITS),
        SD_BUS_PROPERTY("DatabaseState", "s", NULL, offsetof(Manager, view.database_state), EMITS),
        SD_BUS_PROPERTY("QueuedJobs", "t", NULL, offsetof(Manager, view.queued_jobs), EMITS),
        SD_BUS_PROPERTY("ActiveJobs", "u", NULL, offsetof(Manager, view.active_jobs), EMITS),
        SD_BUS_PROPERTY("StartTimestamp", "t", NULL, offsetof(Manager, start_usec), CONST),
        SD_BUS_METHOD_WITH_ARGS("ListQueues", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(so)", queues),
                method_list_queues, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ListWorkers", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(ssso)", workers),
                method_list_workers, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ListFlags", SD_BUS_NO_ARGS, SD_BUS_RESULT("a(sbdo)", flags),
                method_list_flags, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ListOperations", SD_BUS_NO_ARGS,
                SD_BUS_RESULT("a(tsuso)", operations), method_list_operations, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("CreateFlag", SD_BUS_ARGS("s", key, "a{sv}", options),
                SD_BUS_RESULT("o", flag), method_create_flag, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("SetFlagEnabled", SD_BUS_ARGS("s", key, "b", enabled, "s", reason),
                SD_BUS_NO_RESULT, method_set_flag_enabled, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("SetFlagPercent", SD_BUS_ARGS("s", key, "d", percent, "s", reason),
                SD_BUS_NO_RESULT, method_set_flag_percent, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("PauseQueue", SD_BUS_ARGS("s", queue), SD_BUS_NO_RESULT,
                method_pause_queue, ANYBODY),
        SD_BUS_METHOD_WITH_ARGS("ResumeQueue", SD_BUS_ARGS("s", queue), SD_BUS_NO_RESULT,
                method_resume_queue, ANYBODY),
        SD_BUS_VTABLE_END,
};

void manager_view_changed(Manager *m, const ManagerView *old)
{
        const ManagerView *now = &m->view;
        const char *names[5];
        unsigned n = 0;

        if (!streq(now->state, old->state))
                names[n++] = "State";
        if (!streq(now->database_state, old->database_state))
                names[n++] = "DatabaseState";
        if (now->queued_jobs != old->queued_jobs)
                names[n++] = "QueuedJobs";
        if (now->active_jobs != old->active_jobs)
                names[n++] = "ActiveJobs";
        names[n] = NULL;
        if (n > 0 && m->bus)
                (void) sd_bus_emit_properties_changed_strv(
                        m->bus, MANAGER_PATH, MANAGER_INTERFACE, (char **) names);
}

/* ---- org.freedesktop.LogControl1: systemctl service-log-level reeved.service debug ---- */

/* sd-bus's prototype. NOLINTNEXTLINE(readability-function-size) */
static int get_log(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *reply, void *userdata, sd_bus_error *error)
{
        const char *value = streq(property, "LogLevel") ? log_level_to_string(log_get_max_level())
                : streq(property, "LogTarget")          ? log_get_target()
                                                        : "reeved";

        return sd_bus_message_append(reply, "s", value);
}

/* sd-bus's prototype. NOLINTNEXTLINE(readability-function-size) */
static int set_log_level(sd_bus *bus, const char *path, const char *interface, const char *property,
        sd_bus_message *value, void *userdata, sd_bus_error *error)
{
        const char *text;
        int level, r = sd_bus_message_read(value, "s", &text);

        if (r < 0)
                return r;
        if (log_level_from_string(text, &level) < 0)
                return sd_bus_error_setf(
                        error, SD_BUS_ERROR_INVALID_ARGS, "\"%s\" is no log level.", text);
        log_set_max_level(level);
        log_notice("The log level is %s now.", log_level_to_string(level));
        return 0;
}

/* Where lines go is decided by what systemd connects standard error to. */
/* sd-bus's prototype. NOLINTNEXTLINE(readability-function-size) */
static int set_log_target(sd_bus *bus, const char *path, const char *interface,
        const char *property, sd_bus_message *value, void *userdata, sd_bus_error *error)
{
        const char *text;
        int r = sd_bus_message_read(value, "s", &text);

        if (r < 0)
                return r;
        if (!streq(text, "auto") && !streq(text, log_get_target()))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "The log goes to \"%s\" and nowhere else.", log_get_target());
        return 0;
}

static const sd_bus_vtable log_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_WRITABLE_PROPERTY("LogLevel", "s", get_log, set_log_level, 0, 0),
        SD_BUS_WRITABLE_PROPERTY("LogTarget", "s", get_log, set_log_target, 0, 0),
        SD_BUS_PROPERTY("SyslogIdentifier", "s", get_log, 0, 0),
        SD_BUS_VTABLE_END,
};

/* ---- the tree ---- */

static int find_in(const ObjectList *list, const char *path, void **ret)
{
        Object *o = object_list_find(list, path);

        if (!o)
                return 0;
        *ret = o;
        return 1;
}

#define DEFINE_FAMILY(name)                                                                        \
        static int find_##name(sd_bus *bus, const char *path, const char *interface,               \
                void *userdata, void **ret, sd_bus_error *error)                                   \
        {                                                                                          \
                return find_in(&((Manager *) userdata)->name, path, ret);                          \
        }                                                                                          \
        static int enumerate_##name(                                                               \
                sd_bus *bus, const char *prefix, void *userdata, char ***ret, sd_bus_error *error) \
        {                                                                                          \
                return object_list_enumerate(&((Manager *) userdata)->name, ret);                  \
        }

DEFINE_FAMILY(queues)
DEFINE_FAMILY(workers)
DEFINE_FAMILY(flags)
DEFINE_FAMILY(operations)

int manager_add_objects(Manager *m)
{
        const BusObject objects[] = {
                { MANAGER_PATH, MANAGER_INTERFACE, manager_vtable, NULL, NULL },
                { queue_class.prefix, queue_class.interface, queue_class.vtable, find_queues,
                        enumerate_queues },
                { worker_class.prefix, worker_class.interface, worker_class.vtable, find_workers,
                        enumerate_workers },
                { flag_class.prefix, flag_class.interface, flag_class.vtable, find_flags,
                        enumerate_flags },
                { operation_class.prefix, operation_class.interface, operation_class.vtable,
                        find_operations, enumerate_operations },
                { MANAGER_PATH "/release", RELEASE_INTERFACE, release_vtable, NULL, NULL },
                { "/org/freedesktop/LogControl1", "org.freedesktop.LogControl1", log_vtable, NULL,
                        NULL },
                {},
        };
        int r = sd_bus_add_object_manager(m->bus, NULL, MANAGER_PATH);

        if (r >= 0)
                r = bus_add_objects(m->bus, objects, m);
        if (r < 0)
                return r;
        m->writables = (BusWritables){ .table = flag_writables, .userdata = m };
        return bus_add_writables(m->bus, &m->writables);
}

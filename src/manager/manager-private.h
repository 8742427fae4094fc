/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "bus-authority.h"
#include "bus-error.h"
#include "bus-object.h"
#include "bus-property.h"
#include "bus-service.h"
#include "config-load.h"
#include "json-reader.h"
#include "manager.h"
#include "object-list.h"
#include "store-control.h"
#include "store-jobs.h"

/* What the files of this folder share.
 *
 * GLOSSARY
 * view     what the Manager object's properties say
 * refresh  asking the database for all that the objects say; every two seconds, and when told
 * change   a method or a property write on its way: polkit, the database, the answer */

#define MANAGER_PATH        "/org/reeve1"
#define MANAGER_INTERFACE   "org.reeve1.Manager"
#define QUEUE_INTERFACE     "org.reeve1.Queue"
#define WORKER_INTERFACE    "org.reeve1.Worker"
#define FLAG_INTERFACE      "org.reeve1.Flag"
#define RELEASE_INTERFACE   "org.reeve1.Release"
#define OPERATION_INTERFACE "org.reeve1.Operation"

#define STALL_USEC    (3 * USEC_PER_SEC) /* an answer that takes longer: the database is stuck */
#define DEADLINE_USEC (5 * USEC_PER_SEC) /* for an answer of the database */

/* Types as sd-bus reads properties from memory. */
typedef struct ManagerView {
        char *state; /* starting, running, degraded, stopping */
        char *database_state; /* connecting, away, stuck, no-schema, ok */
        uint64_t queued_jobs;
        uint32_t active_jobs;
} ManagerView;

typedef struct QueueObject {
        Object object;
        char *name;
        int paused;
        uint64_t depth;
        uint32_t running;
        char *reason;
} QueueObject;

typedef struct WorkerObject {
        Object object;
        char *host, *pool, *instance, *unit, *state;
        uint32_t main_pid, slots, busy;
        uint64_t jobs_done;
} WorkerObject;

typedef struct OperationObject {
        Object object;
        uint64_t id;
        char *type, *subject, *phase, *result, *error_code, *error_message, *actor, *reason;
        char **queues;
        uint32_t progress, jobs, remaining;
        uint64_t started_usec, deadline_usec, finished_usec;
} OperationObject;

typedef struct Change Change;
typedef struct Plan Plan;

struct Manager {
        sd_event *event;
        Settings settings;
        Store *store;
        BusService *service;
        sd_bus *bus; /* the service's, NULL: none */
        BusAuthority *authority;
        BusWritables writables;
        bool name_owned;
        char no_name[200]; /* why not */
        char *version; /* a constant */
        ManagerView view;
        uint64_t start_usec; /* CLOCK_REALTIME, as the property */
        ObjectList queues, workers, flags, operations;
        usec_t flags_read_usec,
                flags_asked_usec; /* CLOCK_MONOTONIC: when what is here was asked for */

        Change *changes;
        Plan *plans; /* on their way */
        unsigned n_changes;

        /* refreshing */
        unsigned n_refreshing; /* statements of the running refresh without an answer */
        usec_t refreshed_usec, refresh_started_usec, refresh_took_usec; /* CLOCK_MONOTONIC */
        bool refresh_again, reading_flags, flags_again;
        bool refresh_failed;
        bool reading_operations, operations_again, advancing;
        usec_t advanced_usec, advance_took_usec; /* CLOCK_MONOTONIC */

        sd_event_source *tick;
        usec_t watchdog_usec, started_usec, stopping_usec;
        int64_t schema_version; /* 0: not known */
        bool connected, ever_connected, told_away, told_schema, ready;
        char status[320];
};

/* ---- manager-bus.c: the Manager object and the tree ---- */
int manager_add_objects(Manager *m);
/* Tells the bus what of the view is different from the old one. */
void manager_view_changed(Manager *m, const ManagerView *old);

/* ---- manager-queue.c, manager-worker.c, manager-flag.c: families ---- */
extern const ObjectClass queue_class, worker_class, flag_class, operation_class;
int queues_read(Manager *m, const char *json, Object ***ret_items, unsigned *ret_n);
int workers_read(Manager *m, const char *json, Object ***ret_items, unsigned *ret_n);
int flags_read(Manager *m, const StoreFlag *rows, unsigned n, Object ***ret_items, unsigned *ret_n);
extern const BusWritable flag_writables[];

/* ---- manager-release.c ---- */
extern const sd_bus_vtable release_vtable[];
/* Without answers: the bus is gone. */
void plans_drop(Manager *m);

/* ---- manager-operation.c ---- */
int operations_read(Manager *m, const char *json, Object ***ret_items, unsigned *ret_n);
/* Where the operation is on the bus: the caller's. Returns 0 or -ENOMEM. */
int operation_path(uint64_t id, char **ret);
bool manager_has_running(const Manager *m);

/* ---- manager-refresh.c ---- */
/* Makes one object of one element of a JSON array. */
typedef int (*ObjectReader)(Manager *m, const JsonValue *v, Object **ret);
int objects_read_json(Manager *m, const ObjectClass *class, const char *json, ObjectReader read_one,
        Object ***ret_items, unsigned *ret_n);
/* Asks for everything, now or when the running refresh has ended. */
void manager_refresh(Manager *m);
/* Asks for the operations; if some run, their next step is taken first. */
void manager_refresh_operations(Manager *m);
/* Asks for the flags alone: somebody has changed one. */
void manager_refresh_flags(Manager *m);

/* ---- manager.c ---- */
/* Goes to the bus, once it is known how it stands with the database; nothing if it has. -errno. */
int manager_serve(Manager *m);

/* ---- manager-health.c ---- */
int manager_start_health(Manager *m);
/* Brings State, DatabaseState and STATUS= to what is true. */
void manager_update(Manager *m);
/* Whether a write can be tried; text says why not. */
bool manager_is_available(const Manager *m, char *text, size_t size);

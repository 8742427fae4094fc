/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "json-reader.h"
#include "manager-change.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "strbuf.h"

/* The object /org/reeve1/release: taking a new way of doing something back. */

#define TIMEOUT_USEC     (30 * USEC_PER_MIN) /* unless said otherwise: as system 004 has it */
#define TIMEOUT_MAX_USEC (7 * USEC_PER_DAY)
#define JSON_DEPTH       4U
/* Anybody may ask for a plan, and each looks at all that is live: more would stand before what an
 * operator does, in the one connection to the database. */
#define PLANS_MAX 4U

/* ---- options ---- */

typedef struct RollbackOptions {
        const char *flag, *reason; /* in the message */
        uint64_t timeout_usec;
        char **queues;
} RollbackOptions;

static void options_done(RollbackOptions *o)
{
        strv_free(o->queues);
}

static int read_value(sd_bus_message *m, const char *name, RollbackOptions *o, sd_bus_error *error)
{
        if (streq(name, "flag"))
                return sd_bus_message_read_basic(m, 's', &o->flag);
        if (streq(name, "reason"))
                return sd_bus_message_read_basic(m, 's', &o->reason);
        if (streq(name, "timeout"))
                return sd_bus_message_read_basic(m, 't', &o->timeout_usec);
        o->queues = strv_free(o->queues);
        return sd_bus_message_read_strv(m, &o->queues);
}

static int read_option(sd_bus_message *m, RollbackOptions *o, sd_bus_error *error)
{
        static const struct {
                const char *name, *type;
        } known[] = { { "flag", "s" }, { "reason", "s" }, { "timeout", "t" }, { "queues", "as" } };
        const char *name, *type;
        size_t i = 0;
        int r = sd_bus_message_read(m, "s", &name);

        if (r >= 0)
                r = sd_bus_message_peek_type(m, NULL, &type);
        if (r < 0)
                return r;
        while (i < ELEMENTSOF(known) && !streq(known[i].name, name))
                i++;
        if (i == ELEMENTSOF(known))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "There is no option \"%.64s\"; see org.reeve1(5).", name);
        if (!streq(type, known[i].type))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Option %s is of type \"%s\", not \"%s\".", name, known[i].type, type);
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, type);
        if (r >= 0)
                r = read_value(m, name, o, error);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int check_options(const RollbackOptions *o, sd_bus_error *error)
{
        if (!o->flag || !name_is_valid(o->flag))
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Option flag is missing, or is not the key of a flag.");
        if (o->timeout_usec == 0 || o->timeout_usec > TIMEOUT_MAX_USEC)
                return sd_bus_error_set(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Option timeout is 1 microsecond to 7 days.");
        return queues_check((const char *const *) o->queues, error);
}

static int read_options(sd_bus_message *m, RollbackOptions *o, sd_bus_error *error)
{
        int r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");

        o->timeout_usec = TIMEOUT_USEC;
        while (r >= 0 &&
                (r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                r = read_option(m, o, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                r = sd_bus_message_exit_container(m);
        return r < 0 ? r : check_options(o, error);
}

static int method_rollback_emergency(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        _cleanup_(options_done) RollbackOptions o = {};
        ChangeAsk ask = { .type = CHANGE_ROLLBACK };
        int r = read_options(m, &o, error);

        if (r < 0)
                return r;
        ask.name = o.flag;
        ask.reason = o.reason;
        ask.timeout_usec = o.timeout_usec;
        ask.list = TAKE_PTR(o.queues);
        return change_start(userdata, m, &ask, error);
}

/* ---- what it would do ---- */

struct Plan {
        Manager *manager;
        Plan *prev, *next; /* Manager.plans */
        sd_bus_message *message;
        StoreRequest *request;
        char *flag;
        uint64_t timeout_usec;
};

static Plan *plan_free(Plan *p)
{
        if (!p)
                return NULL;
        store_request_cancel(p->request);
        if (p->prev)
                p->prev->next = p->next;
        else if (p->manager->plans == p)
                p->manager->plans = p->next;
        if (p->next)
                p->next->prev = p->prev;
        sd_bus_message_unref(p->message);
        free(p->flag);
        return mfree(p);
}
DEFINE_CLEANUP(Plan, plan_free)

void plans_drop(Manager *m)
{
        while (m->plans)
                plan_free(m->plans);
}

static void put_queues(StrBuf *b, const JsonValue *plan)
{
        const JsonValue *queues = json_value_member(plan, "queues");

        for (const JsonValue *v = queues ? json_value_first(queues, NULL) : NULL; v;
                v = json_value_next(queues, v, NULL)) {
                const char *name = "";

                (void) json_value_string(v, &name);
                strbuf_printf(b, "%s%s", b->len > 0 ? ", " : "", name);
        }
}

static int reply_plan(const Plan *p, const JsonValue *plan)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(strbuf_done) StrBuf queues = {}, disable = {}, drain = {};
        char span[TIMESPAN_MAX];
        uint64_t jobs = 0, running = 0;
        bool enabled = false;
        double percent = 0;
        int r;

        (void) json_get_bool(plan, "enabled", &enabled, NULL);
        (void) json_get_double(plan, "percent", &percent, NULL);
        (void) json_get_uint64(plan, "jobs", 0, UINT64_MAX, &jobs, NULL);
        (void) json_get_uint64(plan, "running", 0, UINT64_MAX, &running, NULL);
        put_queues(&queues, plan);
        if (queues.len == 0)
                return sd_bus_reply_method_errorf(
                        p->message, SD_BUS_ERROR_INVALID_ARGS, NO_QUEUES_TEXT, p->flag);
        if (running > 0)
                strbuf_printf(
                        &disable, "Operation %" PRIu64 " is on it already: it is joined.", running);
        else if (enabled)
                strbuf_printf(
                        &disable, "Flag %s is on (%.10g %%); it is turned off.", p->flag, percent);
        else
                strbuf_printf(&disable, "Flag %s is off; it stays off.", p->flag);
        strbuf_printf(&drain,
                "%" PRIu64 " jobs wait or run in %s; they may end, within %s. Nobody is let in.",
                jobs, strbuf_str(&queues), format_timespan(span, p->timeout_usec));
        r = sd_bus_message_new_method_return(p->message, &reply);
        if (r >= 0)
                r = sd_bus_message_append(reply, "a(ss)", 3, "disable", strbuf_str(&disable),
                        "drain", strbuf_str(&drain), "verify",
                        "The flag is still off, none of these jobs is left, and none has come "
                        "since.");
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

static void on_planned(int error, const char *const *row, void *userdata)
{
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Plan *p = userdata;

        p->request = NULL;
        if (error == 0 && !row)
                (void) sd_bus_reply_method_errorf(
                        p->message, BUS_ERROR_NO_SUCH_FLAG, "There is no flag \"%s\".", p->flag);
        else if (error == 0 &&
                (!row[0] || json_parse(row[0], strlen(row[0]), JSON_DEPTH, &d, NULL) < 0))
                error = -EPROTO;
        if (error < 0) {
                (void) store_error_set(p->manager, error, "plan of a rollback", &e);
                (void) sd_bus_reply_method_error(p->message, &e);
        } else if (d) {
                (void) reply_plan(p, json_document_root(d));
        }
        plan_free(p);
}

static bool may_plan(const Manager *m, sd_bus_message *message)
{
        const char *sender = sd_bus_message_get_sender(message);
        unsigned n = 0;

        for (const Plan *p = m->plans; p; p = p->next, n++)
                if (streq_ptr(sd_bus_message_get_sender(p->message), sender))
                        return false;
        return n < PLANS_MAX;
}

static int start_plan(
        Manager *m, sd_bus_message *message, const RollbackOptions *o, sd_bus_error *error)
{
        _cleanup_(plan_freep) Plan *p = NULL;
        char text[400];
        int r;

        if (!manager_is_available(m, text, sizeof(text)))
                return sd_bus_error_setf(error, BUS_ERROR_NOT_READY, "%s", text);
        if (!may_plan(m, message))
                return sd_bus_error_set(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                        "Other plans are being made. Try again when they have been answered.");
        assert(o->flag);
        p = new0(Plan, 1);
        if (!p)
                return -ENOMEM;
        *p = (Plan){ .manager = m, .next = m->plans, .timeout_usec = o->timeout_usec };
        p->message = sd_bus_message_ref(message);
        if (p->next)
                p->next->prev = p;
        m->plans = p;
        p->flag = strdup(o->flag);
        if (!p->flag)
                return -ENOMEM;
        r = store_plan_rollback(
                m->store, p->flag, (const char *const *) o->queues, on_planned, p, &p->request);
        if (r < 0)
                return store_error_set(m, r, "plan of a rollback", error);
        TAKE_PTR(p);
        return 1;
}

static int method_plan(sd_bus_message *m, void *userdata, sd_bus_error *error)
{
        _cleanup_(options_done) RollbackOptions o = {};
        const char *depth;
        int r = sd_bus_message_read(m, "s", &depth);

        if (r < 0)
                return r;
        if (!streq(depth, "emergency"))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "There is no plan for \"%.64s\": emergency is all there is.", depth);
        r = read_options(m, &o, error);
        return r < 0 ? r : start_plan(userdata, m, &o, error);
}

const sd_bus_vtable release_vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD_WITH_ARGS("RollbackEmergency", SD_BUS_ARGS("a{sv}", options),
                SD_BUS_RESULT("t", id, "o", operation), method_rollback_emergency,
                SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_METHOD_WITH_ARGS("Plan", SD_BUS_ARGS("s", depth, "a{sv}", options),
                SD_BUS_RESULT("a(ss)", steps), method_plan, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

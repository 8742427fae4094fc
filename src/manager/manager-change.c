/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "flag.h"
#include "log.h"
#include "manager-change.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "strbuf.h"

#define DETAILS_MAX 6U

/* One change on its way. It is answered once, when it is committed (and, for flags, when the
 * objects say so), or when it cannot be done. */
struct Change {
        Manager *manager;
        Change *prev, *next; /* Manager.changes */
        sd_bus_message *message;
        ChangeType type;
        char *name, *reason, *twin;
        char *what; /* "pause queue pdf": for messages and the log */
        bool on;
        unsigned percent;
        StoreNewFlag *flag;
        const char *rules; /* in the message */
        char **list;
        usec_t timeout_usec;
        int64_t operation;
        BusCheck *check;
        StoreRequest *request;
        bool committed; /* waits for the flags to be read */
        char actor[BUS_CALLER_USER_MAX + BUS_CALLER_UNIT_MAX + 40];
};

/* ---- life ---- */

static Change *change_free(Change *c)
{
        if (!c)
                return NULL;
        bus_check_cancel(c->check);
        store_request_cancel(c->request);
        if (c->prev)
                c->prev->next = c->next;
        else if (c->manager->changes == c)
                c->manager->changes = c->next;
        if (c->next)
                c->next->prev = c->prev;
        c->manager->n_changes--;
        sd_bus_message_unref(c->message);
        new_flag_free(c->flag);
        strv_free(c->list);
        free(c->name);
        free(c->reason);
        free(c->twin);
        free(c->what);
        return mfree(c);
}
DEFINE_CLEANUP(Change, change_free)

void changes_drop(Manager *m)
{
        while (m->changes)
                change_free(m->changes);
}

static void note_reply(const Change *c, int r)
{
        if (r < 0)
                (void) log_warning_errno(r, "Failed to answer (%s): %m", c->what);
}

static void fail(Change *c, const char *name, const char *format, ...) _printf_(3, 4);
static void fail(Change *c, const char *name, const char *format, ...)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        va_list ap;

        va_start(ap, format);
        strbuf_vprintf(&b, format, ap);
        va_end(ap);
        note_reply(c, sd_bus_reply_method_errorf(c->message, name, "%s", strbuf_str(&b)));
        change_free(c);
}

static void succeed(Change *c)
{
        _cleanup_(freep) char *path = NULL;
        int r;

        if (c->type == CHANGE_FLAG_CREATE) {
                r = sd_bus_path_encode(flag_class.prefix, c->name, &path);
                if (r >= 0)
                        r = sd_bus_reply_method_return(c->message, "o", path);
        } else if (c->type == CHANGE_ROLLBACK) {
                r = operation_path((uint64_t) c->operation, &path);
                if (r >= 0)
                        r = sd_bus_reply_method_return(
                                c->message, "to", (uint64_t) c->operation, path);
        } else {
                r = sd_bus_reply_method_return(c->message, NULL);
        }
        note_reply(c, r);
        change_free(c);
}

/* ---- the database's answer ---- */

static void log_change(const Change *c)
{
        const char *const fields[] = {
                "REEVE_ACTOR",
                c->actor,
                c->type == CHANGE_QUEUE_PAUSED ? "REEVE_QUEUE" : "REEVE_FLAG",
                c->name,
                "REEVE_REASON",
                c->reason,
                NULL,
        };

        (void) log_fields(LOG_NOTICE, 0, fields, "%s: %s%s%s", c->actor, c->what,
                c->reason ? ": " : "", c->reason ? c->reason : "");
}

int store_error_set(Manager *m, int error, const char *what, sd_bus_error *ret)
{
        switch (error) {
        case -ENOTCONN:
                return sd_bus_error_set(
                        ret, BUS_ERROR_NOT_READY, "The database is away: nothing was changed.");
        case -ECONNRESET:
        case -ETIMEDOUT:
                return sd_bus_error_set(ret, BUS_ERROR_OUTCOME_UNKNOWN,
                        "The connection to the database was lost before it answered: it is not "
                        "known whether this was done.");
        case -EAGAIN:
        case -ENOBUFS:
                return sd_bus_error_set(
                        ret, BUS_ERROR_BUSY, "The database is overloaded: nothing was changed.");
        case -EIO:
        case -EPROTO:
                log_error("%s: %s", what, store_last_error(m->store));
                return sd_bus_error_set(ret, SD_BUS_ERROR_FAILED,
                        "The database refused: the log of reeved.service says more.");
        default:
                (void) log_error_errno(error, "%s: %m", what);
                return sd_bus_error_setf(ret, SD_BUS_ERROR_FAILED, "Failed: %s.", strerror(-error));
        }
}

static void fail_by_error(Change *c, int error)
{
        _cleanup_(sd_bus_error_free) sd_bus_error e = SD_BUS_ERROR_NULL;

        (void) store_error_set(c->manager, error, c->what, &e);
        note_reply(c, sd_bus_reply_method_error(c->message, &e));
        change_free(c);
}

static bool fail_by_outcome(Change *c, int64_t n)
{
        if (n > 0)
                return false;
        if (c->type == CHANGE_QUEUE_PAUSED)
                fail(c, BUS_ERROR_NO_SUCH_QUEUE, "Nothing knows a queue \"%s\".", c->name);
        else if (c->type == CHANGE_ROLLBACK && n == STORE_NO_QUEUES)
                fail(c, SD_BUS_ERROR_INVALID_ARGS, NO_QUEUES_TEXT, c->name);
        else if (c->type != CHANGE_FLAG_CREATE)
                fail(c, BUS_ERROR_NO_SUCH_FLAG, "There is no flag \"%s\".", c->name);
        else if (n == STORE_FLAG_TOO_MANY)
                fail(c, SD_BUS_ERROR_LIMITS_EXCEEDED, "There are %u flags, the most there can be.",
                        REEVE_FLAGS_MAX);
        else
                fail(c, BUS_ERROR_FLAG_EXISTS,
                        "There is a flag \"%s\" already, or there was: keys are not used again.",
                        c->name);
        return true;
}

static void show_paused(const Change *c)
{
        _cleanup_(freep) char *path = NULL, *reason = strdup(c->reason ? c->reason : "");
        QueueObject *q, old;

        if (!reason || sd_bus_path_encode(queue_class.prefix, c->name, &path) < 0)
                return;
        q = (QueueObject *) object_list_find(&c->manager->queues, path);
        if (!q) {
                manager_refresh(c->manager);
                return;
        }
        old = *q;
        q->paused = c->on;
        q->reason = TAKE_PTR(reason);
        (void) bus_emit_changes(
                c->manager->bus, path, QUEUE_INTERFACE, queue_class.vtable, &old, q);
        free(old.reason);
}

static void on_written(int error, int64_t n, void *userdata)
{
        Change *c = userdata;

        c->request = NULL;
        if (error < 0) {
                fail_by_error(c, error);
                return;
        }
        if (fail_by_outcome(c, n))
                return;
        log_change(c);
        if (c->type == CHANGE_QUEUE_PAUSED) {
                show_paused(c);
                succeed(c);
                return;
        }
        c->committed = true;
        manager_refresh_flags(c->manager);
        if (c->type == CHANGE_ROLLBACK) {
                c->operation = n;
                manager_refresh_operations(c->manager);
        }
        if (c->type == CHANGE_ROLLBACK ? !c->manager->reading_operations
                                       : !c->manager->reading_flags)
                succeed(c);
}

void changes_read(Manager *m, bool rollbacks)
{
        Change *next;

        for (Change *c = m->changes; c; c = next) {
                next = c->next;
                if (c->committed && (c->type == CHANGE_ROLLBACK) == rollbacks)
                        succeed(c);
        }
}

static int write_change(Change *c)
{
        Store *s = c->manager->store;
        const StoreChange change = { .name = c->name, .actor = c->actor, .reason = c->reason };

        switch (c->type) {
        case CHANGE_FLAG_CREATE:
                c->flag->actor = c->actor;
                c->flag->reason = c->reason;
                return store_create_flag(s, c->flag, on_written, c, &c->request);
        case CHANGE_FLAG_ENABLED:
                return store_set_flag_enabled(s, &change, c->on, on_written, c, &c->request);
        case CHANGE_FLAG_PERCENT:
                return store_set_flag_percent(s, &change, c->percent, on_written, c, &c->request);
        case CHANGE_FLAG_RULES:
                return store_set_flag_rules(s, &change, c->rules, on_written, c, &c->request);
        case CHANGE_FLAG_ALLOW:
                return store_set_flag_allow(
                        s, &change, (const char *const *) c->list, on_written, c, &c->request);
        case CHANGE_FLAG_QUEUES:
                return store_set_flag_queues(
                        s, &change, (const char *const *) c->list, on_written, c, &c->request);
        case CHANGE_ROLLBACK:
                return store_start_rollback(s,
                        &(StoreRollback){ .change = change,
                                .queues = (const char *const *) c->list,
                                .timeout_usec = c->timeout_usec },
                        on_written, c, &c->request);
        case CHANGE_FLAG_ARCHIVE:
                return store_archive_flag(s, &change, on_written, c, &c->request);
        case CHANGE_QUEUE_PAUSED:
                return store_set_queue_paused(s, &change, c->on, on_written, c, &c->request);
        }
        return -EINVAL;
}

/* ---- polkit's answer ---- */

static void set_actor(Change *c, const BusCaller *caller)
{
        char place[BUS_CALLER_UNIT_MAX + 16] = "";

        if (caller->unit[0])
                (void) snprintf(place, sizeof(place), " in %s", caller->unit);
        else if (caller->pid > 0)
                (void) snprintf(place, sizeof(place), " pid %d", (int) caller->pid);
        (void) snprintf(c->actor, sizeof(c->actor), "uid:%u%s%s%s%s", (unsigned) caller->uid,
                caller->user[0] ? " (" : "", caller->user, caller->user[0] ? ")" : "", place);
}

static void on_checked(
        BusVerdict verdict, const BusCaller *caller, const char *text, void *userdata)
{
        Change *c = userdata;
        char why[400];
        int r;

        c->check = NULL;
        if (verdict != BUS_ALLOWED) {
                note_reply(c, bus_reply_refused(c->message, verdict, text, c->what, c->twin));
                change_free(c);
                return;
        }
        set_actor(c, caller);
        if (!manager_is_available(c->manager, why, sizeof(why))) {
                fail(c, BUS_ERROR_NOT_READY, "%s Nothing was changed.", why);
                return;
        }
        r = write_change(c);
        if (r < 0)
                fail_by_error(c, r);
}

/* ---- from the handlers ---- */

static int describe_change(Change *c)
{
        const char *verb = NULL;
        int r;

        switch (c->type) {
        case CHANGE_FLAG_CREATE:
                verb = "create flag";
                break;
        case CHANGE_FLAG_ENABLED:
                verb = c->on ? "enable flag" : "disable flag";
                break;
        case CHANGE_FLAG_RULES:
                verb = "set the rules of flag";
                break;
        case CHANGE_FLAG_ALLOW:
                verb = "set the allow list of flag";
                break;
        case CHANGE_FLAG_QUEUES:
                verb = "set the queues of flag";
                break;
        case CHANGE_FLAG_ARCHIVE:
                verb = "archive flag";
                break;
        case CHANGE_ROLLBACK:
                verb = "emergency rollback of flag";
                break;
        case CHANGE_QUEUE_PAUSED:
                verb = c->on ? "pause queue" : "resume queue";
                break;
        case CHANGE_FLAG_PERCENT:
                break;
        }
        if (verb)
                r = asprintf(&c->what, "%s %s", verb, c->name);
        else
                r = asprintf(&c->what, "set flag %s to %s %%", c->name,
                        flag_percent_format((char[FLAG_PERCENT_MAX]){}, c->percent));
        if (r >= 0)
                return 0;
        c->what = NULL;
        return -ENOMEM;
}

static int copy_ask(Change *c, const ChangeAsk *ask)
{
        c->type = ask->type;
        c->on = ask->on;
        c->percent = ask->percent;
        c->rules = ask->rules;
        c->timeout_usec = ask->timeout_usec;
        if (free_and_strdup(&c->name, ask->name) < 0 || free_and_strdup(&c->twin, ask->twin) < 0)
                return -ENOMEM;
        if (ask->reason && ask->reason[0] && free_and_strdup(&c->reason, ask->reason) < 0)
                return -ENOMEM;
        return describe_change(c);
}

/* What rules may look at and the prompt shows. */
static int start_check(Change *c)
{
        char percent[FLAG_PERCENT_MAX];
        const char *details[DETAILS_MAX + 1] = {};
        const BusQuestion question = {
                .message = c->message,
                .action = c->type == CHANGE_QUEUE_PAUSED ? "org.reeve1.manage-queues"
                        : c->type == CHANGE_ROLLBACK     ? "org.reeve1.emergency-stop"
                                                         : "org.reeve1.manage-flags",
                .details = details,
        };
        unsigned n = 0;

        details[n++] = c->type == CHANGE_QUEUE_PAUSED ? "queue" : "flag";
        details[n++] = c->name;
        if (c->type == CHANGE_FLAG_PERCENT) {
                details[n++] = "percent";
                details[n++] = flag_percent_format(percent, c->percent);
        } else if (c->type == CHANGE_QUEUE_PAUSED || c->type == CHANGE_FLAG_ENABLED) {
                details[n++] = c->type == CHANGE_QUEUE_PAUSED ? "paused" : "enabled";
                details[n++] = c->on ? "true" : "false";
        }
        return bus_check_new(c->manager->authority, &question, on_checked, c, &c->check);
}

static void drop_ask(const ChangeAsk *ask)
{
        new_flag_free(ask->flag);
        strv_free(ask->list);
}

static int validate(const Manager *m, const ChangeAsk *ask, sd_bus_error *error)
{
        char text[400];

        if (!name_is_valid(ask->name))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Not a name: letters, digits and . _ - are, at most %u of them, and the "
                        "first is a letter or a digit.",
                        REEVE_NAME_MAX);
        if (ask->reason && strlen(ask->reason) > REEVE_REASON_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "A reason has at most %u bytes.", REEVE_REASON_MAX);
        if (!manager_is_available(m, text, sizeof(text))) /* before somebody types a password */
                return sd_bus_error_setf(
                        error, BUS_ERROR_NOT_READY, "%s Nothing was changed.", text);
        return 0;
}

int change_start(Manager *m, sd_bus_message *message, const ChangeAsk *ask, sd_bus_error *error)
{
        _cleanup_(change_freep) Change *c = NULL;
        int r;

        r = validate(m, ask, error);
        if (r < 0) {
                drop_ask(ask);
                return r;
        }
        c = new0(Change, 1);
        if (!c) {
                drop_ask(ask);
                return -ENOMEM;
        }
        *c = (Change){ .manager = m, .next = m->changes, .flag = ask->flag, .list = ask->list };
        c->message = sd_bus_message_ref(message);
        if (c->next)
                c->next->prev = c;
        m->changes = c;
        m->n_changes++;
        r = copy_ask(c, ask);
        if (r >= 0)
                r = start_check(c);
        if (r == -EBUSY)
                return sd_bus_error_setf(error, SD_BUS_ERROR_LIMITS_EXCEEDED,
                        "Too many calls wait for polkit: nothing was changed.");
        if (r < 0)
                return r;
        TAKE_PTR(c);
        return 1;
}

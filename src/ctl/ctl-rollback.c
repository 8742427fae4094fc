/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <unistd.h>

#include "ctl-bus.h"
#include "parse-util.h"

/* rollback emergency: asks reeved for the operation, then watches it. It goes on without us, and
 * without the reeved that was asked; who asks again joins it. */

#define LOOK_USEC (500 * USEC_PER_MSEC)
#define AWAY_USEC (2 * USEC_PER_MIN) /* how long reeved may be away */
#define CALL_USEC (10 * USEC_PER_SEC)

typedef struct Operation {
        uint64_t id;
        char *path;
        char *phase, *result, *error_code, *error_message;
        uint32_t progress, jobs, remaining;
} Operation;

static void operation_done(Operation *o)
{
        free(o->path);
        free(o->phase);
        free(o->result);
        free(o->error_code);
        free(o->error_message);
        *o = (Operation){};
}

/* ---- asking ---- */

static int append_options(const Ctl *c, sd_bus_message *m, usec_t timeout_usec)
{
        const char *queue = c->values[OPTION_QUEUE], *reason = c->values[OPTION_REASON];
        int r = sd_bus_message_open_container(m, 'a', "{sv}");

        if (r >= 0)
                r = sd_bus_message_append(m, "{sv}", "flag", "s", c->args[1]);
        if (r >= 0 && reason)
                r = sd_bus_message_append(m, "{sv}", "reason", "s", reason);
        if (r >= 0 && timeout_usec > 0)
                r = sd_bus_message_append(m, "{sv}", "timeout", "t", timeout_usec);
        if (r >= 0 && queue)
                r = sd_bus_message_append(m, "{sv}", "queues", "as", 1, queue);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int ask(Ctl *c, const char *member, sd_bus_message **ret)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        usec_t timeout_usec = 0;
        int r;

        if (!name_is_valid(c->args[1]))
                return ctl_error(EXIT_STATUS_NOT_FOUND, "There is no flag \"%s\".", c->args[1]);
        if (c->values[OPTION_TIMEOUT] &&
                (parse_timespan(c->values[OPTION_TIMEOUT], &timeout_usec) < 0 ||
                        timeout_usec == 0 || timeout_usec == USEC_INFINITY))
                return ctl_error(EXIT_STATUS_USAGE, "--timeout=%s is not a time such as 30min.",
                        c->values[OPTION_TIMEOUT]);
        r = ctl_bus_begin(c, "/org/reeve1/release", "org.reeve1.Release", member, &m);
        if (r != EXIT_STATUS_OK)
                return r;
        r = streq(member, "Plan") ? sd_bus_message_append(m, "s", "emergency") : 0;
        return ctl_bus_ask_reply(m, r < 0 ? r : append_options(c, m, timeout_usec), ret);
}

static int print_plan(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        const char *step, *text;
        int r = ask(c, "Plan", &reply);

        if (r != EXIT_STATUS_OK)
                return r;
        json_open_array(&w, NULL);
        r = sd_bus_message_enter_container(reply, 'a', "(ss)");
        while (r >= 0 && (r = sd_bus_message_read(reply, "(ss)", &step, &text)) > 0) {
                _cleanup_(strbuf_done) StrBuf clean = {};

                text_clean(&clean, text);
                if (!c->json)
                        printf("%-8s %s\n", step, strbuf_str(&clean));
                json_open_object(&w, NULL);
                json_put_string(&w, "step", step);
                json_put_string(&w, "text", text);
                json_close(&w);
        }
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return ctl_oom();
        if (r < 0)
                return ctl_error(EXIT_STATUS_FAILED, "reeved's answer is not understood.");
        if (c->json)
                puts(strbuf_str(&b));
        return EXIT_STATUS_OK;
}

/* ---- watching ---- */

static int get_text(sd_bus *bus, const Operation *o, const char *name, char **to)
{
        char *text = NULL;
        int r = sd_bus_get_property_string(
                bus, "org.reeve1", o->path, "org.reeve1.Operation", name, NULL, &text);

        if (r >= 0) {
                free(*to);
                *to = text;
        }
        return r;
}

static int get_number(sd_bus *bus, const Operation *o, const char *name, uint32_t *to)
{
        return sd_bus_get_property_trivial(
                bus, "org.reeve1", o->path, "org.reeve1.Operation", name, NULL, 'u', to);
}

static int get_error(sd_bus *bus, Operation *o)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        const char *code, *message;
        int r = sd_bus_get_property(
                bus, "org.reeve1", o->path, "org.reeve1.Operation", "Error", NULL, &reply, "(ss)");

        if (r >= 0)
                r = sd_bus_message_read(reply, "(ss)", &code, &message);
        if (r >= 0)
                r = free_and_strdup(&o->error_code, code);
        return r < 0 ? r : free_and_strdup(&o->error_message, message);
}

/* On a connection of its own: the bus may have been restarted. */
static int look(Operation *o)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r = sd_bus_open_system(&bus);

        if (r < 0)
                return r;
        (void) sd_bus_set_method_call_timeout(bus, CALL_USEC);
        r = get_text(bus, o, "Phase", &o->phase);
        if (r >= 0)
                r = get_number(bus, o, "Jobs", &o->jobs);
        if (r >= 0)
                r = get_number(bus, o, "Remaining", &o->remaining);
        if (r >= 0)
                r = get_number(bus, o, "Progress", &o->progress);
        if (r >= 0)
                r = get_error(bus, o);
        if (r >= 0)
                r = get_text(bus, o, "Result", &o->result);
        return r;
}

static void tell_progress(const Ctl *c, const Operation *o, StrBuf *last)
{
        _cleanup_(strbuf_done) StrBuf line = {};

        if (c->json)
                return;
        if (streq(o->phase, "drain"))
                strbuf_printf(
                        &line, "drain    %u of %u jobs have not ended", o->remaining, o->jobs);
        else if (streq(o->phase, "verify"))
                strbuf_puts(&line, "verify   whether the flag is off and nothing has come since");
        if (line.len == 0 || streq(strbuf_str(&line), strbuf_str(last)))
                return;
        puts(strbuf_str(&line));
        fflush(stdout);
        strbuf_clear(last);
        strbuf_puts(last, strbuf_str(&line));
}

static int watch(const Ctl *c, Operation *o)
{
        _cleanup_(strbuf_done) StrBuf last = {};
        usec_t away_usec = 0;

        for (;;) {
                usec_t now = now_usec(CLOCK_MONOTONIC);
                int r = look(o);

                if (r < 0 && away_usec == 0) {
                        away_usec = now;
                        (void) ctl_error(0, "reeved is away; the operation is not. Asking again.");
                }
                if (r < 0 && now - away_usec > AWAY_USEC)
                        return ctl_error(EXIT_STATUS_NO_CONNECTION,
                                "reeved does not come back (%s). Try: systemctl start "
                                "reeved.service, then the same again",
                                strerror(-r));
                if (r >= 0) {
                        away_usec = 0;
                        tell_progress(c, o, &last);
                        if (!streq(o->result, "running"))
                                return EXIT_STATUS_OK;
                }
                (void) usleep(LOOK_USEC);
        }
}

/* ---- what this host's API says ---- */

static bool is_off_here(Ctl *c, char *why, size_t size)
{
        _cleanup_(strbuf_done) StrBuf target = {};
        _cleanup_(answer_done) Answer a = {}, health = {};
        const char *text;
        int error;

        strbuf_puts(&target, "/ofrep/v1/evaluate/flags/");
        http_quote(&target, c->args[1]);
        ctl_try(c, &(HttpAsk){ .method = "GET", .target = "/api/health" }, &health, &error);
        if (error >= 0 && health.reply.status != 200) {
                (void) snprintf(why, size, "the API of this host is not well (HTTP %u)",
                        health.reply.status);
                return false;
        }
        if (error >= 0)
                ctl_try(c, &(HttpAsk){ .method = "POST", .target = strbuf_str(&target) }, &a,
                        &error);
        if (error < 0) {
                (void) snprintf(why, size, "the API of this host cannot be asked (%s)",
                        c->client.wrong[0] ? c->client.wrong : strerror(-error));
                return false;
        }
        text = a.root ? member_text(a.root, "reason") : "";
        if (a.reply.status == 200 && streq(text, "DISABLED"))
                return true;
        (void) snprintf(why, size, "for the API of this host the flag is not off (HTTP %u, %s)",
                a.reply.status, *text ? text : "no reason");
        return false;
}

static int print_json(const Operation *o, const char *why)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_put_uint(&w, "id", o->id);
        json_put_string(&w, "operation", o->path);
        json_put_string(&w, "result", o->result);
        json_put_uint(&w, "jobs", o->jobs);
        json_put_uint(&w, "remaining", o->remaining);
        if (o->error_code && *o->error_code) {
                json_put_string(&w, "code", o->error_code);
                json_put_string(&w, "message", o->error_message);
        } else if (*why) {
                json_put_string(&w, "code", "NOT_OFF_HERE");
                json_put_string(&w, "message", why);
        }
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return ctl_oom();
        puts(strbuf_str(&b));
        return EXIT_STATUS_OK;
}

static int conclude(Ctl *c, const Operation *o)
{
        bool done = streq(o->result, "done"), off = true;
        char why[HTTP_CLIENT_WRONG + 100] = "";

        if (done)
                off = is_off_here(c, why, sizeof(why));
        if (c->json && print_json(o, why) != EXIT_STATUS_OK)
                return EXIT_STATUS_FAILED;
        if (!done)
                return ctl_error(EXIT_STATUS_FAILED, "%s: %s.", o->error_code, o->error_message);
        if (!off)
                return ctl_error(
                        EXIT_STATUS_FAILED, "All that it had let in has ended, but %s.", why);
        if (!c->json)
                printf("done     %u jobs have ended; the flag %s is off\n", o->jobs, c->args[1]);
        return EXIT_STATUS_OK;
}

static int rollback_emergency(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *reply = NULL;
        _cleanup_(operation_done) Operation o = {};
        const char *path;
        int r;

        if (c->values[OPTION_DRY_RUN])
                return print_plan(c);
        r = ask(c, "RollbackEmergency", &reply);
        if (r != EXIT_STATUS_OK)
                return r;
        if (sd_bus_message_read(reply, "to", &o.id, &path) < 0)
                return ctl_error(EXIT_STATUS_FAILED, "reeved's answer is not understood.");
        o.path = strdup(path);
        if (!o.path)
                return ctl_oom();
        if (!c->json) {
                printf("disable  flag %s is off: operation %" PRIu64 ". Ctrl-C ends the watching "
                       "only; the same command again joins it.\n",
                        c->args[1], o.id);
                fflush(stdout);
        }
        r = watch(c, &o);
        return r == EXIT_STATUS_OK ? conclude(c, &o) : r;
}

int verb_rollback(Ctl *c)
{
        static const CtlCommand commands[] = {
                { "emergency", 1, 1,
                        UINT64_C(1) << OPTION_REASON | UINT64_C(1) << OPTION_TIMEOUT |
                                UINT64_C(1) << OPTION_QUEUE | UINT64_C(1) << OPTION_DRY_RUN,
                        rollback_emergency },
                {},
        };

        return ctl_run_command(c, commands);
}

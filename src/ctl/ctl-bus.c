/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-bus.h"

#include "bus-error.h"

#define SERVICE      "org.reeve1"
#define MANAGER_PATH "/org/reeve1"
#define MANAGER      "org.reeve1.Manager"
#define CALL_USEC    (150 * USEC_PER_SEC) /* reeved gives a prompt two minutes */

#define LATER   " More by: reevectl status, journalctl -u reeved"
#define MAY     " root and the members of group reeve-admin may. Try: sudo reevectl ..."
#define UNKNOWN " It may have been changed or not: look, then say it again."

/* What an error of the bus means here, by the beginning of its name. text goes before the error's
 * own words, remedy behind them; without own the error's words say nothing to people. */
typedef struct BusFault {
        const char *name;
        ExitStatus status;
        const char *text;
        bool own;
        const char *remedy;
} BusFault;

#define ACTIVATION " Try: systemctl start reeved.service; journalctl -u reeved"

static const BusFault faults[] = {
        { BUS_ERROR_NO_SUCH_FLAG, EXIT_STATUS_NOT_FOUND, "", true, " Try: reevectl flag list" },
        { BUS_ERROR_NO_SUCH_QUEUE, EXIT_STATUS_NOT_FOUND, "", true, " Try: reevectl queues" },
        { SD_BUS_ERROR_UNKNOWN_OBJECT, EXIT_STATUS_NOT_FOUND,
                "There is no flag and no queue of this name.", false,
                " Try: reevectl flag list, reevectl queues" },
        { BUS_ERROR_FLAG_EXISTS, EXIT_STATUS_FAILED, "", true, "" },
        { BUS_ERROR_NOT_READY, EXIT_STATUS_NO_CONNECTION, "", true, LATER },
        { BUS_ERROR_BUSY, EXIT_STATUS_NO_CONNECTION, "", true, LATER },
        { BUS_ERROR_OUTCOME_UNKNOWN, EXIT_STATUS_NO_CONNECTION, "", true, UNKNOWN },
        { SD_BUS_ERROR_INVALID_ARGS, EXIT_STATUS_USAGE, "", true, "" },
        { SD_BUS_ERROR_LIMITS_EXCEEDED, EXIT_STATUS_NO_CONNECTION, "", true, LATER },
        { SD_BUS_ERROR_ACCESS_DENIED, EXIT_STATUS_REFUSED, "", true, MAY },
        { SD_BUS_ERROR_INTERACTIVE_AUTHORIZATION_REQUIRED, EXIT_STATUS_REFUSED, "", true,
                " Try: sudo reevectl ..." },
        { SD_BUS_ERROR_SERVICE_UNKNOWN, EXIT_STATUS_NO_CONNECTION, "reeved does not run.", false,
                ACTIVATION },
        { SD_BUS_ERROR_NAME_HAS_NO_OWNER, EXIT_STATUS_NO_CONNECTION, "reeved does not run.", false,
                ACTIVATION },
        { "org.freedesktop.systemd1.", EXIT_STATUS_NO_CONNECTION,
                "reeved cannot be started: ", true, ACTIVATION },
        { "org.freedesktop.DBus.Error.Spawn.", EXIT_STATUS_NO_CONNECTION,
                "reeved cannot be started: ", true, ACTIVATION },
        { SD_BUS_ERROR_UNKNOWN_METHOD, EXIT_STATUS_FAILED, "", true,
                " Are reevectl and reeved of the same version?" },
        { SD_BUS_ERROR_NO_REPLY, EXIT_STATUS_NO_CONNECTION, "reeved did not answer.", false,
                UNKNOWN },
        { SD_BUS_ERROR_TIMEOUT, EXIT_STATUS_NO_CONNECTION, "reeved did not answer.", false,
                UNKNOWN },
        { SD_BUS_ERROR_DISCONNECTED, EXIT_STATUS_NO_CONNECTION,
                "The connection to the bus was lost.", false, UNKNOWN },
        {},
};

static int tell_fault(const sd_bus_error *error, int r)
{
        const char *words = error->message ? error->message : strerror(-r), *stop;
        size_t n = strlen(words);

        stop = n > 0 && strchr(".!?", words[n - 1]) ? "" : ".";
        for (const BusFault *f = faults; error->name && f->name; f++)
                if (strncmp(error->name, f->name, strlen(f->name)) == 0)
                        return ctl_error(f->status, "%s%s%s%s", f->text, f->own ? words : "",
                                f->own ? stop : "", f->remedy);
        return ctl_error(EXIT_STATUS_FAILED, "reeved: %s%s (%s)", words, stop,
                error->name ? error->name : "no name");
}

static int open_bus(sd_bus **ret)
{
        int r = sd_bus_open_system(ret);

        if (r == -EACCES || r == -EPERM)
                return ctl_error(
                        EXIT_STATUS_REFUSED, "You may not connect to the system bus: be root.");
        if (r < 0)
                return ctl_error(EXIT_STATUS_NO_CONNECTION,
                        "There is no system bus (%s), and changes go to reeved by it. Try: "
                        "systemctl start dbus.socket",
                        strerror(-r));
        return EXIT_STATUS_OK;
}

int ctl_bus_begin(
        Ctl *c, const char *path, const char *interface, const char *member, sd_bus_message **ret)
{
        _cleanup_(sd_bus_unrefp) sd_bus *bus = NULL;
        int r;

        if (c->values[OPTION_URL])
                return ctl_error(EXIT_STATUS_USAGE,
                        "Changes go by the bus of this host, not by --url. Try: ssh HOST reevectl "
                        "...");
        r = open_bus(&bus);
        if (r != EXIT_STATUS_OK)
                return r;
        r = sd_bus_message_new_method_call(bus, ret, SERVICE, path, interface, member);
        return r < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

int ctl_bus_begin_manager(Ctl *c, const char *member, sd_bus_message **ret)
{
        return ctl_bus_begin(c, MANAGER_PATH, MANAGER, member, ret);
}

int ctl_bus_ask(sd_bus_message *call, int appended)
{
        return ctl_bus_ask_reply(call, appended, NULL);
}

int ctl_bus_ask_reply(sd_bus_message *call, int appended, sd_bus_message **ret)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        pid_t agent;
        int r = appended;

        if (r == -EINVAL) /* what is no UTF-8 */
                return ctl_error(EXIT_STATUS_USAGE, "An argument is not a text in UTF-8.");
        if (r < 0)
                return ctl_oom();
        agent = agent_start();
        r = sd_bus_message_set_allow_interactive_authorization(call, agent > 0);
        if (r >= 0)
                r = sd_bus_call(sd_bus_message_get_bus(call), call, CALL_USEC, &error, ret);
        agent_stop(agent);
        return r < 0 ? tell_fault(&error, r) : EXIT_STATUS_OK;
}

/* ---- queues ---- */

static int call_queue(Ctl *c, const char *member)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = ctl_bus_begin_manager(c, member, &m);

        if (r != EXIT_STATUS_OK)
                return r;
        return ctl_bus_ask(m, sd_bus_message_append(m, "s", c->args[1]));
}

int resume_queue(Ctl *c)
{
        return call_queue(c, "ResumeQueue");
}

int pause_queue(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(freep) char *path = NULL;
        int r;

        if (!c->values[OPTION_REASON])
                return call_queue(c, "PauseQueue");
        if (sd_bus_path_encode(MANAGER_PATH "/queue", c->args[1], &path) < 0)
                return ctl_oom();
        r = ctl_bus_begin(c, path, "org.reeve1.Queue", "Pause", &m);
        if (r != EXIT_STATUS_OK)
                return r;
        return ctl_bus_ask(m, sd_bus_message_append(m, "s", c->values[OPTION_REASON]));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <libpq-fe.h>
#include <stdio.h>

#include "config-load.h"
#include "log.h"

/* ExecCondition= of reeve-postgres.service: exit status 0 if Database= of reeve.conf(5) names the
 * embedded server, 1 (the unit is skipped, not failed) if it names another one, 255 (the unit
 * fails) if that cannot be told. */

enum {
        WANTED = 0,
        NOT_WANTED = 1,
        UNKNOWN = 255, /* systemd: ExecCondition= from 255 on is a failure */
};

static void on_report(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        if (level == CONF_ERROR)
                log_warning("%s:%u: %s", file, line, text);
}

/* A connection string may name several hosts, separated by commas. */
static bool host_list_has(const char *list, const char *host)
{
        size_t length = strlen(host);

        for (const char *p = list; p; p = strchr(p, ',')) {
                p += *p == ',';
                if (strncmp(p, host, length) == 0 && (p[length] == ',' || p[length] == '\0'))
                        return true;
        }
        return false;
}

static int check_connection_string(const char *text)
{
        char *error = NULL;
        PQconninfoOption *options = PQconninfoParse(text, &error);
        int wanted = NOT_WANTED;

        if (!options) {
                if (error)
                        error[strcspn(error, "\n")] = '\0';
                log_error("Database= is not a connection string: %s", error ? error : "no memory");
                PQfreemem(error);
                return UNKNOWN;
        }
        for (const PQconninfoOption *o = options; o->keyword; o++)
                if (strcmp(o->keyword, "host") == 0 && o->val &&
                        host_list_has(o->val, SETTINGS_EMBEDDED_SOCKET_DIR))
                        wanted = WANTED;
        PQconninfoFree(options);
        return wanted;
}

int main(void)
{
        Settings settings = {};
        int r;

        log_setup("reeve-postgres-wanted");
        r = settings_load(NULL, on_report, NULL, &settings);
        if (r < 0 && r != -EINVAL) {
                (void) log_error_errno(r, "Cannot read reeve.conf: %m");
                settings_done(&settings);
                return UNKNOWN;
        }
        r = check_connection_string(settings.database);
        if (r == NOT_WANTED)
                log_info("Database= names another server: the embedded one is not started.");
        settings_done(&settings);
        return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "bus-caller.h"

#include <pwd.h>
#include <stdio.h>
#include <systemd/sd-login.h>

#include "macros.h"

#define UID_UNKNOWN ((uid_t) -1)

static void name_user(BusCaller *c)
{
        struct passwd pw, *found = NULL;
        char buf[4096];

        if (getpwuid_r(c->uid, &pw, buf, sizeof(buf), &found) == 0 && found)
                (void) snprintf(c->user, sizeof(c->user), "%s", pw.pw_name);
}

static void name_unit(BusCaller *c)
{
        _cleanup_(freep) char *unit = NULL;

        if (c->pid > 0 && sd_pid_get_unit(c->pid, &unit) >= 0)
                (void) snprintf(c->unit, sizeof(c->unit), "%s", unit);
}

static int read_number(sd_bus_message *m, uint32_t *ret)
{
        return sd_bus_message_read(m, "v", "u", ret);
}

int bus_caller_read(sd_bus_message *answer, BusCaller *ret)
{
        BusCaller c = { .uid = UID_UNKNOWN };
        const char *key;
        uint32_t number;
        int r = sd_bus_message_enter_container(answer, SD_BUS_TYPE_ARRAY, "{sv}");

        if (r < 0)
                return r;
        while ((r = sd_bus_message_enter_container(answer, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                r = sd_bus_message_read(answer, "s", &key);
                if (r < 0)
                        return r;
                if (streq(key, "UnixUserID") && (r = read_number(answer, &number)) >= 0)
                        c.uid = number;
                else if (streq(key, "ProcessID") && (r = read_number(answer, &number)) >= 0)
                        c.pid = (pid_t) number;
                else
                        r = sd_bus_message_skip(answer, "v");
                if (r >= 0)
                        r = sd_bus_message_exit_container(answer);
                if (r < 0)
                        return r;
        }
        if (r < 0)
                return r;
        if (c.uid == UID_UNKNOWN)
                return -ENODATA;
        name_user(&c);
        name_unit(&c);
        *ret = c;
        return 0;
}

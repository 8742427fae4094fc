/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl.h"

/* Under tools/quickstart --foreground, which sets this. */
#define VARIABLE "REEVE_FOREGROUND"

const char *ctl_foreground(void)
{
        const char *dir = getenv(VARIABLE);

        return dir && *dir == '/' ? dir : NULL;
}

const char *ctl_remedy(const char *remedy)
{
        static const char *const of_units[] = { "systemctl", "journalctl", "systemd-", "apt-get" };
        static char here[PATH_MAX + 100];
        const char *dir = ctl_foreground();

        if (dir && strstr(remedy, "daemon-reload"))
                return "wait some seconds: the workers start anew when a .kind file has changed";
        for (size_t i = 0; dir && i < ELEMENTSOF(of_units); i++)
                if (strstr(remedy, of_units[i])) {
                        (void) snprintf(here, sizeof(here),
                                "less %s/*.log; or end tools/quickstart --foreground by Ctrl-C and "
                                "start it again",
                                dir);
                        return here;
                }
        return remedy;
}

const char *ctl_root(char buf[static PATH_MAX])
{
        const char *dir = ctl_foreground();

        return dir && snprintf(buf, PATH_MAX, "%s/root", dir) < PATH_MAX ? buf : NULL;
}

const char *ctl_program(char buf[static PATH_MAX], const char *directory, const char *name)
{
        const char *dir = ctl_foreground();

        (void) snprintf(buf, PATH_MAX, "%s%s/%s", dir ? dir : directory, dir ? "/bin" : "", name);
        return buf;
}

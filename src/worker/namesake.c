/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "namesake.h"

#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <systemd/sd-id128.h>
#include <unistd.h>

#include "fd-util.h"

/* By sd-id128(3) an id that leaves the machine is a hash of the machine's. */
#define APPLICATION SD_ID128_MAKE(b9, 0e, 1d, 6c, 40, 5f, 4b, 1e, 9a, 0b, 6f, 35, 7a, c7, 32, 8d)

/* When the process was started, in ticks since the boot. proc(5): the 22nd field, the 3rd is behind
 * the last parenthesis. Returns 0, -ESRCH (it has ended, or is one that we may not see) or another
 * -errno. */
static int start_of(pid_t pid, uint64_t *ret)
{
        _cleanup_(freep) char *text = NULL;
        char path[64];
        const char *p;
        int r;

        snprintf(path, sizeof(path), "/proc/%d/stat", (int) pid);
        r = read_file(AT_FDCWD, path, 4096, &text, NULL);
        if (r < 0)
                return r == -ENOENT ? -ESRCH : r;
        p = strrchr(text, ')');
        if (p && (strncmp(p, ") Z", 3) == 0 || strncmp(p, ") X", 3) == 0))
                return -ESRCH;
        for (unsigned field = 2; p && field < 22; field++)
                p = strchr(p + 1, ' ');
        if (!p)
                return -EBADMSG;
        *ret = strtoull(p + 1, NULL, 10);
        return 0;
}

/* The part of a process's name that it shares with all whose PIDs are of the same space. */
static size_t space_length(const char *process)
{
        const char *pid = strchr(process, '.');

        pid = pid ? strchr(pid + 1, '.') : NULL;
        return pid ? (size_t) (pid + 1 - process) : 0;
}

int namesake_identify(char **ret_process, char **ret_machine)
{
        _cleanup_(freep) char *process = NULL, *machine = NULL;
        char text[SD_ID128_STRING_MAX];
        struct stat space;
        uint64_t start;
        sd_id128_t id;
        int r = start_of(getpid(), &start);

        if (r == -ENOMEM)
                return r;
        if (r >= 0 && sd_id128_get_boot(&id) >= 0 && stat("/proc/self/ns/pid", &space) >= 0 &&
                asprintf(&process, "%s.%llu.%d.%" PRIu64, sd_id128_to_string(id, text),
                        (unsigned long long) space.st_ino, (int) getpid(), start) < 0) {
                process = NULL;
                return -ENOMEM;
        }
        if (sd_id128_get_machine_app_specific(APPLICATION, &id) >= 0) {
                machine = strdup(sd_id128_to_string(id, text));
                if (!machine)
                        return -ENOMEM;
        }
        *ret_process = TAKE_PTR(process);
        *ret_machine = TAKE_PTR(machine);
        return 0;
}

/* Whether a process of our PID space is the one that was started then. In doubt it is. */
static bool is_running(pid_t pid, uint64_t start)
{
        uint64_t now;
        int r = start_of(pid, &now);

        if (r == -ESRCH) /* or hidden: somebody else's */
                return kill(pid, 0) < 0 && errno == EPERM;
        return r < 0 || now == start;
}

NamesakePlace namesake_find(
        const char *process, const char *machine, const char *own_process, const char *own_machine)
{
        size_t n = own_process ? space_length(own_process) : 0;
        char *end;
        long pid;

        if (process && n > 0 && strncmp(process, own_process, n) == 0) {
                if (streq(process, own_process)) /* our own row, whose answer was lost */
                        return NAMESAKE_GONE;
                pid = strtol(process + n, &end, 10);
                if (pid > 0 && pid <= INT_MAX && *end == '.')
                        return is_running((pid_t) pid, strtoull(end + 1, NULL, 10)) ? NAMESAKE_HERE
                                                                                    : NAMESAKE_GONE;
        }
        return machine && own_machine && streq(machine, own_machine) ? NAMESAKE_NEAR
                                                                     : NAMESAKE_ELSEWHERE;
}

usec_t namesake_patience(NamesakePlace place, usec_t lease_usec, usec_t heartbeat_usec)
{
        if (place == NAMESAKE_GONE)
                return 0;
        return place == NAMESAKE_NEAR && heartbeat_usec < lease_usec / 3 ? 3 * heartbeat_usec
                                                                         : lease_usec;
}

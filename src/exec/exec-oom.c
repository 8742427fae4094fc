/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-oom.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "fd-util.h"

/* Opens the counter that one line of /proc/self/cgroup leads to: "ID:CONTROLLERS:PATH". */
static int open_counter(char *line)
{
        _cleanup_(freep) char *file = NULL;
        char *controllers, *path;
        int r, fd;

        controllers = strchr(line, ':');
        path = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!path)
                return -ENOENT;
        *path++ = '\0';
        controllers++;

        if (streq(controllers, ""))
                r = asprintf(&file, "/sys/fs/cgroup%s/memory.events", path);
        else if (streq(controllers, "memory"))
                r = asprintf(&file, "/sys/fs/cgroup/memory%s/memory.oom_control", path);
        else
                return -ENOENT;
        if (r < 0) {
                file = NULL;
                return -ENOMEM;
        }

        fd = open(file, O_RDONLY | O_CLOEXEC);
        return fd < 0 ? -errno : fd;
}

int exec_oom_open(void)
{
        _cleanup_(freep) char *text = NULL;
        char *line, *saved = NULL;
        int r, fd = -ENOENT;

        r = read_file(AT_FDCWD, "/proc/self/cgroup", 64UL * 1024, &text, NULL);
        if (r < 0)
                return r;
        for (line = strtok_r(text, "\n", &saved); line && fd < 0;
                line = strtok_r(NULL, "\n", &saved))
                fd = open_counter(line);
        return fd;
}

uint64_t exec_oom_count(int fd)
{
        char buf[1024], *p;
        ssize_t n;

        if (fd < 0)
                return 0;
        n = pread(fd, buf, sizeof(buf) - 1, 0);
        if (n <= 0)
                return 0;
        buf[n] = '\0';

        /* At the start of a line: under_oom and oom_kill_disable come before it. */
        for (p = buf; p; p = strchr(p, '\n')) {
                if (*p == '\n')
                        p++;
                if (strncmp(p, "oom_kill ", 9) == 0)
                        return strtoull(p + 9, NULL, 10);
        }
        return 0;
}

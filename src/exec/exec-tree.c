/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-tree.h"

#include <ctype.h>
#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <unistd.h>

#include "exec-confine.h"
#include "fd-util.h"
#include "parse-util.h"

#define DEPTH_MAX 100000U /* generations below us; more would be processes that come and go */

typedef struct Process {
        pid_t pid, parent, group;
        bool dead; /* a zombie, waiting to be reaped */
        bool below; /* a descendant of ours */
} Process;

typedef struct Processes {
        Process *list;
        size_t n, n_allocated;
} Processes;

/* Reads /proc/PID/stat: "PID (name) STATE PPID PGRP ...", where the name may hold anything. Returns
 * false if the process is gone. */
static bool read_process(int proc, pid_t pid, Process *ret)
{
        char path[32], buf[512], *p, *group;
        _cleanup_(closep) int fd = -EBADF;
        ssize_t n;

        (void) snprintf(path, sizeof(path), "%d/stat", (int) pid);
        fd = openat(proc, path, O_RDONLY | O_CLOEXEC);
        if (fd < 0)
                return false;
        n = read_all(fd, buf, sizeof(buf) - 1);
        if (n <= 0)
                return false;
        buf[n] = '\0';

        p = strrchr(buf, ')');
        if (!p || p[1] != ' ' || !p[2])
                return false;
        *ret = (Process){
                .pid = pid,
                .parent = (pid_t) strtol(p + 3, &group, 10),
                .dead = p[2] == 'Z' || p[2] == 'X',
        };
        ret->group = (pid_t) strtol(group, NULL, 10);
        return true;
}

static int add_process(Processes *all, const Process *p)
{
        if (all->n == all->n_allocated) {
                size_t n = all->n_allocated ? all->n_allocated * 2 : 256;
                Process *list = reallocarray(all->list, n, sizeof(Process));

                if (!list)
                        return -ENOMEM;
                all->list = list;
                all->n_allocated = n;
        }
        all->list[all->n++] = *p;
        return 0;
}

static int read_processes(Processes *all)
{
        DIR *dir = opendir("/proc");
        struct dirent *de;
        int r = 0;

        if (!dir)
                return -errno;
        while (r >= 0 && (de = readdir(dir))) { // NOLINT(concurrency-mt-unsafe)
                unsigned pid;
                Process p;

                if (parse_unsigned(de->d_name, 1, INT32_MAX, &pid) < 0)
                        continue;
                if (read_process(dirfd(dir), (pid_t) pid, &p))
                        r = add_process(all, &p);
        }
        (void) closedir(dir);
        return r;
}

static bool is_below(const Processes *all, pid_t self, pid_t parent)
{
        if (parent == self)
                return true;
        for (size_t i = 0; i < all->n; i++)
                if (all->list[i].pid == parent)
                        return all->list[i].below;
        return false;
}

/* Marks all that is below us. */
static void mark(Processes *all)
{
        pid_t self = getpid();
        bool more = true;

        while (more) {
                more = false;
                for (size_t i = 0; i < all->n; i++) {
                        Process *p = &all->list[i];

                        if (p->below || !is_below(all, self, p->parent))
                                continue;
                        p->below = more = true;
                }
        }
}

static int has_group(pid_t group)
{
        Processes all = { 0 };
        int r = read_processes(&all);

        if (r >= 0) {
                mark(&all);
                r = 0;
                for (size_t i = 0; i < all.n && r == 0; i++)
                        r = all.list[i].below && all.list[i].group == group;
        }
        free(all.list);
        return r;
}

int exec_tree_has(pid_t pid)
{
        _cleanup_(closep) int proc = -EBADF;
        pid_t self = getpid();

        if (pid < 0)
                return has_group(-pid);
        proc = open("/proc", O_PATH | O_DIRECTORY | O_CLOEXEC);
        if (proc < 0)
                return -errno;
        for (unsigned i = 0; i < DEPTH_MAX; i++) {
                Process p;

                if (!read_process(proc, pid, &p) || p.parent <= 1)
                        return 0;
                if (p.parent == self)
                        return 1;
                pid = p.parent;
        }
        return 0;
}

int exec_tree_kill(void)
{
        Processes all = { 0 };
        int r, killed = 0;

        r = read_processes(&all);
        if (r >= 0)
                mark(&all);
        for (size_t i = 0; r >= 0 && i < all.n; i++)
                if (all.list[i].below && !all.list[i].dead &&
                        exec_confine_kill(all.list[i].pid, SIGKILL) == 0)
                        killed++;

        free(all.list);
        return r < 0 ? r : killed;
}

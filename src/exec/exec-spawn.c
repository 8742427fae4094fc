/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <unistd.h>

#include "exec-confine.h"
#include "fd-util.h"

#define VARIABLES_MAX 16U /* that one run adds */

extern char **environ;

static bool belongs_to_launcher(const char *assignment)
{
        static const char *const names[] = { "LISTEN_", "WATCHDOG_", "REEVE_", "REMOTE_",
                "NOTIFY_SOCKET=", "JOURNAL_STREAM=", "MAINPID=", "MANAGERPID=", "SYSTEMD_EXEC_PID=",
                "LC_ALL=" };

        for (size_t i = 0; i < ELEMENTSOF(names); i++)
                if (strncmp(assignment, names[i], strlen(names[i])) == 0)
                        return true;
        return false;
}

static unsigned count(char **env)
{
        unsigned n = 0;

        while (env[n])
                n++;
        return n;
}

char **exec_env_free(char **env)
{
        for (char **p = env; p && *p; p++)
                free(*p);
        free(env);
        return NULL;
}

char **exec_env_base(void)
{
        char **env = new0(char *, count(environ) + 1);
        unsigned n = 0;

        if (!env)
                return NULL;
        for (char **p = environ; *p; p++) {
                if (belongs_to_launcher(*p))
                        continue;
                env[n] = strdup(*p);
                if (!env[n++])
                        return exec_env_free(env);
        }
        return env;
}

typedef struct Env {
        char **list;
        unsigned n;
        bool failed;
} Env;

_printf_(2, 3) static void set(Env *e, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        if (vasprintf(&e->list[e->n], format, ap) < 0) {
                e->list[e->n] = NULL;
                e->failed = true;
        } else
                e->n++;
        va_end(ap);
}

char **exec_env_make(char **base, const ExecDirs *dirs, const RunFrame *run)
{
        Env e = { .list = new0(char *, count(base) + VARIABLES_MAX + 1) };

        if (!e.list)
                return NULL;
        for (char **p = base; *p; p++)
                set(&e, "%s", *p);
        set(&e, "LC_ALL=C.UTF-8");
        set(&e, "REEVE_PROTOCOL=%u", RUN_PROTOCOL_VERSION);
        set(&e, "REEVE_FD=%d", EXEC_HANDLER_FD);
        set(&e, "REEVE_INPUT_DIR=%s", dirs->input);
        set(&e, "REEVE_OUTPUT_DIR=%s", dirs->output);
        set(&e, "NOTIFY_SOCKET=%s", dirs->notify);
        if (run) {
                set(&e, "REEVE_JOB_ID=%s", run->run.job_id);
                set(&e, "REEVE_RUN_ID=%" PRIi64, run->run_id);
                set(&e, "REEVE_KIND=%s", run->run.kind);
                set(&e, "REEVE_QUEUE=%s", run->run.queue);
                set(&e, "REEVE_ATTEMPT=%u", run->run.attempt);
                set(&e, "REEVE_TENANT=%s", run->run.tenant);
                set(&e, "REEVE_SUBJECT=%s", run->run.subject ? run->run.subject : "");
                set(&e, "REEVE_PHASE=%s", run->run.join ? "join" : "run");
        }
        return e.failed ? exec_env_free(e.list) : e.list;
}

static void raise_oom_score(pid_t pid)
{
        _cleanup_(closep) int fd = -EBADF;
        char path[48], text[16];

        (void) snprintf(path, sizeof(path), "/proc/%d/oom_score_adj", (int) pid);
        fd = open(path, O_WRONLY | O_CLOEXEC);
        if (fd < 0)
                return;
        (void) snprintf(text, sizeof(text), "%d", EXEC_HANDLER_OOM_SCORE_ADJ);
        (void) write_all(fd, text, strlen(text));
}

/* More than the launchers of a host have on their way at a time, as a rule. */
#define DESCRIPTORS_KEPT 8192U

int exec_limit_descriptors(struct rlimit *ret_handler)
{
        struct rlimit own, handler;
        rlim_t kept;

        if (getrlimit(RLIMIT_NOFILE, &own) < 0)
                return -errno;
        kept = own.rlim_max / 8 < DESCRIPTORS_KEPT ? own.rlim_max / 8 : DESCRIPTORS_KEPT;
        handler.rlim_max = own.rlim_max - kept;
        handler.rlim_cur = own.rlim_cur < handler.rlim_max ? own.rlim_cur : handler.rlim_max;
        own.rlim_cur = own.rlim_max;
        if (setrlimit(RLIMIT_NOFILE, &own) < 0)
                return -errno;
        *ret_handler = handler;
        return 0;
}

/* For all that we start from now on. A hard limit could not be raised again. */
static rlim_t set_soft_limit(rlim_t descriptors)
{
        struct rlimit l;
        rlim_t old;

        if (getrlimit(RLIMIT_NOFILE, &l) < 0)
                return descriptors;
        old = l.rlim_cur;
        l.rlim_cur = descriptors;
        (void) setrlimit(RLIMIT_NOFILE, &l);
        return old;
}

pid_t exec_spawn(char *const *argv, char *const *env, const int fds[static 4],
        const struct rlimit *descriptors)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attr;
        sigset_t all, none;
        pid_t pid = 0;
        rlim_t own;
        int r;

        (void) sigfillset(&all);
        (void) sigemptyset(&none);
        (void) posix_spawnattr_init(&attr);
        (void) posix_spawnattr_setsigdefault(&attr, &all);
        (void) posix_spawnattr_setsigmask(&attr, &none);
        (void) posix_spawnattr_setflags(
                &attr, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETSIGMASK);
        (void) posix_spawn_file_actions_init(&actions);
        r = 0;
        for (int i = 0; i < 4 && r == 0; i++)
                r = posix_spawn_file_actions_adddup2(&actions, fds[i], i);
        own = set_soft_limit(descriptors->rlim_cur);
        if (r == 0)
                r = posix_spawnp(&pid, argv[0], &actions, &attr, argv, env);
        (void) posix_spawn_file_actions_destroy(&actions);
        (void) posix_spawnattr_destroy(&attr);
        (void) set_soft_limit(own);
        if (r != 0)
                return -r;

        (void) exec_confine_limit(pid, RLIMIT_NOFILE, descriptors);
        raise_oom_score(pid);
        return pid;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd-util.h"
#include "log.h"
#include "words.h"
#include "worker-private.h"

/* Launchers where systemd does not start them (--launcher=): children of the worker, at the other
 * end of a socket pair. What a unit would be around a run is not there: no sandbox, no cgroup, no
 * user of its own. */

static int on_exit_of_launcher(sd_event_source *s, const siginfo_t *si, void *userdata)
{
        if (si->si_code != CLD_EXITED)
                log_warning("Launcher %d was ended by signal %d.", (int) si->si_pid, si->si_status);
        if (sd_event_source_get_floating(s) > 0) /* nobody else holds it */
                (void) sd_event_source_set_floating(s, false);
        return 0;
}

int spawn_prepare(Worker *w)
{
        sigset_t children;

        log_warning(
                "Runs are started by %s and not by systemd: nothing isolates them.", w->launcher);
        /* sd_event_add_child() asks for it. */
        if (sigemptyset(&children) < 0 || sigaddset(&children, SIGCHLD) < 0 ||
                sigprocmask(SIG_BLOCK, &children, NULL) < 0)
                return -errno;
        return 0;
}

/* The words of a command line; the name says whose launcher it is where a unit's would. */
static int make_words(Worker *w, const Kind *kind, char ***ret)
{
        _cleanup_(strbuf_done) StrBuf line = {};
        char unit[64];
        int r;

        (void) snprintf(unit, sizeof(unit), "@%d-%u", (int) getpid(), ++w->n_launched);
        word_quote(&line, w->launcher, 0);
        strbuf_printf(&line, " --unit=reeve-run-%s%s", kind->name, unit);
        kind_put_launcher_words(&line, kind, 0);
        r = strbuf_error(&line);
        return r < 0 ? r : words_parse(strbuf_str(&line), ret);
}

/* A process group of its own: Ctrl-C on a terminal drains the worker, which tells its launchers. */
static int spawn_words(char **words, int sock, pid_t *ret)
{
        posix_spawn_file_actions_t actions;
        posix_spawnattr_t attributes;
        sigset_t none, all;
        int r;

        (void) sigemptyset(&none);
        (void) sigfillset(&all);
        r = posix_spawn_file_actions_init(&actions);
        if (r != 0)
                return -r;
        r = posix_spawnattr_init(&attributes);
        if (r == 0) {
                r = posix_spawnattr_setflags(&attributes,
                        POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
                if (r == 0)
                        r = posix_spawnattr_setsigmask(&attributes, &none);
                if (r == 0)
                        r = posix_spawnattr_setsigdefault(&attributes, &all);
                if (r == 0)
                        r = posix_spawn_file_actions_adddup2(&actions, sock, STDIN_FILENO);
                if (r == 0)
                        r = posix_spawn_file_actions_addopen(
                                &actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
                if (r == 0)
                        r = posix_spawn(ret, words[0], &actions, &attributes, words, environ);
                (void) posix_spawnattr_destroy(&attributes);
        }
        (void) posix_spawn_file_actions_destroy(&actions);
        return -r;
}

int spawn_launcher(Worker *w, const Kind *kind, sd_event_source **ret_child, int *ret_fd)
{
        _cleanup_(words_freep) char **words = NULL;
        _cleanup_(closep) int own = -EBADF, other = -EBADF;
        int ends[2], r;
        pid_t pid = 0;

        r = make_words(w, kind, &words);
        if (r < 0)
                return r;
        if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) < 0)
                return -errno;
        own = ends[0];
        other = ends[1];
        r = fd_nonblock(own, true);
        if (r >= 0)
                r = spawn_words(words, other, &pid);
        if (r < 0)
                return r;
        r = sd_event_add_child(w->event, ret_child, pid, WEXITED, on_exit_of_launcher, w);
        if (r < 0) {
                (void) kill(pid, SIGKILL);
                (void) waitpid(pid, NULL, 0);
                return r;
        }
        (void) sd_event_source_set_description(*ret_child, "launcher-exit");
        *ret_fd = TAKE_FD(own);
        return 0;
}

sd_event_source *spawn_forget(sd_event_source *child)
{
        int enabled = SD_EVENT_OFF;

        if (!child)
                return NULL;
        (void) sd_event_source_get_enabled(child, &enabled);
        if (enabled != SD_EVENT_OFF)
                (void) sd_event_source_set_floating(child, true); /* until it has ended */
        return sd_event_source_unref(child);
}

void spawn_kill(sd_event_source *child)
{
        int r = sd_event_source_send_child_signal(child, SIGKILL, NULL, 0);

        if (r < 0 && r != -ESRCH)
                (void) log_warning_errno(r, "Failed to kill a launcher that does not answer: %m");
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reeve-exec: runs handlers in a unit of their own for the worker at the other end of standard
 * input. */
#include <fcntl.h>
#include <linux/close_range.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exec-confine.h"
#include "exec-spawn.h"
#include "fd-util.h"
#include "launcher.h"
#include "log.h"

/* The connection leaves descriptor 0; 0, 1 and the handler's 3 become /dev/null, so that no pipe
 * gets one of the numbers that a handler's descriptors are put to. Returns the connection or
 * -errno. */
static int arrange_fds(void)
{
        _cleanup_(closep) int sock = -EBADF, null = -EBADF;
        socklen_t size = sizeof(int);
        int type;

        if (getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &size) < 0 ||
                type != SOCK_SEQPACKET)
                return log_error_errno(-ENOTSOCK,
                        "Standard input is not a worker's connection; this program is started by "
                        "systemd, see reeve-exec(8).");
        sock = fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, EXEC_HANDLER_FD + 1);
        if (sock < 0)
                return -errno;
        null = open("/dev/null", O_RDWR | O_CLOEXEC);
        if (null < 0)
                return -errno;
        if (dup3(null, STDIN_FILENO, O_CLOEXEC) < 0 || dup3(null, STDOUT_FILENO, O_CLOEXEC) < 0)
                return -errno;
        if (null != EXEC_HANDLER_FD && dup3(null, EXEC_HANDLER_FD, O_CLOEXEC) < 0)
                return -errno;
        if (null == EXEC_HANDLER_FD)
                (void) TAKE_FD(null); /* stays */
        /* Nothing that we were started with reaches a handler. */
        if (close_range(STDERR_FILENO, ~0U, CLOSE_RANGE_CLOEXEC) < 0)
                return -errno;
        return TAKE_FD(sock);
}

static int block_signals(void)
{
        sigset_t set;

        (void) sigemptyset(&set);
        (void) sigaddset(&set, SIGCHLD);
        (void) sigaddset(&set, SIGTERM);
        (void) sigaddset(&set, SIGINT);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        return signal(SIGPIPE, SIG_IGN) == SIG_ERR ? -errno : 0; // NOLINT(cert-err33-c)
}

int main(int argc, char **argv)
{
        _cleanup_(exec_options_done) ExecOptions options = {};
        _cleanup_(launcher_freep) Launcher *l = NULL;
        int r, sock;

        log_setup("reeve-exec");
        r = exec_options_parse(argc, argv, &options);
        if (r != EXEC_OPTIONS_OK)
                return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        sock = arrange_fds();
        if (sock < 0)
                return EXIT_FAILURE;
        r = block_signals();
        if (r >= 0)
                r = launcher_new(&options, sock, exec_confine(), &l);
        if (r < 0) {
                log_error_errno(r, "Cannot set up: %m");
                return EXIT_FAILURE;
        }
        r = launcher_run(l);
        if (r < 0) {
                log_error_errno(r, "The event loop failed: %m");
                return EXIT_FAILURE;
        }
        return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl-bus.h"
#include "fd-util.h"

/* As systemctl does it: pkttyagent(1) registers for this process, and closes the descriptor when it
 * has. */

#define AGENT       "/usr/bin/pkttyagent"
#define AGENT_MSEC  3000
#define DEVICE_PATH "/dev/tty"

static void become_agent(int fd, pid_t parent)
{
        char number[16];

        (void) prctl(PR_SET_PDEATHSIG, SIGTERM);
        if (getppid() != parent)
                _exit(1);
        (void) fcntl(fd, F_SETFD, 0);
        (void) snprintf(number, sizeof(number), "%d", fd);
        (void) execl(AGENT, AGENT, "--notify-fd", number, "--fallback", (char *) NULL);
        _exit(127);
}

pid_t agent_start(void)
{
        _cleanup_(closep) int tty = -EBADF, waiting = -EBADF;
        pid_t self = getpid(), agent;
        struct pollfd p;
        int fds[2];

        if (geteuid() == 0 || !isatty(STDIN_FILENO) || access(AGENT, X_OK) < 0)
                return -1;
        tty = open(DEVICE_PATH, O_RDWR | O_CLOEXEC | O_NOCTTY);
        if (tty < 0 || pipe2(fds, O_CLOEXEC) < 0)
                return -1;
        waiting = fds[0];
        fflush(NULL);
        agent = fork();
        if (agent == 0)
                become_agent(fds[1], self);
        safe_close(fds[1]);
        p = (struct pollfd){ .fd = waiting, .events = POLLIN };
        if (agent > 0)
                (void) poll(&p, 1, AGENT_MSEC);
        return agent;
}

void agent_stop(pid_t agent)
{
        if (agent <= 0)
                return;
        (void) kill(agent, SIGTERM);
        (void) kill(agent, SIGCONT);
        while (waitpid(agent, NULL, 0) < 0 && errno == EINTR)
                ;
}

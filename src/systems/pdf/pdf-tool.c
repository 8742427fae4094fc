/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-tool.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd-util.h"
#include "strbuf.h"

#define ERRORS_MAX 4096U /* of its standard error that are shown and looked at */

typedef struct Tool {
        pid_t pid;
        int pidfd, error_fd;
        StrBuf errors;
        bool killed; /* by us: its time was over */
} Tool;

const char *pdf_outcome_to_code(PdfOutcome o)
{
        static const char *const codes[_PDF_OUTCOME_MAX] = {
                [PDF_OK] = "OK",
                [PDF_TIMEOUT] = "TIMEOUT",
                [PDF_MEMORY] = "MEMORY_LIMIT",
                [PDF_TOO_LARGE] = "TEXT_TOO_LARGE",
                [PDF_ENCRYPTED] = "ENCRYPTED",
                [PDF_DAMAGED] = "DAMAGED",
                [PDF_CRASHED] = "PROCESSING_ERROR",
                [PDF_FAILED] = "PROCESSING_ERROR",
        };

        return codes[o];
}

static void limit(int resource, uint64_t max)
{
        const struct rlimit r = { max, max };

        if (setrlimit((__rlimit_resource_t) resource, &r) < 0)
                _exit(126);
}

_noreturn_ static void child(
        const char *const *argv, int output_fd, int error_fd, const PdfLimits *limits)
{
        int null_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);

        if (prctl(PR_SET_PDEATHSIG, SIGKILL) < 0 || null_fd < 0 || dup2(null_fd, 0) < 0 ||
                dup2(output_fd, 1) < 0 || dup2(error_fd, 2) < 0)
                _exit(126);
        limit(RLIMIT_CORE, 0);
        limit(RLIMIT_AS, limits->memory_max);
        limit(RLIMIT_FSIZE, limits->output_max);
        (void) close_range(3, ~0U, 0);
        execv(argv[0], (char *const *) argv);
        _exit(127);
}

/* Returns 1, 0 at the end, or -EAGAIN. What is too much is read, so that the tool goes on, and
 * dropped. */
static int read_errors(Tool *t)
{
        char buf[1024];
        size_t room = ERRORS_MAX - t->errors.len, size;
        ssize_t n = read(t->error_fd, buf, sizeof(buf));

        if (n <= 0)
                return n < 0 && (errno == EINTR || errno == EAGAIN) ? -EAGAIN : 0;
        size = (size_t) n < room ? (size_t) n : room;
        strbuf_append(&t->errors, buf, size);
        (void) write_all(STDERR_FILENO, buf, size);
        return 1;
}

/* Until it has ended; kills it when its time is over. */
static void watch(Tool *t, usec_t timeout_usec)
{
        usec_t end = now_usec(CLOCK_MONOTONIC) + timeout_usec;
        struct pollfd p[] = { { t->pidfd, POLLIN, 0 }, { t->error_fd, POLLIN, 0 } };

        for (;;) {
                usec_t now = now_usec(CLOCK_MONOTONIC);
                int n;

                if (now >= end && !t->killed) {
                        t->killed = true;
                        (void) kill(t->pid, SIGKILL);
                }
                n = poll(p, ELEMENTSOF(p),
                        t->killed ? 1000 : (int) ((end - now) / USEC_PER_MSEC) + 1);
                if (n < 0 && errno != EINTR)
                        return; /* waitpid() waits for it */
                if (n > 0 && p[1].revents && read_errors(t) == 0)
                        p[1].fd = -1;
                if (n > 0 && p[0].revents)
                        return;
        }
}

static void last_line(const Tool *t, char error[static PDF_ERROR_MAX])
{
        const char *text = strbuf_str(&t->errors);
        size_t end = t->errors.len, start;

        while (end > 0 && text[end - 1] == '\n')
                end--;
        for (start = end; start > 0 && text[start - 1] != '\n';)
                start--;
        if (end - start >= PDF_ERROR_MAX)
                end = start + PDF_ERROR_MAX - 1;
        memcpy(error, text + start, end - start);
        error[end - start] = '\0';
}

/* Exit statuses are those of pdfinfo(1) and pdftotext(1). */
static int judge(const Tool *t, int status)
{
        const char *errors = strbuf_str(&t->errors);

        if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
                return PDF_OK;
        if (t->killed)
                return PDF_TIMEOUT;
        if (strstr(errors, "bad_alloc") || strstr(errors, "Out of memory"))
                return PDF_MEMORY;
        if (strstr(errors, "Incorrect password"))
                return PDF_ENCRYPTED;
        if (WIFSIGNALED(status)) {
                if (WTERMSIG(status) == SIGKILL) /* the kernel, for the unit's memory */
                        return PDF_MEMORY;
                return WTERMSIG(status) == SIGXFSZ ? PDF_TOO_LARGE : PDF_CRASHED;
        }
        switch (WEXITSTATUS(status)) {
        case 1:
                return PDF_DAMAGED;
        case 3:
                return PDF_ENCRYPTED;
        case 126:
        case 127:
                return -ENOENT;
        default:
                return PDF_FAILED;
        }
}

int pdf_tool_run(const char *const *argv, int output_fd, const PdfLimits *limits,
        char error[static PDF_ERROR_MAX])
{
        Tool t = { .pidfd = -EBADF, .error_fd = -EBADF };
        int status = 0, r, fds[2];

        error[0] = '\0';
        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        t.pid = fork();
        if (t.pid == 0)
                child(argv, output_fd, fds[1], limits);
        r = t.pid < 0 ? -errno : 0;
        safe_close(fds[1]);
        t.error_fd = fds[0];
        if (r >= 0) {
                t.pidfd = pidfd_open(t.pid, 0);
                if (t.pidfd < 0) {
                        r = -errno;
                        (void) kill(t.pid, SIGKILL);
                } else
                        watch(&t, limits->timeout_usec);
                while (waitpid(t.pid, &status, 0) < 0 && errno == EINTR)
                        ;
                if (r >= 0 && fd_nonblock(t.error_fd, true) >= 0)
                        while (read_errors(&t) > 0)
                                ; /* what it said at last */
        }
        safe_close(t.error_fd);
        safe_close(t.pidfd);
        if (r >= 0) {
                last_line(&t, error);
                r = judge(&t, status);
                /* What it said before its end has nothing to do with it. */
                if (r == PDF_TIMEOUT || r == PDF_MEMORY)
                        (void) snprintf(error, PDF_ERROR_MAX, "%s",
                                r == PDF_MEMORY ? "it wanted more memory than it may have"
                                                : "it took longer than it may");
        }
        strbuf_done(&t.errors);
        return r;
}

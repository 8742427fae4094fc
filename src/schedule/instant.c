/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "instant.h"

#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "fd-util.h"

#define OUTPUT_MAX (256UL * 1024)

/* Instants that lie closer together than a window are found in a smaller one, so that no answer is
 * longer than ITERATIONS lines. */
#define ITERATIONS "130"
static const usec_t windows[] = { 2 * USEC_PER_MIN, USEC_PER_HOUR, USEC_PER_DAY, 32 * USEC_PER_DAY,
        400 * USEC_PER_DAY, 3653 * USEC_PER_DAY };

/* Everything that the program says, with its exit status. */
static int ask(char *const *argv, char *buf, size_t size, int *ret_status)
{
        /* Its own zone and language would show in what it says. */
        static char *const env[] = { (char *) "TZ=UTC", (char *) "LC_ALL=C",
                (char *) "PATH=/usr/bin:/bin", NULL };
        _cleanup_(closep) int read_fd = -EBADF, write_fd = -EBADF;
        posix_spawn_file_actions_t actions;
        int fds[2], status, r;
        ssize_t n;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        read_fd = fds[0];
        write_fd = fds[1];
        (void) posix_spawn_file_actions_init(&actions);
        r = posix_spawn_file_actions_adddup2(&actions, write_fd, STDOUT_FILENO);
        if (r == 0)
                r = posix_spawnp(&pid, argv[0], &actions, NULL, argv, env);
        (void) posix_spawn_file_actions_destroy(&actions);
        if (r != 0)
                return -r;
        (void) safe_close(TAKE_FD(write_fd));
        n = read_all(read_fd, buf, size - 1);
        (void) safe_close(TAKE_FD(read_fd)); /* what says more than that ends by SIGPIPE */
        while (waitpid(pid, &status, 0) < 0)
                if (errno != EINTR)
                        return -errno;
        if (n < 0)
                return (int) n;
        buf[n] = '\0';
        *ret_status = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
        return 0;
}

/* "Next elapse: Wed 2023-11-15 07:30:00 UTC" or "Iter. #2: ...": what is behind the weekday. */
static bool read_line(const char *line, char ret[static INSTANT_MAX])
{
        const char *at = strchr(line, ':');
        int n = 0;

        if (!strstr(line, "Next elapse:") && !strstr(line, "Iter. #"))
                return false;
        at += strspn(at, ": ");
        if (strlen(at) < 4 || at[3] != ' ')
                return false;
        (void) sscanf(at + 4, "%*4d-%*2d-%*2d %*2d:%*2d:%*2d UTC%n", &n);
        if (n <= 0 || n >= INSTANT_MAX)
                return false;
        memcpy(ret, at + 4, (size_t) n);
        ret[n] = '\0';
        return true;
}

/* The texts compare as the times do. */
static int last_not_after(char *output, const char *limit, char ret[static INSTANT_MAX])
{
        char text[INSTANT_MAX];
        bool found = false;

        for (char *line = strtok_r(output, "\n", &output); line;
                line = strtok_r(NULL, "\n", &output))
                if (read_line(line, text) && strcmp(text, limit) <= 0) {
                        memcpy(ret, text, INSTANT_MAX);
                        found = true;
                }
        return found ? 0 : -ENOENT;
}

static void format(usec_t usec, char ret[static INSTANT_MAX])
{
        time_t t = (time_t) (usec / USEC_PER_SEC);
        struct tm tm;

        (void) gmtime_r(&t, &tm);
        (void) strftime(ret, INSTANT_MAX, "%Y-%m-%d %H:%M:%S UTC", &tm);
}

int instant_before(const char *calendar, usec_t at_usec, char ret[static INSTANT_MAX])
{
        _cleanup_(freep) char *output = malloc(OUTPUT_MAX);
        char limit[INSTANT_MAX];
        char base[48];
        int status = -1, r;

        if (!output)
                return -ENOMEM;
        format(at_usec, limit);
        for (size_t i = 0; i < ELEMENTSOF(windows); i++) {
                char *argv[] = { (char *) "systemd-analyze", (char *) "calendar",
                        (char *) "--iterations=" ITERATIONS, base, (char *) "--", (char *) calendar,
                        NULL };
                usec_t from = at_usec > windows[i] ? at_usec - windows[i] : 0;

                (void) snprintf(base, sizeof(base), "--base-time=@%llu",
                        (unsigned long long) (from / USEC_PER_SEC));
                r = ask(argv, output, OUTPUT_MAX, &status);
                if (r < 0)
                        return r;
                if (status != 0)
                        return -EINVAL;
                r = last_not_after(output, limit, ret);
                if (r != -ENOENT)
                        return r;
        }
        return -ENOENT;
}

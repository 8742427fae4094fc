/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl-status.h"
#include "fd-util.h"

/* Verbs that other programs do. */

static int become(const char *program, const char *const *first, char *const *more, int n_more)
{
        _cleanup_(freep) const char **argv = NULL;
        size_t n = 0;

        while (first[n])
                n++;
        argv = (const char **) new0(char *, n + (size_t) n_more + 1);
        if (!argv)
                return ctl_oom();
        memcpy((void *) argv, (const void *) first, n * sizeof(char *));
        for (int i = 0; i < n_more; i++)
                argv[n++] = more[i];
        fflush(stdout);
        execvp(program, (char *const *) argv);
        return ctl_error(EXIT_STATUS_FAILED, "Cannot run %s: %s. Is package reeve installed whole?",
                program, strerror(errno));
}

int check_kinds(char *const *files, int n_files)
{
        const char *const first[] = { "reeve-generator", "--check", NULL };

        return become(REEVE_GENERATORDIR "/reeve-generator", first, files, n_files);
}

int verb_migrate(Ctl *c)
{
        const char *const first[] = { "reeve-migrate", NULL };

        return become(REEVE_LIBEXECDIR "/reeve-migrate", first, c->args, c->n_args);
}

/* Whether this host's journal has a line of the job. */
static bool journal_knows(const char *match)
{
        char c;
        bool knows;
        int fds[2];
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return false;
        pid = fork();
        if (pid == 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);

                if (null >= 0 && dup2(fds[1], STDOUT_FILENO) >= 0 && dup2(null, STDERR_FILENO) >= 0)
                        execlp("journalctl", "journalctl", "--quiet", "--no-pager", "--lines=1",
                                "--output=cat", match, (char *) NULL);
                _exit(127);
        }
        safe_close(fds[1]);
        knows = pid > 0 && read_all(fds[0], &c, 1) == 1;
        safe_close(fds[0]);
        while (pid > 0 && waitpid(pid, NULL, 0) < 0 && errno == EINTR)
                ;
        return knows;
}

static void print_log(const char *log)
{
        const char *end;

        for (; *log; log = end + (*end == '\n')) {
                _cleanup_(freep) char *line = NULL;
                _cleanup_(strbuf_done) StrBuf b = {};

                end = strchrnul(log, '\n');
                line = strndup(log, (size_t) (end - log));
                if (!line)
                        return;
                text_clean(&b, line);
                puts(strbuf_str(&b));
        }
}

/* What the database keeps: the end of each attempt's. */
static int print_kept(Ctl *c, const char *id)
{
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *history;
        unsigned n = 0;
        int r = ctl_ask_job(c, "GET", id, "/history", NULL, &a);

        if (r != EXIT_STATUS_OK)
                return r;
        history = ctl_list(&a, "history");
        if (!history)
                return EXIT_STATUS_FAILED;
        for (const JsonValue *v = json_value_first(history, NULL); v;
                v = json_value_next(history, v, NULL)) {
                _cleanup_(strbuf_done) StrBuf host = {};
                char at[TEXT_TIME_MAX];

                if (!*member_text(v, "log"))
                        continue;
                text_clean(&host, member_text(v, "host"));
                printf("%s-- attempt %" PRIu64 ", ended %s on %s\n", n++ > 0 ? "\n" : "",
                        member_u64(v, "attempt"), text_local_time(at, member_text(v, "at")),
                        host.len > 0 ? strbuf_str(&host) : "an unknown host");
                print_log(member_text(v, "log"));
        }
        if (n == 0)
                fputs("Neither this host's journal nor the database has a line of it.\n", stderr);
        return EXIT_STATUS_OK;
}

int verb_logs(Ctl *c)
{
        const char *format = c->json ? "--output=json" : "--output=short-iso";
        const char *first[6] = { "journalctl", "--quiet", format };
        char match[80];

        if (!ctl_is_id(c->args[0]))
                return EXIT_STATUS_USAGE;
        /* As the launcher writes it. */
        (void) snprintf(match, sizeof(match), "REEVE_JOB_ID=%s", c->args[0]);
        for (char *p = match + strlen("REEVE_JOB_ID="); *p; p++)
                if (*p >= 'A' && *p <= 'F')
                        *p = (char) (*p - 'A' + 'a');
        first[3] = match;
        if (c->values[OPTION_FOLLOW])
                first[4] = "--follow";
        else if (!journal_knows(match))
                return print_kept(c, c->args[0]);
        return become("journalctl", first, NULL, 0);
}

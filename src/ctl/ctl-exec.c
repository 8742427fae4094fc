/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl-status.h"
#include "fd-util.h"
#include "job.h"

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

        char path[PATH_MAX];

        return become(ctl_program(path, REEVE_GENERATORDIR, first[0]), first, files, n_files);
}

int verb_migrate(Ctl *c)
{
        const char *const first[] = { "reeve-migrate", NULL };

        char path[PATH_MAX];

        return become(ctl_program(path, REEVE_LIBEXECDIR, first[0]), first, c->args, c->n_args);
}

int run_and_read(const char *const *argv, bool quiet, size_t size_max, StrBuf *ret)
{
        char buf[4096];
        int fds[2], status = 0;
        ssize_t n;
        pid_t pid;

        if (pipe2(fds, O_CLOEXEC) < 0)
                return -errno;
        fflush(stdout);
        pid = fork();
        if (pid == 0) {
                int null = open("/dev/null", O_RDWR | O_CLOEXEC);

                if (null >= 0 && dup2(fds[1], STDOUT_FILENO) >= 0 &&
                        (!quiet || dup2(null, STDERR_FILENO) >= 0))
                        execvp(argv[0], (char *const *) argv);
                _exit(127);
        }
        safe_close(fds[1]);
        /* What is too much is left: the program gets SIGPIPE. */
        while (pid > 0 && ret->len < size_max && (n = read_all(fds[0], buf, sizeof(buf))) > 0)
                strbuf_append(ret, buf, (size_t) n);
        safe_close(fds[0]);
        while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
                ;
        if (pid < 0 || strbuf_error(ret) < 0)
                return -ENOMEM;
        if (!WIFEXITED(status))
                return -EPIPE;
        return WEXITSTATUS(status) == 127 ? -ENOENT : WEXITSTATUS(status);
}

/* Whether this host's journal has a line of the job. */
static bool journal_knows(const char *match)
{
        const char *const argv[] = { "journalctl", "--quiet", "--no-pager", "--lines=1",
                "--output=cat", match, NULL };
        _cleanup_(strbuf_done) StrBuf out = {};

        (void) run_and_read(argv, true, 1, &out);
        return out.len > 0;
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
        if (n == 0 && ctl_foreground())
                fprintf(stderr, "The database has no line of it. See %s/reeve-worker-*.log.\n",
                        ctl_foreground());
        else if (n == 0)
                fputs("Neither this host's journal nor the database has a line of it.\n", stderr);
        return EXIT_STATUS_OK;
}

/* ---- logs --follow ---- */

#define FOLLOW_ASK_USEC   (10 * USEC_PER_SEC)
#define FOLLOW_PAUSE_USEC (500 * USEC_PER_MSEC)
#define FOLLOW_LAST_USEC  USEC_PER_SEC /* for the journal to take the last lines */

/* Waits up to that time for the job's end. Returns an ExitStatus; *ret_ended, and *ret_answered
 * unless nobody could be asked. */
static int ask_ended(Ctl *c, const char *id, usec_t usec, bool *ret_ended, bool *ret_answered)
{
        _cleanup_(answer_done) Answer a = {};
        char target[128];
        const HttpAsk ask = { .method = "GET", .target = target, .usec = usec + 20 * USEC_PER_SEC };
        JobState state;
        int error;

        (void) snprintf(target, sizeof(target), "/api/jobs/%s?wait=%llums", id,
                (unsigned long long) (usec / USEC_PER_MSEC));
        ctl_try(c, &ask, &a, &error);
        *ret_answered = error >= 0 && a.reply.status < 500;
        if (!*ret_answered)
                return EXIT_STATUS_NO_CONNECTION;
        if (a.reply.status != 200 || !a.root)
                return ctl_tell_problem(&a);
        state = job_state_from_string(member_text(a.root, "state"));
        *ret_ended = job_state_is_terminal(state);
        return EXIT_STATUS_OK;
}

static pid_t spawn(const char *const *argv)
{
        pid_t parent = getpid(), pid;

        fflush(stdout);
        pid = fork();
        if (pid == 0) {
                /* Whatever becomes of us, it must not stay. */
                if (prctl(PR_SET_PDEATHSIG, SIGTERM) < 0 || getppid() != parent)
                        _exit(EXIT_STATUS_FAILED);
                execvp(argv[0], (char *const *) argv);
                _exit(127);
        }
        return pid;
}

/* Follows the journal until the job has ended. While the API is away, the journal goes on. */
static int follow(Ctl *c, const char *id, const char *const *argv)
{
        bool ended = false, answered;
        int status = 0, r = EXIT_STATUS_OK;
        pid_t pid = spawn(argv), gone;

        if (pid < 0)
                return ctl_error(
                        EXIT_STATUS_FAILED, "Cannot start %s: %s.", argv[0], strerror(errno));
        do {
                r = ask_ended(c, id, FOLLOW_ASK_USEC, &ended, &answered);
                if (!answered)
                        (void) usleep(FOLLOW_PAUSE_USEC);
                gone = waitpid(pid, &status, WNOHANG);
        } while (gone == 0 && !ended && (r == EXIT_STATUS_OK || !answered));
        if (gone == 0) {
                (void) usleep(FOLLOW_LAST_USEC);
                (void) kill(pid, SIGTERM);
                while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
                        ;
        } else if (!ended && !(WIFSIGNALED(status) && WTERMSIG(status) == SIGPIPE)) {
                return ctl_error(EXIT_STATUS_FAILED, "%s has ended before the job.", argv[0]);
        }
        return answered ? r : EXIT_STATUS_OK;
}

int verb_logs(Ctl *c)
{
        const char *format = c->json ? "--output=json" : "--output=short-iso";
        const char *argv[6] = { "journalctl", "--quiet", format };
        const char *id = c->args[0];
        bool ended = true, answered = true, know;
        _cleanup_(answer_done) Answer a = {};
        char match[80];
        int r;

        if (!ctl_is_id(id))
                return EXIT_STATUS_USAGE;
        /* As the launcher writes it. */
        (void) snprintf(match, sizeof(match), "REEVE_JOB_ID=%s", id);
        for (char *p = match + strlen("REEVE_JOB_ID="); *p; p++)
                if (*p >= 'A' && *p <= 'F')
                        *p = (char) (*p - 'A' + 'a');
        argv[3] = match;
        if (c->values[OPTION_FOLLOW]) {
                r = ask_ended(c, id, 0, &ended, &answered);
                if (!answered)
                        return ctl_ask_job(c, "GET", id, "", NULL, &a); /* tells why */
                if (r != EXIT_STATUS_OK)
                        return r;
        }
        if (!ended) {
                argv[4] = "--follow";
                r = follow(c, id, argv);
                know = r != EXIT_STATUS_OK || journal_knows(match);
                return know ? r : print_kept(c, id);
        }
        return journal_knows(match) ? become(argv[0], argv, NULL, 0) : print_kept(c, id);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "config-load.h"
#include "fd-util.h"
#include "unit-text.h"

/* A systemd generator (systemd.generator(7)): a socket and a service template for each Exec kind, a
 * timer for each kind with OnCalendar=.
 * Runs early in the boot, without bus and network, as root; what it cannot do it says and leaves
 * out, and it never holds the boot up. */

typedef struct Options {
        const char *root; /* "" for the running system */
        bool check;
        char **arguments; /* n_arguments of them: directories, or with --check files */
        int n_arguments;
} Options;

/* Where findings go, and how many there were. */
typedef struct Findings {
        FILE *stream; /* not owned */
        const char *prefix; /* of each line */
        bool unbuffered; /* kmsg: one line, one write */
        unsigned n_errors, n_warnings;
} Findings;

static void say(Findings *f, ConfLevel level, const char *format, ...) _printf_(3, 4);

static void say(Findings *f, ConfLevel level, const char *format, ...)
{
        char text[1024];
        va_list ap;

        *(level == CONF_ERROR ? &f->n_errors : &f->n_warnings) += 1;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        /* The kernel's log takes the priority in front (LOG_DAEMON | LOG_ERR or LOG_WARNING). */
        if (f->unbuffered)
                fprintf(f->stream, "<%d>", level == CONF_ERROR ? 27 : 28);
        fprintf(f->stream, "%s%s\n", f->prefix, text);
        fflush(f->stream);
}

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        const char *what = level == CONF_ERROR ? "error" : "warning";

        if (line > 0)
                say(userdata, level, "%s:%u: %s: %s", file, line, what, text);
        else
                say(userdata, level, "%s: %s: %s", file, what, text);
}

/* Whole or not at all: half a unit would be one without the end of its sandbox. */
static int write_file(const char *path, const StrBuf *text)
{
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (strbuf_error(text) < 0)
                return strbuf_error(text);
        fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0644);
        if (fd < 0)
                return -errno;
        r = write_all(fd, strbuf_str(text), text->len);
        if (r < 0)
                (void) unlink(path);
        return r;
}

static int make_dir(const char *path)
{
        return mkdir(path, 0755) < 0 && errno != EEXIST ? -errno : 0;
}

/* DIR/reeve.target.wants/UNIT -> ../UNIT */
static int link_wanted(const char *dir, const char *unit)
{
        char path[4096], target[512];
        int r;

        if (snprintf(path, sizeof(path), "%s/reeve.target.wants", dir) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        r = make_dir(path);
        if (r < 0)
                return r;
        if (snprintf(path, sizeof(path), "%s/reeve.target.wants/%s", dir, unit) >=
                (int) sizeof(path))
                return -ENAMETOOLONG;
        snprintf(target, sizeof(target), "../%s", unit);
        return symlink(target, path) < 0 && errno != EEXIST ? -errno : 0;
}

/* systemctl mask reeve-view.service: every kind has its files put together for each run. */
static bool view_is_masked(const Options *o)
{
        char path[4096], target[32];
        ssize_t n;

        if (snprintf(path, sizeof(path), "%s/etc/systemd/system/reeve-view.service", o->root) >=
                (int) sizeof(path))
                return false;
        n = readlink(path, target, sizeof(target) - 1);
        if (n < 0)
                return false;
        target[n] = '\0';
        return streq(target, "/dev/null");
}

/* What a drop-in of the administrator changes is not looked at: it may be anything. */
static bool has_drop_ins(const Options *o, const Kind *k)
{
        static const char *const places[] = { "/etc/systemd/system", "/run/systemd/system",
                "/usr/local/lib/systemd/system", "/usr/lib/systemd/system" };
        char path[4096];

        for (size_t i = 0; i < ELEMENTSOF(places); i++)
                if (snprintf(path, sizeof(path), "%s%s/" UNIT_PREFIX "%s@.service.d", o->root,
                            places[i], k->name) >= (int) sizeof(path) ||
                        access(path, F_OK) == 0)
                        return true;
        return false;
}

static int write_kind(const Options *o, const char *dir, const Kind *k)
{
        _cleanup_(strbuf_done) StrBuf socket = {}, service = {};
        const char *source = k->file;
        char path[4096], unit[256];
        bool masked = view_is_masked(o);
        int r;

        if (strncmp(source, o->root, strlen(o->root)) == 0)
                source += strlen(o->root);
        unit_text_socket(&socket, k, source, !masked);
        unit_text_service(
                &service, k, source, !masked && unit_text_takes_view(k) && !has_drop_ins(o, k));

        snprintf(unit, sizeof(unit), UNIT_PREFIX "%s@.service", k->name);
        if (snprintf(path, sizeof(path), "%s/%s", dir, unit) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        r = write_file(path, &service);
        if (r < 0)
                return r;
        snprintf(unit, sizeof(unit), UNIT_PREFIX "%s.socket", k->name);
        snprintf(path, sizeof(path), "%s/%s", dir, unit);
        r = write_file(path, &socket);
        if (r < 0)
                return r;
        return link_wanted(dir, unit);
}

static int write_timer(const Options *o, const char *dir, const Kind *k)
{
        _cleanup_(strbuf_done) StrBuf timer = {};
        const char *source = k->file;
        char path[4096], unit[256];
        int r;

        if (strncmp(source, o->root, strlen(o->root)) == 0)
                source += strlen(o->root);
        unit_text_timer(&timer, k, source);
        snprintf(unit, sizeof(unit), TIMER_PREFIX "%s.timer", k->name);
        if (snprintf(path, sizeof(path), "%s/%s", dir, unit) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        r = write_file(path, &timer);
        return r < 0 ? r : link_wanted(dir, unit);
}

static int write_worker(const char *dir, const Kind *const *kinds, size_t n_kinds)
{
        _cleanup_(strbuf_done) StrBuf text = {};
        char path[4096];
        int r;

        if (snprintf(path, sizeof(path), "%s/reeve-worker@.service.d", dir) >= (int) sizeof(path))
                return -ENAMETOOLONG;
        r = make_dir(path);
        if (r < 0)
                return r;
        unit_text_worker(&text, kinds, n_kinds);
        if (snprintf(path, sizeof(path), "%s/reeve-worker@.service.d/50-kinds.conf", dir) >=
                (int) sizeof(path))
                return -ENAMETOOLONG;
        return write_file(path, &text);
}

static int generate(const Options *o, Findings *f)
{
        _cleanup_(kind_set_freep) KindSet *set = NULL;
        _cleanup_(freep) const Kind **written = NULL;
        const char *dir = o->arguments[0];
        size_t n_written = 0;
        int r;

        r = kinds_load(o->root, on_finding, f, &set);
        if (r < 0) {
                say(f, CONF_ERROR, "cannot read the kinds: %s", strerror(-r));
                return r;
        }
        written = new0(const Kind *, set->n_kinds);
        if (!written)
                return -ENOMEM;
        for (size_t i = 0; i < set->n_kinds; i++) {
                const Kind *k = set->kinds[i];

                if (k->type != KIND_EXEC && !k->on_calendar)
                        continue;
                r = k->type == KIND_EXEC ? write_kind(o, dir, k) : 0;
                if (r >= 0 && k->on_calendar)
                        r = write_timer(o, dir, k);
                if (r < 0)
                        say(f, CONF_ERROR, "cannot write the units of kind %s into %s: %s", k->name,
                                dir, strerror(-r));
                else
                        written[n_written++] = k;
        }
        if (n_written > 0) {
                r = write_worker(dir, written, n_written);
                if (r < 0)
                        say(f, CONF_ERROR, "cannot write into %s: %s", dir, strerror(-r));
        }
        return r;
}

/* Whether a program of the kind is there, as far as this can be told before it runs. */
static void check_program(
        const Options *o, const Kind *k, const char *key, char **words, Findings *f)
{
        const char *interpreter;
        char path[4096];
        int r;

        if (!words)
                return;
        r = kind_check_program(o->root, words[0], path, sizeof(path));
        interpreter = path + strlen(o->root);
        if (r == -ELIBACC)
                say(f, CONF_WARNING,
                        "%s: warning: %s=%s: its first line names the interpreter \"%.*s\", which "
                        "cannot be executed%s",
                        k->file, key, words[0], (int) strcspn(interpreter, "\r"), interpreter,
                        strchr(path, '\r') ? " with the carriage return of a Windows line end"
                                           : "");
        else if (r == -EACCES)
                say(f, CONF_WARNING, "%s: warning: %s=%s: %s: chmod a+x it", k->file, key, words[0],
                        strerror(-r));
        else if (r < 0)
                say(f, CONF_WARNING, "%s: warning: %s=%s: %s", k->file, key, words[0],
                        strerror(-r));
}

static void check_kind(const Options *o, const Kind *k, Findings *f)
{
        if (k->type != KIND_EXEC)
                return;
        check_program(o, k, "Start", k->exec.start, f);
        check_program(o, k, "Join", k->exec.join, f);
}

static int check_files(const Options *o, Findings *f)
{
        for (int i = 0; i < o->n_arguments; i++) {
                _cleanup_(kind_freep) Kind *k = NULL;
                int r = kind_load_file(o->arguments[i], on_finding, f, &k);

                if (r == 0)
                        check_kind(o, k, f);
                else if (r != -EINVAL)
                        return r;
        }
        return 0;
}

static int check_installed(const Options *o, Findings *f)
{
        _cleanup_(kind_set_freep) KindSet *set = NULL;
        int r;

        r = kinds_load(o->root, on_finding, f, &set);
        if (r < 0)
                return r;
        for (size_t i = 0; i < set->n_kinds; i++)
                check_kind(o, set->kinds[i], f);
        printf("%zu kind%s can be used, %zu %s kept out, %u warning%s.\n", set->n_kinds,
                set->n_kinds == 1 ? "" : "s", set->n_refused, set->n_refused == 1 ? "is" : "are",
                f->n_warnings, f->n_warnings == 1 ? "" : "s");
        return 0;
}

static int check(const Options *o)
{
        Findings f = { .stream = stdout, .prefix = "" };
        int r;

        r = o->n_arguments > 0 ? check_files(o, &f) : check_installed(o, &f);
        if (r < 0) {
                fprintf(stderr, "reeve-generator: %s\n", strerror(-r));
                return EXIT_FAILURE;
        }
        return f.n_errors > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

/* PID 1 sets SYSTEMD_SCOPE and nobody reads its generators' standard error: the kernel's log keeps
 * what is said before there is a journal. */
static int run_generator(const Options *o)
{
        Findings f = { .stream = stderr, .prefix = "reeve-generator: " };
        const char *scope = getenv("SYSTEMD_SCOPE");
        FILE *kmsg = NULL;
        int r;

        if (scope && !streq(scope, "system"))
                return EXIT_SUCCESS;
        if (scope && !isatty(STDERR_FILENO))
                kmsg = fopen("/dev/kmsg", "we");
        if (kmsg) {
                f.stream = kmsg;
                f.unbuffered = true;
        }
        r = generate(o, &f);
        if (kmsg)
                (void) fclose(kmsg);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int usage(FILE *stream)
{
        fprintf(stream,
                "reeve-generator [--root=DIR] NORMAL-DIR EARLY-DIR LATE-DIR\n"
                "reeve-generator [--root=DIR] --check [FILE.kind...]\n\n"
                "Writes the units of Reeve's kinds (called by systemd), or checks kinds.\n"
                "  --check      say what is wrong with all kinds, or with these files; exit status "
                "1\n"
                "               if a kind would be kept out\n"
                "  --root=DIR   look for kinds and programs below DIR\n"
                "See reeve-generator(8) and reeve.kind(5).\n");
        return stream == stdout ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char *argv[])
{
        Options o = { .root = "" };
        int i;

        for (i = 1; i < argc && argv[i][0] == '-'; i++) {
                if (streq(argv[i], "--check"))
                        o.check = true;
                else if (strncmp(argv[i], "--root=", 7) == 0)
                        o.root = argv[i] + 7;
                else if (streq(argv[i], "--version")) {
                        printf("reeve-generator " REEVE_VERSION "\n");
                        return EXIT_SUCCESS;
                } else
                        return usage(streq(argv[i], "--help") ? stdout : stderr);
        }
        o.arguments = argv + i;
        o.n_arguments = argc - i;
        if (streq(o.root, "/"))
                o.root = "";
        if (o.check)
                return check(&o);
        if (o.n_arguments != 1 && o.n_arguments != 3)
                return usage(stderr);
        return run_generator(&o);
}

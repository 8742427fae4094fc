/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <unistd.h>

#include "ctl.h"
#include "fd-util.h"

/* A job's files. They go from the connection to the disk piece by piece; a file has its name when
 * it is whole, and one that is there already is left alone. */

#define NAME_MAX_BYTES 4096U

static int list_files(Ctl *c, const JsonValue *files)
{
        static const char *const heading[] = { "NAME", "DIRECTION", "SIZE", "TYPE" };
        _cleanup_(text_table_done)
                TextTable t = { .n_columns = ELEMENTSOF(heading), .right = 1U << 2 };

        if (c->json) {
                ctl_print_lines(files);
                return EXIT_STATUS_OK;
        }
        if (json_value_count(files) == 0) {
                fputs("No files.\n", stderr);
                return EXIT_STATUS_OK;
        }
        for (size_t i = 0; i < ELEMENTSOF(heading); i++)
                text_table_add(&t, heading[i]);
        for (const JsonValue *v = json_value_first(files, NULL); v;
                v = json_value_next(files, v, NULL)) {
                char size[TEXT_TIME_MAX];

                text_table_add(&t, member_text(v, "name"));
                text_table_add(&t, member_text(v, "direction"));
                text_table_add(&t, text_bytes(size, member_u64(v, "size")));
                text_table_add(&t, member_text(v, "content_type"));
        }
        return text_table_print(&t, stdout, c->bold) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

/* A relative path that stays below where it begins, without control characters: the name comes from
 * a handler. */
static bool is_safe(const char *name)
{
        const char *part = name;

        if (!*name || strlen(name) > NAME_MAX_BYTES)
                return false;
        for (const char *p = name; *p; p++)
                if ((unsigned char) *p < ' ' || *p == 0x7f)
                        return false;
        for (;;) {
                size_t n = strcspn(part, "/");

                if (n == 0 || (n == 1 && part[0] == '.') || (n == 2 && strncmp(part, "..", 2) == 0))
                        return false;
                if (!part[n])
                        return true;
                part += n + 1;
        }
}

/* Opens the directory that name's last part belongs into, and makes it; no link is followed below
 * where. *ret_base points into name. Returns a descriptor or -errno. */
static int open_parent(const char *where, const char *name, const char **ret_base)
{
        _cleanup_(closep) int fd = open(where, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        const char *slash;

        if (fd < 0)
                return -errno;
        while ((slash = strchr(name, '/'))) {
                _cleanup_(freep) char *part = strndup(name, (size_t) (slash - name));
                int next;

                if (!part)
                        return -ENOMEM;
                if (mkdirat(fd, part, 0777) < 0 && errno != EEXIST)
                        return -errno;
                next = openat(fd, part, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                safe_close(fd);
                fd = next;
                name = slash + 1;
        }
        *ret_base = name;
        return TAKE_FD(fd);
}

/* A file without a name yet; where the file system has none such, one with its name. */
static int open_new(int dir, const char *base, bool *ret_named)
{
        int fd = openat(dir, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, 0666);

        *ret_named = fd < 0 && (errno == EOPNOTSUPP || errno == EISDIR || errno == ENOENT);
        if (*ret_named)
                fd = openat(dir, base, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
        return fd < 0 ? -errno : fd;
}

static int give_name(int fd, int dir, const char *base)
{
        char path[32];

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, dir, base, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

static int sink_to_fd(void *userdata, const char *data, size_t n)
{
        return write_all(*(int *) userdata, data, n);
}

/* Asks for the file and writes it to fd. */
static int receive(Ctl *c, const char *id, const char *name, int fd)
{
        _cleanup_(strbuf_done) StrBuf target = {};
        _cleanup_(answer_done) Answer a = {};
        HttpAsk ask = { .method = "GET", .sink = sink_to_fd, .sink_userdata = &fd };
        int error;

        strbuf_printf(&target, "/api/jobs/%s/files/", id);
        for (const char *part = name; *part; part += strcspn(part, "/")) {
                _cleanup_(freep) char *one = NULL;

                part += *part == '/';
                one = strndup(part, strcspn(part, "/"));
                if (!one)
                        return ctl_oom();
                strbuf_puts(&target, part == name ? "" : "/");
                http_quote(&target, one);
        }
        if (strbuf_error(&target) < 0)
                return ctl_oom();
        ask.target = strbuf_str(&target);
        ctl_try(c, &ask, &a, &error);
        if (a.reply.sink_error < 0)
                return ctl_error(EXIT_STATUS_FAILED, "Cannot write %s: %s.", name,
                        strerror(-a.reply.sink_error));
        if (error < 0)
                return ctl_tell_fault(c, error);
        return a.reply.status == 200 ? EXIT_STATUS_OK : ctl_tell_problem(&a);
}

static int tell_file(const char *where, const char *name, int error)
{
        if (error == -EEXIST)
                return ctl_error(EXIT_STATUS_FAILED,
                        "%s/%s is there already and stays as it is. Try: --output=DIR", where,
                        name);
        return ctl_error(
                EXIT_STATUS_FAILED, "Cannot make %s/%s: %s.", where, name, strerror(-error));
}

static int fetch(Ctl *c, const char *id, const char *name)
{
        const char *where = c->values[OPTION_OUTPUT] ? c->values[OPTION_OUTPUT] : ".";
        const char *base = name;
        _cleanup_(closep) int dir = -EBADF, fd = -EBADF;
        bool named = false;
        int r;

        if (!is_safe(name))
                return ctl_error(EXIT_STATUS_USAGE,
                        "%s is not the name of a job's file. Try: reevectl files %s", name, id);
        if (streq(where, "-"))
                return receive(c, id, name, STDOUT_FILENO);
        dir = open_parent(where, name, &base);
        if (dir < 0)
                return tell_file(where, name, dir);
        if (faccessat(dir, base, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
                return tell_file(where, name, -EEXIST);
        fd = open_new(dir, base, &named);
        if (fd < 0)
                return tell_file(where, name, fd);
        r = receive(c, id, name, fd);
        if (r == EXIT_STATUS_OK && !named) {
                int e = give_name(fd, dir, base);

                return e < 0 ? tell_file(where, name, e) : r;
        }
        if (r != EXIT_STATUS_OK && named)
                (void) unlinkat(dir, base, 0);
        return r;
}

/* All that the job has left. */
static int fetch_outputs(Ctl *c, const char *id, const JsonValue *files)
{
        int worst = EXIT_STATUS_OK;
        unsigned n = 0;

        for (const JsonValue *v = json_value_first(files, NULL); v;
                v = json_value_next(files, v, NULL)) {
                int r;

                if (!streq(member_text(v, "direction"), "output"))
                        continue;
                n++;
                r = fetch(c, id, member_text(v, "name"));
                worst = worst == EXIT_STATUS_OK ? r : worst;
        }
        if (n == 0)
                fputs("The job has left no files.\n", stderr);
        return worst;
}

int verb_files(Ctl *c)
{
        _cleanup_(answer_done) Answer a = {};
        bool all = c->values[OPTION_ALL];
        const JsonValue *files;
        const char *id = c->args[0];
        int r, worst = EXIT_STATUS_OK;

        if (!ctl_is_id(id))
                return EXIT_STATUS_USAGE;
        if (all && c->n_args > 1)
                return ctl_error(EXIT_STATUS_USAGE, "--all and names exclude each other.");
        if (c->values[OPTION_OUTPUT] && !all && c->n_args == 1)
                return ctl_error(EXIT_STATUS_USAGE, "--output= goes with names or --all.");
        for (int i = 1; i < c->n_args; i++) {
                r = fetch(c, id, c->args[i]);
                worst = worst == EXIT_STATUS_OK ? r : worst;
        }
        if (c->n_args > 1)
                return worst;
        r = ctl_ask_job(c, "GET", id, "/files", NULL, &a);
        if (r != EXIT_STATUS_OK)
                return r;
        files = ctl_list(&a, "files");
        if (!files)
                return EXIT_STATUS_FAILED;
        return all ? fetch_outputs(c, id, files) : list_files(c, files);
}

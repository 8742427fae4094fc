/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "config-load.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd-util.h"
#include "reeve-limits.h"

#define SUFFIX ".kind"

/* Directories, highest precedence first. */
static const char *const kind_dirs[] = {
        REEVE_SYSCONFDIR "/kinds",
        "/run/reeve/kinds",
        "/var/lib/reeve/release/current/kinds",
        REEVE_LIBEXECDIR "/kinds",
        NULL,
};
static const char *const pool_dirs[] = {
        REEVE_SYSCONFDIR "/pools",
        "/run/reeve/pools",
        REEVE_LIBEXECDIR "/pools",
        NULL,
};
static const char *const settings_dirs[] = {
        REEVE_SYSCONFDIR,
        "/run/reeve",
        REEVE_LIBEXECDIR,
        NULL,
};

/* One load: where it looks, and to whom it talks. */
typedef struct Loader {
        char **dirs; /* NULL-terminated, the root before each */
        ConfReport report;
        void *userdata;
        const char *file; /* for findings that have none */
        char why[512]; /* the first error about this file, "" if there was none */
} Loader;

static void loader_done(Loader *l)
{
        l->dirs = conf_names_free(l->dirs);
}

static int loader_init(Loader *l, const char *root, const char *const *dirs)
{
        size_t n = 0;

        while (dirs[n])
                n++;
        l->dirs = new0(char *, n + 1);
        if (!l->dirs)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++)
                if (asprintf(l->dirs + i, "%s%s", root ? root : "", dirs[i]) < 0) {
                        l->dirs[i] = NULL;
                        return -ENOMEM;
                }
        return 0;
}

/* A ConfReport: names the file where the core could not. */
static void loader_report(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        Loader *l = userdata;

        if (!*file && l->file)
                file = l->file;
        if (level == CONF_ERROR && !l->why[0] && line > 0)
                (void) snprintf(l->why, sizeof(l->why), "%s:%u: %s", file, line, text);
        else if (level == CONF_ERROR && !l->why[0])
                (void) snprintf(l->why, sizeof(l->why), "%s: %s", file, text);
        if (l->report)
                l->report(l->userdata, level, file, line, text);
}

static void report_errno(Loader *l, const char *file, int error)
{
        char text[200];

        snprintf(text, sizeof(text), "cannot be read: %s",
                error == -EISDIR ? "not a regular file" : strerror(-error));
        loader_report(l, CONF_ERROR, file, 0, text);
}

/* Where name is found first; the first directory if nowhere. */
static int find_file(const Loader *l, const char *name, char **ret)
{
        struct stat st;

        for (char **dir = l->dirs;; dir++) {
                _cleanup_(freep) char *path = NULL;

                if (asprintf(&path, "%s/%s", *dir ? *dir : l->dirs[0], name) < 0) {
                        path = NULL;
                        return -ENOMEM;
                }
                if (!*dir || lstat(path, &st) == 0) {
                        *ret = TAKE_PTR(path);
                        return 0;
                }
        }
}

/* Reads name and its drop-ins; what went wrong has been reported. Returns a CONF_ value, -EINVAL
 * (some of it was wrong), or another -errno: a file could not be read. */
static int read_files(Loader *l, const char *name, Conf *c)
{
        int r = conf_read_dirs(c, (const char *const *) l->dirs, name, loader_report, l);

        if (r == -EBADMSG)
                return -EINVAL;
        if (r < 0 && r != -ENOMEM && r != -EILSEQ && r != -EFBIG)
                report_errno(l, l->file, r);
        return r == -EINVAL ? -EIO : r;
}

/* The same, where a file that cannot be read is as good as one that is wrong. */
static int read_items(Loader *l, const char *name, Conf *c)
{
        int r = read_files(l, name, c);

        return r >= 0 || r == -ENOMEM ? r : -EINVAL;
}

KindSet *kind_set_free(KindSet *s)
{
        if (!s)
                return NULL;
        for (size_t i = 0; i < s->n_kinds; i++)
                kind_free(s->kinds[i]);
        free(s->kinds);
        for (size_t i = 0; i < s->n_refused; i++) {
                free(s->refused[i].name);
                free(s->refused[i].why);
        }
        free(s->refused);
        return mfree(s);
}

const Kind *kind_set_find(const KindSet *s, const char *name)
{
        for (size_t i = 0; i < s->n_kinds; i++)
                if (streq(s->kinds[i]->name, name))
                        return s->kinds[i];
        return NULL;
}

/* Adds one kind, or counts it as refused. */
static int load_kind(Loader *l, const char *file_name, KindSet *s)
{
        _cleanup_(freep) char *path = NULL, *name = NULL;
        _cleanup_(conf_done) Conf c = {};
        Kind *k = NULL;
        int r;

        r = find_file(l, file_name, &path);
        if (r < 0)
                return r;
        name = strndup(file_name, strlen(file_name) - CONST_STRLEN(SUFFIX));
        if (!name)
                return -ENOMEM;

        l->file = path;
        l->why[0] = '\0';
        r = read_items(l, file_name, &c);
        if (r == CONF_MASKED)
                return 0;
        if (r == CONF_NOT_FOUND) {
                report_errno(l, path, -ENOENT); /* listed, so a link to nowhere */
                r = -EINVAL;
        }
        if (r == CONF_DONE)
                r = kind_new_from_conf(name, &c, loader_report, l, &k);
        l->file = NULL;
        if (r == -EINVAL) {
                s->refused[s->n_refused].name = TAKE_PTR(name);
                s->refused[s->n_refused].why = strdup(l->why);
                return s->refused[s->n_refused++].why ? 0 : -ENOMEM;
        }
        if (r < 0)
                return r;
        s->kinds[s->n_kinds++] = k;
        return 0;
}

int kinds_load(const char *root, ConfReport report, void *userdata, KindSet **ret)
{
        _cleanup_(loader_done) Loader l = { .report = report, .userdata = userdata };
        _cleanup_(conf_names_freep) char **names = NULL;
        _cleanup_(kind_set_freep) KindSet *s = NULL;
        size_t n = 0;
        int r;

        r = loader_init(&l, root, kind_dirs);
        if (r < 0)
                return r;
        r = conf_list_names((const char *const *) l.dirs, SUFFIX, &names);
        if (r < 0)
                return r;
        while (names[n])
                n++;
        s = new0(KindSet, 1);
        if (!s)
                return -ENOMEM;
        s->kinds = new0(Kind *, n);
        s->refused = new0(KindRefused, n);
        if (!s->kinds || !s->refused)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = load_kind(&l, names[i], s);
                if (r < 0)
                        return r;
        }
        *ret = TAKE_PTR(s);
        return 0;
}

/* path is replaced by the interpreter's if that is what is wrong. What cannot be read is left. */
static int check_interpreter(const char *root, char *path, size_t size)
{
        char line[256] = "", *name;
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        ssize_t n = fd < 0 ? -1 : read(fd, line, sizeof(line) - 1);

        if (n < 2 || strncmp(line, "#!", 2) != 0)
                return 0;
        line[strcspn(line, "\n")] = '\0';
        name = line + 2 + strspn(line + 2, " \t");
        name[strcspn(name, " \t")] = '\0';
        if (snprintf(path, size, "%s%s", root, name) >= (int) size)
                return -ENAMETOOLONG;
        return access(path, X_OK) < 0 ? -ELIBACC : 0;
}

int kind_check_program(const char *root, const char *program, char *path, size_t size)
{
        struct stat st;

        if ((size_t) snprintf(path, size, "%s%s", root, program) >= size)
                return -ENAMETOOLONG;
        if (access(path, X_OK) < 0)
                return -errno;
        if (stat(path, &st) >= 0 && !S_ISREG(st.st_mode))
                return -EISDIR;
        return check_interpreter(root, path, size);
}

int kind_load_file(const char *path, ConfReport report, void *userdata, Kind **ret)
{
        Loader l = { .report = report, .userdata = userdata, .file = path };
        const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
        _cleanup_(freep) char *name = NULL, *text = NULL;
        _cleanup_(conf_done) Conf c = {};
        size_t size, n = strlen(base);
        int r;

        if (n <= CONST_STRLEN(SUFFIX) || !streq(base + n - CONST_STRLEN(SUFFIX), SUFFIX)) {
                loader_report(&l, CONF_ERROR, path, 0, "not named NAME.kind");
                return -EINVAL;
        }
        name = strndup(base, n - CONST_STRLEN(SUFFIX));
        if (!name)
                return -ENOMEM;
        r = read_file(AT_FDCWD, path, REEVE_CONF_FILE_MAX, &text, &size);
        if (r == -ENOMEM)
                return r;
        if (r < 0) {
                report_errno(&l, path, r);
                return -EINVAL;
        }
        r = conf_read_text(&c, path, text, size, loader_report, &l);
        if (r < 0)
                return r == -ENOMEM ? r : -EINVAL;
        return kind_new_from_conf(name, &c, loader_report, &l, ret);
}

int pool_load(const char *root, const char *name, ConfReport report, void *userdata, Pool **ret)
{
        _cleanup_(loader_done) Loader l = { .report = report, .userdata = userdata };
        _cleanup_(freep) char *file_name = NULL, *path = NULL;
        _cleanup_(conf_done) Conf c = {};
        int r;

        r = loader_init(&l, root, pool_dirs);
        if (r < 0)
                return r;
        /* A name with a slash in it must not choose the file; pool_new_from_conf() refuses it. */
        if (!strchr(name, '/')) {
                if (asprintf(&file_name, "%s.conf", name) < 0) {
                        file_name = NULL;
                        return -ENOMEM;
                }
                r = find_file(&l, file_name, &path);
                if (r < 0)
                        return r;
                l.file = path;
                r = read_items(&l, file_name, &c);
                if (r < 0)
                        return r;
        }
        return pool_new_from_conf(name, &c, loader_report, &l, ret);
}

int settings_load(const char *root, ConfReport report, void *userdata, Settings *ret)
{
        _cleanup_(loader_done) Loader l = { .report = report, .userdata = userdata };
        _cleanup_(freep) char *path = NULL;
        _cleanup_(conf_done) Conf c = {};
        int r, q;

        *ret = (Settings){ 0 };
        r = loader_init(&l, root, settings_dirs);
        if (r < 0)
                return r;
        r = find_file(&l, "reeve.conf", &path);
        if (r < 0)
                return r;
        l.file = path;
        r = read_files(&l, "reeve.conf", &c);
        if (r == -ENOMEM)
                return r;
        q = settings_from_conf(ret, &c, loader_report, &l);
        if (r < 0 && r != -EINVAL)
                return r;
        return q < 0 ? q : r < 0 ? r : 0;
}

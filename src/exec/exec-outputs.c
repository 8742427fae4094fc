/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "exec-dirs.h"
#include "fd-util.h"
#include "reeve-limits.h"
#include "run-frame.h"

#define DEPTH_MAX 16U /* of directories that are looked into */

static void complain(ExecOutputs *o, const char *why)
{
        if (!o->error)
                o->error = why;
}

static int add_name(ExecOutputs *o, const char *name)
{
        if (o->n == o->n_allocated) {
                unsigned n = o->n_allocated ? o->n_allocated * 2 : 16;
                char **names = reallocarray(o->names, n, sizeof(char *));

                if (!names)
                        return -ENOMEM;
                o->names = names;
                o->n_allocated = n;
        }
        o->names[o->n] = strdup(name);
        if (!o->names[o->n])
                return -ENOMEM;
        o->n++;
        return 0;
}

static int add_file(ExecOutputs *o, const char *path, uint64_t size)
{
        if (!run_file_name_is_valid(path)) {
                complain(o, "a file name that is too long or no text");
                return 0;
        }
        if (o->n >= REEVE_OUTPUT_FILES_MAX) {
                complain(o, "too many files");
                return 0;
        }
        if (size > REEVE_OUTPUT_BYTES_MAX - o->bytes) {
                complain(o, "files too large");
                return 0;
        }
        o->bytes += size;
        return add_name(o, path);
}

static int list_dir(ExecOutputs *o, int dir_fd, const char *prefix, unsigned depth);

static int list_entry(
        ExecOutputs *o, int dir_fd, const char *path, const char *name, unsigned depth)
{
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;

        if (fstatat(dir_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return 0; /* gone: nobody is left who could have done it, but no matter */
        if (S_ISREG(st.st_mode))
                return add_file(o, path, (uint64_t) st.st_size);
        if (!S_ISDIR(st.st_mode)) {
                complain(o, "something that is no regular file");
                return 0;
        }
        if (depth >= DEPTH_MAX || strlen(path) > RUN_FILE_NAME_MAX) {
                complain(o, "directories too deep");
                return 0;
        }
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0) {
                complain(o, "a directory that cannot be read");
                return 0;
        }
        return list_dir(o, fd, path, depth + 1);
}

static int list_dir(ExecOutputs *o, int dir_fd, const char *prefix, unsigned depth)
{
        _cleanup_(closep) int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        struct dirent *de;
        DIR *dir;
        int r = 0;

        if (fd < 0)
                return -errno;
        dir = fdopendir(fd);
        if (!dir)
                return -errno;
        (void) TAKE_FD(fd); /* the stream's now */
        while (r >= 0 && (de = readdir(dir))) { // NOLINT(concurrency-mt-unsafe)
                _cleanup_(freep) char *path = NULL;

                if (streq(de->d_name, ".") || streq(de->d_name, ".."))
                        continue;
                if (asprintf(&path, "%s%s%s", prefix, *prefix ? "/" : "", de->d_name) < 0) {
                        path = NULL;
                        r = -ENOMEM;
                        break;
                }
                r = list_entry(o, dir_fd, path, de->d_name, depth);
                if (o->n >= REEVE_OUTPUT_FILES_MAX && o->error)
                        break;
        }
        (void) closedir(dir);
        return r;
}

int exec_outputs_list(const ExecDirs *d, ExecOutputs *ret)
{
        ExecOutputs o = { 0 };
        int r;

        r = list_dir(&o, d->output_fd, "", 0);
        if (r == -ENOMEM) {
                exec_outputs_done(&o);
                return r;
        }
        if (r < 0)
                complain(&o, "the output directory cannot be read");
        *ret = o;
        return 0;
}

/* Component by component, so that no directory on the way can be a symlink. */
int exec_outputs_open(const ExecDirs *d, const char *name, uint64_t *ret_size)
{
        _cleanup_(closep) int dir = -EBADF, fd = -EBADF;
        _cleanup_(freep) char *copy = strdup(name);
        char *part = copy, *slash;
        struct stat st;

        if (!copy)
                return -ENOMEM;
        while ((slash = strchr(part, '/'))) {
                int next;

                *slash = '\0';
                next = openat(dir >= 0 ? dir : d->output_fd, part,
                        O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
                if (next < 0)
                        return -errno;
                safe_close(dir);
                dir = next;
                part = slash + 1;
        }

        fd = openat(dir >= 0 ? dir : d->output_fd, part,
                O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        *ret_size = (uint64_t) st.st_size;
        return TAKE_FD(fd);
}

void exec_outputs_done(ExecOutputs *o)
{
        for (unsigned i = 0; i < o->n; i++)
                free(o->names[i]);
        free(o->names);
        *o = (ExecOutputs){ 0 };
}

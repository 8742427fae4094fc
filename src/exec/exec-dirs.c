/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-dirs.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd-util.h"
#include "run-frame.h"

static const char *const own_names[] = { "input", "output", "notify", NULL };
static const char *const tmp_places[] = { "/tmp", "/var/tmp" };

#define DEPTH_MAX 128U /* of what is removed; deeper, and the slot is given up */

static int make_dir(const ExecDirs *d, const char *name, char **ret_path, int *ret_fd)
{
        int fd;

        if (asprintf(ret_path, "%s/%s", d->base, name) < 0) {
                *ret_path = NULL;
                return -ENOMEM;
        }
        if (mkdirat(d->base_fd, name, 0755) < 0)
                return -errno;
        fd = openat(d->base_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        *ret_fd = fd;
        return 0;
}

/* PrivateTmp= mounts a directory called systemd-private-... on /tmp and on /var/tmp. Column 4 of
 * mountinfo is the root of the mount in its file system, column 5 the mount point. */
static int is_private(const char *place, bool *ret)
{
        _cleanup_(freep) char *text = NULL;
        char *line, *saved = NULL, root[4096], point[4096];
        int r;

        r = read_file(AT_FDCWD, "/proc/self/mountinfo", 4UL * 1024 * 1024, &text, NULL);
        if (r < 0)
                return r;
        *ret = false;
        for (line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved))
                if (sscanf(line, "%*s %*s %*s %4095s %4095s", root, point) ==
                                2 && // NOLINT(cert-err34-c)
                        streq(point, place) &&
                        strstr(root, "/systemd-private-"))
                        *ret = true;
        return 0;
}

int exec_dirs_make(ExecDirs *d)
{
        const char *tmp = getenv("TMPDIR");
        int r;

        *d = (ExecDirs){ .base_fd = -EBADF, .input_fd = -EBADF, .output_fd = -EBADF };
        if (!tmp || tmp[0] != '/')
                tmp = "/tmp";
        if (asprintf(&d->base, "%s/reeve-run-XXXXXX", tmp) < 0) {
                d->base = NULL;
                return -ENOMEM;
        }
        if (!mkdtemp(d->base)) {
                r = -errno;
                d->base = mfree(d->base);
                return r;
        }
        d->base_fd = open(d->base, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (d->base_fd < 0)
                return -errno;

        r = make_dir(d, "input", &d->input, &d->input_fd);
        if (r < 0)
                return r;
        r = make_dir(d, "output", &d->output, &d->output_fd);
        if (r < 0)
                return r;
        if (asprintf(&d->notify, "%s/notify", d->base) < 0) {
                d->notify = NULL;
                return -ENOMEM;
        }
        if (strlen(d->notify) >= sizeof(((struct sockaddr_un *) NULL)->sun_path))
                return -ENAMETOOLONG;

        for (size_t i = 0; i < ELEMENTSOF(tmp_places); i++) {
                r = is_private(tmp_places[i], &d->private_tmp[i]);
                if (r < 0 && r != -ENOENT) /* there is no /proc */
                        return r;
        }
        return 0;
}

static bool is_one_of(const char *const *names, const char *name)
{
        for (; names && *names; names++)
                if (streq(*names, name))
                        return true;
        return false;
}

static int remove_children(int dir_fd, unsigned depth, const char *const *keep);

static int remove_entry(int dir_fd, const char *name, unsigned depth)
{
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (unlinkat(dir_fd, name, 0) == 0 || errno == ENOENT)
                return 0;
        if (errno != EISDIR && errno != EPERM)
                return -errno;
        if (unlinkat(dir_fd, name, AT_REMOVEDIR) == 0)
                return 0;

        /* Not empty, or not ours to look into as it stands: it belongs to our own user, so it can
         * be made so. */
        if (depth >= DEPTH_MAX)
                return -ELOOP;
        fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0 && errno == EACCES && fchmodat(dir_fd, name, 0700, 0) == 0)
                fd = openat(dir_fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        (void) fchmod(fd, 0700);
        r = remove_children(fd, depth + 1, NULL);
        if (r < 0)
                return r;
        return unlinkat(dir_fd, name, AT_REMOVEDIR) < 0 ? -errno : 0;
}

/* Removes everything in a directory but the entries of keep (NULL-terminated; may be NULL). */
static int remove_children(int dir_fd, unsigned depth, const char *const *keep)
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
        while ((de = readdir(dir))) { // NOLINT(concurrency-mt-unsafe)
                int k;

                if (streq(de->d_name, ".") || streq(de->d_name, "..") ||
                        is_one_of(keep, de->d_name))
                        continue;
                k = remove_entry(dir_fd, de->d_name, depth);
                if (k < 0)
                        r = k;
        }
        (void) closedir(dir);
        return r;
}

void exec_dirs_done(ExecDirs *d)
{
        if (d->base_fd >= 0) {
                if (d->input_fd >= 0)
                        (void) fchmod(d->input_fd, 0700);
                (void) remove_children(d->base_fd, 0, NULL);
        }
        if (d->base)
                (void) rmdir(d->base);
        safe_close(d->base_fd);
        safe_close(d->input_fd);
        safe_close(d->output_fd);
        free(d->base);
        free(d->input);
        free(d->output);
        free(d->notify);
        *d = (ExecDirs){ .base_fd = -EBADF, .input_fd = -EBADF, .output_fd = -EBADF };
}

static int clean_private_tmp(const ExecDirs *d)
{
        const char *const keep[] = { strrchr(d->base, '/') + 1, NULL };
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(tmp_places); i++) {
                _cleanup_(closep) int fd = -EBADF;
                int k;

                if (!d->private_tmp[i])
                        continue;
                fd = open(tmp_places[i], O_RDONLY | O_DIRECTORY | O_CLOEXEC);
                k = fd < 0 ? -errno : remove_children(fd, 0, keep);
                if (k < 0)
                        r = k;
        }
        return r;
}

/* A handler may have moved our directories away and put others in their place. */
static bool is_same_dir(int base_fd, const char *name, int fd)
{
        struct stat a, b;

        return fstatat(base_fd, name, &a, AT_SYMLINK_NOFOLLOW) == 0 && fstat(fd, &b) == 0 &&
                a.st_dev == b.st_dev && a.st_ino == b.st_ino;
}

int exec_dirs_clean(ExecDirs *d)
{
        int r;

        if (!is_same_dir(d->base_fd, "input", d->input_fd) ||
                !is_same_dir(d->base_fd, "output", d->output_fd))
                return -ESTALE;
        if (fchmod(d->input_fd, 0755) < 0 || fchmod(d->output_fd, 0755) < 0)
                return -errno;
        r = remove_children(d->input_fd, 0, NULL);
        if (r < 0)
                return r;
        r = remove_children(d->output_fd, 0, NULL);
        if (r < 0)
                return r;
        r = remove_children(d->base_fd, 0, own_names);
        return r < 0 ? r : clean_private_tmp(d);
}

/* From the start of one file to the end of it; within one file system without the bytes passing by.
 */
static int64_t copy_file(int from, int to, off_t size)
{
        off_t at = 0;
        bool by_range = true;

        while (at < size) {
                size_t part = (size_t) (size - at);
                ssize_t n;

                n = by_range ? copy_file_range(from, &at, to, NULL, part, 0)
                             : sendfile(to, from, &at, part);
                if (n < 0 && errno == EINTR)
                        continue;
                if (by_range && n <= 0) {
                        by_range = false; /* two file systems, or one that cannot */
                        continue;
                }
                if (n < 0)
                        return -errno;
                if (n == 0)
                        break;
        }
        return at;
}

/* The directories of a name such as children/3/pages.txt. */
static int make_parents(int dir_fd, const char *name)
{
        char path[PATH_MAX];
        int r = 0;

        if (strlen(name) >= sizeof(path))
                return -ENAMETOOLONG;
        for (const char *slash = strchr(name, '/'); slash && r >= 0;
                slash = strchr(slash + 1, '/')) {
                memcpy(path, name, (size_t) (slash - name));
                path[slash - name] = '\0';
                r = mkdirat(dir_fd, path, 0755) < 0 && errno != EEXIST ? -errno : 0;
        }
        return r;
}

int64_t exec_dirs_put_input(ExecDirs *d, const char *name, int from)
{
        _cleanup_(closep) int to = -EBADF;
        struct statvfs fs;
        struct stat st;
        int r;

        if (fstat(from, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EINVAL;
        r = make_parents(d->input_fd, name);
        if (r < 0)
                return r;
        to = openat(d->input_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0444);
        if (to < 0)
                return -errno;
        /* No room now is waited for, room that never will be is not. */
        if (fstatvfs(to, &fs) == 0 &&
                (uint64_t) st.st_size > (uint64_t) fs.f_blocks * fs.f_frsize && fs.f_blocks > 0)
                return -EFBIG;
        return copy_file(from, to, st.st_size);
}

/* The directories that make_parents() made. */
static int seal_below(int dir_fd)
{
        DIR *dir = fdopendir(dir_fd);
        struct dirent *de;
        int r = 0;

        if (!dir) {
                r = -errno;
                safe_close(dir_fd);
                return r;
        }
        while (r >= 0 && (de = readdir(dir))) // NOLINT(concurrency-mt-unsafe)
                if (de->d_type == DT_DIR && de->d_name[0] != '.') {
                        int fd = openat(dir_fd, de->d_name,
                                O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

                        if (fd < 0)
                                r = -errno;
                        else {
                                (void) fchmod(fd, 0555);
                                r = seal_below(fd);
                        }
                }
        (void) closedir(dir);
        return r;
}

int exec_dirs_seal_inputs(ExecDirs *d)
{
        int fd = openat(d->input_fd, "children", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        int r = 0;

        if (fd >= 0) {
                (void) fchmod(fd, 0555);
                r = seal_below(fd);
        }
        if (r < 0)
                return r;
        return fchmod(d->input_fd, 0555) < 0 ? -errno : 0;
}

int exec_dirs_bind_notify(ExecDirs *d)
{
        _cleanup_(closep) int fd = -EBADF;
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        struct stat st;
        int r;

        r = remove_entry(d->base_fd, "notify", 0);
        if (r < 0)
                return r;
        fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        memcpy(sa.sun_path, d->notify, strlen(d->notify) + 1);
        if (bind(fd, (const struct sockaddr *) &sa, sizeof(sa)) < 0)
                return -errno;
        if (fstatat(d->base_fd, "notify", &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        d->notify_dev = st.st_dev;
        d->notify_ino = st.st_ino;
        return TAKE_FD(fd);
}

bool exec_dirs_notify_is_bound(const ExecDirs *d)
{
        struct stat st;

        return fstatat(d->base_fd, "notify", &st, AT_SYMLINK_NOFOLLOW) == 0 &&
                S_ISSOCK(st.st_mode) && st.st_dev == d->notify_dev && st.st_ino == d->notify_ino;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fd-util.h"

#include <fcntl.h>
#include <unistd.h>

int safe_close(int fd)
{
        if (fd >= 0) {
                int saved = errno;

                (void) close(fd);
                errno = saved;
        }
        return -EBADF;
}

int write_all(int fd, const void *data, size_t n)
{
        const char *p = data;

        while (n > 0) {
                ssize_t k = write(fd, p, n);

                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                p += k;
                n -= (size_t) k;
        }
        return 0;
}

ssize_t read_all(int fd, void *data, size_t n)
{
        size_t done = 0;

        while (done < n) {
                ssize_t k = read(fd, (char *) data + done, n - done);

                if (k < 0) {
                        if (errno == EINTR)
                                continue;
                        return -errno;
                }
                if (k == 0)
                        break;
                done += (size_t) k;
        }
        return (ssize_t) done;
}

int read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size)
{
        _cleanup_(closep) int fd = -EBADF;
        _cleanup_(freep) char *buf = NULL;
        size_t size = 0, allocated = 0;

        fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
        if (fd < 0)
                return -errno;

        /* Read to the end instead of trusting st_size: /proc and pipes say 0. */
        for (;;) {
                ssize_t k;

                if (size + 1 >= allocated) {
                        char *p;

                        allocated = allocated ? allocated * 2 : 4096;
                        p = realloc(buf, allocated);
                        if (!p)
                                return -ENOMEM;
                        buf = p;
                }
                k = read_all(fd, buf + size, allocated - size - 1);
                if (k < 0)
                        return (int) k;
                if (k == 0)
                        break;
                size += (size_t) k;
                if (size > max)
                        return -EFBIG;
        }

        buf[size] = '\0';
        *ret = TAKE_PTR(buf);
        if (ret_size)
                *ret_size = size;
        return 0;
}

int fd_nonblock(int fd, bool on)
{
        int flags = fcntl(fd, F_GETFL, 0);

        if (flags < 0)
                return -errno;
        if (fcntl(fd, F_SETFL, on ? flags | O_NONBLOCK : flags & ~O_NONBLOCK) < 0)
                return -errno;
        return 0;
}

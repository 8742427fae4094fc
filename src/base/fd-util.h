/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <sys/types.h>

#include "macros.h"

/* Closes fd unless it is negative; keeps errno; returns -EBADF so that the caller can write fd =
 * safe_close(fd). */
int safe_close(int fd);

static inline void closep(int *fd)
{
        *fd = safe_close(*fd);
}

/* Writes all n bytes, across EINTR and short writes, to a blocking fd. Returns 0 or -errno. */
int write_all(int fd, const void *data, size_t n);

/* Reads up to n bytes across EINTR and short reads until end of file. Returns the number read or
 * -errno. */
ssize_t read_all(int fd, void *data, size_t n);

/* Reads a whole file of at most max bytes into a NUL-terminated string that the caller frees. dirfd
 * as for openat(2). Returns 0, -EFBIG (larger than max) or another -errno. ret_size may be NULL. */
int read_file(int dirfd, const char *path, size_t max, char **ret, size_t *ret_size);

/* Adds or removes O_NONBLOCK. Returns 0 or -errno. */
int fd_nonblock(int fd, bool on);

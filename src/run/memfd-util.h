/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "macros.h"

/* Memory files: how payloads and results travel between worker and launcher. */

/* A memfd with these bytes that nobody can change any more, at position 0, close-on-exec; name is
 * what /proc shows. Returns the descriptor, which the caller owns, or -errno. */
int memfd_new_sealed(const char *name, const void *data, size_t size);

/* Seals a memfd that was made with MFD_ALLOW_SEALING against every change, and rewinds it. Returns
 * 0 or -errno. */
int memfd_seal(int fd);

/* Reads the whole of a memfd or regular file, wherever its position is, into a NUL-terminated
 * string that the caller frees. It is read, not mapped, so that one who shrinks it cannot raise
 * SIGBUS. Returns 0, -EFBIG (larger than max), -EINVAL (not a regular file) or another -errno. */
int memfd_read(int fd, size_t max, char **ret, size_t *ret_size);

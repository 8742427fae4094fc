/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/stat.h>

#include "blob.h"

/* The local store: ROOT/TENANT/ab/cdef..., files 0440, directories 0770 that inherit the group and
 * the set-group-ID bit of ROOT.
 *
 * GLOSSARY
 * shard        the directory of all blobs of a tenant whose digests begin with the same two digits
 * hidden name  TENANT/.new-RANDOM: a file before it has its own name. Its writer holds flock() on
 *              it for as long as it lives, so who gets that lock knows that the writer is dead
 * shard lock   flock() on a shard: held by a writer while it looks and names, by a collector while
 *              it looks and unlinks; never while it waits for the disk
 */

#define BLOB_HIDDEN_PREFIX ".new-"
#define BLOB_SHARD_LEN     2U
#define BLOB_HEX_LEN       64U

struct BlobStore {
        int root_fd;
        bool no_tmpfile; /* the file system has no O_TMPFILE: hidden names from the beginning */
};

/* The 64 digits of a digest, NULL if it is malformed. */
const char *blob_digest_hex(const char *digest);

/* Opens a directory below dirfd, never through a symbolic link; make: makes it if it is not there.
 * Returns a descriptor or -errno. */
int blob_open_dir(int dirfd, const char *name, bool make);

/* Opens the shard of a digest and writes the file's name in it. */
int blob_open_shard(int tenant_fd, const char *hex, bool make);
static inline const char *blob_file_name(const char *hex)
{
        return hex + BLOB_SHARD_LEN;
}

/* The later of modification and change, CLOCK_REALTIME: rename and link count as well as touch. */
usec_t blob_stat_changed(const struct stat *st);

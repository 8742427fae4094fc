/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "macros.h"
#include "reeve-limits.h"
#include "time-util.h"

/* The store of large data: payloads and results above REEVE_PAYLOAD_INLINE_MAX, uploads, output
 * files. Nothing here says where the bytes are; callers know tenants, digests and descriptors.
 *
 * GLOSSARY
 * blob     bytes that never change, named by what they are: tenant and digest
 * digest   "sha256:" and 64 lower-case hexadecimal digits, the column type of reeve.blob
 * grace    how long a blob without a reference in the database is kept: the time between its
 *          commit and the commit of the row that names it must be shorter
 * commit   makes a writer's bytes a blob: durable and whole under its name, or not there at all
 *
 * All functions return -EINVAL for a tenant that name_is_valid() refuses or for a malformed digest.
 * Descriptors are close-on-exec. One process may have any number of stores and writers, many
 * processes may use one store at once, under different users of one group.
 */

#define BLOB_DIGEST_MAX 72 /* bytes of a digest with its NUL */
#define BLOB_CHUNK_MAX  (1024UL * 1024) /* bytes that one call takes at most: some 5 ms of work */

bool blob_digest_is_valid(const char *digest);

typedef struct BlobStore BlobStore;

/* Opens a store. location is the absolute path of a directory that exists (all below it is made on
 * demand). Errors: -EINVAL (not an absolute path), -ENOENT, -ENOTDIR, -EACCES, -ENOMEM, ...
 * Nothing is written: see blob_store_check_writable(). Users who share a store need a directory of
 * mode 2770 of their common group. */
int blob_store_open(const char *location, BlobStore **ret);
/* After its writers and walks. */
BlobStore *blob_store_free(BlobStore *s);
DEFINE_CLEANUP(BlobStore, blob_store_free)

/* Whether this process may write: 0, -EROFS, -EACCES or another -errno; for a clear message at a
 * program's start. It says nothing about free space. */
int blob_store_check_writable(BlobStore *s);

/* A read-only descriptor at position 0, which the caller owns; it stays good when the blob is
 * removed. ret_size may be NULL. Errors: -ENOENT, -EBADMSG (something stands there that is no
 * blob), -EACCES, ... The content is not hashed again. */
int blob_open_read(BlobStore *s, const char *tenant, const char *digest, uint64_t *ret_size);

/* -------- writing -------- */

typedef struct BlobWriter BlobWriter;

enum {
        BLOB_CREATED = 0,
        BLOB_EXISTED = 1, /* the same content was there; its grace begins anew */
};

/* Begins a blob of at most max bytes. Errors: -EROFS, -EACCES, -ENOSPC, -EDQUOT, -ENOMEM, ... */
int blob_writer_new(BlobStore *s, const char *tenant, uint64_t max, BlobWriter **ret);
/* Aborts, unless committed: nothing of it stays. Nor does it if the process dies first. */
BlobWriter *blob_writer_free(BlobWriter *w);
DEFINE_CLEANUP(BlobWriter, blob_writer_free)

/* Appends n bytes (n > BLOB_CHUNK_MAX is -EINVAL and changes nothing) and hashes them. Errors:
 * -EFBIG (larger than max, or than RLIMIT_FSIZE: ignore SIGXFSZ), -ENOSPC, -EDQUOT, -EIO. After an
 * error the writer can only be freed; each later call returns the same error. */
int blob_writer_append(BlobWriter *w, const void *data, size_t n);

enum {
        BLOB_COPY_DONE = 0, /* at the end of the source; nothing was appended this time */
        BLOB_COPY_MORE = 1, /* call again, from the loop's next turn */
};

/* Appends up to n bytes (at most BLOB_CHUNK_MAX are taken) of a regular file or memfd from the
 * place where the last call ended, first from its beginning; the position of fd is not used, for
 * who gave the descriptor may share it. The blob is what was read, also if the source changes
 * meanwhile; compare blob_writer_get_size() where a size was promised. Errors: as of append;
 * -ENOTSUP (no regular file). Returns a BLOB_COPY_ value. */
int blob_writer_copy_fd(BlobWriter *w, int fd, size_t n);

/* Bytes so far. */
uint64_t blob_writer_get_size(const BlobWriter *w);

/* Writes the rest to the disk (blocks for that; most of a large blob is there already), names the
 * blob and makes the name durable. Returns BLOB_CREATED or BLOB_EXISTED with the digest, or -EBUSY
 * (somebody held the directory for 100 ms: may be called again), -ENOSPC, -EIO, ... After success
 * the writer can only be freed. If only the last step failed, a whole blob may stay as an orphan.
 */
int blob_writer_commit(BlobWriter *w, char ret_digest[static BLOB_DIGEST_MAX]);

/* -------- collecting -------- */

enum {
        BLOB_REMOVED = 0,
        BLOB_YOUNG = 1, /* committed, or committed again, within the grace time: kept */
        BLOB_BUSY = 2, /* a writer is about to name a blob next to it: kept, try later */
};

/* Removes a blob that has no reference any more, unless it is younger than grace. A concurrent
 * commit of the same content either comes first (BLOB_YOUNG) or finds it gone and makes it again.
 * Age is by CLOCK_REALTIME, so grace must be longer than the steps that the clock makes; a time in
 * the future counts as young. Errors: -ENOENT, -EACCES, -EROFS, ... */
int blob_remove(BlobStore *s, const char *tenant, const char *digest, usec_t grace_usec);

typedef struct BlobEntry {
        char tenant[REEVE_NAME_MAX + 1];
        char digest[BLOB_DIGEST_MAX];
        uint64_t size;
        usec_t changed_usec; /* CLOCK_REALTIME of the last commit */
} BlobEntry;

typedef struct BlobWalk BlobWalk;

enum {
        BLOB_WALK_END = 0, /* all were seen */
        BLOB_WALK_ENTRY = 1,
        BLOB_WALK_MORE = 2, /* nothing this time: call again */
};

/* Goes through all blobs of all tenants in no order, a little at each call. What is committed or
 * removed meanwhile may or may not be seen. On the way it deletes what writers left that died on a
 * file system without O_TMPFILE. */
int blob_walk_new(BlobStore *s, BlobWalk **ret);
BlobWalk *blob_walk_free(BlobWalk *w);
DEFINE_CLEANUP(BlobWalk, blob_walk_free)

/* Returns a BLOB_WALK_ value or -errno. After an error the walk can go on with the next directory.
 */
int blob_walk_next(BlobWalk *w, BlobEntry *ret);

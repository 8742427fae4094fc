/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "blob-internal.h"
#include "fd-util.h"
#include "parse-util.h"
#include "sha256.h"

#define BLOB_MODE        0440 /* nobody changes a blob, its writer included */
#define HIDDEN_NAME_MAX  32
#define COPY_BUFFER_SIZE (64UL * 1024)
/* Write-back is started after each of so many bytes, so that commit has little left to wait for and
 * an upload does not fill the memory with dirty pages. */
#define WRITE_BEHIND (1UL * 1024 * 1024)
#define LOCK_TRIES   50U /* 2 ms apart */

struct BlobWriter {
        BlobStore *store;
        int tenant_fd;
        int fd;
        char hidden[HIDDEN_NAME_MAX]; /* "" = the file has no name that would have to go */
        Sha256 *sha;
        char hex[SHA256_HEX_MAX]; /* "" until the hash is ended */
        char *buffer; /* of blob_writer_copy_fd(), made at its first call */
        uint64_t size, max, copied, started; /* bytes; started: given to write-back */
        int error; /* of the call that failed: the file is not what was hashed */
        bool synced, committed;
};

static int hidden_name(char ret[static HIDDEN_NAME_MAX])
{
        uint64_t n;

        if (getrandom(&n, sizeof(n), 0) != (ssize_t) sizeof(n))
                return -EIO;
        snprintf(ret, HIDDEN_NAME_MAX, BLOB_HIDDEN_PREFIX "%016" PRIx64, n);
        return 0;
}

/* Takes away the hidden name, if there is one. */
static void drop_hidden(BlobWriter *w)
{
        if (w->hidden[0])
                (void) unlinkat(w->tenant_fd, w->hidden, 0);
        w->hidden[0] = '\0';
}

BlobWriter *blob_writer_free(BlobWriter *w)
{
        if (!w)
                return NULL;
        drop_hidden(w);
        safe_close(w->fd);
        safe_close(w->tenant_fd);
        sha256_free(w->sha);
        free(w->buffer);
        free(w);
        return NULL;
}

static int open_hidden(BlobWriter *w)
{
        char name[HIDDEN_NAME_MAX];
        int r;

        r = hidden_name(name);
        if (r < 0)
                return r;
        w->fd = openat(w->tenant_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, BLOB_MODE);
        if (w->fd < 0)
                return -errno;
        memcpy(w->hidden, name, sizeof(name));
        return 0;
}

static int open_file(BlobWriter *w)
{
        int r;

        if (!w->store->no_tmpfile) {
                w->fd = openat(w->tenant_fd, ".", O_WRONLY | O_TMPFILE | O_CLOEXEC, BLOB_MODE);
                if (w->fd < 0 && errno != EOPNOTSUPP && errno != EISDIR)
                        return -errno;
                if (w->fd < 0)
                        w->store->no_tmpfile = true;
        }
        if (w->fd < 0) {
                r = open_hidden(w);
                if (r < 0)
                        return r;
        }
        /* The lock says that the owner of a hidden name lives; see blob-internal.h. */
        if (flock(w->fd, LOCK_EX | LOCK_NB) < 0)
                return -errno;
        return fchmod(w->fd, BLOB_MODE) < 0 ? -errno : 0; /* whatever UMask= says */
}

int blob_writer_new(BlobStore *s, const char *tenant, uint64_t max, BlobWriter **ret)
{
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        int r;

        if (!tenant || !name_is_valid(tenant))
                return -EINVAL;
        w = new0(BlobWriter, 1);
        if (!w)
                return -ENOMEM;
        *w = (BlobWriter){ .store = s, .max = max, .fd = -EBADF, .tenant_fd = -EBADF };
        r = sha256_new(&w->sha);
        if (r < 0)
                return r;
        w->tenant_fd = blob_open_dir(s->root_fd, tenant, true);
        if (w->tenant_fd < 0)
                return w->tenant_fd;
        r = open_file(w);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(w);
        return 0;
}

static int append(BlobWriter *w, const void *data, size_t n)
{
        int r;

        if (n > w->max - w->size)
                return -EFBIG;
        r = write_all(w->fd, data, n);
        if (r < 0)
                return r;
        r = sha256_update(w->sha, data, n);
        if (r < 0)
                return r;
        w->size += n;
        if (w->size - w->started >= WRITE_BEHIND) {
                /* A hint: an error of the disk comes again with fdatasync(). */
                (void) sync_file_range(w->fd, (off_t) w->started, (off_t) (w->size - w->started),
                        SYNC_FILE_RANGE_WRITE);
                w->started = w->size;
        }
        return 0;
}

int blob_writer_append(BlobWriter *w, const void *data, size_t n)
{
        assert(!w->hex[0]);
        if (w->error < 0)
                return w->error;
        if (n > BLOB_CHUNK_MAX)
                return -EINVAL;
        return w->error = append(w, data, n);
}

static int copy(BlobWriter *w, int fd, size_t n)
{
        size_t done = 0;
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -ENOTSUP;
        if (!w->buffer) {
                w->buffer = malloc(COPY_BUFFER_SIZE);
                if (!w->buffer)
                        return -ENOMEM;
        }
        while (done < n) {
                size_t want = n - done < COPY_BUFFER_SIZE ? n - done : COPY_BUFFER_SIZE;
                ssize_t k = pread(fd, w->buffer, want, (off_t) w->copied);
                int r;

                if (k < 0 && errno == EINTR)
                        continue;
                if (k < 0)
                        return -errno;
                if (k == 0)
                        break;
                r = append(w, w->buffer, (size_t) k);
                if (r < 0)
                        return r;
                w->copied += (uint64_t) k;
                done += (size_t) k;
        }
        return done > 0 ? BLOB_COPY_MORE : BLOB_COPY_DONE;
}

int blob_writer_copy_fd(BlobWriter *w, int fd, size_t n)
{
        int r;

        assert(!w->hex[0]);
        assert(n > 0);
        if (w->error < 0)
                return w->error;
        r = copy(w, fd, n < BLOB_CHUNK_MAX ? n : BLOB_CHUNK_MAX);
        if (r < 0)
                w->error = r;
        return r;
}

uint64_t blob_writer_get_size(const BlobWriter *w)
{
        return w->size;
}

static int lock_shard(int shard_fd)
{
        const struct timespec pause = { .tv_nsec = 2000000 };

        for (unsigned i = 0; i < LOCK_TRIES; i++) {
                if (flock(shard_fd, LOCK_EX | LOCK_NB) == 0)
                        return 0;
                if (errno != EWOULDBLOCK && errno != EINTR)
                        return -errno;
                (void) nanosleep(&pause, NULL);
        }
        return -EBUSY;
}

/* Gives a file that has no name this one. linkat() with AT_EMPTY_PATH would need a capability. */
static int link_fd(int fd, int dirfd, const char *name)
{
        char path[32];

        snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
        return linkat(AT_FDCWD, path, dirfd, name, AT_SYMLINK_FOLLOW) < 0 ? -errno : 0;
}

/* Puts the file in the place of whatever stands there. */
static int replace(BlobWriter *w, int shard_fd, const char *name)
{
        char hidden[HIDDEN_NAME_MAX];
        int r;

        if (!w->hidden[0]) {
                r = hidden_name(hidden);
                if (r < 0)
                        return r;
                r = link_fd(w->fd, w->tenant_fd, hidden);
                if (r < 0)
                        return r;
                memcpy(w->hidden, hidden, sizeof(hidden));
        }
        if (renameat(w->tenant_fd, w->hidden, shard_fd, name) < 0)
                return -errno;
        w->hidden[0] = '\0';
        return 0;
}

/* Called with the shard locked: no collector is between its look and its unlink. */
static int name_file(BlobWriter *w, int shard_fd, const char *name)
{
        bool exists, same;
        struct stat st;
        int r;

        exists = fstatat(shard_fd, name, &st, AT_SYMLINK_NOFOLLOW) == 0;
        if (!exists && errno != ENOENT)
                return -errno;
        if (!exists && !w->hidden[0]) {
                r = link_fd(w->fd, shard_fd, name);
                return r < 0 ? r : BLOB_CREATED;
        }
        /* Another size means that a disk lost something: then ours heals it. Another user's file
         * cannot be touched, so ours takes its place; who has the old one open keeps it. */
        same = exists && S_ISREG(st.st_mode) && (uint64_t) st.st_size == w->size;
        if (same && utimensat(shard_fd, name, NULL, AT_SYMLINK_NOFOLLOW) == 0)
                return BLOB_EXISTED;
        r = replace(w, shard_fd, name);
        if (r < 0)
                return r;
        return same ? BLOB_EXISTED : BLOB_CREATED;
}

static int sync_file(BlobWriter *w)
{
        int r;

        if (w->error < 0)
                return w->error;
        if (!w->hex[0]) {
                r = sha256_final(w->sha, w->hex);
                if (r < 0)
                        return w->error = r;
        }
        if (!w->synced && fdatasync(w->fd) < 0)
                return w->error = -errno;
        w->synced = true;
        return 0;
}

int blob_writer_commit(BlobWriter *w, char ret_digest[static BLOB_DIGEST_MAX])
{
        _cleanup_(closep) int shard_fd = -EBADF;
        int r, outcome;

        assert(!w->committed);
        r = sync_file(w);
        if (r < 0)
                return r;
        shard_fd = blob_open_shard(w->tenant_fd, w->hex, true);
        if (shard_fd < 0)
                return shard_fd;
        r = lock_shard(shard_fd);
        if (r < 0)
                return r;
        outcome = name_file(w, shard_fd, blob_file_name(w->hex));
        (void) flock(shard_fd, LOCK_UN);
        if (outcome < 0)
                return outcome;

        /* Also what another process made a moment ago may not be on the disk yet. Where nothing is
         * to be done this costs 0.02 ms (ext4). */
        if (fsync(shard_fd) < 0 || fsync(w->tenant_fd) < 0 || fsync(w->store->root_fd) < 0)
                return -errno;
        drop_hidden(w);
        w->committed = true;
        snprintf(ret_digest, BLOB_DIGEST_MAX, "sha256:%s", w->hex);
        return outcome;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "blob.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob-internal.h"
#include "fd-util.h"
#include "parse-util.h"

#define DIGEST_PREFIX "sha256:"

const char *blob_digest_hex(const char *digest)
{
        const char *hex;

        if (!digest || strncmp(digest, DIGEST_PREFIX, CONST_STRLEN(DIGEST_PREFIX)) != 0)
                return NULL;
        hex = digest + CONST_STRLEN(DIGEST_PREFIX);
        return strspn(hex, "0123456789abcdef") == BLOB_HEX_LEN && !hex[BLOB_HEX_LEN] ? hex : NULL;
}

bool blob_digest_is_valid(const char *digest)
{
        return blob_digest_hex(digest);
}

int blob_store_open(const char *location, BlobStore **ret)
{
        _cleanup_(closep) int fd = -EBADF;
        BlobStore *s;

        if (!location || location[0] != '/')
                return -EINVAL;
        fd = open(location, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (fd < 0)
                return -errno;
        s = new0(BlobStore, 1);
        if (!s)
                return -ENOMEM;
        s->root_fd = TAKE_FD(fd);
        *ret = s;
        return 0;
}

BlobStore *blob_store_free(BlobStore *s)
{
        if (!s)
                return NULL;
        safe_close(s->root_fd);
        free(s);
        return NULL;
}

int blob_store_check_writable(BlobStore *s)
{
        return faccessat(s->root_fd, ".", W_OK | X_OK, AT_EACCESS) < 0 ? -errno : 0;
}

int blob_open_dir(int dirfd, const char *name, bool make)
{
        const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
        mode_t mask;
        int fd, r;

        fd = openat(dirfd, name, flags);
        if (fd >= 0 || errno != ENOENT || !make)
                return fd < 0 ? -errno : fd;

        /* The group must be able to write whatever the service's UMask= says. chmod() afterwards
         * would have to name the set-group-ID bit, which RestrictSUIDSGID= forbids, while mkdir()
         * inherits it. */
        mask = umask(0007);
        r = mkdirat(dirfd, name, 0770) < 0 && errno != EEXIST ? -errno : 0;
        umask(mask);
        if (r < 0)
                return r;
        fd = openat(dirfd, name, flags);
        return fd < 0 ? -errno : fd;
}

int blob_open_shard(int tenant_fd, const char *hex, bool make)
{
        char shard[BLOB_SHARD_LEN + 1] = { hex[0], hex[1] };

        return blob_open_dir(tenant_fd, shard, make);
}

usec_t blob_stat_changed(const struct stat *st)
{
        const struct timespec *a = &st->st_mtim, *b = &st->st_ctim;
        const struct timespec *t =
                a->tv_sec > b->tv_sec || (a->tv_sec == b->tv_sec && a->tv_nsec > b->tv_nsec) ? a
                                                                                             : b;

        return t->tv_sec < 0 ? 0 : (usec_t) t->tv_sec * USEC_PER_SEC + (usec_t) t->tv_nsec / 1000;
}

/* The shard of a blob that somebody else named; -EINVAL for names that could be no blob's. */
static int find_shard(BlobStore *s, const char *tenant, const char *digest, const char **ret_name)
{
        _cleanup_(closep) int tenant_fd = -EBADF;
        const char *hex = blob_digest_hex(digest);
        int fd;

        if (!hex || !tenant || !name_is_valid(tenant))
                return -EINVAL;
        tenant_fd = blob_open_dir(s->root_fd, tenant, false);
        if (tenant_fd < 0)
                return tenant_fd;
        fd = blob_open_shard(tenant_fd, hex, false);
        if (fd >= 0)
                *ret_name = blob_file_name(hex);
        return fd;
}

int blob_open_read(BlobStore *s, const char *tenant, const char *digest, uint64_t *ret_size)
{
        _cleanup_(closep) int shard_fd = -EBADF, fd = -EBADF;
        const char *name = NULL;
        struct stat st;

        shard_fd = find_shard(s, tenant, digest, &name);
        if (shard_fd < 0)
                return shard_fd;
        /* O_NONBLOCK: a FIFO that somebody put there must not hold the loop. */
        fd = openat(shard_fd, name, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0)
                return errno == ELOOP ? -EBADMSG : -errno;
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADMSG;
        if (ret_size)
                *ret_size = (uint64_t) st.st_size;
        return TAKE_FD(fd);
}

int blob_remove(BlobStore *s, const char *tenant, const char *digest, usec_t grace_usec)
{
        _cleanup_(closep) int shard_fd = -EBADF;
        const char *name = NULL;
        usec_t now, changed;
        struct stat st;

        shard_fd = find_shard(s, tenant, digest, &name);
        if (shard_fd < 0)
                return shard_fd;
        /* Closing the shard ends the lock. */
        if (flock(shard_fd, LOCK_EX | LOCK_NB) < 0)
                return errno == EWOULDBLOCK ? BLOB_BUSY : -errno;
        if (fstatat(shard_fd, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return -errno;
        now = now_usec(CLOCK_REALTIME);
        changed = blob_stat_changed(&st);
        if (changed > now || now - changed < grace_usec)
                return BLOB_YOUNG;
        return unlinkat(shard_fd, name, 0) < 0 ? -errno : BLOB_REMOVED;
}

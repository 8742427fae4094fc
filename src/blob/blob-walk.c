/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "blob-internal.h"
#include "fd-util.h"
#include "parse-util.h"
#include "reeve-limits.h"

/* A hidden file is locked right after it was made; one that was written to this recently may be on
 * its way there. */
#define HIDDEN_GRACE_USEC (5 * USEC_PER_MIN)

struct BlobWalk {
        BlobStore *store;
        DIR *root, *tenant, *shard; /* NULL: not open */
        char tenant_name[REEVE_NAME_MAX + 1];
        char shard_name[BLOB_SHARD_LEN + 1];
};

static DIR *close_dir(DIR *d)
{
        if (d)
                closedir(d);
        return NULL;
}

BlobWalk *blob_walk_free(BlobWalk *w)
{
        if (!w)
                return NULL;
        close_dir(w->shard);
        close_dir(w->tenant);
        close_dir(w->root);
        free(w);
        return NULL;
}

/* Opens name below dirfd for reading. What is no directory is not ours: *ret stays as it is. */
static int open_stream(int dirfd, const char *name, DIR **ret)
{
        _cleanup_(closep) int fd = -EBADF;
        DIR *d;

        fd = blob_open_dir(dirfd, name, false);
        if (fd == -ENOTDIR || fd == -ELOOP || fd == -ENOENT)
                return 0;
        if (fd < 0)
                return fd;
        d = fdopendir(fd);
        if (!d)
                return -errno;
        (void) TAKE_FD(fd);
        *ret = d;
        return 0;
}

int blob_walk_new(BlobStore *s, BlobWalk **ret)
{
        _cleanup_(blob_walk_freep) BlobWalk *w = NULL;
        int r;

        w = new0(BlobWalk, 1);
        if (!w)
                return -ENOMEM;
        w->store = s;
        r = open_stream(s->root_fd, ".", &w->root);
        if (r < 0)
                return r;
        if (!w->root)
                return -ENOENT;
        *ret = TAKE_PTR(w);
        return 0;
}

/* The next name; NULL at the end (*ret_error 0) or on an error. One thread reads the stream. */
static const char *next_name(DIR *d, int *ret_error)
{
        struct dirent *e;

        errno = 0;
        e = readdir(d); // NOLINT(concurrency-mt-unsafe)
        if (e)
                return e->d_name;
        *ret_error = -errno;
        return NULL;
}

/* Unlinks a hidden file whose writer is dead. */
static void sweep_hidden(int tenant_fd, const char *name)
{
        _cleanup_(closep) int fd = -EBADF;
        struct stat st;

        fd = openat(tenant_fd, name, O_RDONLY | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                return;
        if ((usec_t) st.st_mtim.tv_sec * USEC_PER_SEC + HIDDEN_GRACE_USEC >
                now_usec(CLOCK_REALTIME))
                return;
        if (flock(fd, LOCK_EX | LOCK_NB) == 0)
                (void) unlinkat(tenant_fd, name, 0);
}

static bool hex_is_valid(const char *s, size_t n)
{
        return strspn(s, "0123456789abcdef") == n && !s[n];
}

/* One file of a shard; others than blobs are passed over. */
static int look_at(BlobWalk *w, const char *name, BlobEntry *ret)
{
        struct stat st;

        if (!hex_is_valid(name, BLOB_HEX_LEN - BLOB_SHARD_LEN))
                return BLOB_WALK_MORE;
        if (fstatat(dirfd(w->shard), name, &st, AT_SYMLINK_NOFOLLOW) < 0)
                return errno == ENOENT ? BLOB_WALK_MORE : -errno;
        if (!S_ISREG(st.st_mode))
                return BLOB_WALK_MORE;
        *ret = (BlobEntry){ .size = (uint64_t) st.st_size, .changed_usec = blob_stat_changed(&st) };
        memcpy(ret->tenant, w->tenant_name, sizeof(ret->tenant));
        snprintf(ret->digest, sizeof(ret->digest), "sha256:%s%.62s", w->shard_name, name);
        return BLOB_WALK_ENTRY;
}

static int step_shard(BlobWalk *w, BlobEntry *ret)
{
        const char *name;
        int r = 0;

        name = next_name(w->shard, &r);
        if (name)
                return look_at(w, name, ret);
        w->shard = close_dir(w->shard);
        return r < 0 ? r : BLOB_WALK_MORE;
}

static int step_tenant(BlobWalk *w)
{
        const char *name;
        int r = 0;

        name = next_name(w->tenant, &r);
        if (!name) {
                w->tenant = close_dir(w->tenant);
                return r < 0 ? r : BLOB_WALK_MORE;
        }
        if (strncmp(name, BLOB_HIDDEN_PREFIX, CONST_STRLEN(BLOB_HIDDEN_PREFIX)) == 0)
                sweep_hidden(dirfd(w->tenant), name);
        if (!hex_is_valid(name, BLOB_SHARD_LEN))
                return BLOB_WALK_MORE;
        snprintf(w->shard_name, sizeof(w->shard_name), "%.2s", name);
        r = open_stream(dirfd(w->tenant), name, &w->shard);
        return r < 0 ? r : BLOB_WALK_MORE;
}

static int step_root(BlobWalk *w)
{
        const char *name;
        int r = 0;

        name = next_name(w->root, &r);
        if (!name)
                return r < 0 ? r : BLOB_WALK_END;
        if (!name_is_valid(name))
                return BLOB_WALK_MORE;
        snprintf(w->tenant_name, sizeof(w->tenant_name), "%.64s", name);
        r = open_stream(dirfd(w->root), name, &w->tenant);
        return r < 0 ? r : BLOB_WALK_MORE;
}

int blob_walk_next(BlobWalk *w, BlobEntry *ret)
{
        if (w->shard)
                return step_shard(w, ret);
        if (w->tenant)
                return step_tenant(w);
        return step_root(w);
}

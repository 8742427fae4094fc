/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "blob-internal.h"
#include "fd-util.h"
#include "sha256.h"
#include "test.h"

/* A store of its own for each test, and what is really in its directory. */

typedef struct Dir {
        char path[64];
        BlobStore *store;
} Dir;

/* Found by audit(). */
typedef struct Audit {
        unsigned n_blobs;
        unsigned n_hidden;
        unsigned n_wrong; /* a file whose name is not the hash of its content, or of another mode */
        uint64_t bytes;
} Audit;

static inline int dir_setup(void **state)
{
        Dir *d = new0(Dir, 1);

        if (!d)
                return -1;
        snprintf(d->path, sizeof(d->path), "/tmp/test-blob-XXXXXX");
        if (!mkdtemp(d->path) || blob_store_open(d->path, &d->store) < 0)
                return -1;
        *state = d;
        return 0;
}

static inline int remove_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        return remove(path);
}

static inline int dir_teardown(void **state)
{
        Dir *d = *state;

        blob_store_free(d->store);
        (void) nftw(d->path, remove_one, 16, FTW_DEPTH | FTW_PHYS);
        free(d);
        return 0;
}

/* Whether the file's hash is what its directory and name say. */
static inline bool file_is_whole(const char *path)
{
        _cleanup_(closep) int fd = open(path, O_RDONLY | O_CLOEXEC);
        _cleanup_(sha256_freep) Sha256 *sha = NULL;
        char hex[SHA256_HEX_MAX], name[SHA256_HEX_MAX] = "", buf[16384];
        size_t n = strlen(path);
        ssize_t k;

        if (fd < 0 || n < 66 || sha256_new(&sha) < 0)
                return false;
        memcpy(name, path + n - 65, 2);
        memcpy(name + 2, path + n - 62, 62);
        while ((k = read_all(fd, buf, sizeof(buf))) > 0)
                if (sha256_update(sha, buf, (size_t) k) < 0)
                        return false;
        return k == 0 && sha256_final(sha, hex) == 0 && streq(hex, name);
}

static Audit audit_now;

static inline int audit_one(const char *path, const struct stat *st, int type, struct FTW *ftw)
{
        if (type != FTW_F)
                return 0;
        audit_now.bytes += (uint64_t) st->st_size;
        if (path[ftw->base] == '.')
                audit_now.n_hidden++;
        else if ((st->st_mode & 07777) != 0440 || !file_is_whole(path))
                audit_now.n_wrong++;
        else
                audit_now.n_blobs++;
        return 0;
}

static inline Audit audit(const char *path)
{
        audit_now = (Audit){};
        if (nftw(path, audit_one, 16, FTW_PHYS) != 0)
                audit_now.n_wrong = 1000000;
        return audit_now;
}

static inline int put(BlobStore *s, const char *tenant, const void *data, size_t n, char *ret)
{
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        char digest[BLOB_DIGEST_MAX];
        int r;

        r = blob_writer_new(s, tenant, n, &w);
        if (r < 0)
                return r;
        r = blob_writer_append(w, data, n);
        if (r < 0)
                return r;
        r = blob_writer_commit(w, digest);
        if (r >= 0 && ret)
                memcpy(ret, digest, sizeof(digest));
        return r;
}

/* In a child process: cmocka's assertions would jump into the parent's frames. */
#define CHECK(condition)                                                                           \
        do {                                                                                       \
                if (!(condition)) {                                                                \
                        fprintf(stderr, "%s:%d: not true: %s (errno %d)\n", __FILE__, __LINE__,    \
                                #condition, errno);                                                \
                        return 1;                                                                  \
                }                                                                                  \
        } while (0)

typedef int (*ChildFunc)(Dir *d);

static inline pid_t start_child(ChildFunc f, Dir *d)
{
        pid_t pid = fork();

        if (pid == 0)
                _exit(f(d));
        assert_true(pid > 0);
        return pid;
}

/* The wait status. */
static inline int end_child(pid_t pid)
{
        int status = -1;

        assert_int_equal(waitpid(pid, &status, 0), pid);
        return status;
}

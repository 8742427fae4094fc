/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fd-util.h"
#include "log.h"
#include "reeve-limits.h"
#include "worker-private.h"

void run_drop_files(Run *r)
{
        r->writer = blob_writer_free(r->writer);
        for (unsigned i = 0; i < r->n_files; i++) {
                free(r->files[i].name);
                safe_close(r->files[i].fd);
        }
        r->files = mfree(r->files);
        r->n_files = r->n_files_allocated = r->n_kept = 0;
}

/* The launcher's word is not trusted: what it may send is bounded here as well. */
static int check_file(const Run *r, const char *name, uint64_t size)
{
        uint64_t total = size;

        if (!run_file_name_is_valid(name) || r->n_files >= REEVE_OUTPUT_FILES_MAX)
                return -EINVAL;
        for (unsigned i = 0; i < r->n_files; i++) {
                if (streq(r->files[i].name, name))
                        return -EINVAL;
                if (__builtin_add_overflow(total, r->files[i].size, &total))
                        return -EINVAL;
        }
        return total > REEVE_OUTPUT_BYTES_MAX ? -EINVAL : 0;
}

int run_add_file(Run *r, const char *name, uint64_t size, int fd)
{
        _cleanup_(closep) int owned = fd;
        OutputFile *p;
        int e;

        e = check_file(r, name, size);
        if (e < 0)
                return e;
        if (r->n_files == r->n_files_allocated) {
                unsigned n = r->n_files_allocated ? r->n_files_allocated * 2 : 8;

                p = realloc(r->files, n * sizeof(OutputFile));
                if (!p)
                        return -ENOMEM;
                r->files = p;
                r->n_files_allocated = n;
        }
        p = r->files + r->n_files;
        *p = (OutputFile){ .name = strdup(name), .size = size };
        if (!p->name)
                return -ENOMEM;
        p->fd = TAKE_FD(owned);
        r->n_files++;
        return 0;
}

static int keep_file_step(Run *r, OutputFile *f)
{
        int e;

        if (!r->writer) {
                e = blob_writer_new(
                        r->worker->blobs, r->tenant, REEVE_OUTPUT_BYTES_MAX, &r->writer);
                if (e < 0)
                        return e;
        }
        e = blob_writer_copy_fd(r->writer, f->fd, BLOB_CHUNK_MAX);
        if (e != BLOB_COPY_DONE)
                return e < 0 ? e : 1;

        f->size = blob_writer_get_size(r->writer);
        e = blob_writer_commit(r->writer, f->digest);
        if (e == -EBUSY)
                return 1;
        if (e < 0)
                return e;
        r->writer = blob_writer_free(r->writer);
        f->fd = safe_close(f->fd);
        r->n_kept++;
        return 1;
}

/* A result that is too large for the row. At most 1 MiB: one step. */
static int keep_result(Run *r)
{
        _cleanup_(blob_writer_freep) BlobWriter *writer = NULL;
        size_t size = strlen(r->outcome.result), done = 0;
        char digest[BLOB_DIGEST_MAX];
        int e;

        e = blob_writer_new(r->worker->blobs, r->tenant, size, &writer);
        for (; e >= 0 && done < size; done += e >= 0 ? BLOB_CHUNK_MAX : 0)
                e = blob_writer_append(writer, r->outcome.result + done,
                        size - done < BLOB_CHUNK_MAX ? size - done : BLOB_CHUNK_MAX);
        if (e >= 0)
                e = blob_writer_commit(writer, digest);
        if (e == -EBUSY)
                return 1;
        if (e >= 0)
                e = free_and_strdup(&r->outcome.result_blob, digest);
        return e < 0 ? e : 1;
}

int run_keep_step(Run *r)
{
        bool succeeded = streq(r->outcome.state, "succeeded") || r->outcome.children;

        if (!succeeded) /* what a failed attempt wrote is not a result */
                return 0;
        if (r->n_kept < r->n_files)
                return keep_file_step(r, r->files + r->n_kept);
        if (r->outcome.result && !r->outcome.result_blob &&
                strlen(r->outcome.result) > REEVE_PAYLOAD_INLINE_MAX)
                return keep_result(r);
        return 0;
}

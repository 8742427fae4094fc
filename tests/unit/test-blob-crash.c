/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <grp.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>

#include "blob-dir.h"

/* What may go wrong around a writer: killed, disk full, another writer, a collector, other users.
 */

#define CHUNK (64UL * 1024)

static char chunk[CHUNK];

static void sleep_usec(usec_t usec)
{
        struct timespec t = { .tv_sec = (time_t) (usec / USEC_PER_SEC),
                .tv_nsec = (long) (usec % USEC_PER_SEC * 1000) };

        nanosleep(&t, NULL);
}

static int write_for_ever(Dir *d)
{
        for (uint64_t i = 0;; i++) {
                _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
                char digest[BLOB_DIGEST_MAX];
                uint64_t id[2] = { (uint64_t) getpid(), i };

                CHECK(blob_writer_new(d->store, "acme", UINT64_MAX, &w) == 0);
                CHECK(blob_writer_append(w, id, sizeof(id)) == 0);
                for (unsigned n = 0; n < i % 8; n++)
                        CHECK(blob_writer_append(w, chunk, CHUNK) == 0);
                CHECK(blob_writer_commit(w, digest) >= 0);
        }
}

/* 40 times, or more on a machine where they hardly get to work in between. */
static void kill_writers(Dir *d)
{
        for (unsigned i = 0; i < 40 || (i < 2000 && audit(d->path).n_blobs <= 20); i++) {
                pid_t pid = start_child(write_for_ever, d);

                sleep_usec((usec_t) 1000 + (usec_t) i * 1237 % 23000);
                assert_int_equal(kill(pid, SIGKILL), 0);
                assert_true(WIFSIGNALED(end_child(pid)));
        }
}

static void test_kill_9(void **state)
{
        Dir *d = *state;
        Audit a;

        kill_writers(d);
        a = audit(d->path);
        assert_true(a.n_blobs > 20);
        assert_int_equal(a.n_wrong, 0);
        assert_int_equal(a.n_hidden, 0);
}

/* Hidden files may stay, until a walk finds that they are old and nobody's (test-blob). */
static void test_kill_9_without_tmpfile(void **state)
{
        Dir *d = *state;
        Audit a;

        d->store->no_tmpfile = true;
        kill_writers(d);
        a = audit(d->path);
        assert_true(a.n_blobs > 20);
        assert_int_equal(a.n_wrong, 0);
}

static int put_same_content(Dir *d)
{
        for (unsigned i = 0; i < 80; i++) {
                int r = put(d->store, "acme", &i, sizeof(i), NULL);

                CHECK(r == BLOB_CREATED || r == BLOB_EXISTED);
        }
        return 0;
}

static void test_same_content_at_once(void **state)
{
        Dir *d = *state;
        Audit a;

        for (unsigned round = 0; round < 2; round++) {
                pid_t one = start_child(put_same_content, d), two;

                two = start_child(put_same_content, d);
                assert_int_equal(end_child(one), 0);
                assert_int_equal(end_child(two), 0);
                a = audit(d->path);
                assert_int_equal(a.n_blobs, 80);
                assert_int_equal(a.n_wrong, 0);
                assert_int_equal(a.n_hidden, 0);
                d->store->no_tmpfile = true;
        }
}

/* What was committed within the grace time is there, whatever a collector does meanwhile. */
static int collect_for_ever(Dir *d)
{
        char digest[BLOB_DIGEST_MAX], hex[SHA256_HEX_MAX];

        CHECK(sha256_hex("abc", 3, hex) == 0);
        snprintf(digest, sizeof(digest), "sha256:%s", hex);
        for (;;) {
                int r = blob_remove(d->store, "acme", digest, 100 * USEC_PER_MSEC);

                CHECK(r >= 0 || r == -ENOENT);
                sleep_usec(50);
        }
}

static void test_collector_and_writer(void **state)
{
        Dir *d = *state;
        unsigned n_created = 0, n_looked = 0;
        pid_t pid = start_child(collect_for_ever, d);

        for (unsigned i = 0; i < 500 && (n_looked < 15 || n_created < 2); i++) {
                char digest[BLOB_DIGEST_MAX];
                usec_t before = now_usec(CLOCK_REALTIME);
                int r = put(d->store, "acme", "abc", 3, digest), fd;

                assert_true(r >= 0);
                n_created += r == BLOB_CREATED;
                fd = blob_open_read(d->store, "acme", digest, NULL);
                /* On a machine that held us up for longer the collector was right. */
                if (now_usec(CLOCK_REALTIME) - before < 90 * USEC_PER_MSEC) {
                        assert_true(fd >= 0);
                        n_looked++;
                }
                safe_close(fd);
                sleep_usec((80 + i % 8 * 10) * USEC_PER_MSEC);
        }
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_true(WIFSIGNALED(end_child(pid))); /* it met no error of its own */
        assert_true(n_looked >= 15);
        assert_true(n_created >= 2);
}

/* Fills it until it is full, then looks whether all came back. */
static int fill(Dir *d, int expected, uint64_t max_bytes)
{
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        struct statvfs before, after;
        char digest[BLOB_DIGEST_MAX];
        uint64_t n = 0;
        int r;

        CHECK(put(d->store, "acme", "abc", 3, NULL) >= 0);
        CHECK(fstatvfs(d->store->root_fd, &before) == 0);
        CHECK(blob_writer_new(d->store, "acme", UINT64_MAX, &w) == 0);
        while ((r = blob_writer_append(w, chunk, CHUNK)) == 0)
                CHECK((n += CHUNK) <= max_bytes);
        CHECK(r == expected);
        CHECK(blob_writer_append(w, "x", 1) == expected);
        CHECK(blob_writer_commit(w, digest) == expected);
        w = blob_writer_free(w);
        CHECK(fstatvfs(d->store->root_fd, &after) == 0);
        CHECK(expected != -ENOSPC || after.f_bfree == before.f_bfree);
        CHECK(audit(d->path).n_blobs == 1 && audit(d->path).n_wrong == 0);
        CHECK(audit(d->path).n_hidden == 0);
        CHECK(put(d->store, "acme", "def", 3, NULL) == BLOB_CREATED);
        return 0;
}

/* A mount that nobody else sees and that goes with the process. */
static int mount_private(Dir *d, const char *options)
{
        CHECK(unshare(CLONE_NEWNS) == 0);
        CHECK(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0);
        CHECK(mount("tmpfs", d->path, "tmpfs", 0, options) == 0);
        blob_store_free(d->store);
        CHECK(blob_store_open(d->path, &d->store) == 0);
        return 0;
}

static int disk_full(Dir *d)
{
        bool no_tmpfile = d->store->no_tmpfile;

        if (mount_private(d, "size=1m") != 0)
                return 1;
        d->store->no_tmpfile = no_tmpfile;
        return fill(d, -ENOSPC, 1024UL * 1024);
}

/* No room for a name: the file is whole, but nothing of it stays. */
static int names_full(Dir *d)
{
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        char digest[BLOB_DIGEST_MAX];

        if (mount_private(d, "nr_inodes=4") != 0) /* root, tenant, the file, and one to spare */
                return 1;
        CHECK(blob_writer_new(d->store, "acme", 10, &w) == 0);
        CHECK(blob_writer_append(w, "abc", 3) == 0);
        CHECK(mkdirat(d->store->root_fd, "other", 0700) == 0);
        CHECK(blob_writer_commit(w, digest) == -ENOSPC);
        /* Unlike a failed write this can be tried again. */
        CHECK(unlinkat(d->store->root_fd, "other", AT_REMOVEDIR) == 0);
        CHECK(blob_writer_commit(w, digest) == BLOB_CREATED);
        w = blob_writer_free(w);
        CHECK(audit(d->path).n_blobs == 1 && audit(d->path).n_hidden == 0);
        CHECK(blob_writer_new(d->store, "more", 10, &w) == -ENOSPC);
        return 0;
}

static int read_only(Dir *d)
{
        BlobWriter *w = NULL;
        char digest[BLOB_DIGEST_MAX];
        int fd;

        if (mount_private(d, "size=1m") != 0)
                return 1;
        CHECK(put(d->store, "acme", "abc", 3, digest) == BLOB_CREATED);
        CHECK(mount(NULL, d->path, NULL, MS_REMOUNT | MS_RDONLY, NULL) == 0);
        CHECK(blob_store_check_writable(d->store) == -EROFS);
        CHECK(blob_writer_new(d->store, "acme", 1, &w) == -EROFS);
        CHECK(blob_writer_new(d->store, "other", 1, &w) == -EROFS);
        CHECK(blob_remove(d->store, "acme", digest, 0) == -EROFS);
        fd = blob_open_read(d->store, "acme", digest, NULL);
        CHECK(fd >= 0);
        return 0;
}

static void test_mounts(void **state)
{
        Dir *d = *state;

        if (geteuid() != 0)
                skip();
        for (unsigned i = 0; i < 2; i++) {
                d->store->no_tmpfile = i;
                assert_int_equal(end_child(start_child(disk_full, d)), 0);
        }
        d->store->no_tmpfile = false;
        assert_int_equal(end_child(start_child(names_full, d)), 0);
        assert_int_equal(end_child(start_child(read_only, d)), 0);
}

static int file_limit(Dir *d)
{
        struct rlimit limit = { .rlim_cur = 300000, .rlim_max = 300000 };

        CHECK(signal(SIGXFSZ, SIG_IGN) != SIG_ERR);
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        return fill(d, -EFBIG, 300000);
}

static int die_of_file_limit(Dir *d)
{
        struct rlimit limit = { .rlim_cur = 300000, .rlim_max = 300000 };

        CHECK(signal(SIGXFSZ, SIG_DFL) != SIG_ERR);
        CHECK(setrlimit(RLIMIT_CORE, &(struct rlimit){}) == 0);
        CHECK(setrlimit(RLIMIT_FSIZE, &limit) == 0);
        return fill(d, 1, 300000);
}

static void test_file_limit(void **state)
{
        Dir *d = *state;
        int status;

        assert_int_equal(end_child(start_child(file_limit, d)), 0);
        status = end_child(start_child(die_of_file_limit, d));
        assert_true(WIFSIGNALED(status));
        assert_int_equal(WTERMSIG(status), SIGXFSZ);
        assert_int_equal(audit(d->path).n_wrong, 0);
        assert_int_equal(audit(d->path).n_hidden, 0);
}

/* -------- users -------- */

#define GROUP 64100

static int become(uid_t uid, gid_t group)
{
        CHECK(setgroups(1, &group) == 0);
        CHECK(setresgid(uid, uid, uid) == 0);
        CHECK(setresuid(uid, uid, uid) == 0);
        return 0;
}

static int as_api(Dir *d)
{
        CHECK(become(64101, GROUP) == 0);
        umask(0077);
        CHECK(blob_store_check_writable(d->store) == 0);
        CHECK(put(d->store, "acme", "abc", 3, NULL) == BLOB_CREATED);
        return 0;
}

static int as_worker(Dir *d)
{
        char digest[BLOB_DIGEST_MAX];
        struct stat st;
        usec_t before;
        int fd;

        CHECK(become(64102, GROUP) == 0);
        umask(0077);
        /* A file of the other user cannot be touched, yet its grace begins anew. */
        sleep_usec(60 * USEC_PER_MSEC);
        before = now_usec(CLOCK_REALTIME);
        CHECK(put(d->store, "acme", "abc", 3, digest) == BLOB_EXISTED);
        CHECK(put(d->store, "acme", "worker's", 8, NULL) == BLOB_CREATED);
        fd = blob_open_read(d->store, "acme", digest, NULL);
        CHECK(fd >= 0 && fstat(fd, &st) == 0);
        /* The kernel's clock for files is up to a tick behind. */
        CHECK(blob_stat_changed(&st) + 20 * USEC_PER_MSEC >= before);
        return 0;
}

static int as_collector(Dir *d)
{
        _cleanup_(blob_walk_freep) BlobWalk *w = NULL;
        BlobEntry e;
        int r;

        CHECK(become(64103, GROUP) == 0);
        CHECK(blob_walk_new(d->store, &w) == 0);
        while ((r = blob_walk_next(w, &e)) > 0)
                if (r == BLOB_WALK_ENTRY)
                        CHECK(blob_remove(d->store, e.tenant, e.digest, 0) == BLOB_REMOVED);
        CHECK(r == BLOB_WALK_END);
        return 0;
}

static int as_stranger(Dir *d)
{
        BlobStore *s = NULL;
        BlobWriter *w = NULL;

        CHECK(become(64104, 64104) == 0);
        CHECK(blob_store_open(d->path, &s) == -EACCES);
        /* Not even with a descriptor of the root. */
        CHECK(blob_store_check_writable(d->store) == -EACCES);
        CHECK(blob_writer_new(d->store, "acme", 1, &w) == -EACCES);
        CHECK(blob_writer_new(d->store, "other", 1, &w) == -EACCES);
        return 0;
}

static void test_users(void **state)
{
        Dir *d = *state;
        struct stat st;

        if (geteuid() != 0)
                skip();
        /* As units/tmpfiles.conf makes it. */
        assert_int_equal(chown(d->path, 0, GROUP), 0);
        assert_int_equal(chmod(d->path, 02770), 0);
        assert_int_equal(end_child(start_child(as_api, d)), 0);
        assert_int_equal(end_child(start_child(as_worker, d)), 0);
        assert_int_equal(end_child(start_child(as_stranger, d)), 0);
        assert_int_equal(audit(d->path).n_blobs, 2);
        assert_int_equal(fstatat(d->store->root_fd, "acme/ba", &st, 0), 0);
        assert_int_equal(st.st_mode & 07777, 02770);
        assert_int_equal(st.st_gid, GROUP);
        assert_int_equal(end_child(start_child(as_collector, d)), 0);
        assert_int_equal(audit(d->path).n_blobs, 0);
}

/* -------- memory -------- */

/* Peak memory of this process in KiB since reset_peak(). */
static uint64_t peak_kib(void)
{
        _cleanup_(freep) char *text = NULL;
        const char *line;

        assert_int_equal(read_file(AT_FDCWD, "/proc/self/status", 65536, &text, NULL), 0);
        line = strstr(text, "VmHWM:");
        assert_non_null(line);
        return strtoull(line + 6, NULL, 10);
}

static void reset_peak(void)
{
        _cleanup_(closep) int fd = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);

        assert_true(fd >= 0);
        assert_int_equal(write_all(fd, "5", 1), 0);
}

static void test_300_mb(void **state)
{
        Dir *d = *state;
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL, *copy = NULL;
        _cleanup_(closep) int fd = -EBADF;
        char digest[BLOB_DIGEST_MAX], again[BLOB_DIGEST_MAX];
        const uint64_t total = 300UL * 1024 * 1024;
        usec_t longest = 0, t0, t1, t2;
        uint64_t before, size = 0;

        reset_peak();
        before = peak_kib();
        t0 = now_usec(CLOCK_MONOTONIC);
        assert_int_equal(blob_writer_new(d->store, "acme", total, &w), 0);
        for (uint64_t n = 0; n < total; n += CHUNK) {
                usec_t t = now_usec(CLOCK_MONOTONIC), took;

                memcpy(chunk, &n, sizeof(n));
                assert_int_equal(blob_writer_append(w, chunk, CHUNK), 0);
                took = now_usec(CLOCK_MONOTONIC) - t;
                longest = took > longest ? took : longest;
        }
        t1 = now_usec(CLOCK_MONOTONIC);
        assert_int_equal(blob_writer_commit(w, digest), BLOB_CREATED);
        t2 = now_usec(CLOCK_MONOTONIC);
        print_message("300 MiB: %llu ms (longest call %llu ms), commit %llu ms\n",
                (unsigned long long) (t1 - t0) / 1000, (unsigned long long) longest / 1000,
                (unsigned long long) (t2 - t1) / 1000);

        /* And the same from a descriptor, in steps. */
        fd = blob_open_read(d->store, "acme", digest, &size);
        assert_int_equal(size, total);
        assert_int_equal(blob_writer_new(d->store, "acme", total, &copy), 0);
        while (blob_writer_copy_fd(copy, fd, BLOB_CHUNK_MAX) == BLOB_COPY_MORE)
                ;
        assert_int_equal(blob_writer_get_size(copy), total);
        assert_int_equal(blob_writer_commit(copy, again), BLOB_EXISTED);
        assert_string_equal(again, digest);
        assert_true(peak_kib() - before < 2048);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_kill_9),
                TEST(test_kill_9_without_tmpfile),
                TEST(test_same_content_at_once),
                TEST(test_collector_and_writer),
                TEST(test_mounts),
                TEST(test_file_limit),
                TEST(test_users),
                TEST(test_300_mb),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

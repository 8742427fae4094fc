/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <time.h>

#include "blob-dir.h"

#define ABC_DIGEST "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
#define ABC_PATH   "acme/ba/7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"

static void sleep_ms(long ms)
{
        struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000 };

        nanosleep(&t, NULL);
}

static struct stat stat_in(const Dir *d, const char *name)
{
        struct stat st = {};

        assert_int_equal(fstatat(d->store->root_fd, name, &st, AT_SYMLINK_NOFOLLOW), 0);
        return st;
}

static void set_age(const Dir *d, const char *name, time_t seconds)
{
        struct timespec t[2] = {};

        t[0].tv_sec = t[1].tv_sec = time(NULL) - seconds;
        assert_int_equal(utimensat(d->store->root_fd, name, t, 0), 0);
}

static void test_round_trip(void **state)
{
        Dir *d = *state;
        _cleanup_(closep) int fd = -EBADF;
        char digest[BLOB_DIGEST_MAX], buf[8] = "";
        uint64_t size = 0;
        mode_t mask = umask(0077); /* the strictest UMask= must not lock the other service out */

        assert_int_equal(blob_open_read(d->store, "acme", ABC_DIGEST, NULL), -ENOENT);
        assert_int_equal(put(d->store, "acme", "abc", 3, digest), BLOB_CREATED);
        assert_int_equal(umask(mask), 0077);
        assert_string_equal(digest, ABC_DIGEST);

        fd = blob_open_read(d->store, "acme", digest, &size);
        assert_true(fd >= 0);
        assert_int_equal(size, 3);
        assert_int_equal(read(fd, buf, sizeof(buf)), 3);
        assert_string_equal(buf, "abc");
        assert_true(fcntl(fd, F_GETFD) & FD_CLOEXEC);
        assert_int_equal(fcntl(fd, F_GETFL) & O_ACCMODE, O_RDONLY);

        assert_int_equal(stat_in(d, ABC_PATH).st_mode & 07777, 0440);
        assert_int_equal(stat_in(d, "acme/ba").st_mode & 0777, 0770);
        assert_int_equal(stat_in(d, "acme").st_mode & 0777, 0770);

        /* Tenants are kept apart. */
        assert_int_equal(blob_open_read(d->store, "other", ABC_DIGEST, NULL), -ENOENT);
        assert_int_equal(put(d->store, "other", "abc", 3, NULL), BLOB_CREATED);
        assert_int_equal(audit(d->path).n_blobs, 2);
        assert_int_equal(put(d->store, "acme", "", 0, digest), BLOB_CREATED);
        safe_close(fd);
        fd = blob_open_read(d->store, "acme", digest, &size);
        assert_true(fd >= 0);
        assert_int_equal(size, 0);
}

static void test_bad_names(void **state)
{
        static const char *const tenants[] = { "", ".", "..", "../x", "a/b", "/etc", ".new-x",
                "a b", "0123456789012345678901234567890123456789012345678901234567890123x" };
        static const char *const digests[] = { "", "sha256:",
                "sha256:BA7816BF8F01CFEA414140DE5DAE2223B00361A396177A9CB410FF61F20015AD",
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a",
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ada",
                "sha512:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha256:../816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" };
        Dir *d = *state;
        BlobWriter *w = NULL;

        for (size_t i = 0; i < ELEMENTSOF(tenants); i++) {
                assert_int_equal(blob_writer_new(d->store, tenants[i], 10, &w), -EINVAL);
                assert_int_equal(blob_open_read(d->store, tenants[i], ABC_DIGEST, NULL), -EINVAL);
                assert_int_equal(blob_remove(d->store, tenants[i], ABC_DIGEST, 0), -EINVAL);
        }
        for (size_t i = 0; i < ELEMENTSOF(digests); i++) {
                assert_false(blob_digest_is_valid(digests[i]));
                assert_int_equal(blob_open_read(d->store, "acme", digests[i], NULL), -EINVAL);
                assert_int_equal(blob_remove(d->store, "acme", digests[i], 0), -EINVAL);
        }
        assert_false(blob_digest_is_valid(NULL));
        assert_true(blob_digest_is_valid(ABC_DIGEST));
}

static void test_what_is_no_blob(void **state)
{
        Dir *d = *state;
        int root = d->store->root_fd;
        BlobWriter *w = NULL;

        /* A link in the place of a tenant leads nowhere. */
        assert_int_equal(symlinkat("/tmp", root, "evil"), 0);
        assert_int_equal(blob_writer_new(d->store, "evil", 10, &w), -ENOTDIR);
        assert_int_equal(blob_open_read(d->store, "evil", ABC_DIGEST, NULL), -ENOTDIR);
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
        assert_int_equal(unlinkat(root, ABC_PATH, 0), 0);
        assert_int_equal(symlinkat("/etc/passwd", root, ABC_PATH), 0);
        assert_int_equal(blob_open_read(d->store, "acme", ABC_DIGEST, NULL), -EBADMSG);
        assert_int_equal(unlinkat(root, ABC_PATH, 0), 0);
        assert_int_equal(mkfifoat(root, ABC_PATH, 0600), 0);
        assert_int_equal(blob_open_read(d->store, "acme", ABC_DIGEST, NULL), -EBADMSG);
        /* And the next writer puts it right. */
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
        assert_int_equal(audit(d->path).n_blobs, 1);
        assert_int_equal(audit(d->path).n_wrong, 0);
}

static void test_open_errors(void **state)
{
        Dir *d = *state;
        BlobStore *s = NULL;
        char path[96];

        assert_int_equal(blob_store_open("blobs", &s), -EINVAL);
        assert_int_equal(blob_store_open(NULL, &s), -EINVAL);
        snprintf(path, sizeof(path), "%s/none", d->path);
        assert_int_equal(blob_store_open(path, &s), -ENOENT);
        safe_close(open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        assert_int_equal(blob_store_open(path, &s), -ENOTDIR);
        assert_null(s);
        assert_int_equal(blob_store_check_writable(d->store), 0);
}

/* The same content again: kept, and young again. */
static void check_existed(Dir *d)
{
        struct stat before;

        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
        set_age(d, ABC_PATH, 5000);
        before = stat_in(d, ABC_PATH);
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_EXISTED);
        assert_int_equal(stat_in(d, ABC_PATH).st_ino, before.st_ino);
        assert_true(stat_in(d, ABC_PATH).st_mtime > before.st_mtime + 4000);
        assert_int_equal(audit(d->path).n_blobs, 1);
        assert_int_equal(audit(d->path).n_hidden, 0);
}

static void test_existed(void **state)
{
        check_existed(*state);
}

static void test_existed_without_tmpfile(void **state)
{
        Dir *d = *state;

        d->store->no_tmpfile = true;
        check_existed(d);
}

static void test_lost_bytes_are_healed(void **state)
{
        Dir *d = *state;
        char path[160];

        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
        snprintf(path, sizeof(path), "%s/%s", d->path, ABC_PATH);
        assert_int_equal(chmod(path, 0600), 0);
        assert_int_equal(truncate(path, 1), 0);
        assert_int_equal(audit(d->path).n_wrong, 1);
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
        assert_int_equal(audit(d->path).n_wrong, 0);
        assert_int_equal(audit(d->path).n_blobs, 1);
}

static void test_abort(void **state)
{
        Dir *d = *state;
        BlobWriter *w = NULL;

        for (unsigned i = 0; i < 2; i++) {
                d->store->no_tmpfile = i;
                assert_int_equal(blob_writer_new(d->store, "acme", 100, &w), 0);
                assert_int_equal(blob_writer_append(w, "abc", 3), 0);
                assert_int_equal(blob_writer_get_size(w), 3);
                assert_int_equal(audit(d->path).n_hidden, i);
                w = blob_writer_free(w);
                assert_int_equal(audit(d->path).n_hidden, 0);
                assert_int_equal(audit(d->path).n_blobs, 0);
        }
}

static void test_limits(void **state)
{
        Dir *d = *state;
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        _cleanup_(freep) char *big = new0(char, BLOB_CHUNK_MAX + 1);
        char digest[BLOB_DIGEST_MAX];

        assert_non_null(big);
        assert_int_equal(blob_writer_new(d->store, "acme", 5, &w), 0);
        assert_int_equal(blob_writer_append(w, big, BLOB_CHUNK_MAX + 1), -EINVAL);
        assert_int_equal(blob_writer_append(w, "abc", 3), 0);
        assert_int_equal(blob_writer_append(w, "de", 2), 0);
        assert_int_equal(blob_writer_append(w, "f", 1), -EFBIG);
        /* It does not become whole again. */
        assert_int_equal(blob_writer_append(w, "", 0), -EFBIG);
        assert_int_equal(blob_writer_commit(w, digest), -EFBIG);
        w = blob_writer_free(w);
        assert_int_equal(audit(d->path).n_blobs, 0);

        assert_int_equal(blob_writer_new(d->store, "acme", 0, &w), 0);
        assert_int_equal(blob_writer_append(w, "a", 1), -EFBIG);
}

static void test_copy_fd(void **state)
{
        Dir *d = *state;
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        _cleanup_(closep) int fd = memfd_create("source", MFD_CLOEXEC);
        char digest[BLOB_DIGEST_MAX];
        unsigned n_calls = 0;
        int r;

        for (unsigned i = 0; i < 1000; i++)
                assert_int_equal(write_all(fd, "0123456789", 10), 0);
        assert_int_equal(blob_writer_new(d->store, "acme", 10000, &w), 0);
        while ((r = blob_writer_copy_fd(w, fd, 3000)) == BLOB_COPY_MORE) {
                n_calls++;
                /* Its position is not ours: the one who sent it may move it. */
                assert_int_equal(lseek(fd, 17, SEEK_SET), 17);
        }
        assert_int_equal(r, BLOB_COPY_DONE);
        assert_int_equal(n_calls, 4);
        assert_int_equal(lseek(fd, 0, SEEK_CUR), 17);
        assert_int_equal(blob_writer_get_size(w), 10000);
        assert_int_equal(blob_writer_commit(w, digest), BLOB_CREATED);
        assert_int_equal(audit(d->path).n_blobs, 1);
        assert_int_equal(audit(d->path).bytes, 10000);
}

static void test_copy_fd_limits(void **state)
{
        Dir *d = *state;
        BlobWriter *w = NULL;
        _cleanup_(closep) int fd = memfd_create("source", MFD_CLOEXEC), sink = -EBADF;
        int p[2];

        assert_int_equal(ftruncate(fd, 3 * 1024 * 1024), 0);
        assert_int_equal(blob_writer_new(d->store, "acme", 2 * 1024 * 1024, &w), 0);
        /* One call never takes more than a chunk. */
        assert_int_equal(blob_writer_copy_fd(w, fd, SIZE_MAX), BLOB_COPY_MORE);
        assert_int_equal(blob_writer_get_size(w), BLOB_CHUNK_MAX);
        assert_int_equal(blob_writer_copy_fd(w, fd, SIZE_MAX), BLOB_COPY_MORE);
        assert_int_equal(blob_writer_copy_fd(w, fd, SIZE_MAX), -EFBIG);
        w = blob_writer_free(w);

        /* What could block or never end is refused. */
        assert_int_equal(pipe2(p, O_CLOEXEC), 0);
        assert_int_equal(blob_writer_new(d->store, "acme", 100, &w), 0);
        assert_int_equal(blob_writer_copy_fd(w, p[0], 10), -ENOTSUP);
        w = blob_writer_free(w);
        safe_close(p[0]);
        safe_close(p[1]);

        sink = open("/dev/null", O_WRONLY | O_CLOEXEC);
        assert_int_equal(blob_writer_new(d->store, "acme", 100, &w), 0);
        assert_int_equal(blob_writer_copy_fd(w, sink, 10), -ENOTSUP);
        w = blob_writer_free(w);
        assert_int_equal(audit(d->path).n_blobs, 0);
}

static void test_remove(void **state)
{
        Dir *d = *state;
        _cleanup_(closep) int fd = -EBADF;
        char buf[4] = "";

        assert_int_equal(blob_remove(d->store, "acme", ABC_DIGEST, 0), -ENOENT);
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
        assert_int_equal(blob_remove(d->store, "acme", ABC_DIGEST, USEC_PER_HOUR), BLOB_YOUNG);
        /* An old mtime alone is not age: a restored or just named file has one. */
        set_age(d, ABC_PATH, 100000);
        assert_int_equal(blob_remove(d->store, "acme", ABC_DIGEST, USEC_PER_HOUR), BLOB_YOUNG);

        sleep_ms(60);
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_EXISTED);
        assert_int_equal(blob_remove(d->store, "acme", ABC_DIGEST, 5 * USEC_PER_SEC), BLOB_YOUNG);
        set_age(d, ABC_PATH, -100000); /* a clock that was stepped back */
        assert_int_equal(blob_remove(d->store, "acme", ABC_DIGEST, 0), BLOB_YOUNG);
        set_age(d, ABC_PATH, 0);

        fd = blob_open_read(d->store, "acme", ABC_DIGEST, NULL);
        sleep_ms(60);
        assert_int_equal(
                blob_remove(d->store, "acme", ABC_DIGEST, 50 * USEC_PER_MSEC), BLOB_REMOVED);
        assert_int_equal(blob_remove(d->store, "acme", ABC_DIGEST, 0), -ENOENT);
        assert_int_equal(read(fd, buf, sizeof(buf)), 3);
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
}

/* A collector and a writer never look at one name at the same time. */
static void test_shard_lock(void **state)
{
        Dir *d = *state;
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        _cleanup_(closep) int other = -EBADF;
        char digest[BLOB_DIGEST_MAX];

        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), BLOB_CREATED);
        other = openat(d->store->root_fd, "acme/ba", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        assert_int_equal(flock(other, LOCK_EX), 0);
        assert_int_equal(blob_remove(d->store, "acme", ABC_DIGEST, 0), BLOB_BUSY);
        assert_int_equal(blob_writer_new(d->store, "acme", 3, &w), 0);
        assert_int_equal(blob_writer_append(w, "abc", 3), 0);
        assert_int_equal(blob_writer_commit(w, digest), -EBUSY);
        other = safe_close(other);
        assert_int_equal(blob_writer_commit(w, digest), BLOB_EXISTED);
        assert_string_equal(digest, ABC_DIGEST);
        w = blob_writer_free(w);
        assert_int_equal(audit(d->path).n_blobs, 1);
}

static void test_walk(void **state)
{
        Dir *d = *state;
        _cleanup_(blob_walk_freep) BlobWalk *w = NULL;
        int root = d->store->root_fd, r;
        unsigned n[3] = {}, n_abc = 0;
        BlobEntry e;

        for (unsigned i = 0; i < 300; i++)
                assert_int_equal(put(d->store, i % 3 ? "acme" : "b.b", &i, sizeof(i), NULL), 0);
        assert_int_equal(put(d->store, "acme", "abc", 3, NULL), 0);
        /* Strangers are passed over. */
        safe_close(openat(root, "stray", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        safe_close(openat(root, "acme/zz", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        safe_close(openat(root, "acme/ba/note", O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
        assert_int_equal(mkdirat(root, "lost+found", 0700), 0);

        assert_int_equal(blob_walk_new(d->store, &w), 0);
        while ((r = blob_walk_next(w, &e)) > 0) {
                n[r]++;
                if (r != BLOB_WALK_ENTRY)
                        continue;
                assert_true(blob_digest_is_valid(e.digest));
                if (streq(e.digest, ABC_DIGEST)) {
                        n_abc++;
                        assert_string_equal(e.tenant, "acme");
                        assert_int_equal(e.size, 3);
                        assert_true(e.changed_usec + USEC_PER_MIN > now_usec(CLOCK_REALTIME));
                }
                /* What was found can be asked for and removed on the way. */
                assert_int_equal(blob_remove(d->store, e.tenant, e.digest, 0), BLOB_REMOVED);
        }
        assert_int_equal(r, BLOB_WALK_END);
        assert_int_equal(n[BLOB_WALK_ENTRY], 301);
        assert_int_equal(n_abc, 1);
        assert_int_equal(audit(d->path).n_blobs, 0);
}

static void walk_all(BlobStore *s)
{
        _cleanup_(blob_walk_freep) BlobWalk *w = NULL;
        BlobEntry e;
        int r;

        assert_int_equal(blob_walk_new(s, &w), 0);
        while ((r = blob_walk_next(w, &e)) > 0)
                ;
        assert_int_equal(r, 0);
}

static unsigned make_hidden_old(const Dir *d)
{
        int fd = openat(d->store->root_fd, "acme", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        DIR *dir = fdopendir(fd);
        unsigned n = 0;
        struct dirent *e;
        char name[300];

        assert_non_null(dir);
        while ((e = readdir(dir))) {
                if (strncmp(e->d_name, ".new-", 5) != 0)
                        continue;
                snprintf(name, sizeof(name), "acme/%s", e->d_name);
                set_age(d, name, 100000);
                n++;
        }
        closedir(dir);
        return n;
}

static void test_sweep(void **state)
{
        Dir *d = *state;
        _cleanup_(blob_writer_freep) BlobWriter *w = NULL;
        char digest[BLOB_DIGEST_MAX];

        /* A slow writer's file is old, but its writer lives. */
        d->store->no_tmpfile = true;
        assert_int_equal(blob_writer_new(d->store, "acme", 3, &w), 0);
        assert_int_equal(blob_writer_append(w, "abc", 3), 0);
        safe_close(openat(d->store->root_fd, "acme/.new-fresh", O_CREAT | O_WRONLY, 0440));
        safe_close(openat(d->store->root_fd, "acme/.new-dead", O_CREAT | O_WRONLY, 0440));
        set_age(d, "acme/.new-dead", 3600);
        assert_int_equal(audit(d->path).n_hidden, 3);
        walk_all(d->store);
        assert_int_equal(audit(d->path).n_hidden, 2);
        assert_int_equal(faccessat(d->store->root_fd, "acme/.new-dead", F_OK, 0), -1);

        assert_int_equal(make_hidden_old(d), 2);
        walk_all(d->store);
        assert_int_equal(audit(d->path).n_hidden, 1);
        assert_int_equal(blob_writer_commit(w, digest), BLOB_CREATED);
        assert_int_equal(audit(d->path).n_hidden, 0);
        assert_int_equal(audit(d->path).n_blobs, 1);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, dir_setup, dir_teardown)

int main(void)
{
        static const struct CMUnitTest tests[] = {
                TEST(test_round_trip),
                TEST(test_bad_names),
                TEST(test_what_is_no_blob),
                TEST(test_open_errors),
                TEST(test_existed),
                TEST(test_existed_without_tmpfile),
                TEST(test_lost_bytes_are_healed),
                TEST(test_abort),
                TEST(test_limits),
                TEST(test_copy_fd),
                TEST(test_copy_fd_limits),
                TEST(test_remove),
                TEST(test_shard_lock),
                TEST(test_walk),
                TEST(test_sweep),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

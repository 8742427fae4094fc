/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd-util.h"
#include "memfd-util.h"
#include "reeve-limits.h"
#include "run-frame.h"
#include "test.h"

static unsigned count_fds(void)
{
        DIR *d = opendir("/proc/self/fd");
        unsigned n = 0;

        assert_non_null(d);
        while (readdir(d)) // NOLINT(concurrency-mt-unsafe)
                n++;
        closedir(d);
        return n;
}

static void make_pair(int pair[2])
{
        assert_int_equal(
                socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair), 0);
}

static void test_packet_with_fds(void **state)
{
        _cleanup_(run_packet_done) RunPacket p = {};
        int pair[2], fds[2];
        char buf[8];

        make_pair(pair);
        assert_int_equal(run_packet_receive(pair[1], &p), -EAGAIN);
        fds[0] = memfd_new_sealed("a", "aaa", 3);
        fds[1] = memfd_new_sealed("b", "bbbb", 4);
        assert_int_equal(run_packet_send(pair[0], "hello", 5, fds, 2), 0);
        assert_int_equal(run_packet_send(pair[0], "next", 4, NULL, 0), 0);
        safe_close(fds[0]);
        safe_close(fds[1]);

        assert_int_equal(run_packet_receive(pair[1], &p), RUN_PACKET_RECEIVED);
        assert_string_equal(p.data, "hello");
        assert_int_equal(p.n_fds, 2);
        assert_int_equal(read(p.fds[1], buf, sizeof(buf)), 4);
        assert_memory_equal(buf, "bbbb", 4);
        assert_true(fcntl(p.fds[0], F_GETFD) & FD_CLOEXEC);

        /* The next packet closes what was left. */
        fds[0] = p.fds[0];
        assert_int_equal(run_packet_receive(pair[1], &p), RUN_PACKET_RECEIVED);
        assert_string_equal(p.data, "next");
        assert_int_equal(p.n_fds, 0);
        assert_int_equal(fcntl(fds[0], F_GETFD), -1);

        safe_close(pair[0]);
        assert_int_equal(run_packet_receive(pair[1], &p), RUN_PACKET_CLOSED);
        assert_int_equal(run_packet_send(pair[1], "x", 1, NULL, 0), -EPIPE);
        safe_close(pair[1]);
}

static void send_raw(int sock, const void *data, size_t size, unsigned n_fds)
{
        union {
                char buf[CMSG_SPACE(sizeof(int) * 100)];
                struct cmsghdr align;
        } control = { 0 };
        struct iovec iov = { (void *) data, size };
        struct msghdr mh = { .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = n_fds ? &control : NULL,
                .msg_controllen = n_fds ? CMSG_SPACE(sizeof(int) * n_fds) : 0 };
        struct cmsghdr *c = n_fds ? CMSG_FIRSTHDR(&mh) : NULL;

        if (c) {
                c->cmsg_level = SOL_SOCKET;
                c->cmsg_type = SCM_RIGHTS;
                c->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
                for (unsigned i = 0; i < n_fds; i++)
                        memcpy(CMSG_DATA(c) + i * sizeof(int), &sock, sizeof(int));
        }
        assert_int_equal(sendmsg(sock, &mh, 0), (ssize_t) size);
}

static void test_packet_above_the_limits(void **state)
{
        _cleanup_(freep) char *large = calloc(1, RUN_PACKET_MAX + 1);
        _cleanup_(run_packet_done) RunPacket p = {};
        unsigned before;
        int pair[2];

        make_pair(pair);
        before = count_fds();

        /* More descriptors than a frame may have: none may stay open. */
        send_raw(pair[0], "x", 1, RUN_PACKET_FDS_MAX + 6);
        assert_int_equal(run_packet_receive(pair[1], &p), -EMSGSIZE);
        assert_int_equal(count_fds(), before);

        send_raw(pair[0], large, RUN_PACKET_MAX + 1, 3);
        assert_int_equal(run_packet_receive(pair[1], &p), -EMSGSIZE);
        assert_int_equal(count_fds(), before);

        send_raw(pair[0], large, RUN_PACKET_MAX, RUN_PACKET_FDS_MAX);
        assert_int_equal(run_packet_receive(pair[1], &p), RUN_PACKET_RECEIVED);
        assert_int_equal(p.size, RUN_PACKET_MAX);
        assert_int_equal(p.n_fds, RUN_PACKET_FDS_MAX);
        run_packet_done(&p);
        assert_int_equal(count_fds(), before);

        assert_int_equal(run_packet_send(pair[0], large, RUN_PACKET_MAX + 1, NULL, 0), -EMSGSIZE);
        assert_int_equal(run_packet_send(pair[0], "", 0, NULL, 0), -EMSGSIZE);
        safe_close(pair[0]);
        safe_close(pair[1]);
}

/* A launcher that ends while a stop for it is under way must not lose its last word. */
static void test_packet_after_reset(void **state)
{
        _cleanup_(run_packet_done) RunPacket p = {};
        int pair[2];

        make_pair(pair);
        assert_int_equal(run_packet_send(pair[0], "stop", 4, NULL, 0), 0);
        assert_int_equal(run_packet_send(pair[1], "end", 3, NULL, 0), 0);
        safe_close(pair[1]); /* with "stop" unread */
        assert_int_equal(run_packet_receive(pair[0], &p), RUN_PACKET_RECEIVED);
        assert_string_equal(p.data, "end");
        assert_int_equal(run_packet_receive(pair[0], &p), RUN_PACKET_CLOSED);
        safe_close(pair[0]);
}

static void test_memfd(void **state)
{
        _cleanup_(freep) char *s = NULL;
        size_t size = 0;
        int fd;

        fd = memfd_new_sealed("test", "payload", 7);
        assert_true(fd >= 0);
        assert_int_equal(write(fd, "x", 1), -1);
        assert_int_equal(ftruncate(fd, 0), -1);
        assert_int_equal(lseek(fd, 3, SEEK_SET), 3);
        assert_int_equal(memfd_read(fd, 6, &s, &size), -EFBIG);
        assert_null(s);
        assert_int_equal(memfd_read(fd, 7, &s, &size), 0);
        assert_int_equal(size, 7);
        assert_string_equal(s, "payload");
        safe_close(fd);

        fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
        assert_int_equal(memfd_read(fd, 7, &s, &size), -EINVAL);
        safe_close(fd);
}

#define JOB "0190a5b2-0000-7000-8000-0123456789ab"

static RunInput two_inputs[] = { { "doc.pdf", 3 }, { "b \"x\".txt", 0 } };

static const struct {
        RunFrame frame;
        unsigned n_fds;
        const char *text;
} frames[] = {
        { { .type = RUN_FRAME_HELLO, .hello = { 1, "reeve-run-x@1-2-3.service", 42 } }, 0,
                "{\"type\":\"hello\",\"version\":1,\"unit\":\"reeve-run-x@1-2-3.service\",\"pid\":"
                "42}" },
        { { .type = RUN_FRAME_STARTED, .run_id = 7, .started = { 43 } }, 0,
                "{\"type\":\"started\",\"run_id\":7,\"pid\":43}" },
        { { .type = RUN_FRAME_PROGRESS, .run_id = 7, .progress = { 40, "page 12" } }, 0,
                "{\"type\":\"progress\",\"run_id\":7,\"progress\":40,\"status\":\"page 12\"}" },
        { { .type = RUN_FRAME_PROGRESS, .run_id = 7, .progress = { -1, NULL } }, 0,
                "{\"type\":\"progress\",\"run_id\":7}" },
        { { .type = RUN_FRAME_ALIVE, .run_id = 7 }, 0, "{\"type\":\"alive\",\"run_id\":7}" },
        { { .type = RUN_FRAME_EXTEND, .run_id = 7, .extend = { 5000000 } }, 0,
                "{\"type\":\"extend\",\"run_id\":7,\"usec\":5000000}" },
        { { .type = RUN_FRAME_FILE, .run_id = 7, .file = { "a/page-1.txt", 12 } }, 1,
                "{\"type\":\"file\",\"run_id\":7,\"name\":\"a/page-1.txt\",\"size\":12}" },
        { { .type = RUN_FRAME_END,
                  .run_id = 7,
                  .end = { RUN_EXIT, 0, 0, false, RUN_RESULT_OK, 4, "line\n", true, 10, 20, 30 } },
                1,
                "{\"type\":\"end\",\"run_id\":7,\"cause\":\"exit\",\"exit\":0,\"signal\":null,"
                "\"core\":false,"
                "\"result\":\"ok\",\"result_size\":4,\"log\":\"line\\n\",\"log_truncated\":true,"
                "\"cpu_usec\":10,\"max_rss\":30,\"wall_usec\":20,\"output_error\":null}" },
        { { .type = RUN_FRAME_END,
                  .run_id = INT64_MAX,
                  .end = { RUN_OOM_KILL, -1, 9, true, RUN_RESULT_TOO_LARGE, 0, "", false, 1, 2, 3,
                          "too many files", "code", "message", true } },
                0,
                "{\"type\":\"end\",\"run_id\":9223372036854775807,\"cause\":\"oom-kill\",\"exit\":"
                "null,"
                "\"signal\":9,\"core\":true,\"result\":\"too-large\",\"result_size\":0,\"log\":"
                "\"\","
                "\"log_truncated\":false,\"cpu_usec\":1,\"max_rss\":3,\"wall_usec\":2,"
                "\"output_error\":\"too many files\",\"error\":{\"code\":\"code\",\"message\":"
                "\"message\",\"retry\":true}}" },
        { { .type = RUN_FRAME_READY }, 0, "{\"type\":\"ready\"}" },
        { { .type = RUN_FRAME_RUN,
                  .run_id = 8,
                  .run = { JOB, "pdf", "default", "acme", "42", 3, true, 9 },
                  .inputs = two_inputs,
                  .n_inputs = 2,
                  .more = true },
                3,
                "{\"type\":\"run\",\"run_id\":8,\"job_id\":\"" JOB
                "\",\"kind\":\"pdf\",\"queue\":\"default\",\"attempt\":3,\"tenant\":\"acme\","
                "\"subject\":\"42\",\"phase\":\"join\",\"timeout_usec\":9,\"inputs\":[{\"name\":"
                "\"doc.pdf\",\"size\":3},{\"name\":\"b "
                "\\\"x\\\".txt\",\"size\":0}],\"more\":true}" },
        { { .type = RUN_FRAME_INPUTS, .run_id = 8, .inputs = two_inputs, .n_inputs = 1 }, 1,
                "{\"type\":\"inputs\",\"run_id\":8,\"inputs\":[{\"name\":\"doc.pdf\",\"size\":3}]"
                "}" },
        { { .type = RUN_FRAME_STOP, .run_id = 8, .stop = { RUN_DRAINED } }, 0,
                "{\"type\":\"stop\",\"run_id\":8,\"reason\":\"drained\"}" },
};

/* What every word says, and that it comes back the same. */
static void test_frames_both_ways(void **state)
{
        for (size_t i = 0; i < ELEMENTSOF(frames); i++) {
                _cleanup_(strbuf_done) StrBuf out = {}, again = {};
                _cleanup_(run_frame_done) RunFrame f = {};
                JsonError e = { 0 };

                assert_int_equal(run_frame_encode(&frames[i].frame, &out), 0);
                assert_string_equal(out.data, frames[i].text);
                if (run_frame_decode(out.data, out.len, frames[i].n_fds, &f, &e) < 0)
                        fail_msg("%s: %s", out.data, e.text);
                assert_int_equal(run_frame_encode(&f, &again), 0);
                assert_string_equal(again.data, out.data);
                run_frame_done(&f);

                assert_int_equal(
                        run_frame_decode(out.data, out.len, frames[i].n_fds + 1, &f, &e), -EBADMSG);
                assert_non_null(strstr(e.text, "file descriptors"));
        }
}

#define END(more)                                                                                  \
        "{\"type\":\"end\",\"run_id\":1,\"core\":false,\"log\":\"\",\"log_truncated\":false,"      \
        "\"cpu_usec\":0,\"max_rss\":0,\"wall_usec\":0," more "}"
#define RUN(more)                                                                                  \
        "{\"type\":\"run\",\"run_id\":1,\"job_id\":\"" JOB "\",\"kind\":\"k\",\"queue\":\"q\","    \
        "\"tenant\":\"t\",\"attempt\":1,\"timeout_usec\":0," more "}"

static void test_frames_refused(void **state)
{
        static const struct {
                const char *text, *error;
        } cases[] = {
                { "[]", "expected an object, not an array" },
                { "{}", "\"type\": expected a string" },
                { "{\"type\":\"dance\"}", "\"type\": expected a word of the protocol" },
                { "{\"type\":\"alive\"}", "\"run_id\": expected a number" },
                { "{\"type\":\"alive\",\"run_id\":0}",
                        "\"run_id\": expected 1 to 9223372036854775807" },
                { "{\"type\":\"alive\",\"run_id\":\"1\"}",
                        "\"run_id\": expected an integer, not a string" },
                { "{\"type\":\"started\",\"run_id\":1,\"pid\":-1}",
                        "\"pid\": expected 1 to 4194304" },
                { "{\"type\":\"progress\",\"run_id\":1,\"progress\":101}",
                        "\"progress\": expected 0 to 100" },
                { "{\"type\":\"file\",\"run_id\":1,\"name\":\"../x\",\"size\":1}",
                        "\"name\": expected a relative path" },
                { "{\"type\":\"file\",\"run_id\":1,\"name\":\"x\",\"size\":1073741825}",
                        "\"size\": expected 0 to 1073741824" },
                { "{\"type\":\"stop\",\"run_id\":1,\"reason\":\"timeout\"}",
                        "\"reason\": expected cancelled or drained" },
                { END("\"cause\":\"boredom\",\"result\":\"none\",\"result_size\":0"),
                        "\"cause\": expected a word of the protocol" },
                { END("\"cause\":\"exit\",\"exit\":256,\"result\":\"none\",\"result_size\":0"),
                        "\"exit\": expected 0 to 255" },
                { END("\"cause\":\"exit\",\"signal\":0,\"result\":\"none\",\"result_size\":0"),
                        "\"signal\": expected 1 to 64" },
                { END("\"cause\":\"exit\",\"result\":\"none\",\"result_size\":1048577"),
                        "\"result_size\": expected 0 to 1048576" },
                { END("\"cause\":\"exit\",\"result\":\"none\",\"result_size\":0,\"error\":{}"),
                        "\"code\": expected a string" },
                { RUN("\"phase\":\"walk\""), "\"phase\": expected a word of the protocol" },
                { RUN("\"phase\":\"run\",\"kind\":\"a/b\""), "\"kind\": expected a name" },
                { RUN("\"phase\":\"run\",\"job_id\":\"1\""), "\"job_id\": expected a UUID" },
                { RUN("\"phase\":\"run\",\"inputs\":[{\"name\":1}]"),
                        "\"name\": expected a string, not 1" },
                { RUN("\"phase\":\"run\",\"inputs\":[{\"name\":\"x\"}]"),
                        "\"size\": expected a number" },
                { RUN("\"phase\":\"run\""), "expected 1 file descriptors, not 0" },
        };

        for (size_t i = 0; i < ELEMENTSOF(cases); i++) {
                RunFrame f = {};
                JsonError e = { 0 };

                if (run_frame_decode(cases[i].text, strlen(cases[i].text), 0, &f, &e) != -EBADMSG)
                        fail_msg("%s was taken", cases[i].text);
                assert_string_equal(e.text, cases[i].error);
                assert_null(f.document);
        }
}

static void test_frame_too_large(void **state)
{
        _cleanup_(freep) char *log = calloc(1, RUN_PACKET_MAX + 1);
        RunFrame f = { .type = RUN_FRAME_END, .run_id = 1, .end = { .log = log } };

        memset(log, 'x', RUN_PACKET_MAX);
        assert_int_equal(run_frame_send(-1, &f, NULL, 0), -EMSGSIZE);
}

static void test_file_names(void **state)
{
        static const char *const good[] = { "a", "page-001.txt", "a/b/c", "..a", "a..", "\xc3\xa9",
                " ", "payload.json" };
        static const char *const bad[] = { "", "/a", "a/", "a//b", ".", "..", "a/../b", "a/.",
                "\xff", "a\nb", "a\x7f" };
        static const char *const good_inputs[] = { "a.pdf", "children.ndjson", "children/0.json",
                "children/999999999/a/b", "children_s" };
        static const char *const bad_inputs[] = { "a/b", "children", "children/", "children/0",
                "children/x.json", "children/0.jso", "children/0/", "children/0/../a",
                "children/1234567890/a", "children/-1/a", "children/0/.", "../a" };
        char name[RUN_FILE_NAME_MAX + 2] = "";

        for (size_t i = 0; i < ELEMENTSOF(good); i++)
                assert_true(run_file_name_is_valid(good[i]));
        for (size_t i = 0; i < ELEMENTSOF(bad); i++)
                if (run_file_name_is_valid(bad[i]))
                        fail_msg("'%s' was taken", bad[i]);
        for (size_t i = 0; i < ELEMENTSOF(good_inputs); i++)
                assert_true(run_input_name_is_valid(good_inputs[i]));
        for (size_t i = 0; i < ELEMENTSOF(bad_inputs); i++)
                if (run_input_name_is_valid(bad_inputs[i]))
                        fail_msg("'%s' was taken", bad_inputs[i]);
        memset(name, 'n', RUN_FILE_NAME_MAX);
        assert_true(run_file_name_is_valid(name));
        name[RUN_FILE_NAME_MAX] = 'n';
        assert_false(run_file_name_is_valid(name));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_packet_with_fds),
                cmocka_unit_test(test_packet_above_the_limits),
                cmocka_unit_test(test_packet_after_reset),
                cmocka_unit_test(test_memfd),
                cmocka_unit_test(test_frames_both_ways),
                cmocka_unit_test(test_frames_refused),
                cmocka_unit_test(test_frame_too_large),
                cmocka_unit_test(test_file_names),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

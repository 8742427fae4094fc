/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reevectl: what it reads, writes and finds wrong; each allocation of each call fails in turn
 * (torture.h). */
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "ctl-doctor.h"
#include "event-reader.h"
#include "fd-util.h"
#include "torture.h"

#define WRONG (-EPROTO)

static char dir[] = "/tmp/test-torture-XXXXXX";
static char socket_path[64];
static pid_t server;
static FILE *null;

/* ---- HTTP ---- */

#define BODY  "{\"jobs\":[{\"id\":\"a\",\"state\":\"ready\"}]}"
#define REPLY "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 37\r\n\r\n" BODY

static int read_reply(void *userdata)
{
        static const char text[] =
                "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n"
                "Content-Type: text/plain\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n0\r\nTrailer: x\r\n\r\n";
        _cleanup_(http_reply_done) HttpReply r = http_reply(1000);
        int e = 0;

        for (size_t i = 0; i < CONST_STRLEN(text) && e == 0; i++)
                e = http_reply_feed(&r, text + i, 1);
        return e < 0 ? e : e == 1 && streq(strbuf_str(&r.body), "abcdef") ? 0 : WRONG;
}

static bool on_event(const char *event, const char *data, void *userdata)
{
        (*(unsigned *) userdata)++;
        return false;
}

static int read_events(void *userdata)
{
        static const char text[] = "event: job\nid: 7\ndata: one\ndata: two\n\ndata: three\n\n";
        unsigned n = 0;
        EventReader r = { .on_event = on_event, .userdata = &n };
        int e = event_reader_feed(&r, text, CONST_STRLEN(text));

        event_reader_done(&r);
        return e < 0 || n == 2 ? e : WRONG;
}

static int read_url(void *userdata)
{
        HttpClient c = {};
        int r = http_client_set_url(&c, "http://[::1]:8080/");

        if (r >= 0 && (!streq(c.host, "::1") || !streq(c.port, "8080")))
                r = WRONG;
        http_client_done(&c);
        return r;
}

static int ask_a_server(void *userdata)
{
        static const HttpPart part = { .data = "{}", .size = 2 };
        HttpClient c = { .socket_path = socket_path, .key = "k" };
        const HttpAsk ask = { .method = "POST",
                .target = "/api/jobs",
                .content_type = "application/json",
                .idempotency_key = "i",
                .parts = &part,
                .n_parts = 1,
                .last_event_id = "5",
                .usec = 60 * USEC_PER_SEC };
        HttpReply reply = http_reply(HTTP_CLIENT_BODY_MAX);
        int r = http_client_ask(&c, &ask, &reply);

        if (r >= 0)
                r = reply.status == 200 && streq(strbuf_str(&reply.body), BODY) ? 0 : WRONG;
        http_reply_done(&reply);
        http_client_done(&c);
        return r;
}

/* Answers each with the same, until it is killed. */
static void serve(int listener)
{
        for (;;) {
                int fd = accept(listener, NULL, NULL);
                char buf[4096];
                size_t n = 0;
                ssize_t k = 1;

                while (k > 0 && n < sizeof(buf) && !memmem(buf, n, "\r\n\r\n{}", 6)) {
                        k = read(fd, buf + n, sizeof(buf) - n);
                        n += k > 0 ? (size_t) k : 0;
                }
                if (k > 0)
                        (void) write_all(fd, REPLY, CONST_STRLEN(REPLY));
                safe_close(fd);
        }
}

/* ---- text ---- */

static int write_table(void *userdata)
{
        TextTable t = { .n_columns = 3, .right = 2 };
        int r;

        for (unsigned i = 0; i < 100; i++) {
                text_table_add(&t, "a\033[1m");
                text_table_add_u64(&t, i);
                text_table_add(&t, NULL);
        }
        r = text_table_print(&t, null, true);
        text_table_done(&t);
        return r;
}

static int write_text(void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        text_clean(&b, "one\ttwo \xff and a longer text than fits at first");
        text_bar(&b, 50, 40);
        text_actor(&b, "uid:4294967294", true);
        http_quote(&b, "a b/c");
        return strbuf_error(&b);
}

static int describe_job(void *userdata)
{
        static const char text[] =
                "{\"id\":\"a\",\"state\":\"failed\",\"progress\":40,\"status\":\"x\","
                "\"error\":{\"code\":\"E\",\"message\":\"some message of some length\"}}";
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        int r;

        torture_hold();
        r = json_parse(text, CONST_STRLEN(text), 8, &d, NULL);
        torture_release();
        if (r < 0)
                return WRONG;
        ctl_put_job(&b, json_document_root(d));
        return strbuf_error(&b);
}

static int read_command_line(void *userdata)
{
        char *argv[] = { (char *) "reevectl", (char *) "submit", (char *) "--file=/a",
                (char *) "--file", (char *) "/b", (char *) "kind", (char *) "{}", NULL };
        Ctl c = {};
        int r = ctl_read_command_line(&c, 7, argv);
        bool whole = c.n_again == 2 && c.n_args == 2;

        free(c.again);
        return r == EXIT_STATUS_OK ? (whole ? 0 : WRONG) : -ENOMEM;
}

/* ---- findings ---- */

static int judge_database(void *userdata)
{
        static const char text[] =
                "{\"embedded\":true,\"server\":{\"version\":\"14\",\"version_num\":140011,"
                "\"database\":\"reeve\",\"encoding\":\"LATIN1\",\"standby\":true,"
                "\"read_only\":true,\"registry\":true},"
                "\"faults\":[{\"level\":\"error\",\"object\":\"server setting fsync\","
                "\"text\":\"is off\"}],\"facts\":{\"connections\":90,\"connections_max\":97,"
                "\"autovacuum\":false,\"hidden\":3,\"old_transactions\":[],\"prepared\":"
                "[{\"gid\":\"x\",\"sec\":400}],\"slots\":[\"one\"],\"dead_rows\":[]},"
                "\"skew_usec\":-2003000,\"round_trip_usec\":2000,\"schema\":{\"version\":1,"
                "\"interrupted\":1,\"failed\":20,\"succeeded\":1,\"in_default\":true,"
                "\"keys\":[{\"id\":1,\"name\":\"a\",\"sec\":-3}]}}";
        static const char queues[] =
                "[{\"name\":\"own\",\"ready\":1,\"oldest_ready\":\"2020-01-01T00:00:00Z\"}]";
        _cleanup_(json_document_freep) JsonDocument *d = NULL, *q = NULL;
        Faults f = {};
        int r;

        torture_hold();
        r = json_parse(text, CONST_STRLEN(text), 8, &d, NULL);
        if (r >= 0)
                r = json_parse(queues, CONST_STRLEN(queues), 8, &q, NULL);
        torture_release();
        if (r < 0)
                return WRONG;
        doctor_judge_database(&f, json_document_root(d), true);
        doctor_judge_waiting(&f, json_document_root(q), json_document_root(q), 0);
        r = faults_error(&f);
        if (r >= 0 && f.n < 5)
                r = WRONG;
        faults_done(&f);
        return r;
}

/* ---- */

static void test_ctl(void **state)
{
        static const TortureCase cases[] = {
                { "http_reply_feed", read_reply, NULL, false },
                { "event_reader_feed", read_events, NULL, false },
                { "http_client_set_url", read_url, NULL, false },
                { "http_client_ask", ask_a_server, NULL, false },
                { "text_table", write_table, NULL, false },
                { "text", write_text, NULL, false },
                { "ctl_put_job", describe_job, NULL, false },
                { "ctl_read_command_line", read_command_line, NULL, false },
                { "doctor", judge_database, NULL, false },
                {},
        };

        torture_all(cases);
}

static int setup(void **state)
{
        struct sockaddr_un sa = { .sun_family = AF_UNIX };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        assert_non_null(mkdtemp(dir));
        (void) snprintf(socket_path, sizeof(socket_path), "%s/sock", dir);
        memcpy(sa.sun_path, socket_path, strlen(socket_path));
        assert_int_equal(bind(fd, (const struct sockaddr *) &sa, sizeof(sa)), 0);
        assert_int_equal(listen(fd, 64), 0);
        (void) fflush(NULL);
        server = fork();
        if (server == 0)
                serve(fd);
        assert_true(server > 0);
        safe_close(fd);
        null = fopen("/dev/null", "we");
        return null ? 0 : -1;
}

static int teardown(void **state)
{
        char command[128];

        (void) fclose(null);
        (void) kill(server, SIGKILL);
        (void) waitpid(server, NULL, 0);
        (void) snprintf(command, sizeof(command), "rm -r %s", dir);
        return system(command); // NOLINT(cert-env33-c): a path from mkdtemp
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_ctl),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}

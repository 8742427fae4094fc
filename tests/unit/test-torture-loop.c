/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What runs on an event loop, with the real libsystemd, libmicrohttpd and libpq: each allocation
 * fails in turn (torture.h). A server that had no memory for a request serves the next one. */
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd-util.h"
#include "flag-set.h"
#include "http.h"
#include "pq-loop.h"
#include "torture.h"

#define WRONG        (-EPROTO)
#define PATIENCE     (60 * USEC_PER_SEC)
#define TURN_USEC    (20 * USEC_PER_MSEC)
#define REQUEST_HEAD " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"

static char dir[] = "/tmp/test-torture-XXXXXX";
static struct sockaddr_un address = { .sun_family = AF_UNIX };
static int listener = -EBADF;

/* ---- a response ---- */

static int make_response(void *userdata)
{
        const ProblemReport report = { .problem = PROBLEM_UNAVAILABLE, .detail = "a detail" };
        _cleanup_(http_response_freep) HttpResponse *r = http_response_new(200), *problem = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        int k;

        if (!r)
                return -ENOMEM;
        k = http_response_add(r, "ETag", "\"1\"");
        if (k >= 0)
                k = http_response_add(r, "ETag", "\"2\"");
        if (k >= 0)
                k = http_response_set_body(r, "text/plain", "x", 1);
        strbuf_puts(&b, "{}");
        if (k >= 0)
                k = http_response_take_body(r, "application/json", &b);
        if (k >= 0)
                k = http_response_set_file(r, "text/plain", open("/dev/null", O_RDONLY), 0, 0);
        if (k < 0)
                return k;
        problem = http_response_new_problem(&report);
        return problem ? 0 : -ENOMEM;
}

/* ---- a server ---- */

typedef struct Site {
        sd_event *event;
        Router *router;
        HttpServer *server;
} Site;

static void site_done(Site *s)
{
        http_server_free(s->server);
        router_free(s->router);
        sd_event_unref(s->event);
}

static void reply(HttpRequest *r, const char *data, size_t size)
{
        HttpResponse *response = http_response_new(200);

        if (response && http_response_set_body(response, "text/plain", data, size) < 0)
                response = http_response_free(response);
        http_request_reply(r, response);
}

static void handle_get(HttpRequest *r, void *userdata)
{
        reply(r, http_request_get_param(r, "x"), strlen(http_request_get_param(r, "x")));
}

static void on_body(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        reply(r, data, size);
}

static void handle_post(HttpRequest *r, void *userdata)
{
        http_request_collect(r, on_body, NULL);
}

static const HttpRoute routes[] = {
        { HTTP_GET, "/a/{x}", handle_get },
        { HTTP_POST, "/b", handle_post, .body = HTTP_BODY_ANY, .body_max = 100000 },
        {},
};

static int site_make(Site *s)
{
        HttpServerConfig config = {};
        int r = sd_event_new(&s->event);

        if (r >= 0)
                r = router_new(&s->router);
        if (r >= 0)
                r = router_add(s->router, routes);
        config.router = s->router;
        if (r >= 0)
                r = http_server_new(s->event, &config, &s->server);
        if (r >= 0)
                r = http_loop_listen(http_server_get_loop(s->server), listener);
        return r < 0 ? r : 0;
}

static int make_site(void *userdata)
{
        _cleanup_(site_done) Site s = {};

        return site_make(&s);
}

/* Sends it and runs the loop until the answer has ended. Returns its status, 0 if there is none; an
 * error of the loop, which ends a program. */
static int ask(const Site *s, const char *request, char *buf, size_t size)
{
        _cleanup_(closep) int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        usec_t until = now_usec(CLOCK_MONOTONIC) + PATIENCE;
        size_t n = 0;
        ssize_t k = -1;

        if (fd < 0 || connect(fd, (const struct sockaddr *) &address, sizeof(address)) < 0 ||
                write_all(fd, request, strlen(request)) < 0 || fd_nonblock(fd, true) < 0)
                return WRONG;
        while (k != 0 && n < size - 1 && now_usec(CLOCK_MONOTONIC) < until) {
                int r = sd_event_run(s->event, TURN_USEC);

                if (r < 0)
                        return r;
                k = read(fd, buf + n, size - 1 - n);
                if (k < 0 && errno != EAGAIN)
                        k = 0;
                n += k > 0 ? (size_t) k : 0;
        }
        buf[n] = '\0';
        if (k != 0)
                return WRONG;
        return n > 12 ? atoi(buf + 9) : 0; // NOLINT(cert-err34-c): what is none is 0
}

static int serve(void *userdata)
{
        const char *request = userdata;
        _cleanup_(site_done) Site s = {};
        char buf[4096];
        int status, again;

        torture_hold();
        if (site_make(&s) < 0)
                return WRONG;
        torture_release();
        status = ask(&s, request, buf, sizeof(buf));
        torture_hold();
        again = ask(&s, request, buf, sizeof(buf));
        if (again != 200 || !strstr(buf, "\r\n\r\nhello"))
                return WRONG;
        return status == 200 ? 0 : status <= 0 || status == 503 ? -ENOMEM : WRONG;
}

/* ---- a connection to a database ---- */

static void on_state(PqLoop *p, PqState state, const char *text, void *userdata)
{
        *(bool *) userdata = state == PQ_WAITING && text && *text;
}

/* There is no server: an attempt fails, for that or for want of memory, and the next one is set
 * for, or the program ends if not even that can be done. */
static int connect_nowhere(void *userdata)
{
        sd_event *event = NULL;
        PqLoop *p = NULL;
        bool told = false;
        char conninfo[64];
        const PqConfig config = { .conninfo = conninfo,
                .user = "u",
                .application_name = "a",
                .prepared = true,
                .listen = "l",
                .on_state = on_state,
                .userdata = &told };
        usec_t until = now_usec(CLOCK_MONOTONIC) + PATIENCE;
        int code, r;

        (void) snprintf(conninfo, sizeof(conninfo), "host=%s dbname=x", dir);
        torture_hold();
        r = sd_event_new(&event);
        torture_release();
        if (r >= 0)
                r = pq_loop_new(event, &config, &p);
        if (r < 0 && p)
                r = WRONG;
        while (r >= 0 && !told && sd_event_get_exit_code(event, &code) < 0 &&
                now_usec(CLOCK_MONOTONIC) < until)
                r = sd_event_run(event, TURN_USEC);
        if (r >= 0)
                r = told ? 0 : sd_event_get_exit_code(event, &code) >= 0 ? code : WRONG;
        pq_loop_free(p);
        sd_event_unref(event);
        return r;
}

/* Names of event sources are for those who look at them: they do without. */
static int make_flags(void *userdata)
{
        const StoreConfig config = { .conninfo = "host=/nowhere",
                .role = "reeve_api",
                .application_name = "a",
                .listen = true,
                .channel = STORE_FLAG_CHANNEL };
        FlagSetConfig flags = { .stale_usec = USEC_PER_MIN };
        sd_event *event = NULL;
        FlagSet *set = NULL;
        Store *store = NULL;
        int r = sd_event_new(&event);

        if (r >= 0)
                r = store_new(event, &config, &store);
        flags.store = store;
        if (r >= 0)
                r = flag_set_new(event, &flags, &set);
        flag_set_free(set);
        store_free(store);
        sd_event_unref(event);
        return r < 0 ? r : 0;
}

/* ---- */

static void test_loop(void **state)
{
        static const TortureCase cases[] = {
                { "http_response", make_response, NULL, false },
                { "http_server_new", make_site, NULL, false },
                { "GET", serve, (void *) "GET /a/hello" REQUEST_HEAD "\r\n", true },
                { "POST", serve, (void *) "POST /b" REQUEST_HEAD "Content-Length: 5\r\n\r\nhello",
                        true },
                { "pq_loop", connect_nowhere, NULL, true },
                { "store_new, flag_set_new", make_flags, NULL, true },
                {},
        };

        torture_all(cases);
}

static int setup(void **state)
{
        assert_non_null(mkdtemp(dir));
        (void) snprintf(address.sun_path, sizeof(address.sun_path), "%s/sock", dir);
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        assert_int_equal(bind(listener, (const struct sockaddr *) &address, sizeof(address)), 0);
        assert_int_equal(listen(listener, 64), 0);
        return 0;
}

static int teardown(void **state)
{
        char command[128];

        safe_close(listener);
        (void) snprintf(command, sizeof(command), "rm -r %s", dir);
        return system(command); // NOLINT(cert-env33-c): a path from mkdtemp
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_loop),
        };

        return cmocka_run_group_tests(tests, setup, teardown);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* One client and the whole of the server: sockets, libmicrohttpd, guard, router, bodies. Whatever
 * comes, in whatever pieces: what is answered is HTTP, refusals are problems, every request that a
 * handler saw ends once, the loop comes to rest, and the next client is served.
 *
 * An input is what the client sends; 0xff ends a piece (it is no byte of what is right), and the
 * loop runs until there is nothing to do before the next one. */
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd-util.h"
#include "fuzz.h"
#include "http.h"

#define TURNS_MAX 20000 /* of the event loop for one piece: each input is far smaller */

static sd_event *event;
static HttpServer *server;
static struct sockaddr_un address;
static socklen_t address_size;
static unsigned n_open; /* requests that a handler has */

static void end(HttpRequest *r)
{
        CHECK(n_open > 0);
        n_open--;
}

static void on_cancel(HttpRequest *r, void *userdata)
{
        end(r);
}

static void begin(HttpRequest *r)
{
        n_open++;
        http_request_on_cancel(r, on_cancel, NULL);
}

static void reply(HttpRequest *r, const char *data, size_t size)
{
        HttpResponse *response = http_response_new(200);

        CHECK(response && http_response_set_body(response, "text/plain", data, size) == 0);
        end(r);
        http_request_reply(r, response);
}

static void on_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        reply(r, data, size);
}

static int on_bytes(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        /* It need not be there as a whole to be refused. */
        if (memchr(data, '!', size)) {
                end(r);
                http_request_problem(r, PROBLEM_CONFLICT, "A body with an exclamation mark.");
        } else if (memchr(data, '?', size))
                return -ENOSPC; /* the server cancels it */
        return 0;
}

static void on_streamed(HttpRequest *r, void *userdata)
{
        reply(r, "done", 4);
}

static const HttpSink sink = { .write = on_bytes, .done = on_streamed };

static void handle_now(HttpRequest *r, void *userdata)
{
        begin(r);
        reply(r, "now", 3);
}

static void handle_collect(HttpRequest *r, void *userdata)
{
        begin(r);
        http_request_collect(r, on_collected, NULL);
}

static void handle_stream(HttpRequest *r, void *userdata)
{
        begin(r);
        http_request_stream(r, &sink, NULL);
}

static const HttpRoute routes[] = { { HTTP_GET, "/now", handle_now },
        { HTTP_GET, "/item/{id}", handle_now },
        { HTTP_POST, "/json", handle_collect, 0, HTTP_BODY_JSON, 1000 },
        { HTTP_POST, "/echo", handle_collect, 0, HTTP_BODY_ANY | HTTP_BODY_OPTIONAL, 1UL << 20 },
        { HTTP_PUT, "/stream", handle_stream, 0, HTTP_BODY_ANY, 1UL << 20 }, {} };

static void set_up(void)
{
        static const HttpLimits *limits = &http_limits_default;
        static Router *router; /* as long as the process */
        HttpServerConfig config = { .limits = limits };
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

        CHECK(fd >= 0);
        address.sun_family = AF_UNIX; /* an abstract name that the kernel chooses */
        CHECK(bind(fd, (struct sockaddr *) &address, sizeof(address.sun_family)) == 0);
        address_size = sizeof(address);
        CHECK(getsockname(fd, (struct sockaddr *) &address, &address_size) == 0);
        CHECK(listen(fd, 16) == 0);
        CHECK(sd_event_new(&event) >= 0);
        CHECK(router_new(&router) == 0 && router_add(router, routes) == 0);
        config.router = router;
        CHECK(http_server_new(event, &config, &server) == 0);
        CHECK(http_loop_listen(http_server_get_loop(server), fd) == 0);
}

/* Until there is nothing to do but wait. */
static void settle(void)
{
        int r = 1;

        for (unsigned i = 0; r > 0; i++) {
                CHECK(i < TURNS_MAX);
                r = sd_event_run(event, 0);
                CHECK(r >= 0);
        }
}

static void read_answers(int fd, StrBuf *b)
{
        char buf[4096];
        ssize_t n;

        while ((n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT)) > 0)
                strbuf_append(b, buf, (size_t) n);
        CHECK(strbuf_error(b) >= 0);
}

static int dial(void)
{
        int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

        CHECK(fd >= 0);
        CHECK(connect(fd, (struct sockaddr *) &address, address_size) == 0);
        return fd;
}

/* Sends a piece; a client whose connection is closed sends no more, and reads what there is. */
static bool send_piece(int fd, const uint8_t *data, size_t size, StrBuf *answers)
{
        while (size > 0) {
                ssize_t n = send(fd, data, size, MSG_DONTWAIT | MSG_NOSIGNAL);

                if (n < 0 && errno != EAGAIN)
                        return false;
                if (n > 0) {
                        data += n;
                        size -= (size_t) n;
                }
                settle();
                read_answers(fd, answers);
                if (n < 0 && send(fd, data, 1, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
                        return false; /* it does not read on: it is waiting, or has answered */
        }
        return true;
}

/* Looks at one answer; returns its end. */
static const char *check_answer(const char *s, const char *end)
{
        static const char version[] = "HTTP/1.";
        const char *body = memmem(s, (size_t) (end - s), "\r\n\r\n", 4);
        const char *at;
        size_t length;
        long status;

        CHECK((size_t) (end - s) > strlen(version) && memcmp(s, version, strlen(version)) == 0);
        CHECK(body);
        body += 4;
        status = strtol(s + strlen(version) + 2, NULL, 10);
        CHECK(status >= 100 && status < 600);
        if (status == 100)
                return body;
        at = memmem(s, (size_t) (body - s), "Content-Length: ", 16);
        length = at ? strtoul(at + 16, NULL, 10) : 0;
        if (status >= 400) {
                CHECK(memmem(s, (size_t) (body - s), "application/problem+json", 24));
                CHECK(at && length > 0);
        }
        /* Of HEAD there is no body; what follows then is the next answer or nothing. */
        if (body == end ||
                ((size_t) (end - body) >= strlen(version) &&
                        memcmp(body, version, strlen(version)) == 0))
                return body;
        CHECK((size_t) (end - body) >= length);
        if (status >= 400)
                CHECK(body[0] == '{' && body[length - 1] == '}');
        return body + length;
}

static void check_answers(const StrBuf *b)
{
        const char *s = strbuf_str(b);
        const char *end = s + b->len;

        while (s < end)
                s = check_answer(s, end);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(strbuf_done) StrBuf answers = {};
        HttpLoopStats stats;
        int fd;

        if (!server)
                set_up();
        fd = dial();
        settle();
        for (size_t at = 0; at < size;) {
                const uint8_t *stop = memchr(data + at, 0xff, size - at);
                size_t n = stop ? (size_t) (stop - data) - at : size - at;

                if (!send_piece(fd, data + at, n, &answers))
                        break;
                at += n + 1;
        }
        (void) shutdown(fd, SHUT_WR);
        settle();
        read_answers(fd, &answers);
        check_answers(&answers);
        safe_close(fd);
        settle();
        http_loop_get_stats(http_server_get_loop(server), &stats);
        CHECK(stats.connections == 0 && stats.waiting == 0 && n_open == 0);
        return 0;
}

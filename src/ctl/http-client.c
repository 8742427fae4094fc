/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http-client.h"

#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd-util.h"
#include "parse-util.h"

#define CONNECT_USEC (5 * USEC_PER_SEC)
#define ANSWER_USEC  (30 * USEC_PER_SEC)
#define STALL_USEC   (30 * USEC_PER_SEC) /* while sending: the longest without a byte taken */
#define COPY_SIZE    (64UL * 1024)

static int fail(HttpClient *c, int error, const char *format, ...) _printf_(3, 4);
static int fail(HttpClient *c, int error, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void) vsnprintf(c->wrong, sizeof(c->wrong), format, ap);
        va_end(ap);
        return error;
}

void http_quote(StrBuf *b, const char *s)
{
        for (; *s; s++)
                if ((*s >= '0' && *s <= '9') || (*s >= 'a' && *s <= 'z') ||
                        (*s >= 'A' && *s <= 'Z') || strchr("-._~", *s))
                        strbuf_putc(b, *s);
                else
                        strbuf_printf(b, "%%%02X", (unsigned char) *s);
}

void http_client_done(HttpClient *c)
{
        c->host = mfree(c->host);
        c->port = mfree(c->port);
}

int http_client_set_url(HttpClient *c, const char *url)
{
        const char *at = url + 7, *end;
        bool bracket;
        size_t n;
        unsigned port;

        if (strncmp(url, "https://", 8) == 0)
                return fail(c, -EINVAL,
                        "%s: reevectl speaks no TLS; use an ssh tunnel "
                        "(ssh -L 8380:127.0.0.1:8380 HOST) and http://127.0.0.1:8380",
                        url);
        if (strncmp(url, "http://", 7) != 0)
                return fail(c, -EINVAL, "%s is not of the form http://HOST:PORT", url);
        bracket = *at == '[';
        at += bracket;
        n = strcspn(at, bracket ? "]" : ":/");
        end = at + n;
        if (bracket && *end == ']')
                end++;
        else if (bracket)
                n = 0;
        if (n == 0 || strcspn(at, " @?#\r\n") < n)
                return fail(c, -EINVAL, "%s is not of the form http://HOST:PORT", url);
        http_client_done(c);
        c->host = strndup(at, n);
        c->port = strndup(*end == ':' ? end + 1 : "80", *end == ':' ? strcspn(end + 1, "/") : 2);
        if (!c->host || !c->port)
                return -ENOMEM;
        end += *end == ':' ? strlen(c->port) + 1 : 0;
        if (parse_unsigned(c->port, 1, 65535, &port) < 0 || !(streq(end, "") || streq(end, "/")))
                return fail(c, -EINVAL, "%s is not of the form http://HOST:PORT", url);
        c->socket_path = NULL;
        return 0;
}

/* Waits for events until the deadline of CLOCK_MONOTONIC. Returns them, or -ETIMEDOUT. */
static int wait_for(int fd, short events, usec_t until_usec)
{
        for (;;) {
                struct pollfd p = { .fd = fd, .events = events };
                usec_t now = now_usec(CLOCK_MONOTONIC);
                usec_t left = until_usec > now ? until_usec - now : 0;
                int r;

                r = poll(&p, 1, (int) ((left + USEC_PER_MSEC - 1) / USEC_PER_MSEC));
                if (r > 0)
                        return p.revents;
                if (r < 0 && errno != EINTR)
                        return -errno;
                if (r == 0 && left == 0)
                        return -ETIMEDOUT;
        }
}

static int connect_to(int fd, const struct sockaddr *address, socklen_t size, usec_t until_usec)
{
        int error = 0, r;
        socklen_t n = sizeof(error);

        if (connect(fd, address, size) >= 0)
                return 0;
        if (errno == EAGAIN) /* a unix socket whose queue is full does not become writable */
                return -EAGAIN;
        if (errno != EINPROGRESS && errno != EINTR)
                return -errno;
        r = wait_for(fd, POLLOUT, until_usec);
        if (r < 0)
                return r;
        if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &n) < 0)
                return -errno;
        return -error;
}

static int connect_unix(const HttpClient *c, usec_t until_usec, int *ret_fd)
{
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        _cleanup_(closep) int fd = -EBADF;
        int r;

        if (strlen(c->socket_path) >= sizeof(address.sun_path))
                return -ENAMETOOLONG;
        memcpy(address.sun_path, c->socket_path, strlen(c->socket_path) + 1);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (fd < 0)
                return -errno;
        while ((r = connect_to(fd, (struct sockaddr *) &address, sizeof(address), until_usec)) ==
                -EAGAIN) {
                if (now_usec(CLOCK_MONOTONIC) >= until_usec)
                        return -ETIMEDOUT;
                (void) usleep(20000);
        }
        if (r >= 0)
                *ret_fd = TAKE_FD(fd);
        return r;
}

static int connect_tcp(HttpClient *c, usec_t until_usec, int *ret_fd)
{
        const struct addrinfo hints = { .ai_socktype = SOCK_STREAM };
        struct addrinfo *all = NULL;
        int r = getaddrinfo(c->host, c->port, &hints, &all);

        if (r != 0)
                return fail(c, -EHOSTUNREACH, "cannot find host %s: %s", c->host, gai_strerror(r));
        r = -ECONNREFUSED;
        for (struct addrinfo *a = all; a; a = a->ai_next) {
                _cleanup_(closep) int fd = socket(
                        a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, a->ai_protocol);

                r = fd < 0 ? -errno : connect_to(fd, a->ai_addr, a->ai_addrlen, until_usec);
                if (r >= 0) {
                        *ret_fd = TAKE_FD(fd);
                        break;
                }
        }
        freeaddrinfo(all);
        return r;
}

static int open_connection(HttpClient *c, int *ret_fd)
{
        usec_t until =
                now_usec(CLOCK_MONOTONIC) + (c->connect_usec ? c->connect_usec : CONNECT_USEC);
        int r;

        if (c->socket_path)
                r = connect_unix(c, until, ret_fd);
        else
                r = connect_tcp(c, until, ret_fd);
        if (r < 0 && r != -EHOSTUNREACH)
                return c->socket_path
                        ? fail(c, r, "cannot connect to %s: %s", c->socket_path, strerror(-r))
                        : fail(c, r, "cannot connect to %s port %s: %s", c->host, c->port,
                                  strerror(-r));
        if (r < 0 && !c->wrong[0])
                return fail(c, r, "cannot reach %s: %s", c->host, strerror(-r));
        return r;
}

/* Returns 0, 1 (the server has something to say before it has taken all) or -errno. */
static int send_data(int fd, const char *data, size_t n)
{
        while (n > 0) {
                ssize_t sent = send(fd, data, n, MSG_NOSIGNAL | MSG_DONTWAIT);
                int r;

                if (sent > 0) {
                        data += sent;
                        n -= (size_t) sent;
                        continue;
                }
                if (errno == EPIPE || errno == ECONNRESET)
                        return 1; /* an answer may have come before */
                if (errno != EAGAIN && errno != EINTR)
                        return -errno;
                r = wait_for(fd, POLLOUT | POLLIN, now_usec(CLOCK_MONOTONIC) + STALL_USEC);
                if (r < 0)
                        return r;
                if (!(r & POLLOUT))
                        return 1;
        }
        return 0;
}

static int send_file(int fd, const HttpPart *part)
{
        char buf[COPY_SIZE];
        uint64_t at = 0;

        while (at < part->size) {
                size_t want =
                        part->size - at < sizeof(buf) ? (size_t) (part->size - at) : sizeof(buf);
                ssize_t n = pread(part->fd, buf, want, (off_t) at);
                int r;

                if (n < 0 && errno == EINTR)
                        continue;
                if (n <= 0)
                        return -EIO;
                r = send_data(fd, buf, (size_t) n);
                if (r != 0)
                        return r;
                at += (uint64_t) n;
        }
        return 0;
}

static int write_head(const HttpClient *c, const HttpAsk *ask, StrBuf *b)
{
        bool brackets = !c->socket_path && strchr(c->host, ':');
        uint64_t size = 0;

        strbuf_printf(b, "%s %s HTTP/1.1\r\nHost: ", ask->method, ask->target);
        if (c->socket_path)
                strbuf_puts(b, "localhost");
        else
                strbuf_printf(b, brackets ? "[%s]:%s" : "%s:%s", c->host, c->port);
        strbuf_puts(b,
                "\r\nUser-Agent: reevectl/" REEVE_VERSION
                "\r\nAccept: application/json, application/problem+json");
        strbuf_printf(b, "%s\r\nConnection: close\r\n", ask->sink ? ", text/event-stream" : "");
        if (ask->last_event_id)
                strbuf_printf(b, "Last-Event-ID: %s\r\n", ask->last_event_id);
        if (c->key)
                strbuf_printf(b, "Authorization: Bearer %s\r\n", c->key);
        if (ask->idempotency_key)
                strbuf_printf(b, "Idempotency-Key: %s\r\n", ask->idempotency_key);
        for (unsigned i = 0; i < ask->n_parts; i++)
                size += ask->parts[i].size;
        if (ask->content_type)
                strbuf_printf(b, "Content-Type: %s\r\n", ask->content_type);
        if (ask->n_parts > 0 || !streq(ask->method, "GET"))
                strbuf_printf(b, "Content-Length: %llu\r\n", (unsigned long long) size);
        strbuf_puts(b, "\r\n");
        return strbuf_error(b);
}

static int send_request(HttpClient *c, const HttpAsk *ask, int fd)
{
        _cleanup_(strbuf_done) StrBuf head = {};
        int r = write_head(c, ask, &head);

        if (r >= 0)
                r = send_data(fd, strbuf_str(&head), head.len);
        for (unsigned i = 0; i < ask->n_parts && r == 0; i++)
                r = ask->parts[i].data ? send_data(fd, ask->parts[i].data, ask->parts[i].size)
                                       : send_file(fd, ask->parts + i);
        if (r == -EIO)
                return fail(c, r, "a file became shorter while it was sent");
        if (r == -ETIMEDOUT)
                return fail(c, r, "the service took no data for 30 s");
        return r < 0 ? fail(c, r, "sending failed: %s", strerror(-r)) : 0;
}

static int read_reply(HttpClient *c, int fd, usec_t usec, HttpReply *reply)
{
        usec_t until = now_usec(CLOCK_MONOTONIC) + usec;
        char buf[COPY_SIZE], span[TIMESPAN_MAX];
        int r;

        for (;;) {
                ssize_t n;

                r = wait_for(fd, POLLIN, until);
                if (r == -ETIMEDOUT)
                        return fail(c, r, "no answer within %s", format_timespan(span, usec));
                if (r < 0)
                        return fail(c, r, "waiting failed: %s", strerror(-r));
                n = recv(fd, buf, sizeof(buf), MSG_DONTWAIT);
                if (n < 0 && (errno == EAGAIN || errno == EINTR))
                        continue;
                if (n <= 0)
                        return fail(c, -ECONNRESET,
                                "the connection was closed before the answer was whole");
                r = http_reply_feed(reply, buf, (size_t) n);
                if (r == -EBADMSG || r == -EFBIG)
                        return fail(c, r, "the answer is not acceptable HTTP: %s", reply->wrong);
                if (r != 0)
                        return r < 0 ? fail(c, r, "%s", strerror(-r)) : 0;
                if (reply->sink)
                        until = now_usec(CLOCK_MONOTONIC) + usec;
        }
}

int http_client_ask(HttpClient *c, const HttpAsk *ask, HttpReply *reply)
{
        _cleanup_(closep) int fd = -EBADF;
        int r;

        c->wrong[0] = '\0';
        reply->sink = ask->sink;
        reply->sink_userdata = ask->sink_userdata;
        r = open_connection(c, &fd);
        if (r >= 0)
                r = send_request(c, ask, fd);
        return r < 0 ? r : read_reply(c, fd, ask->usec ? ask->usec : ANSWER_USEC, reply);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* http-load SOCKET|PORT CONNECTIONS SECONDS PATH BODY: one POST after the other on each of so many
 * connections that stay. Prints the answers a second and how long one took. For tools/bench: it
 * takes so little of the CPU that what it measures is the server. */
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "fd-util.h"
#include "macros.h"
#include "parse-util.h"
#include "strbuf.h"
#include "time-util.h"

#define CONNECTIONS_MAX 1024U
#define ANSWER_MAX      (64UL * 1024)
#define SAMPLES_MAX     (1UL << 22)

typedef struct Connection {
        int fd;
        usec_t sent_usec;
        char answer[ANSWER_MAX];
        size_t size;
} Connection;

typedef struct Load {
        int epoll;
        StrBuf request;
        Connection *connections;
        unsigned n_connections;
        usec_t *samples;
        size_t n_samples;
        unsigned n_refused; /* answers other than 2xx */
        char refusal[256]; /* the first one */
} Load;

static int open_connection(const char *where)
{
        union {
                struct sockaddr sa;
                struct sockaddr_un un;
                struct sockaddr_in in;
        } address = { 0 };
        _cleanup_(closep) int fd = -EBADF;
        unsigned port = 0;
        int one = 1;
        bool local = where[0] == '/';

        if (local) {
                if (strlen(where) >= sizeof(address.un.sun_path))
                        return -ENAMETOOLONG;
                address.un.sun_family = AF_UNIX;
                memcpy(address.un.sun_path, where, strlen(where) + 1);
        } else {
                if (parse_unsigned(where, 1, UINT16_MAX, &port) < 0)
                        return -EINVAL;
                address.in.sin_family = AF_INET;
                address.in.sin_port = htons((uint16_t) port);
                address.in.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        }
        fd = socket(address.sa.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (fd < 0 || connect(fd, &address.sa, local ? sizeof(address.un) : sizeof(address.in)) < 0)
                return -errno;
        if (!local)
                (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));
        return TAKE_FD(fd);
}

static int ask(Load *l, Connection *c)
{
        c->size = 0;
        c->sent_usec = now_usec(CLOCK_MONOTONIC);
        return write_all(c->fd, strbuf_str(&l->request), l->request.len);
}

/* Whether the answer is complete. Every answer of the API has a length. */
static bool is_complete(const Connection *c)
{
        const char *end = memmem(c->answer, c->size, "\r\n\r\n", 4);
        const char *length = end ? strcasestr(c->answer, "\r\nContent-Length:") : NULL;

        if (!length || length > end)
                return false;
        return c->size >= (size_t) (end + 4 - c->answer) + strtoul(length + 17, NULL, 10);
}

static int take(Load *l, Connection *c)
{
        ssize_t n = read(c->fd, c->answer + c->size, sizeof(c->answer) - 1 - c->size);

        if (n <= 0)
                return n < 0 ? -errno : -ECONNRESET;
        c->size += (size_t) n;
        c->answer[c->size] = '\0';
        if (!is_complete(c))
                return 0;
        if (c->answer[9] != '2' && l->n_refused++ == 0)
                (void) snprintf(l->refusal, sizeof(l->refusal), "%.250s", c->answer);
        if (l->n_samples < SAMPLES_MAX)
                l->samples[l->n_samples++] = now_usec(CLOCK_MONOTONIC) - c->sent_usec;
        return ask(l, c);
}

static int run(Load *l, usec_t until)
{
        struct epoll_event events[64];
        int r = 0;

        while (now_usec(CLOCK_MONOTONIC) < until) {
                int n = epoll_wait(l->epoll, events, ELEMENTSOF(events), 100);

                for (int i = 0; i < n && r >= 0; i++)
                        r = take(l, events[i].data.ptr);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int start(Load *l, const char *where, unsigned n)
{
        for (; l->n_connections < n; l->n_connections++) {
                Connection *c = l->connections + l->n_connections;
                struct epoll_event e = { .events = EPOLLIN, .data.ptr = c };
                int r;

                c->fd = open_connection(where);
                if (c->fd < 0)
                        return c->fd;
                if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &e) < 0)
                        return -errno;
                r = ask(l, c);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int compare(const void *a, const void *b)
{
        usec_t x = *(const usec_t *) a, y = *(const usec_t *) b;

        return (x > y) - (x < y);
}

static double msec_at(const Load *l, unsigned percent)
{
        size_t at = (l->n_samples - 1) * percent / 100;

        return (double) l->samples[at] / 1000;
}

static void report(Load *l, unsigned seconds)
{
        qsort(l->samples, l->n_samples, sizeof(usec_t), compare);
        printf("%.0f/s, p50 %.1f ms, p95 %.1f ms, p99 %.1f ms\n", (double) l->n_samples / seconds,
                msec_at(l, 50), msec_at(l, 95), msec_at(l, 99));
}

int main(int argc, char **argv)
{
        Load l = { .epoll = epoll_create1(EPOLL_CLOEXEC) };
        unsigned n, seconds;
        int r;

        if (argc != 6 || parse_unsigned(argv[2], 1, CONNECTIONS_MAX, &n) < 0 ||
                parse_unsigned(argv[3], 1, 3600, &seconds) < 0) {
                fprintf(stderr, "http-load SOCKET|PORT CONNECTIONS SECONDS PATH BODY\n");
                return 2;
        }
        strbuf_printf(&l.request,
                "POST %s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
                "Content-Length: %zu\r\n\r\n%s",
                argv[4], strlen(argv[5]), argv[5]);
        l.connections = new0(Connection, n);
        l.samples = calloc(SAMPLES_MAX, sizeof(usec_t));
        r = l.epoll < 0 || !l.connections || !l.samples ? -ENOMEM : start(&l, argv[1], n);
        if (r >= 0)
                r = run(&l, now_usec(CLOCK_MONOTONIC) + seconds * USEC_PER_SEC);
        if (r >= 0 && l.n_samples > 0 && l.n_refused == 0)
                report(&l, seconds);
        else
                fprintf(stderr, "http-load: %s, %u refused: %s\n", strerror(-r), l.n_refused,
                        l.refusal);
        r = r < 0 || l.n_samples == 0 || l.n_refused > 0 ? EXIT_FAILURE : EXIT_SUCCESS;
        for (unsigned i = 0; i < l.n_connections; i++)
                safe_close(l.connections[i].fd);
        safe_close(l.epoll);
        strbuf_done(&l.request);
        free(l.connections);
        free(l.samples);
        return r;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http-loop.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "fd-util.h"
#include "http-loop-internal.h"
#include "reeve-limits.h"

#define ACCEPT_BATCH   16
#define ACCEPT_PAUSE   (250 * USEC_PER_MSEC) /* when there is no room, or after EMFILE */
#define IDLE_STOP_USEC (200 * USEC_PER_MSEC) /* for a request that is on its way when we stop */
#define STOP_SEND_USEC (2 * USEC_PER_SEC) /* to send what was replied at the end of the grace */
#define IDLE_RUNS      4 /* of MHD without effect, before there are pauses */
#define IDLE_PAUSE     (2 * USEC_PER_MSEC)
#define TIMER_ACCURACY (50 * USEC_PER_MSEC)
#define POOL_MIN                                                                                   \
        (16UL * 1024) /* of a connection: a head, records of its fields, a reply's head            \
                       */

const HttpLimits http_limits_default = {
        .connections = REEVE_HTTP_CONNECTIONS_MAX,
        .head = REEVE_HTTP_HEAD_MAX,
        .head_usec = REEVE_HTTP_HEAD_USEC,
        .body_usec = REEVE_HTTP_BODY_USEC,
        .wait_usec = 120 * USEC_PER_SEC,
        .send_usec = REEVE_HTTP_SEND_USEC,
        .idle_usec = REEVE_HTTP_IDLE_USEC,
        .min_rate = REEVE_HTTP_RATE_MIN,
};

void http_loop_kick(HttpLoop *l)
{
        (void) sd_event_source_set_enabled(l->kick, SD_EVENT_ONESHOT);
}

static void listeners_enable(HttpLoop *l, bool on)
{
        for (unsigned i = 0; i < l->n_listeners; i++)
                (void) sd_event_source_set_enabled(
                        l->listeners[i]->source, on ? SD_EVENT_ON : SD_EVENT_OFF);
}

/* MHD sees nothing of a suspended connection, and of another one not always: a FIN that came with
 * the last bytes makes no edge of its own, and MHD reads no further after a short read. Whoever has
 * closed its side cannot complete a request, but may read a reply that is on its way. */
static bool can_be_cut(const HttpConn *c)
{
        int n_unread = 0;

        if (c->exchange && c->exchange->phase == PHASE_STREAM)
                return true; /* nobody reads the rest of something that does not end */
        if (c->exchange && c->exchange->phase >= PHASE_SEND)
                return false;
        return ioctl(c->fd, FIONREAD, &n_unread) >= 0 && n_unread == 0;
}

static void look_after_hangup(HttpConn *c)
{
        if (c->exchange && c->exchange->suspended)
                http_exchange_abandon(c->exchange);
        else if (!c->cut && can_be_cut(c))
                http_conn_cut(c);
}

/* MHD wants to run again at once: data was read from a socket and is not worked off, or a socket
 * takes more. But 0.9.75 also says so, for as long as the connection lives, if the line before a
 * chunk does not end within its memory; running it again and again would leave nothing for others,
 * accepting above all. What comes on any socket ends a pause. Without a body in chunks there is
 * none: a large reply may need many runs without a callback. */
static void run_again(HttpLoop *l, bool idle)
{
        l->n_idle_runs = idle && l->n_in_chunks > 0 ? l->n_idle_runs + 1 : 0;
        if (l->n_idle_runs <= IDLE_RUNS) {
                http_loop_kick(l);
                return;
        }
        (void) sd_event_source_set_time_relative(l->timer, IDLE_PAUSE);
        (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

/* The only caller of MHD_run(): from event sources, never from a callback of MHD's. */
static void run(HttpLoop *l)
{
        const uint64_t n_before = l->n_callbacks;
        MHD_UNSIGNED_LONG_LONG ms;

        assert(!l->running);
        l->running = true;
        (void) MHD_run(l->daemon);
        l->running = false;
        for (HttpConn *c = l->hung_up; c; c = c->next_hung_up)
                look_after_hangup(c);
        if (MHD_get_timeout(l->daemon, &ms) == MHD_NO)
                (void) sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
        else if (ms == 0)
                run_again(l, l->n_callbacks == n_before);
        else {
                (void) sd_event_source_set_time_relative(l->timer, ms * USEC_PER_MSEC);
                (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
        }
        if (l->stopping && l->stats.connections == 0 && l->on_stopped) {
                void (*on_stopped)(void *) = STEAL(l->on_stopped);

                on_stopped(l->stopped_userdata); /* may free l */
        }
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        run(userdata);
        return 0;
}

static int on_time(sd_event_source *s, uint64_t usec, void *userdata)
{
        run(userdata);
        return 0;
}

static int on_kick(sd_event_source *s, void *userdata)
{
        run(userdata);
        return 0;
}

void http_conn_set_deadline(HttpConn *c, usec_t usec_from_now)
{
        uint64_t armed = 0;

        c->deadline = usec_from_now == USEC_INFINITY ? USEC_INFINITY
                                                     : now_usec(CLOCK_MONOTONIC) + usec_from_now;
        /* Later than armed: left alone, on_timer() looks at the deadline again. */
        if (!c->timer || (sd_event_source_get_time(c->timer, &armed) >= 0 && armed <= c->deadline))
                return;
        (void) sd_event_source_set_time(c->timer, c->deadline);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        HttpConn *c = userdata;

        if (c->deadline <= now_usec(CLOCK_MONOTONIC)) {
                /* Once more in a second, should that not have ended it. */
                c->deadline = now_usec(CLOCK_MONOTONIC) + USEC_PER_SEC;
                if (c->exchange)
                        http_exchange_on_deadline(c->exchange);
                else {
                        c->loop->stats.expired++;
                        http_conn_cut(c);
                }
        }
        (void) sd_event_source_set_time(s, c->deadline);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        return 0;
}

void http_conn_cut(HttpConn *c)
{
        c->cut = true;
        (void) shutdown(c->fd, SHUT_RDWR);
}

static int on_hangup(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        HttpConn *c = userdata;

        if (!c->hung_up) {
                c->hung_up = true;
                c->next_hung_up = c->loop->hung_up;
                c->loop->hung_up = c;
        }
        look_after_hangup(c);
        return 0;
}

static HttpConn *conn_free(HttpConn *c)
{
        if (!c)
                return NULL;
        sd_event_source_disable_unref(c->timer);
        sd_event_source_disable_unref(c->hangup);
        free(c);
        return NULL;
}

static void conn_opened(HttpLoop *l, struct MHD_Connection *mhd, void **context)
{
        const union MHD_ConnectionInfo *info;
        HttpConn *c = new0(HttpConn, 1);
        int r;

        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_CONNECTION_FD);
        if (!c || !info) {
                free(c);
                return; /* http_exchange_begin() refuses without a context */
        }
        c->loop = l;
        c->mhd = mhd;
        c->fd = info->connect_fd;
        c->listener = l->accepting;
        c->idle_since = now_usec(CLOCK_MONOTONIC);
        c->deadline = c->idle_since + l->limits.head_usec;
        r = sd_event_add_time(
                l->event, &c->timer, CLOCK_MONOTONIC, c->deadline, TIMER_ACCURACY, on_timer, c);
        if (r >= 0)
                r = sd_event_source_set_priority(c->timer, l->priority);
        if (r >= 0)
                r = sd_event_add_io(
                        l->event, &c->hangup, c->fd, EPOLLRDHUP | EPOLLET, on_hangup, c);
        if (r >= 0)
                r = sd_event_source_set_priority(c->hangup, l->priority);
        if (r < 0) {
                conn_free(c);
                (void) shutdown(info->connect_fd, SHUT_RDWR);
                return;
        }
        c->next = l->conns;
        if (c->next)
                c->next->previous = c;
        l->conns = c;
        c->client = TAKE_PTR(l->accepting_client);
        *context = c;
}

static void conn_closed(HttpLoop *l, HttpConn *c)
{
        for (HttpConn **at = &l->hung_up; c->hung_up && *at; at = &(*at)->next_hung_up)
                if (*at == c) {
                        *at = c->next_hung_up;
                        break;
                }
        if (c->previous)
                c->previous->next = c->next;
        else
                l->conns = c->next;
        if (c->next)
                c->next->previous = c->previous;
        http_client_put(l, c->client);
        conn_free(c);
}

static void on_connection(void *cls, struct MHD_Connection *mhd, void **context,
        enum MHD_ConnectionNotificationCode code)
{
        HttpLoop *l = cls;

        if (code == MHD_CONNECTION_NOTIFY_STARTED) {
                l->stats.connections++;
                conn_opened(l, mhd, context);
                return;
        }
        if (*context)
                conn_closed(l, *context);
        *context = NULL;
        if (l->stats.connections-- == l->limits.connections && !l->stopping)
                listeners_enable(l, true);
}

static int on_pause_over(sd_event_source *s, uint64_t usec, void *userdata)
{
        HttpLoop *l = userdata;

        if (!l->stopping)
                listeners_enable(l, true);
        return 0;
}

static void listeners_pause(HttpLoop *l)
{
        listeners_enable(l, false);
        (void) sd_event_source_set_time_relative(l->pause, ACCEPT_PAUSE);
        (void) sd_event_source_set_enabled(l->pause, SD_EVENT_ONESHOT);
}

static void take_connection(
        HttpListener *listener, int fd, const struct sockaddr *address, socklen_t size)
{
        HttpLoop *l = listener->loop;

        l->stats.accepted++;
        l->accepting = listener->number;
        l->accepting_client = http_client_get(l, fd, address, size);
        if (!l->accepting_client || !http_room_admit(l, l->accepting_client, fd))
                safe_close(fd);
        else /* closes it if it fails */
                (void) MHD_add_connection(l->daemon, fd, address, size);
        http_client_put(l, STEAL(l->accepting_client));
}

/* We accept, not MHD: at EMFILE with no connection of its own MHD would spin. */
static int on_accept(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        HttpListener *listener = userdata;
        HttpLoop *l = listener->loop;

        for (unsigned i = 0; i < ACCEPT_BATCH; i++) {
                struct sockaddr_storage address;
                socklen_t size = sizeof(address);
                int conn;

                if (l->stats.connections >= l->limits.connections) {
                        (void) http_room_displace(l, NULL);
                        listeners_pause(l); /* or until one closes */
                        break;
                }
                conn = accept4(
                        fd, (struct sockaddr *) &address, &size, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (conn < 0 && (errno == EINTR || errno == ECONNABORTED))
                        continue;
                if (conn < 0 && errno == EAGAIN)
                        break;
                if (conn < 0) {
                        l->stats.accept_errors++;
                        (void) http_room_displace(l, NULL);
                        listeners_pause(l);
                        break;
                }
                take_connection(listener, conn, (struct sockaddr *) &address, size);
        }
        return 0;
}

/* What is accepted inherits it. A unix socket has no such thing. */
static int set_nodelay(int fd)
{
        int domain, yes = 1;
        socklen_t size = sizeof(domain);

        if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) < 0)
                return -errno;
        if (domain != AF_UNIX && setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof(yes)) < 0)
                return -errno;
        return 0;
}

int http_loop_listen(HttpLoop *l, int fd)
{
        HttpListener **grown;
        HttpListener *n;
        int r;

        r = fd_nonblock(fd, true);
        if (r >= 0)
                r = set_nodelay(fd);
        if (r < 0)
                return r;
        grown = reallocarray(l->listeners, l->n_listeners + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        l->listeners = grown;
        n = new0(HttpListener, 1);
        if (!n)
                return -ENOMEM;
        n->loop = l;
        n->fd = fd;
        n->number = l->n_listeners;
        r = sd_event_add_io(l->event, &n->source, fd, EPOLLIN, on_accept, n);
        if (r >= 0) /* what has begun is ended before something new is begun */
                r = sd_event_source_set_priority(n->source, l->priority + 1);
        if (r < 0) {
                sd_event_source_disable_unref(n->source);
                free(n);
                return r;
        }
        l->listeners[l->n_listeners++] = n;
        return 0;
}

/* Paths are decoded by the router, once, where an error can be seen. */
static size_t keep_escapes(void *cls, struct MHD_Connection *mhd, char *s)
{
        return strlen(s);
}

static int start_daemon(HttpLoop *l)
{
        const union MHD_DaemonInfo *info;
        int r;

        l->daemon = MHD_start_daemon(
                MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME | MHD_USE_NO_LISTEN_SOCKET, 0, NULL, NULL,
                http_exchange_access, l, MHD_OPTION_NOTIFY_COMPLETED, http_exchange_completed, l,
                MHD_OPTION_NOTIFY_CONNECTION, on_connection, l, MHD_OPTION_URI_LOG_CALLBACK,
                http_exchange_begin, l, MHD_OPTION_UNESCAPE_CALLBACK, keep_escapes, NULL,
                MHD_OPTION_CONNECTION_LIMIT, l->limits.connections + 1U,
                MHD_OPTION_CONNECTION_MEMORY_LIMIT,
                l->limits.head * 2 > POOL_MIN ? l->limits.head * 2 : POOL_MIN,
                MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, MHD_OPTION_END);
        if (!l->daemon)
                return -ENOMEM;
        info = MHD_get_daemon_info(l->daemon, MHD_DAEMON_INFO_EPOLL_FD);
        if (!info)
                return -EIO;
        r = sd_event_add_io(l->event, &l->io, info->epoll_fd, EPOLLIN, on_io, l);
        if (r < 0)
                return r;
        return sd_event_source_set_priority(l->io, l->priority);
}

int http_loop_new(sd_event *event, int64_t priority, const HttpLimits *limits,
        const HttpLoopOps *ops, void *userdata, HttpLoop **ret)
{
        _cleanup_(http_loop_freep) HttpLoop *l = new0(HttpLoop, 1);
        struct sigaction old;
        int r;

        if (!l)
                return -ENOMEM;
        l->event = sd_event_ref(event);
        l->priority = priority;
        l->limits = *limits;
        l->ops = ops;
        l->userdata = userdata;
        if (sigaction(SIGPIPE, NULL, &old) == 0 && old.sa_handler == SIG_DFL)
                (void) signal(SIGPIPE, SIG_IGN);
        r = sd_event_add_defer(event, &l->kick, on_kick, l);
        if (r >= 0)
                r = sd_event_source_set_priority(l->kick, priority);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->kick, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(
                        event, &l->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_time, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
        if (r >= 0)
                r = sd_event_add_time_relative(
                        event, &l->pause, CLOCK_MONOTONIC, ACCEPT_PAUSE, 0, on_pause_over, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->pause, SD_EVENT_OFF);
        if (r >= 0)
                r = start_daemon(l);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(l);
        return 0;
}

HttpLoop *http_loop_free(HttpLoop *l)
{
        if (!l)
                return NULL;
        assert(!l->running);
        for (unsigned i = 0; i < l->n_listeners; i++) {
                sd_event_source_disable_unref(l->listeners[i]->source);
                free(l->listeners[i]);
        }
        free(l->listeners);
        if (l->daemon) {
                l->stopping = true;
                /* MHD aborts the process if it is stopped with a suspended connection. */
                for (HttpConn *c = l->conns; c; c = c->next)
                        if (c->exchange)
                                http_exchange_abandon(c->exchange);
                (void) MHD_run(l->daemon);
                MHD_stop_daemon(l->daemon);
        }
        sd_event_source_disable_unref(l->io);
        sd_event_source_disable_unref(l->kick);
        sd_event_source_disable_unref(l->timer);
        sd_event_source_disable_unref(l->pause);
        sd_event_source_disable_unref(l->stop);
        sd_event_unref(l->event);
        free(l);
        return NULL;
}

static int on_grace_over(sd_event_source *s, uint64_t usec, void *userdata)
{
        HttpLoop *l = userdata;

        for (HttpConn *c = l->conns; c; c = c->next) {
                if (l->expired || !c->exchange || c->exchange->phase < PHASE_DECIDE)
                        http_conn_set_deadline(c, 0);
                else if (c->exchange->phase <= PHASE_WAIT)
                        http_exchange_expire(c->exchange, HTTP_EXPIRE_STOP);
        }
        if (l->expired)
                return 0;
        l->expired = true;
        (void) sd_event_source_set_time_relative(s, STOP_SEND_USEC);
        (void) sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        return 0;
}

int http_loop_stop(
        HttpLoop *l, usec_t grace_usec, void (*on_stopped)(void *userdata), void *userdata)
{
        int r;

        assert(!l->stopping);
        r = sd_event_add_time_relative(
                l->event, &l->stop, CLOCK_MONOTONIC, grace_usec, 0, on_grace_over, l);
        if (r < 0)
                return r;
        (void) sd_event_source_set_priority(l->stop, l->priority);
        listeners_enable(l, false);
        (void) sd_event_source_set_enabled(l->pause, SD_EVENT_OFF);
        l->stopping = true;
        l->on_stopped = on_stopped;
        l->stopped_userdata = userdata;
        for (HttpConn *c = l->conns; c; c = c->next)
                if (!c->exchange)
                        http_conn_set_deadline(c, IDLE_STOP_USEC);
        http_loop_kick(l);
        return 0;
}

void http_loop_get_stats(const HttpLoop *l, HttpLoopStats *ret)
{
        *ret = l->stats;
}

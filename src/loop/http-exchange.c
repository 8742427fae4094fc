/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <strings.h>

#include "fd-util.h"
#include "http-loop-internal.h"
#include "strbuf.h"

#define LINGER_USEC (2 * USEC_PER_SEC)
#define STREAM_BLOCK                                                                               \
        1024UL /* MHD makes it for nothing: chunks are read into the connection's pool */
#define STALL_SIZE (64UL * 1024) /* replies above this do not fit in any socket buffer */

/* MHD's own timeout is one of inactivity: right for a client that reads nothing of a large reply,
 * whose deadline by size is far away; wrong for everything else. 0: none. */
static void set_stall_timeout(HttpConn *c, usec_t usec)
{
        unsigned seconds = (unsigned) ((usec + USEC_PER_SEC - 1) / USEC_PER_SEC);

        c->stall_timeout = seconds > 0;
        (void) MHD_set_connection_option(c->mhd, MHD_CONNECTION_OPTION_TIMEOUT, seconds);
}

static HttpExchange *exchange_free(HttpExchange *x)
{
        if (!x)
                return NULL;
        if (x->in_chunks)
                x->loop->n_in_chunks--;
        free(x->target);
        free(x->fields);
        free(x);
        return NULL;
}

/* The request line was read. NULL (no memory) makes http_exchange_access() close the connection. */
void *http_exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd)
{
        HttpLoop *l = cls;
        const union MHD_ConnectionInfo *info;
        HttpExchange *x;
        char *query;

        l->n_callbacks++;
        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_SOCKET_CONTEXT);
        if (!info || !info->socket_context || !uri)
                return NULL;
        x = new0(HttpExchange, 1);
        if (!x)
                return NULL;
        x->loop = l;
        x->conn = info->socket_context;
        x->target_at = uri;
        x->target = strdup(uri);
        if (!x->target)
                return exchange_free(x);
        /* MHD would now make a record of each parameter, and with very many of them (no memory in
         * the connection's pool) hang. The buffer is its own and about to be cut up by it. */
        query = strchr(uri, '?');
        if (query && query[1] != '\0')
                query[1] = '\0';
        x->conn->exchange = x;
        x->conn->idle_since = now_usec(CLOCK_MONOTONIC);
        http_conn_set_deadline(x->conn, l->limits.head_usec);
        return x;
}

typedef struct FieldList {
        HttpField *items;
        unsigned n;
} FieldList;

static enum MHD_Result on_field(void *cls, enum MHD_ValueKind kind, const char *key,
        size_t key_size, const char *value, size_t value_size)
{
        FieldList *list = cls;

        list->items[list->n++] = (HttpField){ .name = key,
                .name_size = key_size,
                .value = value ? value : "",
                .value_size = value ? value_size : 0 };
        return MHD_YES;
}

static bool only_space(const char *from, const char *to)
{
        for (; from < to; from++)
                if (*from != ' ' && *from != '\t')
                        return false;
        return from == to;
}

/* MHD 0.9.75 takes a bare LF as the end of a line, joins folded lines and cuts at NUL, and tells
 * nobody. But it reads in place, putting NULs where lines and names end: if each thing stands
 * exactly where it must stand behind the one before, with CR LF between lines, none of that has
 * happened. Its later versions are strict themselves. */
static bool head_is_exact(const HttpExchange *x, const HttpHead *h)
{
        const char *at = h->method + strlen(h->method) + 1;

        if (strncmp(MHD_get_version(), "0.9.75", strlen("0.9.75")) != 0)
                return true;
        if (at != x->target_at)
                return false;
        at += strlen(h->target) + 1;
        if (at != h->version)
                return false;
        at += strlen(h->version) + 2;
        for (unsigned i = 0; i < h->n_fields; i++) {
                const HttpField *f = &h->fields[i];

                if (f->name != at || !only_space(f->name + f->name_size + 1, f->value))
                        return false;
                at = f->value + f->value_size + 2;
        }
        return at + 2 == h->method + h->size;
}

static bool read_head(
        HttpExchange *x, struct MHD_Connection *mhd, const char *method, const char *version)
{
        const union MHD_ConnectionInfo *info;
        FieldList list = {};
        int n = MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, NULL, NULL);

        list.items = new0(HttpField, n > 0 ? (size_t) n : 1);
        info = MHD_get_connection_info(mhd, MHD_CONNECTION_INFO_REQUEST_HEADER_SIZE);
        if (!list.items || !info) {
                free(list.items);
                return false;
        }
        (void) MHD_get_connection_values_n(mhd, MHD_HEADER_KIND, on_field, &list);
        x->fields = list.items;
        x->head = (HttpHead){ .method = method,
                .target = x->target,
                .version = version,
                .fields = list.items,
                .n_fields = list.n,
                .size = info->header_size };
        x->head.exact = head_is_exact(x, &x->head);
        for (unsigned i = 0; i < list.n; i++) {
                x->expects |= strcasecmp(list.items[i].name, "Expect") == 0;
                x->in_chunks |= strcasecmp(list.items[i].name, "Transfer-Encoding") == 0;
        }
        x->loop->n_in_chunks += x->in_chunks;
        return true;
}

/* Whether MHD may wait for a body, or send "100 Continue". Then on_head must be called at once;
 * else it is called when MHD has the whole request, since a reply before that closes the
 * connection. */
static bool may_have_body(const HttpHead *h)
{
        for (unsigned i = 0; i < h->n_fields; i++) {
                const HttpField *f = &h->fields[i];

                if (strcasecmp(f->name, "Transfer-Encoding") == 0 ||
                        strcasecmp(f->name, "Expect") == 0 ||
                        (strcasecmp(f->name, "Content-Length") == 0 && !streq(f->value, "0")))
                        return true;
        }
        return false;
}

static void suspend(HttpExchange *x)
{
        x->suspended = true;
        x->loop->stats.waiting++;
        MHD_suspend_connection(x->conn->mhd);
}

/* To MHD after a callback: go on, wait for the program, or give up. */
static enum MHD_Result settle(HttpExchange *x)
{
        if (x->phase == PHASE_GONE)
                return MHD_NO;
        if (x->phase == PHASE_DECIDE || x->phase == PHASE_WAIT) {
                suspend(x);
                http_conn_set_deadline(x->conn, x->loop->limits.wait_usec);
        }
        return MHD_YES;
}

static void resume(HttpExchange *x)
{
        if (!x->suspended)
                return;
        x->suspended = false;
        x->loop->stats.waiting--;
        MHD_resume_connection(x->conn->mhd);
        http_loop_kick(x->loop);
}

static enum MHD_Result complete(HttpExchange *x)
{
        x->phase = PHASE_WAIT;
        x->loop->ops->on_complete(x, x->loop->userdata);
        return settle(x);
}

static enum MHD_Result announce(HttpExchange *x, HttpPhase phase)
{
        x->phase = phase;
        x->announced = true;
        x->loop->stats.requests++;
        x->loop->ops->on_head(x, &x->head, x->loop->userdata);
        if (phase == PHASE_WAIT && x->phase == PHASE_BODY)
                return complete(x); /* it wants a body that is not there */
        return settle(x);
}

/* The library's signature. NOLINTNEXTLINE(readability-function-size) */
enum MHD_Result http_exchange_access(void *cls, struct MHD_Connection *mhd, const char *url,
        const char *method, const char *version, const char *data, size_t *size, void **con_cls)
{
        HttpExchange *x = *con_cls;
        size_t n = *size;

        *size = 0; /* everything is consumed: what is left would make MHD spin */
        if (!x)
                return MHD_NO;
        x->loop->n_callbacks++;
        switch (x->phase) {
        case PHASE_HEAD:
                if (!read_head(x, mhd, method, version))
                        return MHD_NO;
                if (may_have_body(&x->head))
                        return announce(x, PHASE_DECIDE);
                x->phase = PHASE_BARE;
                return MHD_YES;
        case PHASE_BARE:
                return announce(x, PHASE_WAIT);
        case PHASE_BODY:
                if (STEAL(x->repeat))
                        return MHD_YES;
                if (n == 0)
                        return complete(x);
                x->n_received += n;
                x->loop->ops->on_body(x, data, n, x->loop->userdata);
                return settle(x);
        case PHASE_LINGER:
                if (STEAL(x->repeat) || n > 0)
                        return MHD_YES;
                return MHD_NO;
        default:
                return MHD_NO;
        }
}

static void end(HttpExchange *x, bool sent)
{
        if (!x->announced)
                return;
        x->announced = false;
        x->loop->ops->on_end(x, sent, x->loop->userdata);
}

void http_exchange_completed(
        void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode why)
{
        HttpExchange *x = *con_cls;
        HttpLoop *l = cls;

        if (!x)
                return;
        *con_cls = NULL;
        x->conn->exchange = NULL;
        if (x->conn->stall_timeout)
                set_stall_timeout(x->conn, 0);
        end(x,
                x->phase == PHASE_LINGER ||
                        ((x->phase == PHASE_SEND || x->phase == PHASE_STREAM) &&
                                why == MHD_REQUEST_TERMINATED_COMPLETED_OK));
        x->conn->idle_since = now_usec(CLOCK_MONOTONIC);
        http_conn_set_deadline(x->conn, l->stopping ? 200 * USEC_PER_MSEC : l->limits.idle_usec);
        exchange_free(x);
}

void http_exchange_abandon(HttpExchange *x)
{
        x->phase = PHASE_GONE;
        end(x, false);
        resume(x);
}

void http_exchange_expire(HttpExchange *x, HttpExpire why)
{
        x->loop->ops->on_expire(x, why, x->loop->userdata);
        if (x->phase == PHASE_SEND || x->phase == PHASE_STREAM || x->phase == PHASE_LINGER ||
                x->phase == PHASE_GONE)
                return;
        if (x->suspended)
                http_exchange_abandon(x);
        else
                http_conn_cut(x->conn);
}

void http_exchange_on_deadline(HttpExchange *x)
{
        /* No head, so there is nobody above who could say it: PROBLEM_REQUEST_TIMEOUT. */
        static const char late[] =
                "HTTP/1.1 408 Request Timeout\r\nContent-Type: application/problem+json\r\n"
                "Content-Length: 154\r\nConnection: close\r\n\r\n"
                "{\"type\":\"urn:reeve:problem:request-timeout\","
                "\"title\":\"The request came too slowly\",\"status\":408,"
                "\"detail\":\"The head came more slowly than HeadSec= allows.\"}";
        const HttpLimits *limits = &x->loop->limits;
        usec_t allowed;
        usec_t used;

        switch (x->phase) {
        case PHASE_BODY:
                allowed = limits->body_usec + x->n_received * USEC_PER_SEC / limits->min_rate;
                used = now_usec(CLOCK_MONOTONIC) - x->body_since;
                if (used < allowed) {
                        http_conn_set_deadline(x->conn, allowed - used);
                        return;
                }
                http_exchange_expire(x, HTTP_EXPIRE_BODY);
                break;
        case PHASE_DECIDE:
        case PHASE_WAIT:
                http_exchange_expire(x, HTTP_EXPIRE_REPLY);
                break;
        case PHASE_STREAM:
                x->loop->ops->on_expire(x, HTTP_EXPIRE_STREAM, x->loop->userdata);
                http_conn_cut(x->conn);
                break;
        case PHASE_HEAD:
                (void) send(x->conn->fd, late, strlen(late), MSG_DONTWAIT | MSG_NOSIGNAL);
                http_conn_cut(x->conn);
                break;
        default:
                http_conn_cut(x->conn);
        }
        x->loop->stats.expired++;
}

void http_exchange_read(HttpExchange *x)
{
        assert(x->phase == PHASE_DECIDE || x->phase == PHASE_WAIT);
        x->repeat = x->suspended && x->phase == PHASE_DECIDE;
        x->phase = PHASE_BODY;
        x->body_since = now_usec(CLOCK_MONOTONIC);
        resume(x);
        http_conn_set_deadline(x->conn, x->loop->limits.body_usec);
}

/* Only here, and only for a moment, may a connection be suspended in the middle of a reply. */
static ssize_t on_read(void *cls, uint64_t position, char *data, size_t max)
{
        HttpExchange *x = cls;
        ssize_t n;

        x->loop->n_callbacks++;
        if (x->phase != PHASE_STREAM)
                return MHD_CONTENT_READER_END_WITH_ERROR;
        n = x->loop->ops->on_pull(x, data, max, x->loop->userdata);
        if (n < 0)
                return MHD_CONTENT_READER_END_OF_STREAM;
        http_conn_set_deadline(x->conn, n > 0 ? x->loop->limits.send_usec : USEC_INFINITY);
        if (n == 0)
                suspend(x);
        return n;
}

static struct MHD_Response *make_response(HttpExchange *x, const HttpReply *reply, bool is_stream)
{
        const HttpLoop *l = x->loop;
        struct MHD_Response *response;
        bool ok = true;

        if (is_stream) {
                response = MHD_create_response_from_callback(
                        MHD_SIZE_UNKNOWN, STREAM_BLOCK, on_read, x, NULL);
        } else if (reply->fd >= 0) {
                response = MHD_create_response_from_fd_at_offset64(
                        reply->length, reply->fd, reply->offset);
                if (!response)
                        safe_close(reply->fd);
        } else {
                response = MHD_create_response_from_buffer(
                        reply->size, reply->body, MHD_RESPMEM_MUST_FREE);
                if (!response)
                        free(reply->body);
        }
        if (!response)
                return NULL;
        for (unsigned i = 0; ok && i < reply->n_fields; i++)
                ok = MHD_add_response_header(
                             response, reply->fields[i].name, reply->fields[i].value) == MHD_YES;
        if (ok && (l->stopping || reply->close))
                ok = MHD_add_response_header(response, "Connection", "close") == MHD_YES;
        if (ok)
                return response;
        MHD_destroy_response(response);
        return NULL;
}

static void queue_reply(HttpExchange *x, const HttpReply *reply)
{
        struct MHD_Response *response = make_response(x, reply, false);
        uint64_t size = reply->fd >= 0 ? reply->length : reply->size;
        enum MHD_Result queued = MHD_NO;

        if (response) {
                queued = http_queue_response(x->conn->mhd, reply->status, response);
                MHD_destroy_response(response);
        }
        if (queued == MHD_NO) {
                x->phase = PHASE_GONE;
                resume(x);
                return;
        }
        x->phase = PHASE_SEND;
        if (size > STALL_SIZE)
                set_stall_timeout(x->conn, x->loop->limits.send_usec);
        http_conn_set_deadline(x->conn,
                x->loop->limits.send_usec + size / x->loop->limits.min_rate * USEC_PER_SEC);
        resume(x);
}

bool http_conn_write(HttpConn *c, const HttpReply *reply)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        time_t now = time(NULL);
        char date[32] = "";
        struct tm tm;

        if (gmtime_r(&now, &tm))
                (void) strftime(date, sizeof(date), "%a, %d %b %Y %H:%M:%S GMT", &tm);
        strbuf_printf(&b,
                "HTTP/1.1 %u %s\r\nDate: %s\r\nConnection: close\r\nContent-Length: %zu\r\n",
                reply->status, MHD_get_reason_phrase_for(reply->status), date, reply->size);
        for (unsigned i = 0; i < reply->n_fields; i++)
                strbuf_printf(&b, "%s: %s\r\n", reply->fields[i].name, reply->fields[i].value);
        strbuf_puts(&b, "\r\n");
        strbuf_append(&b, reply->body, reply->size);
        free(reply->body);
        return strbuf_error(&b) >= 0 &&
                send(c->fd, b.data, b.len, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t) b.len;
}

/* MHD can queue no reply while it reads a body. */
static void send_past(HttpExchange *x, const HttpReply *reply)
{
        bool sent = http_conn_write(x->conn, reply) && reply->fd < 0;

        safe_close(reply->fd);
        x->phase = PHASE_LINGER;
        x->repeat = x->suspended;
        resume(x);
        if (sent)
                (void) shutdown(x->conn->fd, SHUT_WR);
        else
                http_conn_cut(x->conn);
        http_conn_set_deadline(x->conn, LINGER_USEC);
}

void http_exchange_reply(HttpExchange *x, const HttpReply *reply)
{
        assert(x->phase == PHASE_DECIDE || x->phase == PHASE_WAIT || x->phase == PHASE_BODY);
        /* A client that expects "100 Continue" sends nothing yet: MHD does it right. */
        if (x->phase == PHASE_BODY || (x->phase == PHASE_DECIDE && !x->expects))
                send_past(x, reply);
        else
                queue_reply(x, reply);
}

void http_exchange_open(HttpExchange *x, const HttpReply *reply)
{
        struct MHD_Response *response;

        assert(x->phase == PHASE_DECIDE || x->phase == PHASE_WAIT);
        if (x->phase == PHASE_DECIDE && !x->expects) {
                /* A body was announced that nobody reads. MHD takes no reply now. */
                send_past(x, &(HttpReply){ .status = 400, .fd = -EBADF });
                return;
        }
        response = make_response(x, reply, true);
        x->phase = PHASE_GONE;
        if (response) {
                if (http_queue_response(x->conn->mhd, reply->status, response) == MHD_YES)
                        x->phase = PHASE_STREAM;
                MHD_destroy_response(response);
        }
        http_conn_set_deadline(x->conn, x->loop->limits.send_usec);
        resume(x);
}

void http_exchange_wake(HttpExchange *x)
{
        if (x->phase == PHASE_STREAM)
                resume(x);
}

void http_exchange_set_userdata(HttpExchange *x, void *userdata)
{
        x->userdata = userdata;
}

void *http_exchange_get_userdata(const HttpExchange *x)
{
        return x->userdata;
}

unsigned http_exchange_get_listener(const HttpExchange *x)
{
        return x->conn->listener;
}

int http_exchange_get_fd(const HttpExchange *x)
{
        return x->conn->fd;
}

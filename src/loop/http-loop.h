/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <systemd/sd-event.h>

#include "http-head.h"
#include "macros.h"
#include "time-util.h"

/* libmicrohttpd under sd-event: connections, requests and their deadlines, without judging what a
 * request says. The only place that knows the library.
 *
 * GLOSSARY
 * exchange  one request and its reply
 * expire    a deadline or the end of the program came before the reply: reply now
 * stream    a reply whose body comes piece by piece, whenever there is something to say
 * idle      a connection without a whole head: nobody's request is lost if it is closed
 * linger    the reply was given while the client still sends: what comes is thrown away for a
 * moment, so that closing does not destroy the reply on its way
 */

typedef struct HttpLoop HttpLoop;
typedef struct HttpExchange HttpExchange;

typedef enum HttpExpire {
        HTTP_EXPIRE_BODY, /* the client sent its body too slowly */
        HTTP_EXPIRE_REPLY, /* nobody replied within wait_usec */
        HTTP_EXPIRE_STOP, /* the loop is being stopped */
        HTTP_EXPIRE_STREAM, /* the client took nothing of its stream for send_usec: it will be cut
                             */
} HttpExpire;

typedef struct HttpReply {
        unsigned status;
        bool close; /* the connection afterwards */
        const HttpField *fields; /* not Content-Length, Connection, Date, Transfer-Encoding */
        unsigned n_fields;
        void *body; /* from malloc(); taken over in any case; may be NULL */
        size_t size;
        int fd; /* -EBADF, or a regular file to be sent instead; taken over in any case */
        uint64_t offset;
        uint64_t length;
} HttpReply;

/* What a request that MHD cannot read has come to. */
typedef enum HttpRefuse {
        HTTP_REFUSE_LINE, /* its first line */
        HTTP_REFUSE_HEAD, /* its fields */
        HTTP_REFUSE_BODY, /* its chunks; on_head was called, and on_end will be */
        _HTTP_REFUSE_MAX,
} HttpRefuse;

/* All from the event loop, and never in the middle of a call of this header's functions. */
typedef struct HttpLoopOps {
        /* A head is complete; head lives as long as the exchange. If there is a body, nothing of it
         * was read and no "100 Continue" sent: call http_exchange_read() or http_exchange_reply(),
         * here or later. A reply instead of reading closes the connection afterwards and must be
         * from memory. */
        void (*on_head)(HttpExchange *x, const HttpHead *head, void *userdata);
        /* Bytes of the body, after http_exchange_read(). */
        void (*on_body)(HttpExchange *x, const void *data, size_t size, void *userdata);
        /* The body is complete (also called for none, after http_exchange_read()): reply here or
         * later. */
        void (*on_complete)(HttpExchange *x, void *userdata);
        /* Gives the next bytes of a stream, at most max; returns how many, 0 if there are none now
         * (http_exchange_wake() says when there are), or a negative number at its end. Called when
         * the client can take more: what is given stands in no buffer but the connection's. */
        ssize_t (*on_pull)(HttpExchange *x, char *data, size_t max, void *userdata);
        /* Call http_exchange_reply() here; the connection is cut otherwise. */
        void (*on_expire)(HttpExchange *x, HttpExpire why, void *userdata);
        /* MHD answers a request that it cannot read, with this status, and closes the connection.
         * Fill in reply (from memory) and return true, or its own words are sent. target is NULL in
         * the first line. May be NULL. */
        bool (*on_refuse)(unsigned status, HttpRefuse where, const char *target, HttpReply *reply,
                void *userdata);
        /* The last word about an exchange that on_head had announced: forget it. sent: the reply
         * was handed to the kernel as a whole. */
        void (*on_end)(HttpExchange *x, bool sent, void *userdata);
} HttpLoopOps;

typedef struct HttpLimits {
        unsigned connections; /* more wait in the kernel's queue */
        unsigned per_client; /* of them, by one address (IPv6: /64) or local user; 0: any number */
        size_t head; /* bytes of a request's head; a larger one is not read to its end */
        usec_t head_usec; /* from the request line (or the connection) to the end of the head */
        usec_t body_usec; /* for the body, and a second more for each min_rate bytes received */
        usec_t wait_usec; /* for the program's reply */
        usec_t send_usec; /* for sending, and a second more for each min_rate bytes of the reply */
        usec_t idle_usec; /* between the end of a reply and the next request's line */
        unsigned min_rate; /* bytes per second */
} HttpLimits;

extern const HttpLimits http_limits_default;

typedef struct HttpLoopStats {
        unsigned connections; /* now */
        unsigned waiting; /* suspended exchanges now */
        uint64_t accepted;
        uint64_t requests; /* heads handed to on_head */
        uint64_t expired; /* deadlines that were not kept */
        uint64_t accept_errors; /* no file descriptor or memory for a connection */
        uint64_t displaced; /* idle ones that were closed for another one */
        uint64_t refused; /* of clients that had per_client already */
} HttpLoopStats;

/* Makes a loop without sockets. ops must live as long as it. priority is that of its event sources.
 * SIGPIPE is ignored from now on, if it was not handled. */
int http_loop_new(sd_event *event, int64_t priority, const HttpLimits *limits,
        const HttpLoopOps *ops, void *userdata, HttpLoop **ret);
/* Cuts what is left; on_end is called for each exchange that was announced. */
HttpLoop *http_loop_free(HttpLoop *l);
DEFINE_CLEANUP(HttpLoop, http_loop_free)

/* Accepts connections from a listening stream socket, TCP or AF_UNIX. The fd stays the caller's, is
 * made non-blocking (and TCP_NODELAY) and must outlive the loop. Listeners are numbered from 0 in
 * this order. */
int http_loop_listen(HttpLoop *l, int fd);

/* Stops without losing a request: accepts no more (what is in the kernel's queue stays there for a
 * successor on the same socket), lets what has begun end, closes idle connections, and after
 * grace_usec expires what still waits. on_stopped is called once, when no connection is left, which
 * is at most 3 s after grace_usec; not if the loop is freed before. */
int http_loop_stop(
        HttpLoop *l, usec_t grace_usec, void (*on_stopped)(void *userdata), void *userdata);

void http_loop_get_stats(const HttpLoop *l, HttpLoopStats *ret);

/* Reads the body. Only once, after on_head and before any reply. */
void http_exchange_read(HttpExchange *x);

/* Replies, once, at any time between on_head and on_end; afterwards only on_end follows. In the
 * middle of a body only a reply from memory is possible; the connection is closed after it. If
 * memory is short the connection is cut. */
void http_exchange_reply(HttpExchange *x, const HttpReply *reply);

/* The same with a stream as the body (in chunks): body, size and fd of reply are not looked at.
 * on_pull follows; on_end comes when it has said that this is the end, or the client is gone. There
 * is no deadline but send_usec for a client that does not read. */
void http_exchange_open(HttpExchange *x, const HttpReply *reply);
/* There is something to be pulled. */
void http_exchange_wake(HttpExchange *x);

void http_exchange_set_userdata(HttpExchange *x, void *userdata);
void *http_exchange_get_userdata(const HttpExchange *x);
unsigned http_exchange_get_listener(const HttpExchange *x);
/* The connection's socket, for getsockopt() and getpeername() only. */
int http_exchange_get_fd(const HttpExchange *x);

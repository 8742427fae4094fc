/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <microhttpd.h>

#include "http-loop.h"

/* What http-loop.c (connections, event sources) and http-exchange.c (requests) share. */

typedef struct HttpConn HttpConn;
typedef struct HttpClient HttpClient; /* an address or a local user, while it has a connection */

typedef enum HttpPhase {
        PHASE_HEAD, /* the request line is there */
        PHASE_BARE, /* the head is there, it has no body, on_head is to be called */
        PHASE_DECIDE, /* on_head was called; read or reply? Suspended, or in on_head */
        PHASE_BODY,
        PHASE_WAIT, /* for the reply. Suspended, or in a callback */
        PHASE_SEND,
        PHASE_STREAM, /* the same, piece by piece. Suspended while there is nothing to send */
        PHASE_LINGER,
        PHASE_GONE, /* on_end was called early; MHD is to close the connection */
} HttpPhase;

struct HttpExchange {
        HttpLoop *loop;
        HttpConn *conn;
        HttpPhase phase;
        bool suspended;
        bool repeat; /* MHD will make its first call again, after a resume */
        bool expects; /* "Expect: 100-continue" */
        bool in_chunks; /* its body, if it has one; counted in the loop */
        bool announced; /* on_head was called and on_end was not */
        char *target;
        const char *target_at; /* where MHD had it, for the exactness of the head */
        HttpField *fields;
        HttpHead head;
        usec_t body_since;
        uint64_t n_received;
        void *userdata;
};

struct HttpConn {
        HttpLoop *loop;
        HttpConn *next;
        HttpConn *previous;
        struct MHD_Connection *mhd;
        int fd;
        unsigned listener;
        HttpClient *client; /* NULL when it has been displaced */
        HttpExchange *exchange;
        usec_t deadline;
        usec_t idle_since; /* or since the request line came */
        bool stall_timeout; /* MHD's own is on */
        sd_event_source *timer;
        sd_event_source *hangup; /* EPOLLRDHUP, edge-triggered */
        bool hung_up; /* the client has closed its side; then in the loop's list */
        bool cut;
        HttpConn *next_hung_up;
};

typedef struct HttpListener {
        HttpLoop *loop;
        sd_event_source *source;
        int fd;
        unsigned number;
} HttpListener;

struct HttpLoop {
        sd_event *event;
        int64_t priority;
        HttpLimits limits;
        const HttpLoopOps *ops;
        void *userdata;
        struct MHD_Daemon *daemon;
        HttpListener **listeners;
        unsigned n_listeners;
        unsigned accepting; /* the listener of the connection that is being added */
        HttpClient *accepting_client;
        HttpClient *clients;
        HttpConn *conns;
        HttpConn *hung_up;
        sd_event_source *io; /* MHD's epoll fd */
        sd_event_source *kick; /* run MHD in this turn of the loop */
        sd_event_source *timer; /* run MHD when it says so */
        sd_event_source *pause; /* when there is no room, or after EMFILE */
        sd_event_source *stop;
        bool running; /* inside MHD_run() */
        bool stopping;
        bool expired; /* the grace is over */
        unsigned n_in_chunks; /* requests whose body comes in chunks */
        uint64_t n_callbacks; /* of MHD's */
        unsigned n_idle_runs; /* one after the other, without a callback */
        void (*on_stopped)(void *userdata);
        void *stopped_userdata;
        HttpLoopStats stats;
};

/* MHD_run() in the next turn of the event loop: after each resume, since nothing else wakes MHD. */
void http_loop_kick(HttpLoop *l);
/* Moves the connection's deadline. */
void http_conn_set_deadline(HttpConn *c, usec_t usec_from_now);
/* Ends a connection that is not suspended: MHD sees the hang-up. */
void http_conn_cut(HttpConn *c);

/* The client of a new connection, with one more of them; NULL: no memory. */
HttpClient *http_client_get(HttpLoop *l, int fd, const struct sockaddr *address, socklen_t size);
/* It has one connection less. NULL is nobody. */
void http_client_put(HttpLoop *l, HttpClient *client);
/* Closes the connection that has been idle for longest, of this client (NULL: of all), if it has
 * been so for a second: requests that are on their way get there. Says whether there was one. */
bool http_room_displace(HttpLoop *l, const HttpClient *client);
/* Whether one more connection of this client, which is counted already, can be kept: an idle one of
 * its own goes for it. If not, it is told so; the caller closes the fd. */
bool http_room_admit(HttpLoop *l, const HttpClient *client, int fd);

/* Writes a reply from memory past MHD, when it can queue none and nothing of ours is on its way on
 * this socket: all of it at once, or false. Frees the body. */
bool http_conn_write(HttpConn *c, const HttpReply *reply);
/* MHD_queue_response() for our own replies; that name is for what MHD refuses (http-refusal.c). */
enum MHD_Result http_queue_response(
        struct MHD_Connection *mhd, unsigned status, struct MHD_Response *response);

/* MHD's callbacks for requests. */
void *http_exchange_begin(void *cls, const char *uri, struct MHD_Connection *mhd);
enum MHD_Result http_exchange_access(void *cls, struct MHD_Connection *mhd, const char *url,
        const char *method, const char *version, const char *data, size_t *size, void **con_cls);
void http_exchange_completed(
        void *cls, struct MHD_Connection *mhd, void **con_cls, enum MHD_RequestTerminationCode why);

/* The connection's deadline has come. */
void http_exchange_on_deadline(HttpExchange *x);
void http_exchange_expire(HttpExchange *x, HttpExpire why);
/* The client is gone, or the loop is: no reply will be sent. */
void http_exchange_abandon(HttpExchange *x);

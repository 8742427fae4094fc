/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "http-reply.h"
#include "time-util.h"

/* A blocking HTTP/1.1 client: one connection for each request, no redirects, no TLS. */

#define HTTP_CLIENT_BODY_MAX (64UL << 20) /* of a response */
#define HTTP_CLIENT_WRONG    512

typedef struct HttpClient {
        const char *socket_path; /* NULL: host and port */
        char *host, *port;
        const char *key; /* for "Authorization: Bearer", or NULL */
        usec_t connect_usec; /* 0: 5 s */
        /* After a fault: what was wrong, in a sentence without a full stop. */
        char wrong[HTTP_CLIENT_WRONG];
} HttpClient;

/* A part of a request's body: memory, or a file from its beginning if data is NULL. */
typedef struct HttpPart {
        const char *data;
        int fd;
        uint64_t size;
} HttpPart;

typedef struct HttpAsk {
        const char *method, *target;
        const char *content_type; /* of the body */
        const char *idempotency_key; /* or NULL */
        const HttpPart *parts;
        unsigned n_parts;
        usec_t usec; /* how long the answer may take once the request is sent; 0: 30 s */
        HttpBodySink sink; /* takes the body of a 200; then usec is for each piece of it */
        void *sink_userdata;
        const char *last_event_id; /* a stream of events goes on from there; or NULL */
} HttpAsk;

/* Reads "http://HOST[:PORT][/]"; port 80 if there is none. Returns 0, -EINVAL (c->wrong says why)
 * or -ENOMEM. */
int http_client_set_url(HttpClient *c, const char *url);
void http_client_done(HttpClient *c);

/* Sends a request and reads the response, whatever its status; an answer that comes while the body
 * is being sent ends the sending. reply comes from http_reply(). Returns 0 or -errno with c->wrong:
 * -ENOENT, -EACCES, -ECONNREFUSED, ... of connect(2), -EHOSTUNREACH (no such host), -ETIMEDOUT,
 * -ECONNRESET (closed before the end), -ECANCELED (reply->sink_error), -EBADMSG or -EFBIG (the
 * response is not acceptable), -EIO (a file became shorter). */
int http_client_ask(HttpClient *c, const HttpAsk *ask, HttpReply *reply);

/* Appends a string for a path or query with all but unreserved characters as %XX. */
void http_quote(StrBuf *b, const char *s);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdarg.h>

#include "http-loop.h"
#include "problem.h"
#include "router.h"
#include "strbuf.h"
#include "uri.h"

/* A server of the routes of a Router. Every request was judged by the guard, routed, and held
 * against its route's body rules before a handler sees it; what fails gets its problem+json.
 *
 * A handler gets the request when its head is complete. It then calls, at once or from any later
 * event, at most one of http_request_collect() and http_request_stream(), and at last
 * http_request_reply() or http_request_problem(). After the reply the request is the server's: not
 * to be touched. If no reply can be given any more (the client hung up or was too slow, the body
 * was refused, the server stops), the cancel callback is called instead, once, and the request is
 * not to be touched after it. So exactly one of reply and cancel ends a handler's work.
 */

typedef struct HttpServer HttpServer;
typedef struct HttpResponse HttpResponse;

/* Called for each request in place of its route's handler, to see who is asking first. */
typedef void (*HttpDispatch)(HttpRequest *r, const HttpRoute *route, void *userdata);

typedef struct HttpServerConfig {
        int64_t priority; /* of the event sources */
        const HttpLimits *limits; /* copied; NULL: http_limits_default */
        const Router *router; /* must live as long as the server */
        HttpDispatch dispatch; /* NULL: handlers are called, with userdata */
        void *userdata;
        const char *nowhere; /* detail of a 404; static; NULL: that there is nothing */
} HttpServerConfig;

/* The config is copied. */
int http_server_new(sd_event *event, const HttpServerConfig *config, HttpServer **ret);
/* Cancels what is left. */
HttpServer *http_server_free(HttpServer *s);
DEFINE_CLEANUP(HttpServer, http_server_free)
/* Sockets, stopping, numbers: http_loop_listen(), http_loop_stop(), http_loop_get_stats(). */
HttpLoop *http_server_get_loop(HttpServer *s);

HttpMethod http_request_get_method(const HttpRequest *r); /* HEAD too, on a route of GET */
const HttpRoute *http_request_get_route(const HttpRequest *r);
const char *http_request_get_path(const HttpRequest *r); /* as it came, without the query */
/* Values are NULL if there is none, and live until the request's end. */
const char *http_request_get_param(const HttpRequest *r, const char *name);
const char *http_request_get_query(const HttpRequest *r, const char *name);
const UriParams *http_request_get_queries(const HttpRequest *r);
const char *http_request_get_header(const HttpRequest *r, const char *name);
bool http_request_has_body(const HttpRequest *r);
uint64_t http_request_get_length(const HttpRequest *r); /* GUARD_NO_LENGTH: not known */
unsigned http_request_get_listener(const HttpRequest *r);
/* For SO_PEERCRED, SO_PEERGROUPS and getpeername() only. */
int http_request_get_fd(const HttpRequest *r);

void http_request_set_userdata(HttpRequest *r, void *userdata);
void *http_request_get_userdata(const HttpRequest *r);

typedef void (*HttpCancel)(HttpRequest *r, void *userdata);
void http_request_on_cancel(HttpRequest *r, HttpCancel cancel, void *userdata);

/* Collects the body (its route's body_max at most) and calls done with it, NUL-terminated beyond
 * its size; data is the server's until the callback returns. A request without a body has an empty
 * one. */
typedef void (*HttpBodyDone)(HttpRequest *r, const char *data, size_t size, void *userdata);
void http_request_collect(HttpRequest *r, HttpBodyDone done, void *userdata);

/* Hands the body on as it comes. write may reply (then nothing more is called), or return a
 * negative errno: the request is cancelled with problem_from_errno(). */
typedef struct HttpSink {
        int (*write)(HttpRequest *r, const void *data, size_t size, void *userdata);
        void (*done)(HttpRequest *r, void *userdata);
} HttpSink;
void http_request_stream(HttpRequest *r, const HttpSink *sink, void *userdata);

/* Takes the response over. NULL (no memory to make one) is a bare 503 with Retry-After. */
void http_request_reply(HttpRequest *r, HttpResponse *response);
/* The same with a problem; format may be NULL. */
void http_request_problem(HttpRequest *r, Problem problem, const char *format, ...) _printf_(3, 4);
void http_request_report(HttpRequest *r, const ProblemReport *report);

/* Replies with a stream: the response's status and fields, and as its body what pull gives. pull is
 * called from the event loop when the client can take more; it returns how many bytes it wrote (at
 * most max), 0 for none now, or a negative number at the end. The cancel callback is called when
 * the stream has ended, whoever ended it. */
typedef ssize_t (*HttpPull)(HttpRequest *r, char *data, size_t max, void *userdata);
void http_request_open(HttpRequest *r, HttpResponse *response, HttpPull pull, void *userdata);
/* There is something to pull again. */
void http_request_wake(HttpRequest *r);
/* In the cancel callback: whether the client was cut because it did not read. */
bool http_request_was_slow(const HttpRequest *r);

HttpResponse *http_response_new(unsigned status);
HttpResponse *http_response_free(HttpResponse *r);
DEFINE_CLEANUP(HttpResponse, http_response_free)
/* A response of a problem, to add fields to. 503 has "Retry-After: 2". NULL: no memory. */
HttpResponse *http_response_new_problem(const ProblemReport *report);
/* Name and value are copied; a field that is there is replaced (but for Set-Cookie). Returns 0,
 * -EINVAL (not a token, a control character in the value, or a field that the server writes itself)
 * or -ENOMEM. */
int http_response_add(HttpResponse *r, const char *name, const char *value);
/* Sets Content-Type and the body. data is copied. */
int http_response_set_body(HttpResponse *r, const char *type, const void *data, size_t size);
/* Sets them to what buf holds and leaves buf empty. Returns buf's error. */
int http_response_take_body(HttpResponse *r, const char *type, StrBuf *buf);
/* Sends length bytes of a regular file from offset; fd is taken over in any case. */
int http_response_set_file(
        HttpResponse *r, const char *type, int fd, uint64_t offset, uint64_t length);

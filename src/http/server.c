/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "http-field.h"
#include "http-internal.h"
#include "reeve-limits.h"

#define NO_MEMORY "Out of memory. Try again."

struct HttpServer {
        HttpLoop *loop;
        HttpServerConfig config;
        size_t head_max;
};

struct HttpRequest {
        HttpServer *server;
        HttpExchange *exchange;
        const HttpHead *head;
        Guard guard;
        RouteMatch match;
        UriParams query;
        char *path;
        bool handled; /* a handler has it: it is to be told of its end */
        bool replied;
        bool close; /* the connection: what follows on it is not certain */
        HttpCancel cancel;
        void *cancel_userdata;
        HttpBodyDone done;
        const HttpSink *sink;
        void *body_userdata;
        HttpPull pull; /* the reply is a stream */
        bool slow;
        uint64_t n_received;
        StrBuf body;
        void *userdata;
};

static HttpRequest *request_free(HttpRequest *r)
{
        if (!r)
                return NULL;
        router_match_done(&r->match);
        uri_params_done(&r->query);
        strbuf_done(&r->body);
        free(r->path);
        free(r);
        return NULL;
}

/* Tells the handler that it is over. */
static void cancel(HttpRequest *r)
{
        bool handled = STEAL(r->handled);

        if (handled && r->cancel)
                r->cancel(r, r->cancel_userdata);
}

static void reply(HttpRequest *r, HttpResponse *response)
{
        /* Without memory for more, what problem_from_errno(-ENOMEM) would be. */
        static const HttpField retry = {
                .name = "Retry-After", .name_size = 11, .value = "2", .value_size = 1
        };
        const HttpReply nothing = { .status = 503, .fields = &retry, .n_fields = 1, .fd = -EBADF };

        assert(!r->replied);
        r->replied = true;
        r->handled = false;
        if (response)
                http_response_send(response, r->exchange, r->close);
        else
                http_exchange_reply(r->exchange, &nothing);
}

static void refuse(HttpRequest *r, Problem problem, const char *detail)
{
        const ProblemReport report = { .problem = problem, .detail = detail, .instance = r->path };

        cancel(r);
        reply(r, http_response_new_problem(&report));
}

static void refuse_method(HttpRequest *r, unsigned allow, bool options)
{
        const ProblemReport report = { .problem = PROBLEM_METHOD_NOT_ALLOWED,
                .detail = "See the Allow header field for the methods of this path.",
                .instance = r->path };
        HttpResponse *response;
        char buf[ROUTER_ALLOW_MAX];

        response = options ? http_response_new(204) : http_response_new_problem(&report);
        if (response && http_response_add(response, "Allow", router_format_allow(allow, buf)) < 0)
                response = http_response_free(response);
        reply(r, response);
}

static const struct {
        HttpBody flag;
        const char *type;
} body_types[] = {
        { HTTP_BODY_JSON, "application/json" },
        { HTTP_BODY_NDJSON, "application/x-ndjson" },
        { HTTP_BODY_FORM, "application/x-www-form-urlencoded" },
        { HTTP_BODY_MULTIPART, "multipart/form-data" },
        { HTTP_BODY_PDF, "application/pdf" },
        { HTTP_BODY_BYTES, "application/octet-stream" },
};

/* 415, naming what would be taken. */
static bool type_is_taken(HttpRequest *r, unsigned body)
{
        const char *type = http_head_get(r->head, "Content-Type");
        _cleanup_(strbuf_done) StrBuf b = {};

        if (body & HTTP_BODY_ANY)
                return true;
        strbuf_puts(&b, "The Content-Type of this request's body must be");
        for (size_t i = 0; i < ELEMENTSOF(body_types); i++) {
                if (!(body & body_types[i].flag))
                        continue;
                if (http_type_is(type, body_types[i].type))
                        return true;
                strbuf_printf(&b, " %s", body_types[i].type);
        }
        refuse(r, PROBLEM_MEDIA_TYPE, strbuf_str(&b));
        return false;
}

/* Holds the announced body against the route, before any of it is read. */
static bool body_is_taken(HttpRequest *r)
{
        const HttpRoute *route = r->match.route;

        if (!r->guard.has_body) {
                if (route->body == HTTP_BODY_NONE || (route->body & HTTP_BODY_OPTIONAL))
                        return true;
                if (!r->guard.framed)
                        refuse(r, PROBLEM_LENGTH_REQUIRED,
                                "This request needs a body, with Content-Length or in chunks.");
                else
                        refuse(r, PROBLEM_INVALID, "The body is empty.");
                return false;
        }
        if (route->body == HTTP_BODY_NONE) {
                refuse(r, PROBLEM_BODY_UNEXPECTED, "Send this request without a body.");
                return false;
        }
        if (r->guard.length != GUARD_NO_LENGTH && r->guard.length > route->body_max) {
                char detail[96];

                (void) snprintf(detail, sizeof(detail), "At most %llu bytes are taken here.",
                        (unsigned long long) route->body_max);
                refuse(r, PROBLEM_BODY_TOO_LARGE, detail);
                return false;
        }
        return type_is_taken(r, route->body);
}

/* Replies and returns false, or finds route and query. */
static bool request_route(HttpRequest *r)
{
        const char *target = r->head->target;
        size_t n = strcspn(target, "?");
        int k;

        if (!r->path) {
                refuse(r, PROBLEM_UNAVAILABLE, NO_MEMORY);
                return false;
        }
        if (streq(target, "*")) {
                refuse_method(r, (1U << _HTTP_METHOD_MAX) - 1, true);
                return false;
        }
        k = router_match(r->server->config.router, r->guard.method, target, n, &r->match);
        if (k == ROUTER_FOUND) {
                const char *query = target[n] == '?' ? target + n + 1 : "";

                k = uri_params_parse(query, strlen(query), REEVE_HTTP_QUERY_MAX, false, &r->query);
                if (k == URI_DONE)
                        return true;
                if (k > 0)
                        refuse(r, PROBLEM_BAD_QUERY,
                                k == URI_DUPLICATE          ? "A query parameter is there twice."
                                        : k == URI_TOO_MANY ? "There are too many query parameters."
                                                            : "The query is malformed.");
        } else if (k == ROUTER_NO_PATH)
                refuse(r, PROBLEM_NOT_FOUND,
                        r->server->config.nowhere ? r->server->config.nowhere
                                                  : "There is nothing at this path.");
        else if (k == ROUTER_BAD_PATH)
                refuse(r, PROBLEM_BAD_TARGET,
                        "The path has a malformed escape, a dot segment or bytes that are not "
                        "UTF-8.");
        else if (k == ROUTER_NO_METHOD || k == ROUTER_OPTIONS)
                refuse_method(r, r->match.allow, k == ROUTER_OPTIONS);
        if (k < 0)
                refuse(r, PROBLEM_UNAVAILABLE, NO_MEMORY);
        return false;
}

/* Whether it can be shown to the client again; what the guard takes is. */
static bool is_uri(const char *s)
{
        for (; *s; s++)
                if (*s <= ' ' || *s >= 0x7f)
                        return false;
        return true;
}

static void on_head(HttpExchange *x, const HttpHead *head, void *userdata)
{
        HttpServer *s = userdata;
        HttpRequest *r = new0(HttpRequest, 1);
        int problem;

        if (!r) {
                HttpReply nothing = { .status = 503, .fd = -EBADF };

                http_exchange_reply(x, &nothing);
                return;
        }
        r->server = s;
        r->exchange = x;
        r->head = head;
        http_exchange_set_userdata(x, r);
        if (is_uri(head->target))
                r->path = strndup(head->target, strcspn(head->target, "?"));
        problem = guard_check(head, s->head_max, &r->guard);
        if (problem != 0) {
                r->close = true;
                refuse(r, (Problem) problem, r->guard.detail);
                return;
        }
        if (!request_route(r) || !body_is_taken(r))
                return;
        r->handled = true;
        if (s->config.dispatch)
                s->config.dispatch(r, r->match.route, s->config.userdata);
        else
                r->match.route->handler(r, s->config.userdata);
}

static void on_body(HttpExchange *x, const void *data, size_t size, void *userdata)
{
        HttpRequest *r = http_exchange_get_userdata(x);
        char detail[128];
        int k;

        r->n_received += size;
        if (r->n_received > r->match.route->body_max) {
                refuse(r, PROBLEM_BODY_TOO_LARGE, "The body is larger than what is taken here.");
                return;
        }
        if (r->sink) {
                k = r->sink->write(r, data, size, r->body_userdata);
                if (k < 0 && !r->replied) {
                        (void) snprintf(detail, sizeof(detail), "The body cannot be kept: %s.",
                                strerror(-k));
                        refuse(r, problem_from_errno(k), detail);
                }
                return;
        }
        strbuf_append(&r->body, data, size);
        if (strbuf_error(&r->body) < 0)
                refuse(r, PROBLEM_UNAVAILABLE, NO_MEMORY);
}

static void on_complete(HttpExchange *x, void *userdata)
{
        HttpRequest *r = http_exchange_get_userdata(x);

        if (r->sink)
                r->sink->done(r, r->body_userdata);
        else
                r->done(r, strbuf_str(&r->body), r->body.len, r->body_userdata);
}

static void on_expire(HttpExchange *x, HttpExpire why, void *userdata)
{
        static const struct {
                Problem problem;
                const char *detail;
        } problems[] = {
                [HTTP_EXPIRE_BODY] = { PROBLEM_REQUEST_TIMEOUT,
                        "The body came more slowly than BodySec= allows." },
                [HTTP_EXPIRE_REPLY] = { PROBLEM_TIMEOUT,
                        "There was no answer in time. Try again." },
                [HTTP_EXPIRE_STOP] = { PROBLEM_STOPPING,
                        "It was not ready when the service stopped. Try again." },
        };
        HttpRequest *r = http_exchange_get_userdata(x);

        if (why == HTTP_EXPIRE_STREAM)
                r->slow = true;
        else
                refuse(r, problems[why].problem, problems[why].detail);
}

/* What libmicrohttpd cannot read, by how far it came and the status that it chose. */
static const struct {
        HttpRefuse where;
        unsigned status;
        Problem problem;
        const char *detail;
} refusals[] = {
        { HTTP_REFUSE_LINE, 400, PROBLEM_BAD_REQUEST,
                "The first line is not a method, a path and a version of HTTP." },
        { HTTP_REFUSE_LINE, 414, PROBLEM_URI_TOO_LONG, "The first line is longer than HeadMax=." },
        { HTTP_REFUSE_LINE, 505, PROBLEM_HTTP_VERSION, "HTTP/1.0 and HTTP/1.1 are spoken." },
        { HTTP_REFUSE_HEAD, 400, PROBLEM_BAD_HEADER,
                "A header field has no colon, or Content-Length is not a number." },
        { HTTP_REFUSE_HEAD, 413, PROBLEM_BODY_TOO_LARGE, "Content-Length is too large." },
        { HTTP_REFUSE_HEAD, 431, PROBLEM_HEAD_TOO_LARGE, "The head is larger than HeadMax=." },
        { HTTP_REFUSE_BODY, 400, PROBLEM_BAD_FRAMING,
                "A chunk of the body, or a field behind the last one, is malformed." },
        { HTTP_REFUSE_BODY, 413, PROBLEM_BODY_TOO_LARGE, "A chunk of the body is too large." },
        { HTTP_REFUSE_BODY, 431, PROBLEM_HEAD_TOO_LARGE,
                "The fields behind the body are larger than HeadMax=." },
};

static bool on_refuse(
        unsigned status, HttpRefuse where, const char *target, HttpReply *reply, void *userdata)
{
        static const HttpField type = { .name = "Content-Type",
                .name_size = strlen("Content-Type"),
                .value = "application/problem+json",
                .value_size = strlen("application/problem+json") };
        _cleanup_(freep) char *path = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        ProblemReport report = { .problem =
                                         status < 500 ? PROBLEM_BAD_REQUEST : PROBLEM_UNAVAILABLE };

        for (size_t i = 0; i < ELEMENTSOF(refusals); i++)
                if (refusals[i].where == where && refusals[i].status == status) {
                        report.problem = refusals[i].problem;
                        report.detail = refusals[i].detail;
                }
        if (target && is_uri(target))
                path = strndup(target, strcspn(target, "?"));
        report.instance = path;
        if (problem_write(&report, &b) < 0)
                return false;
        reply->status = problem_status(report.problem);
        reply->size = b.len;
        reply->body = strbuf_steal(&b);
        reply->fields = &type;
        reply->n_fields = 1;
        return reply->body;
}

static void on_end(HttpExchange *x, bool sent, void *userdata)
{
        HttpRequest *r = http_exchange_get_userdata(x);

        if (!r)
                return;
        cancel(r);
        request_free(r);
}

static ssize_t on_pull(HttpExchange *x, char *data, size_t max, void *userdata)
{
        HttpRequest *r = http_exchange_get_userdata(x);

        return r->pull(r, data, max, r->body_userdata);
}

int http_server_new(sd_event *event, const HttpServerConfig *config, HttpServer **ret)
{
        static const HttpLoopOps ops = { .on_head = on_head,
                .on_body = on_body,
                .on_complete = on_complete,
                .on_pull = on_pull,
                .on_expire = on_expire,
                .on_refuse = on_refuse,
                .on_end = on_end };
        const HttpLimits *limits = config->limits ? config->limits : &http_limits_default;
        _cleanup_(http_server_freep) HttpServer *s = new0(HttpServer, 1);
        int r;

        if (!s)
                return -ENOMEM;
        s->config = *config;
        s->head_max = limits->head;
        r = http_loop_new(event, config->priority, limits, &ops, s, &s->loop);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(s);
        return 0;
}

HttpServer *http_server_free(HttpServer *s)
{
        if (!s)
                return NULL;
        http_loop_free(s->loop);
        free(s);
        return NULL;
}

HttpLoop *http_server_get_loop(HttpServer *s)
{
        return s->loop;
}

HttpMethod http_request_get_method(const HttpRequest *r)
{
        return r->guard.method;
}

const HttpRoute *http_request_get_route(const HttpRequest *r)
{
        return r->match.route;
}

const char *http_request_get_path(const HttpRequest *r)
{
        return r->path;
}

const char *http_request_get_param(const HttpRequest *r, const char *name)
{
        for (unsigned i = 0; i < r->match.n_params; i++) {
                const RouteParam *p = &r->match.params[i];

                if (p->name_size == strlen(name) && memcmp(p->name, name, p->name_size) == 0)
                        return p->value;
        }
        return NULL;
}

const char *http_request_get_query(const HttpRequest *r, const char *name)
{
        return uri_params_get(&r->query, name);
}

const UriParams *http_request_get_queries(const HttpRequest *r)
{
        return &r->query;
}

const char *http_request_get_header(const HttpRequest *r, const char *name)
{
        return http_head_get(r->head, name);
}

bool http_request_has_body(const HttpRequest *r)
{
        return r->guard.has_body;
}

uint64_t http_request_get_length(const HttpRequest *r)
{
        return r->guard.length;
}

unsigned http_request_get_listener(const HttpRequest *r)
{
        return http_exchange_get_listener(r->exchange);
}

int http_request_get_fd(const HttpRequest *r)
{
        return http_exchange_get_fd(r->exchange);
}

void http_request_set_userdata(HttpRequest *r, void *userdata)
{
        r->userdata = userdata;
}

void *http_request_get_userdata(const HttpRequest *r)
{
        return r->userdata;
}

void http_request_on_cancel(HttpRequest *r, HttpCancel callback, void *userdata)
{
        r->cancel = callback;
        r->cancel_userdata = userdata;
}

void http_request_collect(HttpRequest *r, HttpBodyDone done, void *userdata)
{
        assert(!r->done && !r->sink && !r->replied);
        r->done = done;
        r->body_userdata = userdata;
        http_exchange_read(r->exchange);
}

void http_request_stream(HttpRequest *r, const HttpSink *sink, void *userdata)
{
        assert(!r->done && !r->sink && !r->replied);
        r->sink = sink;
        r->body_userdata = userdata;
        http_exchange_read(r->exchange);
}

void http_request_open(HttpRequest *r, HttpResponse *response, HttpPull pull, void *userdata)
{
        assert(!r->replied);
        r->replied = true;
        r->pull = pull;
        r->body_userdata = userdata;
        http_response_open(response, r->exchange);
}

void http_request_wake(HttpRequest *r)
{
        http_exchange_wake(r->exchange);
}

bool http_request_was_slow(const HttpRequest *r)
{
        return r->slow;
}

void http_request_reply(HttpRequest *r, HttpResponse *response)
{
        reply(r, response);
}

void http_request_report(HttpRequest *r, const ProblemReport *report)
{
        reply(r, http_response_new_problem(report));
}

void http_request_problem(HttpRequest *r, Problem problem, const char *format, ...)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        ProblemReport report = { .problem = problem, .instance = r->path };
        va_list ap;

        if (format) {
                va_start(ap, format);
                strbuf_vprintf(&b, format, ap);
                va_end(ap);
                report.detail = strbuf_str(&b);
        }
        http_request_report(r, &report);
}

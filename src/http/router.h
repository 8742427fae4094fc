/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "guard.h"
#include "macros.h"
#include "reeve-limits.h"

/* Which route a path belongs to. A pattern is "/api/jobs/{id}/files/{name...}": literal segments,
 * {params} that stand for one segment, and at the end perhaps a {param...} for one or more. At each
 * segment a literal wins over a {param} and that over {param...}; the path decides, then the
 * method.
 */

typedef struct HttpRequest HttpRequest;
typedef void (*HttpHandler)(HttpRequest *request, void *userdata);

typedef enum HttpBody {
        HTTP_BODY_NONE = 0,
        HTTP_BODY_JSON = 1 << 0, /* application/json */
        HTTP_BODY_NDJSON = 1 << 1, /* application/x-ndjson */
        HTTP_BODY_FORM = 1 << 2, /* application/x-www-form-urlencoded */
        HTTP_BODY_MULTIPART = 1 << 3, /* multipart/form-data */
        HTTP_BODY_PDF = 1 << 4, /* application/pdf */
        HTTP_BODY_BYTES = 1 << 5, /* application/octet-stream */
        HTTP_BODY_ANY = 1 << 6, /* of whatever type, or none named */
        HTTP_BODY_OPTIONAL = 1 << 7, /* or no body at all */
} HttpBody;

/* What people and programs are told of a route: openapi.h. Lists are words apart by one space. */
typedef struct HttpRouteDoc {
        const char *id; /* the operation's name */
        const char *tag; /* what it is listed under */
        const char *params; /* parameters of query and head, by their names in the document */
        const char *takes; /* "SCHEMA" of a JSON body, or "TYPE=SCHEMA" for each type of it */
        const char
                *gives; /* "STATUS[=WHAT][;FIELD...]", beside what every route of its sort gives */
} HttpRouteDoc;

typedef struct HttpRoute {
        HttpMethod method;
        const char *pattern;
        HttpHandler handler;
        unsigned auth; /* a class of the program's own: who may */
        unsigned body; /* HTTP_BODY_ flags */
        uint64_t body_max; /* bytes; more is refused with 413, before it is read where possible */
        const char *summary; /* one line for people */
        unsigned rate; /* a class of the program's own: how often */
        HttpRouteDoc doc;
} HttpRoute;

typedef struct RouteParam {
        const char *name; /* name_size bytes, not NUL-terminated */
        size_t name_size;
        const char *value; /* decoded, UTF-8, never empty, no control characters */
} RouteParam;

/* Plain value: start with {}. */
typedef struct RouteMatch {
        const HttpRoute *route;
        unsigned allow; /* 1 << HttpMethod: what this path takes, HEAD and OPTIONS included */
        RouteParam params[REEVE_HTTP_PARAMS_MAX];
        unsigned n_params;
        char *buffer;
} RouteMatch;

enum {
        ROUTER_FOUND = 0,
        ROUTER_NO_PATH = 1, /* 404 */
        ROUTER_NO_METHOD = 2, /* 405 with allow */
        ROUTER_OPTIONS = 3, /* OPTIONS and no route of its own: 204 with allow */
        ROUTER_BAD_PATH = 4, /* 400: a bad escape, not UTF-8, a dot segment, a slash in a {param} */
};

typedef struct Router Router;

int router_new(Router **ret);
Router *router_free(Router *r);
DEFINE_CLEANUP(Router, router_free)

/* Adds a table that ends with a route without pattern and must live as long as the router. Returns
 * 0, -EINVAL (a malformed pattern), -EEXIST (a route for this path and method is there, whatever
 * its params are called) or -ENOMEM. */
int router_add(Router *r, const HttpRoute *routes);

/* Finds the route of a path (what is before '?', n bytes). HEAD takes the route of GET if it has
 * none of its own. Returns a ROUTER_ value or -ENOMEM. ret is filled in for ROUTER_FOUND; only
 * allow for ROUTER_NO_METHOD and ROUTER_OPTIONS. Undo with router_match_done(). */
int router_match(const Router *r, HttpMethod method, const char *path, size_t n, RouteMatch *ret);
void router_match_done(RouteMatch *m);

/* "GET, HEAD, OPTIONS" for an Allow field. buf is returned. */
#define ROUTER_ALLOW_MAX 64
const char *router_format_allow(unsigned allow, char buf[static ROUTER_ALLOW_MAX]);

/* All routes, in the order of their adding. */
const HttpRoute *const *router_list(const Router *r, size_t *ret_n);

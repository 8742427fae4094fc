/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "http-head.h"
#include "problem.h"

/* The strict reader of a request's head. The HTTP library below takes much that RFC 9112 forbids
 * (two lengths, a length with chunks, folded lines); whoever stands in front of Reeve may read such
 * a request in another way, which is how requests are smuggled. What is not certain is refused. */

typedef enum HttpMethod {
        HTTP_GET,
        HTTP_HEAD,
        HTTP_POST,
        HTTP_PUT,
        HTTP_PATCH,
        HTTP_DELETE,
        HTTP_OPTIONS,
        _HTTP_METHOD_MAX,
        _HTTP_METHOD_INVALID = -22,
} HttpMethod;

const char *http_method_to_string(HttpMethod method);
HttpMethod http_method_from_string(const char *s);

#define GUARD_NO_LENGTH UINT64_MAX

typedef struct Guard {
        HttpMethod method;
        bool has_body; /* a Content-Length above 0, or chunks */
        bool framed; /* a Content-Length or a Transfer-Encoding was there */
        uint64_t length; /* GUARD_NO_LENGTH: chunks, or no body */
        const char *detail; /* what was wrong, static; NULL when the request passed */
} Guard;

/* Judges a head of at most head_max bytes. Returns 0 or the Problem to answer with (then only
 * detail is filled in). The other limits are REEVE_HTTP_* in reeve-limits.h. */
int guard_check(const HttpHead *head, size_t head_max, Guard *ret);

/* The value of the first field of this name (any case), NULL if there is none. */
const char *http_head_get(const HttpHead *head, const char *name);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "json-writer.h"
#include "router.h"

/* The description of an HTTP API for programs, OpenAPI 3.1, made from the table that the router
 * takes: what is not routed is not in it, and the reverse.
 *
 * GLOSSARY
 * part  schemas, parameters and fields of answers that routes name: JSON files, embedded by
 *       tools/embed-openapi
 * text  what reeve-http(7) says about a route: the paragraphs below its heading
 *
 * What "gives" of a route may have beside a status: schemas apart by '|' ("Problem" among them is
 * that of problem+json; the others are JSON), or a media type ("text/plain"); nothing is an answer
 * without a body, or, from 400 on, a problem. */

typedef struct OpenapiText {
        const char *route; /* "GET /api/jobs" */
        const char *text; /* CommonMark */
} OpenapiText;

/* Members of JSON objects, without the braces; "" if there are none. */
typedef struct OpenapiPart {
        const char *schemas, *parameters, *headers;
        const OpenapiText *texts; /* ended by one without a route; NULL: none */
} OpenapiPart;

typedef struct OpenapiConfig {
        const char *title, *version, *description;
        const HttpRoute *const
                *tables; /* of routes, each ended by one without pattern; then NULL */
        const OpenapiPart *const *parts; /* ended by NULL */
        const char *security_schemes; /* a JSON object */
        const char *scheme; /* the one of them that all routes have that are not for everybody */
        /* Puts the names of the roles that may use a route. Returns how many; 0: everybody may. */
        unsigned (*put_roles)(JsonWriter *w, const HttpRoute *route);
} OpenapiConfig;

/* Appends the document. Returns 0, -ENOMEM, -EBADMSG (a part is no JSON) or -EINVAL (a route's doc
 * is malformed). */
int openapi_write(const OpenapiConfig *config, StrBuf *out);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "json-writer.h"

/* Everything that can be wrong with a request, in one table (problem.c): the name in the URI of
 * "type", the title, the status. RFC 9457. A client may rely on type and status; titles and details
 * are for people. */
typedef enum Problem {
        PROBLEM_NONE, /* nothing is wrong */
        PROBLEM_BAD_REQUEST,
        PROBLEM_BAD_TARGET,
        PROBLEM_BAD_HEADER,
        PROBLEM_BAD_HOST,
        PROBLEM_BAD_FRAMING,
        PROBLEM_BAD_QUERY,
        PROBLEM_BAD_JSON,
        PROBLEM_BAD_FORM,
        PROBLEM_INVALID,
        PROBLEM_BODY_UNEXPECTED,
        PROBLEM_UNAUTHORIZED,
        PROBLEM_PAYMENT_REQUIRED,
        PROBLEM_FORBIDDEN,
        PROBLEM_NOT_FOUND,
        PROBLEM_METHOD_NOT_ALLOWED,
        PROBLEM_NOT_ACCEPTABLE,
        PROBLEM_REQUEST_TIMEOUT,
        PROBLEM_CONFLICT,
        PROBLEM_IN_FLIGHT,
        PROBLEM_GONE,
        PROBLEM_LENGTH_REQUIRED,
        PROBLEM_PRECONDITION,
        PROBLEM_BODY_TOO_LARGE,
        PROBLEM_URI_TOO_LONG,
        PROBLEM_MEDIA_TYPE,
        PROBLEM_RANGE,
        PROBLEM_EXPECTATION,
        PROBLEM_UNPROCESSABLE,
        PROBLEM_IDEMPOTENCY,
        PROBLEM_TOO_MANY_REQUESTS,
        PROBLEM_HEAD_TOO_LARGE,
        PROBLEM_INTERNAL,
        PROBLEM_NOT_IMPLEMENTED,
        PROBLEM_UNAVAILABLE,
        PROBLEM_STOPPING,
        PROBLEM_TIMEOUT,
        PROBLEM_HTTP_VERSION,
        PROBLEM_NO_SPACE,
        _PROBLEM_MAX,
} Problem;

#define PROBLEM_TYPE_PREFIX "urn:reeve:problem:"

const char *problem_to_string(Problem problem); /* "body-too-large"; NULL if there is none */
const char *problem_title(Problem problem);
unsigned problem_status(Problem problem);

/* The problem for a fault (a negative errno): what a client may be told of it. */
Problem problem_from_errno(int error);
/* The problem for an outcome of multipart.h. */
Problem problem_from_multipart(int outcome);

typedef struct ProblemReport {
        Problem problem;
        const char *detail; /* what was wrong here, where, and what to do; may be NULL */
        const char *instance; /* the path that was asked for; may be NULL */
        /* Puts further members into the open object; may be NULL. */
        void (*extend)(JsonWriter *w, void *userdata);
        void *userdata;
} ProblemReport;

/* Appends the application/problem+json object. Returns 0 or -errno of json_writer_end(). */
int problem_write(const ProblemReport *report, StrBuf *out);

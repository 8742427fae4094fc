/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "macros.h"

/* Strict JSON (RFC 8259), checked without building anything: what this takes, PostgreSQL's jsonb
 * takes too. Refused beyond the grammar: bytes that are not UTF-8,
 * \u0000, a surrogate without its other half, a byte order mark, numbers that numeric cannot hold.
 * Not looked for here: names that occur twice in an object (json_value_check_fields() does). */

#define JSON_ERROR_TEXT_MAX 160
#define JSON_DEPTH_LIMIT    1024U /* the most that max_depth may be */

/* What jsonb's numeric takes: measured with PostgreSQL 15.14 ("value overflows numeric format"
 * beyond), and NUMERIC_WEIGHT_MAX and NUMERIC_DSCALE_MAX in its documentation (section 8.1.2). */
#define JSON_NUMBER_BEFORE_POINT_MAX 131072 /* digits of the value before the point */
#define JSON_NUMBER_AFTER_POINT_MAX  16383 /* digits of the value after it, as written */
/* A larger exponent could only be that of a zero, or cancel out a longer row of digits. */
#define JSON_NUMBER_EXPONENT_MAX 1000000

typedef struct JsonError {
        size_t offset; /* bytes from the start of the text */
        unsigned line, column; /* from 1; column counts characters */
        char text[JSON_ERROR_TEXT_MAX]; /* what was expected and what is there, without a full stop
                                         */
} JsonError;

/* Whether the text is one JSON value and nothing else but white space, with objects and arrays
 * nested at most max_depth (<= JSON_DEPTH_LIMIT) deep; a scalar has depth 0. Uses no heap. Returns
 * 0 or -EBADMSG with *ret_error (may be NULL) filled in. */
int json_check(const char *text, size_t size, unsigned max_depth, JsonError *ret_error);

/* Fills in offset, line and column for a place in the text, and the formatted text. e may be NULL.
 */
void json_error_set(JsonError *e, const char *text, size_t offset, const char *format, ...)
        _printf_(4, 5);

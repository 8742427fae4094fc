/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Reading the values of header fields. */

/* Whether a Content-Type is this media type, whatever its parameters. */
bool http_type_is(const char *value, const char *type);

/* Finds a parameter of a value such as `form-data; name="x"`: decodes a token or a quoted string
 * into buf (which has size bytes). Backslash quotes only '"' and itself, since some clients send
 * Windows paths. Returns 1 if it is there, 0 if not, -EINVAL if the value is malformed or the
 * parameter is there twice, -ENOBUFS. */
int http_param_get(const char *value, const char *name, char *buf, size_t size);

/* Whether an Accept field (NULL: none, everything) takes this media type ("text/plain"). */
bool http_accepts(const char *accept, const char *type);

/* Whether an If-None-Match or If-Match field names this entity tag (with its quotes; weak
 * comparison), or is "*". */
bool http_etag_matches(const char *field, const char *etag);

enum {
        RANGE_WHOLE = 0, /* no range, not in bytes, several ranges or malformed: send everything */
        RANGE_PART = 1,
        RANGE_OUTSIDE = 2, /* 416 with "Content-Range: bytes * /SIZE" */
};

/* Reads a Range field (NULL: none) for something of this size. */
int http_range_parse(const char *field, uint64_t size, uint64_t *ret_first, uint64_t *ret_length);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "strbuf.h"

/* Writes JSON without white space to the end of a StrBuf. Commas, colons and brackets come by
 * themselves; whatever is put in, what comes out is valid JSON and valid UTF-8. Every put and open
 * takes a name: the member's in an object, NULL in an array and at the top (asserted). Errors
 * stick; json_writer_end() tells.
 *
 *      JsonWriter w = json_writer(&buf);
 *      json_open_object(&w, NULL);
 *      json_put_string(&w, "type", "hello");
 *      json_close(&w);
 *      r = json_writer_end(&w);
 */

#define JSON_WRITER_DEPTH_MAX 64U

typedef struct JsonWriter {
        StrBuf *out; /* not owned */
        uint64_t objects; /* bit d: level d is an object */
        uint64_t begun; /* bit d: level d has a member or element */
        unsigned depth;
        int error; /* 0 or -errno, sticky */
} JsonWriter;

static inline JsonWriter json_writer(StrBuf *out)
{
        return (JsonWriter){ .out = out };
}

void json_open_object(JsonWriter *w, const char *name);
void json_open_array(JsonWriter *w, const char *name);
/* Closes what was opened last. */
void json_close(JsonWriter *w);

/* Bytes that are no UTF-8, and NUL, become U+FFFD. A NULL string is written as null. */
void json_put_string(JsonWriter *w, const char *name, const char *value);
void json_put_string_n(JsonWriter *w, const char *name, const char *value, size_t n);
void json_put_int(JsonWriter *w, const char *name, int64_t value);
void json_put_uint(JsonWriter *w, const char *name, uint64_t value);
/* The shortest form that reads back as the same number; NaN and infinities are written as null. The
 * program must not have changed LC_NUMERIC. */
void json_put_double(JsonWriter *w, const char *name, double value);
void json_put_bool(JsonWriter *w, const char *name, bool value);
void json_put_null(JsonWriter *w, const char *name);
/* A text that json_check() takes (to JSON_DEPTH_LIMIT); another makes the error -EBADMSG and
 * is written as null. */
void json_put_raw(JsonWriter *w, const char *name, const char *text, size_t n);

/* Asserts that all is closed. Returns 0, -ENOMEM or -EBADMSG (json_put_raw()). */
int json_writer_end(JsonWriter *w) _warn_unused_;

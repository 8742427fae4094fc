/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "json-check.h"

/* JSON that Reeve itself looks into: envelopes, frames, handlers' verdicts.
 *
 * GLOSSARY
 * document  a parsed text; owns everything that its values point to
 * value     a place in a document; borrowed, valid as long as the document
 *
 * A document costs its text twice and 28 bytes for each value and name (json-c: up to 264 bytes for
 * each byte of text), and numbers stay as they were written: nothing saturates or is rounded. A
 * name that occurs twice has the value of its last occurrence, as in jsonb. */

typedef struct JsonDocument JsonDocument;
typedef struct JsonValue JsonValue;

typedef enum JsonType {
        JSON_NULL,
        JSON_BOOL,
        JSON_NUMBER,
        JSON_STRING,
        JSON_ARRAY,
        JSON_OBJECT,
} JsonType;

enum {
        JSON_FOUND = 0,
        JSON_MISSING = 1, /* no such member, or it is null: the out-parameter is untouched */
};

/* Parses what json_check() takes; the text is copied. Returns 0, -EBADMSG (*ret_error, may be NULL,
 * says why), -EFBIG (above JSON_DOCUMENT_MAX) or -ENOMEM. */
#define JSON_DOCUMENT_MAX (1UL << 28)
int json_parse(const char *text, size_t size, unsigned max_depth, JsonDocument **ret,
        JsonError *ret_error);
JsonDocument *json_document_free(JsonDocument *d);
DEFINE_CLEANUP(JsonDocument, json_document_free)
const JsonValue *json_document_root(const JsonDocument *d);

JsonType json_value_type(const JsonValue *v);
bool json_value_is(const JsonValue *v, JsonType type);
/* "an object", "a string", ... for messages. */
const char *json_type_name(JsonType type);

/* The value as it stands in the text, not NUL-terminated; itself valid JSON. */
const char *json_value_text(const JsonValue *v, size_t *ret_size);

/* The value of a scalar. Returns 0, -EINVAL (another type; for integers also 1.0 and 1e3) or
 * -ERANGE (does not fit). Strings are UTF-8 without escapes and without NUL, owned by the document.
 */
int json_value_string(const JsonValue *v, const char **ret);
int json_value_bool(const JsonValue *v, bool *ret);
int json_value_int64(const JsonValue *v, int64_t *ret);
int json_value_uint64(const JsonValue *v, uint64_t *ret);
int json_value_double(const JsonValue *v, double *ret);

/* Members of an object and elements of an array: their number (0 for scalars), and walking them:
 *      for (c = json_value_first(v, &name); c; c = json_value_next(v, c, &name))
 * name may be NULL, and is set to NULL for elements of an array. */
unsigned json_value_count(const JsonValue *v);
const JsonValue *json_value_first(const JsonValue *v, const char **ret_name);
const JsonValue *json_value_next(const JsonValue *v, const JsonValue *child, const char **ret_name);

/* The member of that name, null values included; NULL if there is none or v is no object. */
const JsonValue *json_value_member(const JsonValue *v, const char *name);

/* The place that a JSON pointer (RFC 6901) names: "" is v itself, "/a/0" an element. Returns 0,
 * -ENOENT (no such place) or -EINVAL (not a pointer). "-" names nothing. */
int json_value_pointer(const JsonValue *v, const char *pointer, const JsonValue **ret);

/* Members by name and type, for readers of objects. Return JSON_FOUND, JSON_MISSING, or -EINVAL or
 * -ERANGE with *e (may be NULL) filled in. */
int json_get_string(const JsonValue *v, const char *name, const char **ret, JsonError *e);
int json_get_bool(const JsonValue *v, const char *name, bool *ret, JsonError *e);
int json_get_int64(
        const JsonValue *v, const char *name, int64_t min, int64_t max, int64_t *ret, JsonError *e);
int json_get_uint64(const JsonValue *v, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
        JsonError *e);
int json_get_double(const JsonValue *v, const char *name, double *ret, JsonError *e);
/* A member of that type, as it is. */
int json_get_typed(
        const JsonValue *v, const char *name, JsonType type, const JsonValue **ret, JsonError *e);

/* For writers, who may not say what nobody understands: refuses names that are not in known (NULL-
 * terminated; NULL: any) and names that occur twice. Returns 0, -EINVAL (*e, may be NULL, says
 * which; v is no object) or -ENOMEM. */
int json_value_check_fields(const JsonValue *v, const char *const *known, JsonError *e);

/* Fills in an error for the place where v stands. */
void json_error_at(JsonError *e, const JsonValue *v, const char *format, ...) _printf_(3, 4);

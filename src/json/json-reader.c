/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-reader.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>

#include "json-scan.h"
#include "parse-util.h"

#define NO_PARENT UINT32_MAX

/* Values stand in the order of the text: a container is followed by all that is in it, a member's
 * name by its value. Offsets instead of pointers, so that the array can move while it grows. */
struct JsonValue {
        uint32_t index; /* of itself in the document's array: leads back to the document */
        uint32_t span; /* entries that it takes, itself included */
        uint32_t begin, size; /* in the text */
        uint32_t string; /* a string's or name's place in the document's strings */
        uint32_t count; /* members or elements; while parsing: the parent's index is in span */
        uint8_t type; /* JsonType */
};

struct JsonDocument {
        char *text; /* NUL-terminated */
        char *strings; /* decoded, each NUL-terminated; together never longer than the text */
        uint32_t n_values, n_allocated;
        JsonValue values[];
};

typedef struct Builder {
        JsonDocument *doc;
        size_t strings_size;
        uint32_t parent;
} Builder;

static const JsonDocument *document_of(const JsonValue *v)
{
        return (const JsonDocument *) ((const char *) (v - v->index) -
                offsetof(JsonDocument, values));
}

JsonDocument *json_document_free(JsonDocument *d)
{
        if (!d)
                return NULL;
        free(d->text);
        free(d->strings);
        free(d);
        return NULL;
}

const JsonValue *json_document_root(const JsonDocument *d)
{
        return d->values;
}

static void put_utf8(char **p, unsigned c)
{
        char *o = *p;

        if (c < 0x80)
                *o++ = (char) c;
        else if (c < 0x800) {
                *o++ = (char) (0xc0 | c >> 6);
                *o++ = (char) (0x80 | (c & 0x3f));
        } else if (c < 0x10000) {
                *o++ = (char) (0xe0 | c >> 12);
                *o++ = (char) (0x80 | (c >> 6 & 0x3f));
                *o++ = (char) (0x80 | (c & 0x3f));
        } else {
                *o++ = (char) (0xf0 | c >> 18);
                *o++ = (char) (0x80 | (c >> 12 & 0x3f));
                *o++ = (char) (0x80 | (c >> 6 & 0x3f));
                *o++ = (char) (0x80 | (c & 0x3f));
        }
        *p = o;
}

/* Decodes the inside of a checked string to out, with a NUL; returns the bytes written. */
static size_t decode_string(const char *p, size_t n, char *out)
{
        static const char escapes[] = "bfnrt", decoded[] = "\b\f\n\r\t";
        const char *end = p + n, *found;
        char *o = out;
        unsigned c;

        while (p < end) {
                if (*p != '\\') {
                        *o++ = *p++;
                        continue;
                }
                p++;
                if (*p != 'u') {
                        found = strchr(escapes, *p);
                        if (found)
                                *o = decoded[found - escapes];
                        else
                                *o = *p;
                        o++;
                        p++;
                        continue;
                }
                c = (unsigned) json_hex4(p + 1);
                p += 5;
                if (c >= 0xd800 && c <= 0xdbff) {
                        c = 0x10000 + ((c - 0xd800) << 10) + ((unsigned) json_hex4(p + 2) - 0xdc00);
                        p += 6;
                }
                put_utf8(&o, c);
        }
        *o++ = '\0';
        return (size_t) (o - out);
}

static int add_value(Builder *b, JsonType type, size_t begin, size_t end)
{
        JsonDocument *d = b->doc;
        JsonValue *v;

        if (d->n_values == d->n_allocated) {
                uint32_t n = d->n_allocated * 2;

                d = realloc(d, offsetof(JsonDocument, values) + n * sizeof(JsonValue));
                if (!d)
                        return -ENOMEM;
                d->n_allocated = n;
                b->doc = d;
        }

        v = &d->values[d->n_values];
        *v = (JsonValue){
                .index = d->n_values++,
                .span = 1,
                .begin = (uint32_t) begin,
                .size = (uint32_t) (end - begin),
                .type = (uint8_t) type,
        };
        return 0;
}

static int add_string(Builder *b, size_t begin, size_t end)
{
        JsonDocument *d;
        int r;

        r = add_value(b, JSON_STRING, begin, end);
        if (r < 0)
                return r;

        d = b->doc;
        d->values[d->n_values - 1].string = (uint32_t) b->strings_size;
        b->strings_size +=
                decode_string(d->text + begin + 1, end - begin - 2, d->strings + b->strings_size);
        return 0;
}

static int open_container(Builder *b, JsonType type, size_t begin, size_t end)
{
        int r;

        r = add_value(b, type, begin, end);
        if (r < 0)
                return r;
        b->doc->values[b->doc->n_values - 1].span = b->parent;
        b->parent = b->doc->n_values - 1;
        return 0;
}

static void close_container(Builder *b, size_t end)
{
        JsonValue *v = &b->doc->values[b->parent];

        b->parent = v->span;
        v->span = b->doc->n_values - v->index;
        v->size = (uint32_t) (end - v->begin);
}

static int on_token(void *userdata, JsonToken token, size_t begin, size_t end)
{
        Builder *b = userdata;

        if (token == JSON_TOKEN_CLOSE) {
                close_container(b, end);
                return 0;
        }
        if (token == JSON_TOKEN_NAME)
                return add_string(b, begin, end);
        if (b->parent != NO_PARENT)
                b->doc->values[b->parent].count++;

        switch (token) {
        case JSON_TOKEN_OBJECT:
                return open_container(b, JSON_OBJECT, begin, end);
        case JSON_TOKEN_ARRAY:
                return open_container(b, JSON_ARRAY, begin, end);
        case JSON_TOKEN_STRING:
                return add_string(b, begin, end);
        case JSON_TOKEN_NUMBER:
                return add_value(b, JSON_NUMBER, begin, end);
        case JSON_TOKEN_NULL:
                return add_value(b, JSON_NULL, begin, end);
        default:
                return add_value(b, JSON_BOOL, begin, end);
        }
}

int json_parse(
        const char *text, size_t size, unsigned max_depth, JsonDocument **ret, JsonError *ret_error)
{
        Builder b = { .parent = NO_PARENT };
        int r;

        if (size > JSON_DOCUMENT_MAX)
                return -EFBIG;

        b.doc = calloc(1, offsetof(JsonDocument, values) + 8 * sizeof(JsonValue));
        if (!b.doc)
                return -ENOMEM;
        b.doc->n_allocated = 8;
        b.doc->text = malloc(size + 1);
        b.doc->strings = malloc(size + 1);
        if (!b.doc->text || !b.doc->strings) {
                json_document_free(b.doc);
                return -ENOMEM;
        }
        if (size > 0)
                memcpy(b.doc->text, text, size);
        b.doc->text[size] = '\0';

        r = json_scan(b.doc->text, size, max_depth, on_token, &b, ret_error);
        if (r < 0) {
                json_document_free(b.doc);
                return r;
        }

        *ret = b.doc;
        return 0;
}

JsonType json_value_type(const JsonValue *v)
{
        return (JsonType) v->type;
}

bool json_value_is(const JsonValue *v, JsonType type)
{
        return v->type == type;
}

const char *json_type_name(JsonType type)
{
        static const char *const names[] = {
                [JSON_NULL] = "null",
                [JSON_BOOL] = "true or false",
                [JSON_NUMBER] = "a number",
                [JSON_STRING] = "a string",
                [JSON_ARRAY] = "an array",
                [JSON_OBJECT] = "an object",
        };

        return names[type];
}

const char *json_value_text(const JsonValue *v, size_t *ret_size)
{
        *ret_size = v->size;
        return document_of(v)->text + v->begin;
}

static const char *value_string(const JsonValue *v)
{
        return document_of(v)->strings + v->string;
}

int json_value_string(const JsonValue *v, const char **ret)
{
        if (v->type != JSON_STRING)
                return -EINVAL;
        *ret = value_string(v);
        return 0;
}

int json_value_bool(const JsonValue *v, bool *ret)
{
        if (v->type != JSON_BOOL)
                return -EINVAL;
        *ret = document_of(v)->text[v->begin] == 't';
        return 0;
}

/* Integers of the text are short: a longer one than this does not fit either. */
static int integer_text(const JsonValue *v, char buf[static 24])
{
        const char *p = document_of(v)->text + v->begin;

        if (v->type != JSON_NUMBER)
                return -EINVAL;
        for (uint32_t i = 0; i < v->size; i++)
                if (p[i] == '.' || p[i] == 'e' || p[i] == 'E')
                        return -EINVAL;
        if (v->size >= 24)
                return -ERANGE;
        memcpy(buf, p, v->size);
        buf[v->size] = '\0';
        return 0;
}

int json_value_int64(const JsonValue *v, int64_t *ret)
{
        char buf[24];
        int r;

        r = integer_text(v, buf);
        return r < 0 ? r : parse_i64(buf, ret);
}

int json_value_uint64(const JsonValue *v, uint64_t *ret)
{
        char buf[24];
        int r;

        r = integer_text(v, buf);
        if (r < 0)
                return r;
        if (streq(buf, "-0")) {
                *ret = 0;
                return 0;
        }
        if (buf[0] == '-')
                return -ERANGE;
        return parse_u64(buf, 0, UINT64_MAX, ret);
}

int json_value_double(const JsonValue *v, double *ret)
{
        double d;

        if (v->type != JSON_NUMBER)
                return -EINVAL;
        /* The text goes on after the number, but strtod() stops there: the grammar has seen to it
         * that what follows cannot belong to a number. */
        d = strtod(document_of(v)->text + v->begin, NULL);
        if (!isfinite(d))
                return -ERANGE;
        *ret = d;
        return 0;
}

unsigned json_value_count(const JsonValue *v)
{
        return v->count;
}

/* The child whose entry (of its name, in an object) is at; NULL behind the end of v. */
static const JsonValue *child_at(const JsonValue *v, const JsonValue *at, const char **ret_name)
{
        const char *name = NULL;

        if (at >= v + v->span)
                return NULL;
        if (v->type == JSON_OBJECT) {
                name = value_string(at);
                at++;
        }
        if (ret_name)
                *ret_name = name;
        return at;
}

const JsonValue *json_value_first(const JsonValue *v, const char **ret_name)
{
        return child_at(v, v + 1, ret_name);
}

const JsonValue *json_value_next(const JsonValue *v, const JsonValue *child, const char **ret_name)
{
        return child_at(v, child + child->span, ret_name);
}

const JsonValue *json_value_member(const JsonValue *v, const char *name)
{
        const JsonValue *c, *found = NULL;
        const char *n;

        if (v->type != JSON_OBJECT)
                return NULL;
        for (c = json_value_first(v, &n); c; c = json_value_next(v, c, &n))
                if (streq(n, name))
                        found = c;
        return found;
}

void json_error_at(JsonError *e, const JsonValue *v, const char *format, ...)
{
        char text[JSON_ERROR_TEXT_MAX];
        va_list ap;

        if (!e)
                return;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        json_error_set(e, document_of(v)->text, v->begin, "%s", text);
}

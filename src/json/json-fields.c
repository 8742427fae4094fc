/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-reader.h"

#include "parse-util.h"

/* The member if it is there and is not null. */
static int find_member(const JsonValue *v, const char *name, const JsonValue **ret, JsonError *e)
{
        const JsonValue *c;

        if (!json_value_is(v, JSON_OBJECT)) {
                json_error_at(
                        e, v, "expected an object, not %s", json_type_name(json_value_type(v)));
                return -EINVAL;
        }
        c = json_value_member(v, name);
        if (!c || json_value_is(c, JSON_NULL))
                return JSON_MISSING;
        *ret = c;
        return JSON_FOUND;
}

static int wrong_type(const JsonValue *c, const char *name, const char *expected, JsonError *e)
{
        size_t size;
        const char *text = json_value_text(c, &size);

        if (json_value_is(c, JSON_NUMBER))
                json_error_at(e, c, "\"%s\": expected %s, not %.*s", name, expected,
                        size > 40 ? 40 : (int) size, text);
        else
                json_error_at(e, c, "\"%s\": expected %s, not %s", name, expected,
                        json_type_name(json_value_type(c)));
        return -EINVAL;
}

int json_get_typed(
        const JsonValue *v, const char *name, JsonType type, const JsonValue **ret, JsonError *e)
{
        const JsonValue *c;
        int r;

        r = find_member(v, name, &c, e);
        if (r != JSON_FOUND)
                return r;
        if (!json_value_is(c, type))
                return wrong_type(c, name, json_type_name(type), e);
        *ret = c;
        return JSON_FOUND;
}

int json_get_string(const JsonValue *v, const char *name, const char **ret, JsonError *e)
{
        const JsonValue *c;
        int r;

        r = json_get_typed(v, name, JSON_STRING, &c, e);
        return r == JSON_FOUND ? json_value_string(c, ret) : r;
}

int json_get_bool(const JsonValue *v, const char *name, bool *ret, JsonError *e)
{
        const JsonValue *c;
        int r;

        r = json_get_typed(v, name, JSON_BOOL, &c, e);
        return r == JSON_FOUND ? json_value_bool(c, ret) : r;
}

int json_get_int64(
        const JsonValue *v, const char *name, int64_t min, int64_t max, int64_t *ret, JsonError *e)
{
        const JsonValue *c;
        int64_t i;
        int r;

        r = find_member(v, name, &c, e);
        if (r != JSON_FOUND)
                return r;
        r = json_value_int64(c, &i);
        if (r == -EINVAL)
                return wrong_type(c, name, "an integer", e);
        if (r < 0 || i < min || i > max) {
                json_error_at(e, c, "\"%s\": expected %lld to %lld", name, (long long) min,
                        (long long) max);
                return -ERANGE;
        }
        *ret = i;
        return JSON_FOUND;
}

int json_get_uint64(const JsonValue *v, const char *name, uint64_t min, uint64_t max, uint64_t *ret,
        JsonError *e)
{
        const JsonValue *c;
        uint64_t u;
        int r;

        r = find_member(v, name, &c, e);
        if (r != JSON_FOUND)
                return r;
        r = json_value_uint64(c, &u);
        if (r == -EINVAL)
                return wrong_type(c, name, "an integer", e);
        if (r < 0 || u < min || u > max) {
                json_error_at(e, c, "\"%s\": expected %llu to %llu", name, (unsigned long long) min,
                        (unsigned long long) max);
                return -ERANGE;
        }
        *ret = u;
        return JSON_FOUND;
}

int json_get_double(const JsonValue *v, const char *name, double *ret, JsonError *e)
{
        const JsonValue *c;
        int r;

        r = json_get_typed(v, name, JSON_NUMBER, &c, e);
        if (r != JSON_FOUND)
                return r;
        r = json_value_double(c, ret);
        if (r < 0)
                json_error_at(e, c, "\"%s\": too large a number", name);
        return r;
}

/* The element of an array that a pointer's token names. An index has no sign and no leading zero.
 */
static const JsonValue *element_at(const JsonValue *v, const char *token)
{
        const JsonValue *c;
        uint64_t index;

        if ((token[0] == '0' && token[1]) || parse_u64(token, 0, UINT32_MAX, &index) < 0)
                return NULL;
        if (index >= json_value_count(v))
                return NULL;
        c = json_value_first(v, NULL);
        while (index-- > 0)
                c = json_value_next(v, c, NULL);
        return c;
}

/* Decodes ~0 and ~1 of the n bytes in place and ends them with a NUL. Returns 0 or -EINVAL. */
static int decode_token(char *token, size_t n)
{
        char *o = token;

        for (size_t i = 0; i < n; i++) {
                if (token[i] != '~') {
                        *o++ = token[i];
                        continue;
                }
                i++;
                if (i >= n || (token[i] != '0' && token[i] != '1'))
                        return -EINVAL;
                *o++ = token[i] == '0' ? '~' : '/';
        }
        *o = '\0';
        return 0;
}

int json_value_pointer(const JsonValue *v, const char *pointer, const JsonValue **ret)
{
        _cleanup_(freep) char *copy = NULL;
        char *p, *end;

        if (*pointer && *pointer != '/')
                return -EINVAL;
        copy = strdup(pointer);
        if (!copy)
                return -ENOMEM;

        for (p = *copy ? copy : NULL; p; p = end) {
                char *token = p + 1;

                end = strchr(token, '/');
                if (decode_token(token, end ? (size_t) (end - token) : strlen(token)) < 0)
                        return -EINVAL;
                if (!v)
                        continue; /* the rest is still looked at for its form */
                v = json_value_is(v, JSON_ARRAY) ? element_at(v, token)
                                                 : json_value_member(v, token);
        }
        if (!v)
                return -ENOENT;
        *ret = v;
        return 0;
}

typedef struct Name {
        const char *name;
        const JsonValue *value;
} Name;

static int compare_names(const void *a, const void *b)
{
        const Name *x = a, *y = b;
        int r = strcmp(x->name, y->name);

        if (r != 0)
                return r;
        return x->value < y->value ? -1 : x->value > y->value;
}

static bool is_known(const char *const *known, const char *name)
{
        for (; *known; known++)
                if (streq(*known, name))
                        return true;
        return false;
}

int json_value_check_fields(const JsonValue *v, const char *const *known, JsonError *e)
{
        _cleanup_(freep) Name *names = NULL;
        const JsonValue *c;
        const char *name;
        unsigned n = 0;

        if (!json_value_is(v, JSON_OBJECT)) {
                json_error_at(
                        e, v, "expected an object, not %s", json_type_name(json_value_type(v)));
                return -EINVAL;
        }
        names = new0(Name, json_value_count(v));
        if (!names)
                return -ENOMEM;

        for (c = json_value_first(v, &name); c; c = json_value_next(v, c, &name)) {
                if (known && !is_known(known, name)) {
                        json_error_at(e, c, "unknown field \"%s\"", name);
                        return -EINVAL;
                }
                names[n++] = (Name){ name, c };
        }

        qsort(names, n, sizeof(Name), compare_names);
        for (unsigned i = 1; i < n; i++)
                if (streq(names[i - 1].name, names[i].name)) {
                        json_error_at(
                                e, names[i].value, "field \"%s\" is given twice", names[i].name);
                        return -EINVAL;
                }
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flag-rules.h"

#include <inttypes.h>
#include <stdio.h>

#include "reeve-limits.h"

static int refuse(JsonError *e, const JsonValue *v, const char *text)
{
        json_error_at(e, v, "%s", text);
        return -EINVAL;
}

/* ---- values ---- */

/* Borrows strings. Returns 0 or -EINVAL: neither boolean, number nor string. */
static int read_scalar(const JsonValue *v, FlagValue *ret)
{
        const char *s;

        switch (json_value_type(v)) {
        case JSON_BOOL:
                ret->type = FLAG_BOOL;
                return json_value_bool(v, &ret->boolean);
        case JSON_NUMBER:
                ret->type = FLAG_INTEGER;
                if (json_value_int64(v, &ret->integer) >= 0)
                        return 0;
                ret->type = FLAG_NUMBER;
                return json_value_double(v, &ret->number);
        case JSON_STRING:
                ret->type = FLAG_STRING;
                if (json_value_string(v, &s) < 0)
                        return -EINVAL;
                ret->string = (char *) s;
                return 0;
        default:
                return -EINVAL;
        }
}

/* Appends a value that the rule owns. There is room for it. */
static int add_value(FlagRule *r, const JsonValue *v, JsonError *e)
{
        FlagValue value;

        if (read_scalar(v, &value) < 0)
                return refuse(e, v, "expected a string, a number or a boolean");
        if (value.type == FLAG_STRING) {
                if (strlen(value.string) > REEVE_SUBJECT_MAX)
                        return refuse(e, v, "a string has at most 256 bytes here");
                value.string = strdup(value.string);
                if (!value.string)
                        return -ENOMEM;
        }
        r->values[r->n_values++] = value;
        return 0;
}

static int read_values(FlagRule *r, const JsonValue *v, JsonError *e)
{
        unsigned n = json_value_count(v);
        int k = 0;

        if (r->op != FLAG_IN)
                n = 1;
        else if (!json_value_is(v, JSON_ARRAY) || n == 0)
                return refuse(e, v, "\"in\" needs an array that is not empty as its value");
        if (n > REEVE_FLAG_ALLOW_MAX)
                return refuse(e, v, "more than 1000 values");
        r->values = new0(FlagValue, n);
        if (!r->values)
                return -ENOMEM;

        if (r->op != FLAG_IN)
                return add_value(r, v, e);
        for (const JsonValue *c = json_value_first(v, NULL); c && k >= 0;
                c = json_value_next(v, c, NULL))
                k = add_value(r, c, e);
        return k;
}

/* Whether the operator takes such a value. */
static int check_type(const FlagRule *r, const JsonValue *v, JsonError *e)
{
        FlagValueType type = r->values[0].type;

        switch (r->op) {
        case FLAG_BELOW:
        case FLAG_AT_MOST:
        case FLAG_ABOVE:
        case FLAG_AT_LEAST:
                if (type != FLAG_INTEGER && type != FLAG_NUMBER)
                        return refuse(e, v, "this operator compares numbers");
                return 0;
        case FLAG_STARTS_WITH:
        case FLAG_ENDS_WITH:
                if (type != FLAG_STRING || r->values[0].string[0] == '\0')
                        return refuse(e, v, "this operator needs a string that is not empty");
                return 0;
        default:
                return 0;
        }
}

/* ---- rules ---- */

static int read_rule(FlagRule *r, const JsonValue *v, JsonError *e)
{
        static const char *const known[] = { "property", "op", "value", NULL };
        const JsonValue *value = json_value_member(v, "value");
        const char *property = NULL, *op = NULL;
        int k;

        k = json_value_check_fields(v, known, e);
        if (k < 0)
                return k;
        k = json_get_string(v, "property", &property, e);
        if (k >= 0)
                k = json_get_string(v, "op", &op, e);
        if (k < 0)
                return k;
        if (!property || !op || !value)
                return refuse(e, v, "a rule has \"property\", \"op\" and \"value\"");
        if (*property == '\0' || strlen(property) > REEVE_NAME_MAX)
                return refuse(e, v, "the property's name has 1 to 64 bytes");
        k = flag_op_from_string(op);
        if (k < 0)
                return refuse(e, json_value_member(v, "op"),
                        "there is no such operator; known are == != < <= > >= in starts-with "
                        "ends-with");
        r->op = (FlagOp) k;
        r->property = strdup(property);
        if (!r->property)
                return -ENOMEM;
        k = read_values(r, value, e);
        return k < 0 ? k : check_type(r, value, e);
}

/* The array that a text is; its elements are counted against max. */
static int parse_array(
        const char *text, size_t size, unsigned max, JsonDocument **ret, JsonError *e)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        JsonError error;
        int r = json_parse(text, size, REEVE_JSON_DEPTH_MAX, &d, e ? e : &error);

        if (r < 0)
                return r;
        if (!json_value_is(json_document_root(d), JSON_ARRAY))
                return refuse(e, json_document_root(d), "expected an array");
        if (json_value_count(json_document_root(d)) > max) {
                json_error_at(e, json_document_root(d), "more than %u elements", max);
                return -EINVAL;
        }
        *ret = TAKE_PTR(d);
        return 0;
}

int flag_rules_parse(const char *text, size_t size, FlagRules *ret, JsonError *e)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(flag_rules_done) FlagRules rules = {};
        const JsonValue *root;
        int r;

        if (size > REEVE_FLAG_RULES_BYTES_MAX) {
                json_error_set(e, text, 0, "rules have at most 65536 bytes");
                return -EINVAL;
        }
        r = parse_array(text, size, REEVE_FLAG_RULES_MAX, &d, e);
        if (r < 0)
                return r;
        root = json_document_root(d);
        rules.items = new0(FlagRule, json_value_count(root));
        if (!rules.items)
                return -ENOMEM;

        for (const JsonValue *c = json_value_first(root, NULL); c;
                c = json_value_next(root, c, NULL)) {
                r = read_rule(rules.items + rules.n_items++, c, e);
                if (r < 0)
                        return r;
        }
        *ret = STEAL(rules);
        return 0;
}

static char **strings_free(char **strings)
{
        for (char **s = strings; s && *s; s++)
                free(*s);
        return mfree(strings);
}
DEFINE_CLEANUP(char *, strings_free)

int flag_allow_parse(const char *text, size_t size, char ***ret, JsonError *e)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(strings_freep) char **strings = NULL;
        const JsonValue *root;
        unsigned n = 0;
        int r;

        r = parse_array(text, size, REEVE_FLAG_ALLOW_MAX, &d, e);
        if (r < 0)
                return r;
        root = json_document_root(d);
        strings = new0(char *, json_value_count(root) + 1);
        if (!strings)
                return -ENOMEM;

        for (const JsonValue *c = json_value_first(root, NULL); c;
                c = json_value_next(root, c, NULL)) {
                const char *s;

                if (json_value_string(c, &s) < 0 || *s == '\0' || strlen(s) > REEVE_SUBJECT_MAX)
                        return refuse(e, c, "a subject is a string of 1 to 256 bytes");
                strings[n] = strdup(s);
                if (!strings[n++])
                        return -ENOMEM;
        }
        *ret = TAKE_PTR(strings);
        return 0;
}

/* ---- contexts ---- */

int flag_context_init(FlagContext *c, const JsonValue *object, JsonError *e)
{
        const JsonValue *key = object ? json_value_member(object, "targetingKey") : NULL;
        int64_t number;

        *c = (FlagContext){ .object = object };
        if (!key || json_value_is(key, JSON_NULL))
                return 0;
        if (json_value_int64(key, &number) >= 0) {
                (void) snprintf(c->number, sizeof(c->number), "%" PRId64, number);
                c->subject = c->number;
                return 0;
        }
        if (json_value_string(key, &c->subject) < 0 || strlen(c->subject) > REEVE_SUBJECT_MAX) {
                c->subject = NULL;
                return refuse(
                        e, key, "targetingKey is a string of at most 256 bytes, or an integer");
        }
        return 0;
}

static bool look_up(const char *property, FlagValue *ret, void *userdata)
{
        const FlagContext *c = userdata;
        const JsonValue *v = c->object ? json_value_member(c->object, property) : NULL;

        return v && read_scalar(v, ret) >= 0;
}

FlagResult flag_context_evaluate(FlagContext *c, const Flag *f)
{
        return flag_evaluate(f, c->subject, look_up, c);
}

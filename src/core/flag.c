/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flag.h"

#include <stdio.h>

#include "parse-util.h"
#include "reeve-limits.h"

/* ---- names ---- */

static const char *const bucketing_names[_FLAG_BUCKETING_MAX] = { "murmur3", "modulo" };
static const char *const on_stale_names[_FLAG_ON_STALE_MAX] = { "keep", "on", "off" };
static const char *const op_names[_FLAG_OP_MAX] = { "==", "!=", "<", "<=", ">", ">=", "in",
        "starts-with", "ends-with" };
static const char *const reason_names[_FLAG_REASON_MAX] = { "STATIC", "TARGETING_MATCH", "SPLIT",
        "DISABLED", "ERROR" };

static int find_name(const char *const *names, int n, const char *s)
{
        for (int i = 0; i < n; i++)
                if (streq(names[i], s))
                        return i;
        return -EINVAL;
}

const char *flag_reason_to_string(FlagReason reason)
{
        return reason_names[reason];
}

const char *flag_bucketing_to_string(FlagBucketing bucketing)
{
        return bucketing_names[bucketing];
}

FlagBucketing flag_bucketing_from_string(const char *s)
{
        return (FlagBucketing) find_name(bucketing_names, _FLAG_BUCKETING_MAX, s);
}

const char *flag_on_stale_to_string(FlagOnStale on_stale)
{
        return on_stale_names[on_stale];
}

FlagOnStale flag_on_stale_from_string(const char *s)
{
        return (FlagOnStale) find_name(on_stale_names, _FLAG_ON_STALE_MAX, s);
}

const char *flag_op_to_string(FlagOp op)
{
        return op_names[op];
}

FlagOp flag_op_from_string(const char *s)
{
        return (FlagOp) find_name(op_names, _FLAG_OP_MAX, s);
}

/* ---- percentages ---- */

static unsigned read_digits(const char **s, unsigned n_most, unsigned *ret)
{
        unsigned n = 0;

        for (*ret = 0; n < n_most && **s >= '0' && **s <= '9'; n++, (*s)++)
                *ret = *ret * 10 + (unsigned) (**s - '0');
        return n;
}

int flag_percent_parse(const char *s, unsigned *ret)
{
        unsigned whole, part = 0, n;

        if (read_digits(&s, 6, &whole) == 0)
                return -EINVAL;
        if (*s == '.') {
                s++;
                n = read_digits(&s, 3, &part);
                if (n == 0)
                        return -EINVAL;
                for (; n < 3; n++)
                        part *= 10;
        }
        if (*s == '%')
                s++;
        if (*s)
                return -EINVAL;
        if (whole * 1000 + part > REEVE_FLAG_PERCENT_MAX)
                return -ERANGE;
        *ret = whole * 1000 + part;
        return 0;
}

const char *flag_percent_format(char buf[static FLAG_PERCENT_MAX], unsigned percent)
{
        int n = snprintf(buf, FLAG_PERCENT_MAX, "%u.%03u", percent / 1000, percent % 1000);

        while (buf[n - 1] == '0')
                n--;
        if (buf[n - 1] == '.')
                n--;
        buf[n] = '\0';
        return buf;
}

/* ---- ownership ---- */

void flag_rules_done(FlagRules *rules)
{
        for (unsigned i = 0; i < rules->n_items; i++) {
                FlagRule *r = rules->items + i;

                for (unsigned k = 0; k < r->n_values; k++)
                        if (r->values[k].type == FLAG_STRING)
                                free(r->values[k].string);
                free(r->values);
                free(r->property);
        }
        free(rules->items);
        *rules = (FlagRules){};
}

void flag_done(Flag *f)
{
        free(f->key);
        free(f->seed);
        for (char **s = f->allow; s && *s; s++)
                free(*s);
        free(f->allow);
        flag_rules_done(&f->rules);
        free(f->value_on);
        free(f->value_off);
        *f = (Flag){};
}

/* ---- buckets ---- */

static uint32_t rotate(uint32_t v, unsigned n)
{
        return v << n | v >> (32 - n);
}

static uint32_t scramble(uint32_t k)
{
        return rotate(k * 0xcc9e2d51U, 15) * 0x1b873593U;
}

/* A byte at a time, so that the two texts need not stand in one place. */
uint32_t flag_hash(const char *a, const char *b)
{
        const char *const parts[] = { a, b };
        uint32_t h = 0, k = 0, n = 0;

        for (unsigned i = 0; i < ELEMENTSOF(parts); i++)
                for (const char *s = parts[i]; *s; s++) {
                        k |= (uint32_t) (unsigned char) *s << 8 * (n % 4);
                        if (++n % 4 == 0) {
                                h = rotate(h ^ scramble(k), 13) * 5 + 0xe6546b64U;
                                k = 0;
                        }
                }

        h ^= scramble(k); /* the rest; scramble(0) is 0 */
        h ^= n;
        h ^= h >> 16;
        h *= 0x85ebca6bU;
        h ^= h >> 13;
        h *= 0xc2b2ae35U;
        return h ^ h >> 16;
}

uint32_t flag_bucket(uint32_t hash, uint32_t total)
{
        return (uint32_t) ((uint64_t) hash * total >> 32);
}

/* ---- rules ---- */

static double as_number(const FlagValue *v)
{
        return v->type == FLAG_INTEGER ? (double) v->integer : v->number;
}

static bool is_number(const FlagValue *v)
{
        return v->type == FLAG_INTEGER || v->type == FLAG_NUMBER;
}

/* Integers are compared as such: as doubles those above 2^53 would be equal to their neighbours. */
static int compare(const FlagValue *a, const FlagValue *b)
{
        double x, y;

        if (a->type == FLAG_INTEGER && b->type == FLAG_INTEGER)
                return (a->integer > b->integer) - (a->integer < b->integer);
        x = as_number(a);
        y = as_number(b);
        return (x > y) - (x < y);
}

static bool is_equal(const FlagValue *a, const FlagValue *b)
{
        if (is_number(a) && is_number(b))
                return compare(a, b) == 0;
        if (a->type != b->type)
                return false;
        return a->type == FLAG_BOOL ? a->boolean == b->boolean : streq(a->string, b->string);
}

static bool is_one_of(const FlagRule *r, const FlagValue *v)
{
        for (unsigned i = 0; i < r->n_values; i++)
                if (is_equal(v, r->values + i))
                        return true;
        return false;
}

static bool string_matches(FlagOp op, const FlagValue *v, const FlagValue *part)
{
        size_t n, n_part;

        if (v->type != FLAG_STRING || part->type != FLAG_STRING)
                return false;
        n = strlen(v->string);
        n_part = strlen(part->string);
        if (n_part > n)
                return false;
        return memcmp(op == FLAG_ENDS_WITH ? v->string + n - n_part : v->string, part->string,
                       n_part) == 0;
}

static bool number_matches(FlagOp op, const FlagValue *v, const FlagValue *limit)
{
        int c;

        if (!is_number(v) || !is_number(limit))
                return false;
        c = compare(v, limit);
        switch (op) {
        case FLAG_BELOW:
                return c < 0;
        case FLAG_AT_MOST:
                return c <= 0;
        case FLAG_ABOVE:
                return c > 0;
        default:
                return c >= 0;
        }
}

static bool rule_holds(const FlagRule *r, FlagLookup lookup, void *userdata)
{
        FlagValue v;

        if (!lookup || r->n_values == 0 || !lookup(r->property, &v, userdata))
                return false;
        switch (r->op) {
        case FLAG_EQUAL:
        case FLAG_IN:
                return is_one_of(r, &v);
        case FLAG_NOT_EQUAL:
                return !is_one_of(r, &v);
        case FLAG_STARTS_WITH:
        case FLAG_ENDS_WITH:
                return string_matches(r->op, &v, r->values);
        default:
                return number_matches(r->op, &v, r->values);
        }
}

/* ---- the answer ---- */

static bool is_targeted(const Flag *f, const char *subject, FlagLookup lookup, void *userdata)
{
        for (char **s = f->allow; subject && s && *s; s++)
                if (streq(*s, subject))
                        return true;
        for (unsigned i = 0; i < f->rules.n_items; i++)
                if (rule_holds(f->rules.items + i, lookup, userdata))
                        return true;
        return false;
}

static FlagResult split_by_modulo(const Flag *f, const char *subject)
{
        int64_t number;

        if (!subject || parse_i64(subject, &number) < 0)
                return (FlagResult){ false, FLAG_ERROR,
                        subject ? "the subject is not an integer, which bucketing by modulo needs"
                                : "there is no subject" };
        number = (number % 100 + 100) % 100; /* never negative, as Python's % */
        return (FlagResult){ (unsigned) number * 1000U < f->percent, FLAG_SPLIT, NULL };
}

FlagResult flag_evaluate(const Flag *f, const char *subject, FlagLookup lookup, void *userdata)
{
        uint32_t bucket;

        if (subject && *subject == '\0')
                subject = NULL;
        if (!f->enabled)
                return (FlagResult){ false, FLAG_DISABLED, NULL };
        if (is_targeted(f, subject, lookup, userdata))
                return (FlagResult){ true, FLAG_TARGETING_MATCH, NULL };
        if (f->percent == 0 || f->percent >= REEVE_FLAG_PERCENT_MAX)
                return (FlagResult){ f->percent > 0, FLAG_STATIC, NULL };
        if (f->bucketing == FLAG_MODULO)
                return split_by_modulo(f, subject);
        if (!subject)
                return (FlagResult){ false, FLAG_ERROR, "there is no subject" };

        bucket =
                flag_bucket(flag_hash(f->seed ? f->seed : f->key, subject), REEVE_FLAG_PERCENT_MAX);
        return (FlagResult){ bucket < f->percent, FLAG_SPLIT, NULL };
}

FlagResult flag_when_stale(const Flag *f)
{
        return (FlagResult){ f->on_stale == FLAG_STALE_ON, FLAG_STATIC, NULL };
}

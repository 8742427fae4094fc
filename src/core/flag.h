/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "macros.h"

/* Feature flags: what a flag says for somebody. Pure: the same flag and context give the same
 * answer on every host and at every time.
 *
 * GLOSSARY
 * subject   on whose behalf: what OpenFeature calls the targeting key
 * property  a named value of the context, for rules
 * percent   in thousandths of a percent: 0 to REEVE_FLAG_PERCENT_MAX
 */

typedef enum FlagBucketing {
        FLAG_MURMUR3, /* as flagd's "fractional": by a hash of seed and subject */
        FLAG_MODULO, /* subject % 100, which is an integer: 25 % are those below 25 */
        _FLAG_BUCKETING_MAX,
        _FLAG_BUCKETING_INVALID = -22,
} FlagBucketing;

typedef enum FlagOnStale { /* what it is after StaleSec= without the database */
        FLAG_STALE_KEEP, /* as it was */
        FLAG_STALE_ON, /* on for everybody */
        FLAG_STALE_OFF,
        _FLAG_ON_STALE_MAX,
        _FLAG_ON_STALE_INVALID = -22,
} FlagOnStale;

typedef enum FlagOp {
        FLAG_EQUAL, /* ==, != compare numbers, strings and booleans; other types differ */
        FLAG_NOT_EQUAL,
        FLAG_BELOW, /* <, <=, >, >= compare numbers */
        FLAG_AT_MOST,
        FLAG_ABOVE,
        FLAG_AT_LEAST,
        FLAG_IN, /* one of several */
        FLAG_STARTS_WITH, /* of strings, by bytes */
        FLAG_ENDS_WITH,
        _FLAG_OP_MAX,
        _FLAG_OP_INVALID = -22,
} FlagOp;

typedef enum FlagValueType { FLAG_BOOL, FLAG_INTEGER, FLAG_NUMBER, FLAG_STRING } FlagValueType;

typedef struct FlagValue {
        FlagValueType type;
        union {
                bool boolean;
                int64_t integer;
                double number;
                char *string; /* a rule owns it; of a context it is borrowed */
        };
} FlagValue;

/* A condition. It never holds for a context without that property. */
typedef struct FlagRule {
        char *property;
        FlagOp op;
        FlagValue *values; /* one; for FLAG_IN any number */
        unsigned n_values;
} FlagRule;

typedef struct FlagRules {
        FlagRule *items; /* on if any of them holds */
        unsigned n_items;
} FlagRules;

typedef struct Flag {
        char *key;
        bool enabled;
        unsigned percent;
        FlagBucketing bucketing;
        char *seed; /* NULL: the key */
        char **allow; /* subjects, NULL-terminated, or NULL */
        FlagRules rules;
        char *value_on, *value_off; /* JSON */
        FlagOnStale on_stale;
        int64_t version;
        uint64_t updated_usec; /* its last change, CLOCK_REALTIME */
} Flag;

/* Free what they own. NULL and half-built ones are fine. */
void flag_rules_done(FlagRules *rules);
void flag_done(Flag *f);

typedef enum FlagReason {
        FLAG_STATIC, /* the same for everybody */
        FLAG_TARGETING_MATCH, /* on the allow list, or a rule holds */
        FLAG_SPLIT, /* by the percentage */
        FLAG_DISABLED,
        FLAG_ERROR, /* off: the percentage cannot be applied to this subject */
        _FLAG_REASON_MAX,
} FlagReason;

typedef struct FlagResult {
        bool on;
        FlagReason reason;
        const char *error; /* of FLAG_ERROR: what was wrong, without a full stop; otherwise NULL */
} FlagResult;

/* The value of a property; false if the context has none of this name. */
typedef bool (*FlagLookup)(const char *property, FlagValue *ret, void *userdata);

/* In this order: disabled is off; the allow list and the rules are on; 0 % is off and 100 % is on,
 * with or without a subject; then the bucket. subject may be NULL or "" (none), lookup NULL. */
FlagResult flag_evaluate(const Flag *f, const char *subject, FlagLookup lookup, void *userdata);
/* The answer of a stale flag that is not kept. */
FlagResult flag_when_stale(const Flag *f);

/* MurmurHash3_x86_32 with seed 0 of both texts in a row (Austin Appleby, public domain; held to
 * flagd's own test vectors by tests/unit/test-flag.c). */
uint32_t flag_hash(const char *a, const char *b);
/* The place of a hash in 0 to total - 1, as flagd has it: (hash * total) >> 32. */
uint32_t flag_bucket(uint32_t hash, uint32_t total);

/* "12.5" or "12.5%" as 12500. Returns 0, -EINVAL (not a number, more than three decimals) or
 * -ERANGE (above 100). */
int flag_percent_parse(const char *s, unsigned *ret);
/* "12.5": the shortest text. buf is returned. */
#define FLAG_PERCENT_MAX 16
const char *flag_percent_format(char buf[static FLAG_PERCENT_MAX], unsigned percent);

const char *flag_reason_to_string(FlagReason reason); /* "SPLIT", as OpenFeature has them */
const char *flag_bucketing_to_string(FlagBucketing bucketing);
FlagBucketing flag_bucketing_from_string(const char *s);
const char *flag_on_stale_to_string(FlagOnStale on_stale);
FlagOnStale flag_on_stale_from_string(const char *s);
const char *flag_op_to_string(FlagOp op);
FlagOp flag_op_from_string(const char *s);

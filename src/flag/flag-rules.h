/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "flag.h"
#include "json-reader.h"

/* Flags as JSON writes them, with json/'s strictness.
 *
 * Rules are an array of conditions; the flag is on for whom any of them holds:
 *      [{"property": "size", "op": ">", "value": 10485760},
 *       {"property": "country", "op": "in", "value": ["fr", "de"]}]
 * property  a member of the context, 1 to REEVE_NAME_MAX bytes; "targetingKey" is the subject
 * op        == != (a number, string or boolean), < <= > >= (a number), in (an array of those of
 * ==), starts-with ends-with (a string that is not empty) Fields that are unknown, missing or there
 * twice are refused. */

/* Returns 0, -EBADMSG (not JSON), -EINVAL (not rules), in both cases with *e (may be NULL) filled
 * in, or -ENOMEM. Undo with flag_rules_done(). */
int flag_rules_parse(const char *text, size_t size, FlagRules *ret, JsonError *e);

/* An array of subjects, each 1 to REEVE_SUBJECT_MAX bytes. The same errors. The caller frees the
 * NULL-terminated array and its strings. */
int flag_allow_parse(const char *text, size_t size, char ***ret, JsonError *e);

/* The context of an evaluation: a JSON object. */
typedef struct FlagContext {
        const JsonValue *object; /* NULL: an empty one */
        const char *subject; /* NULL: none */
        char number[24]; /* of a subject that was written as an integer */
} FlagContext;

/* Takes the members of an object that lives as long as the context. Returns 0 or -EINVAL with *e
 * filled in: targetingKey is neither a string of at most REEVE_SUBJECT_MAX bytes nor an integer. */
int flag_context_init(FlagContext *c, const JsonValue *object, JsonError *e);

FlagResult flag_context_evaluate(FlagContext *c, const Flag *f);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api-private.h"

/* What routes share: answers about a job, answers with a tag, bodies. api-jobs.c, api-wait.c. */

#define WAIT_MAX_USEC (60 * USEC_PER_SEC) /* ?wait=, and "wait" of a claim */

/* Asks for the job c->id and answers with it; says that there is none. */
void call_show_job(Call *c, unsigned status);
void call_no_job(Call *c);
/* Answers with the job c->id, which is there already; 409 without its id if it is another
 * subject's.
 */
void call_show_existing(Call *c);
typedef struct TaggedText {
        unsigned status;
        const char *text; /* JSON */
        size_t size;
        const char *cache; /* Cache-Control; NULL: to be asked for again each time */
        const char *location; /* of what was made; NULL */
} TaggedText;

/* Answers with a text and the ETag of what it says; with 304 if that is what the client has, unless
 * something was made. */
void call_tagged(Call *c, const TaggedText *t);
/* In an answer of store_get_job(): whether the caller may see the job; answers if not: false. */
bool call_sees_job(Call *c, int error, const char *const *row);
/* Parses a text of a body, the lines before it being skipped. Answers if it is not JSON: false. */
bool call_parse_json(Call *c, const char *data, size_t size, unsigned max_depth, unsigned line,
        JsonDocument **ret);
/* Reads a body that is an object of these fields; no body, if the route takes none as well, leaves
 * *ret NULL. Answers if it is none: false. */
bool call_read_json(
        Call *c, const char *data, size_t size, const char *const *known, JsonDocument **ret);
/* The outcome of a json_get_ function; answers if the field is wrong: false. */
bool call_has_field(Call *c, int r, const JsonError *e);
/* What the caller may touch of the job c->id. */
StoreAct call_act(const Call *c, const char *reason);

typedef struct Waiters Waiters;
int waiters_new(Api *a, Waiters **ret);
Waiters *waiters_free(Waiters *w);
/* Calls ready when the call's job has ended, or after the time. The call's data is the waiter's
 * until then. */
int waiters_add(Waiters *w, Call *c, usec_t usec, CallReady ready);
/* Answers all now: the program stops. */
void waiters_flush(Waiters *w);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf.h"
#include "retry.h"
#include "sha256.h"
#include "strbuf.h"
#include "time-util.h"

/* A kind of work: what one .kind file says (reeve.kind(5)). Pure: made from items that were read
 * elsewhere, changed by nobody afterwards.
 *
 * GLOSSARY
 * directive   a line of [Service], kept as it stands for the generated unit
 * canonical   the text of kind_format(): every key with its effective value, in the table's order
 */

typedef enum KindType {
        KIND_EXEC, /* a program, started in a unit of its own */
        KIND_HTTP, /* a request to a provider */
        KIND_PULL, /* a program elsewhere fetches its jobs over HTTP */
} KindType;

typedef enum KindMode {
        KIND_MODE_EXEC, /* the program is started for each run */
        KIND_MODE_PERSISTENT, /* it stays: one JSON line in, one out */
        _KIND_MODE_MAX,
} KindMode;

typedef enum KindOutput {
        KIND_OUTPUT_JSON,
        KIND_OUTPUT_TEXT,
        _KIND_OUTPUT_MAX,
} KindOutput;

typedef enum KindMissed {
        KIND_MISSED_SKIP, /* instants at which no host was up are left out */
        KIND_MISSED_ONE, /* they give one job together */
        _KIND_MISSED_MAX,
} KindMissed;

typedef struct KindDirective {
        char *key;
        char *value;
        char *file;
        unsigned line;
} KindDirective;

typedef struct KindRate {
        unsigned n; /* runs; 0: no limit */
        usec_t interval_usec;
} KindRate;

typedef struct KindStatusRange {
        unsigned first, last; /* HTTP status codes, both included */
} KindStatusRange;

typedef struct KindExec {
        char **start; /* program and arguments, never empty */
        char **join; /* a program alone; NULL: start is run for the join phase too */
        unsigned max_runs; /* of one unit instance */
        KindMode mode;
        KindOutput output;
} KindExec;

typedef struct KindHttp {
        char *method;
        char *url;
        char *credential; /* a credential's name or NULL */
        char *body; /* template or NULL */
        char *result; /* JSON pointer into the answer, NULL: all of it */
        KindStatusRange *retry_status; /* n_retry_status of them */
        size_t n_retry_status;
} KindHttp;

typedef struct KindPull {
        usec_t lease_usec; /* for which a run is its puller's, unless that asks for another time */
} KindPull;

typedef struct Kind {
        char *name;
        char *file; /* the one that was read first: for SourcePath= and messages */
        char *description; /* or NULL */
        char *queue;
        unsigned priority; /* 1..10, higher first */
        unsigned max_attempts;
        unsigned max_interruptions;
        RetryPolicy retry;
        usec_t timeout_usec; /* USEC_INFINITY: none */
        usec_t stop_usec;
        usec_t watchdog_usec; /* USEC_INFINITY: none */
        usec_t deadline_usec; /* after being enqueued, or due; USEC_INFINITY: none */
        usec_t unique_usec; /* for so long, jobs that are the same are one; 0: not */
        usec_t keep_result_usec; /* USEC_INFINITY: for ever */
        unsigned concurrency; /* runs in the whole fleet; 0: no limit */
        char **concurrency_key; /* "tenant", "subject", JSON pointers; NULL: of all jobs together */
        KindRate rate_limit;
        unsigned rate_burst; /* runs that may begin at once; 0 without a rate */
        char **rate_key; /* as concurrency_key */
        char *on_calendar; /* or NULL */
        KindMissed missed;
        KindType type;
        KindExec exec; /* KIND_EXEC */
        KindHttp http; /* KIND_HTTP */
        KindPull pull; /* KIND_PULL */
        KindDirective *service; /* n_service of them, in the order of reading */
        size_t n_service;
        char hash[SHA256_HEX_MAX]; /* SHA-256 of the canonical text */
} Kind;

/* Makes a kind of what was read (conf_read_dirs(), conf_read_text()). Each finding goes to report
 * (may be NULL) by file and line. c stays the caller's. Returns 0, -EINVAL (an error was reported:
 * this kind is kept out) or -ENOMEM, -EIO. */
int kind_new_from_conf(
        const char *name, const Conf *c, ConfReport report, void *userdata, Kind **ret);
Kind *kind_free(Kind *k);
DEFINE_CLEANUP(Kind, kind_free)

/* The canonical text: a .kind file that makes the same kind, with the same hash. Comments, order,
 * spelling of numbers and spans, and defaults written out make no difference. */
void kind_format(const Kind *k, StrBuf *b);

/* How many runs may begin at once if the kind does not say: what comes in 100 ms, but one. Nobody
 * can wake up for each run of a high rate by itself. */
unsigned kind_rate_burst(const KindRate *rate);

/* The last value of a [Service] directive, NULL if it is not there. Owned by k. */
const char *kind_service_get(const Kind *k, const char *key);

/* Every key but those of [Service], ended by one without key. For the man page's test. */
const ConfEntry *kind_entries(void);

const char *kind_type_to_string(KindType t);
const char *kind_mode_to_string(KindMode m);
const char *kind_output_to_string(KindOutput o);
/* Appends reeve-exec's words for a kind with [Exec], each after a space, quoted as words_quote()
 * does it: all but the name of the unit. */
void kind_put_launcher_words(StrBuf *b, const Kind *k, unsigned flags);
const char *kind_missed_to_string(KindMissed m);

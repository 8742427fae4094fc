/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "kind.h"
#include "run-frame.h"
#include "store-run.h"

/* What becomes of a job after a run: pure, from the launcher's last word and the job's limits. */

typedef struct VerdictInput {
        const Kind *kind;
        const RunFrame *end; /* an end frame */
        const char *result; /* the text on stdout, "" if none; NULL if it is not usable */
        int64_t attempt; /* verdicts before this run */
        int64_t max_attempts;
        int64_t interruptions, max_interruptions;
        uint32_t random; /* spreads the delay */
        bool join; /* it was for the join phase */
} VerdictInput;

typedef struct Verdict {
        const char *state; /* succeeded, failed, cancelled, scheduled, ready; "waiting" if children
                              are asked for */
        const char *cause;
        StoreCounts counts;
        usec_t delay_usec; /* for scheduled */
        char error_code[64]; /* "" if none */
        char error_message[512]; /* "" if none */
        const char *result; /* what to keep as the result, not NUL-terminated; NULL: none */
        size_t result_size;
        char *children; /* a JSON array, for "waiting"; the caller frees it */
        unsigned at_once; /* so many of them at a time; 0: all */
        int progress_from, progress_to; /* the part of the bar that they are; < 0: none */
} Verdict;

/* result points into input->result. Returns 0 or -ENOMEM. */
int verdict_of_run(const VerdictInput *input, Verdict *ret);

/* Shortened to what fits, as valid UTF-8: bytes that are none become question marks. */
void verdict_set_error(Verdict *v, const char *code, const char *message);

/* The handler could not be started: ready again, counts as nothing; the kind is to be held
 * (kind-hold.h). */
void verdict_of_no_handler(const char *cause, const char *code, const char *message, Verdict *ret);

/* An interruption without an end frame (the launcher died, the worker gave it up): ready again, or
 * failed when the job has been interrupted too often. */
void verdict_of_interruption(
        const char *cause, int64_t interruptions, int64_t max_interruptions, Verdict *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "reeve-limits.h"
#include "time-util.h"

/* What a handler says about itself: lines of JSON on its descriptor 3, and datagrams of
 * sd_notify(3). Both only change this struct; who sends it on looks at it when he has time. */
typedef struct ExecProgress {
        int progress; /* 0 to 100, -1: never said */
        char status[REEVE_STATUS_TEXT_MAX + 1]; /* "" : never said */
        bool changed; /* progress or status, since it was last sent on */
        bool alive; /* there was a sign of life since then */
        bool extend; /* extend_usec was asked for since then */
        usec_t extend_usec;

        char line[REEVE_PROGRESS_LINE_MAX]; /* of descriptor 3, not complete yet */
        size_t line_size;
        bool line_too_long; /* the rest of this line is dropped */
        unsigned n_bad; /* lines that were not understood */
        char bad[160]; /* why the last of them was not */
} ExecProgress;

void exec_progress_reset(ExecProgress *p);

/* Takes bytes of descriptor 3. With run_id > 0, lines that name another run are left out. */
void exec_progress_feed(ExecProgress *p, int64_t run_id, const char *data, size_t n);

/* Takes one datagram of sd_notify(3): assignments in lines. text is NUL-terminated and is changed.
 */
void exec_progress_notify(ExecProgress *p, char *text);

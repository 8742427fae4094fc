/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "reeve-limits.h"
#include "strbuf.h"
#include "time-util.h"

/* A handler's standard error: its lines go to the journal, its last bytes are kept. Takes the same
 * memory for a line and for a gigabyte. */

#define EXEC_LOG_LINES_PER_SEC 500U /* to the journal, on average; the rest is counted */
#define EXEC_LOG_LINES_BURST   2000U

typedef struct ExecLog {
        bool to_journal; /* else to our own standard error, as it comes */
        const char *job_id, *run_id, *kind, *queue; /* fields; NULL: left out; borrowed */

        char tail[REEVE_LOG_TAIL_MAX]; /* a ring */
        size_t total; /* bytes that ever came */

        char line[REEVE_LOG_LINE_MAX];
        size_t line_size;
        bool line_cut; /* the rest of this line is dropped */

        unsigned tokens; /* lines that may go now */
        usec_t tokens_at;
        uint64_t left_out;
} ExecLog;

/* Forgets everything of a former run. */
void exec_log_reset(ExecLog *log, usec_t now);

/* Takes what the handler wrote. */
void exec_log_feed(ExecLog *log, const char *data, size_t n, usec_t now);

/* Takes a line of the launcher's own about this run. */
void exec_log_note(ExecLog *log, usec_t now, const char *format, ...) _printf_(3, 4);

/* Ends the last line and says how many were left out. */
void exec_log_finish(ExecLog *log);

/* Writes the tail to out: valid UTF-8, whole lines if it had to be cut. Returns whether it was cut.
 */
bool exec_log_tail(const ExecLog *log, StrBuf *out);

/* Appends n bytes to out; what is no UTF-8, and NUL, becomes U+FFFD. */
void exec_append_utf8(StrBuf *out, const char *s, size_t n);

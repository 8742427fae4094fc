/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "time-util.h"

/* Runs a tool of poppler's, which reads what strangers made: with a limit on time, memory and
 * output. */

typedef enum PdfOutcome {
        PDF_OK,
        PDF_TIMEOUT, /* it was killed: its time was over */
        PDF_MEMORY, /* it wanted more than it may have */
        PDF_TOO_LARGE, /* it wrote more than it may */
        PDF_ENCRYPTED, /* a password is needed, or the document forbids it */
        PDF_DAMAGED, /* the tool cannot read it */
        PDF_CRASHED, /* it was killed by a signal of its own making */
        PDF_FAILED, /* any other exit status */
        _PDF_OUTCOME_MAX,
} PdfOutcome;

/* The error code of a job or page: "TIMEOUT", "MEMORY_LIMIT", ... */
const char *pdf_outcome_to_code(PdfOutcome o);

typedef struct PdfLimits {
        usec_t timeout_usec;
        uint64_t memory_max; /* bytes of address space */
        uint64_t output_max; /* bytes of a file that it writes */
} PdfLimits;

#define PDF_ERROR_MAX 256

/* Runs argv (NULL-terminated, argv[0] is a path) with output_fd, a regular file, as its standard
 * output. What it writes to standard error goes on to ours, the first 4 KiB; its last line is kept
 * in error. Returns a PdfOutcome, or -errno if it could not be run. */
int pdf_tool_run(const char *const *argv, int output_fd, const PdfLimits *limits,
        char error[static PDF_ERROR_MAX]);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "json-reader.h"
#include "json-writer.h"
#include "pdf-tool.h"

/* What the two handlers share: their command line, what the launcher gives them (reeve-handler(7)),
 * and their end. */

typedef struct PdfHandler {
        /* from the command line */
        const char *bin; /* the directory of poppler's tools */
        PdfLimits limits; /* of one call of a tool */
        usec_t page_usec; /* of a tool's call for one page */
        unsigned pages_max;
        /* from the environment */
        bool join;
        bool is_inline; /* somebody waits for the job: its chunks are in its queue */
        const char *input_dir, *output_dir;
        int input_fd, output_fd; /* those directories */
        JsonDocument *document;
        const JsonValue *payload;
        char *file; /* the name of the PDF in input_dir */
} PdfHandler;

/* Reads command line, environment and payload, and finds the PDF: the file that the payload's
 * "file" names, or the only one that is there. Returns 0, or an exit status: it has failed, and has
 * said so. */
int pdf_handler_start(PdfHandler *h, int argc, char *argv[]);
void pdf_handler_done(PdfHandler *h);

/* Ends the run with this error, for good or to be tried again. Returns the exit status. */
int pdf_handler_fail(const char *code, bool retry, const char *format, ...) _printf_(3, 4);
/* The same for a fault of ours: to be tried again. */
int pdf_handler_fault(int error, const char *what);
/* The result. Returns the exit status. */
int pdf_handler_result(const StrBuf *json);

/* On descriptor 3. */
void pdf_handler_progress(unsigned percent, const char *status);

/* A temporary file without a name. Returns a descriptor or -errno. */
int pdf_handler_temporary(void);

/* Runs pdftotext for pages from first to last into fd; a form feed ends each page that is there.
 * usec: how long it may take. As pdf_tool_run(). */
int pdf_handler_read_pages(const PdfHandler *h, unsigned first, unsigned last, usec_t usec, int fd,
        char error[static PDF_ERROR_MAX]);
/* Runs pdfinfo: *ret_pages is the number of pages. As pdf_tool_run(). */
int pdf_handler_count_pages(
        const PdfHandler *h, unsigned *ret_pages, char error[static PDF_ERROR_MAX]);

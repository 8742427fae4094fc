/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* How a document is split into chunks: pure. The numbers are those of system 004, as reeve-pdf(7)
 * has them. */

#define PDF_PAGES_MAX                                                                              \
        1000U /* of a document: one output file for each; --pages-max= is below it                 \
               */
#define PDF_CHUNKS_MAX 72U /* of PDF_PAGES_MAX pages */

typedef struct PdfPlan {
        unsigned n_pages; /* of the document */
        unsigned n_each; /* pages of a chunk, the overlap included */
        unsigned n_at_once; /* chunks under way at a time */
        unsigned n_chunks;
} PdfPlan;

/* n_pages is from 1 to PDF_PAGES_MAX. */
PdfPlan pdf_plan(unsigned n_pages);
/* The pages of a chunk, from 1, both included: its first is the last of the chunk before. */
void pdf_plan_chunk(const PdfPlan *p, unsigned chunk, unsigned *ret_first, unsigned *ret_last);

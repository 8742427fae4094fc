/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "pdf-plan.h"
#include "pdf-text.h"
#include "strbuf.h"

/* Puts the chunks of a document together.
 *
 * GLOSSARY
 * chunk      a range of pages, PdfPlan
 * child      a job that reads a chunk; a chunk that failed may have more of them: in the second
 *            round, or because somebody asked for it
 * duplicate  a page that two chunks have, for they overlap. Pages are told by their numbers, so a
 *            page that looks like another is never lost; the first characters of the normalised
 *            text (system 004's test) tell whether both chunks read the same. */

#define PDF_CODE_MAX    64
#define PDF_MESSAGE_MAX 256

typedef struct PdfChunkState {
        unsigned first, last;
        int child; /* the index of the child that read it; < 0: it failed */
        char code[PDF_CODE_MAX], message[PDF_MESSAGE_MAX]; /* of its first child, if that failed */
} PdfChunkState;

typedef struct PdfMerge PdfMerge;

/* Reads children.ndjson in input_fd, a directory of a join; input_fd must stay open. Returns 0,
 * -EBADMSG or another -errno. */
int pdf_merge_new(const PdfPlan *plan, int input_fd, PdfMerge **ret);
PdfMerge *pdf_merge_free(PdfMerge *m);
DEFINE_CLEANUP(PdfMerge, pdf_merge_free)

unsigned pdf_merge_n_succeeded(const PdfMerge *m);
unsigned pdf_merge_n_rounds(const PdfMerge *m); /* 1, or 2: chunks were read again */
unsigned pdf_merge_n_cancelled(const PdfMerge *m); /* children that somebody ended */
bool pdf_merge_has(const PdfMerge *m, unsigned chunk);
const PdfChunkState *pdf_merge_get(const PdfMerge *m, unsigned chunk);

/* Writes page-0001.txt and so on into output_fd. A chunk whose text is not as it says has failed
 * after all. Returns 0 or -errno. */
int pdf_merge_write(PdfMerge *m, int output_fd);
/* The result as JSON, reeve-pdf(7). Returns 0 or -ENOMEM. */
int pdf_merge_result(const PdfMerge *m, StrBuf *b);

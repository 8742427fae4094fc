/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

#include "macros.h"

/* Text of pages: pure. Texts are what pdftotext writes: UTF-8, but nothing here relies on it. */

#define PDF_HEAD_CHARS 100U /* of a page's text that tell whether two are the same */
#define PDF_HEAD_MAX   (PDF_HEAD_CHARS * 4 + 1)

/* Runs of bytes that are not ASCII white space. */
uint64_t pdf_count_words(const char *text, size_t size);

/* The first characters of the normalised text: white space folded, ASCII letters small, leading and
 * trailing space gone. NUL-terminated. */
void pdf_head(const char *text, size_t size, char ret[static PDF_HEAD_MAX]);

/* Splits the text of several pages at the form feed that ends each. Returns 0, or 1 if there are
 * not exactly n_pages of them: a page's own text may have one. sizes are without the form feeds. */
int pdf_split_pages(const char *text, size_t size, unsigned n_pages, size_t *ret_sizes);

/* The next line that is not blank, without white space around it, cut to whole characters in max
 * bytes; NULL at the end. *at moves behind it. */
const char *pdf_next_line(const char **at, const char *end, size_t max, size_t *ret_size);

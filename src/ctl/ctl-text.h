/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdio.h>

#include "strbuf.h"
#include "time-util.h"

/* Text for people. What came from a handler or a server may hold anything: control characters
 * become '?', so that it cannot steer a terminal. */

#define TEXT_TABLE_COLUMNS_MAX 12U
#define TEXT_TIME_MAX          48U

/* Appends s without control characters (C0, DEL, C1) and without what is not UTF-8. */
void text_clean(StrBuf *b, const char *s);
/* How many columns a text takes on a terminal, by the locale's LC_CTYPE. */
size_t text_width(const char *s);

/* The instant in local time, to the second; what cannot be read is given as it is, cleaned. */
const char *text_local_time(char buf[static TEXT_TIME_MAX], const char *rfc3339);

/* "512B", "12.3M": as systemctl(1) shows sizes. */
const char *text_bytes(char buf[static TEXT_TIME_MAX], uint64_t n);

/* Appends who did it: "uid:0" as "uid:0 (root)" where local says that it is this host's and the
 * name is known. Not cleaned. */
void text_actor(StrBuf *b, const char *actor, bool local);

/* "[#####-----]  50%" of that many cells; percent is bounded to 0..100. */
void text_bar(StrBuf *b, double percent, unsigned n_cells);

/* Columns as wide as their content. Cells are copied and cleaned. */
typedef struct TextTable {
        unsigned n_columns;
        unsigned right; /* bit c: column c is aligned to the right */
        char **cells;
        size_t n_cells, allocated;
        int error; /* 0 or -ENOMEM, sticky */
} TextTable;

void text_table_done(TextTable *t);
/* Adds the next cell; NULL is "-". Rows are filled from left to right. */
void text_table_add(TextTable *t, const char *cell);
void text_table_add_u64(TextTable *t, uint64_t n);
/* Writes it, the first row as a heading (bold if bold). Returns 0 or -ENOMEM. */
int text_table_print(const TextTable *t, FILE *f, bool bold);

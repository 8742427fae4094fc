/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdarg.h>
#include <stddef.h>

#include "macros.h"

/* A growable, NUL-terminated byte string. An allocation failure is remembered: later appends do
 * nothing and strbuf_error() tells, so that a writer checks once at the end. Plain value:
 * initialise with {}. */
typedef struct StrBuf {
        char *data; /* NUL-terminated once anything was appended; NULL before */
        size_t len;
        size_t allocated;
        int error; /* 0 or -ENOMEM, sticky */
} StrBuf;

void strbuf_done(StrBuf *b);
void strbuf_append(StrBuf *b, const void *data, size_t n);
void strbuf_puts(StrBuf *b, const char *s);
void strbuf_putc(StrBuf *b, char c);
void strbuf_printf(StrBuf *b, const char *format, ...) _printf_(2, 3);
void strbuf_vprintf(StrBuf *b, const char *format, va_list ap) _printf_(2, 0);
/* Drops the first n bytes (n <= len). */
void strbuf_consume(StrBuf *b, size_t n);
/* Empties it and keeps the memory. */
void strbuf_clear(StrBuf *b);
/* Gives the string to the caller ("" if nothing was written); the buffer is empty again. NULL after
 * an error. */
char *strbuf_steal(StrBuf *b) _warn_unused_;

static inline int strbuf_error(const StrBuf *b)
{
        return b->error;
}

static inline const char *strbuf_str(const StrBuf *b)
{
        return b->data ? b->data : "";
}

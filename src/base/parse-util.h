/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* All parsers take the whole string (no leading or trailing rubbish, no sign where none is meant)
 * and leave *ret alone on failure. Errors: -EINVAL (not of this form), -ERANGE (does not fit). */

/* 1/yes/y/true/t/on and 0/no/n/false/f/off, any case, as systemd reads them. */
int parse_bool(const char *s, bool *ret);
/* Decimal only: octal and hexadecimal surprise people. */
int parse_u64(const char *s, uint64_t min, uint64_t max, uint64_t *ret);
int parse_unsigned(const char *s, unsigned min, unsigned max, unsigned *ret);
int parse_i64(const char *s, int64_t *ret);
/* Bytes with an optional suffix K, M, G, T (powers of 1024). */
int parse_size(const char *s, uint64_t *ret);

/* Bytes (1 to 4) of the UTF-8 sequence at the start of the n bytes; 0 if there is none that is
 * whole and well-formed. */
size_t utf8_sequence(const char *text, size_t n);

/* Whether the n bytes are UTF-8 as RFC 3629 defines it (no surrogates, no overlong forms, nothing
 * above U+10FFFF). */
bool utf8_is_valid(const char *s, size_t n);

/* A name of a kind, queue, pool, flag or tenant: [A-Za-z0-9][A-Za-z0-9._-]*, at most REEVE_NAME_MAX
 * bytes. */
bool name_is_valid(const char *s);

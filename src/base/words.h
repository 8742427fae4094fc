/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "strbuf.h"

/* Command lines as systemd's unit files quote them: words apart by white space, "..." and '...'
 * quote, and a backslash starts an escape in and outside of quotes: \a \b \f \n \r \t \v \\ \" \'
 * \s (space), \xHH, \NNN (octal), \uHHHH, \UHHHHHHHH. Nothing else is special: no variables, no
 * specifiers, no globs. */

enum {
        WORD_UNIT = 1 << 0, /* for a unit file: % is doubled, so that it is not a specifier */
};

/* Splits a line. The result is NULL-terminated and freed with words_free(). Returns 0, -EINVAL (an
 * open quote, an unknown escape, or words that are not UTF-8 or hold a NUL) or -ENOMEM. */
int words_parse(const char *line, char ***ret_words);
char **words_free(char **words);
DEFINE_CLEANUP(char *, words_free)

size_t words_count(char *const *words);

/* Appends one word, quoted and escaped only as far as it needs: words_parse() gives it back. */
void word_quote(StrBuf *b, const char *word, unsigned flags);
/* Appends all words, one space between two. */
void words_quote(StrBuf *b, char *const *words, unsigned flags);

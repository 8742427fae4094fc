/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "words.h"

#include <ctype.h>

#include "parse-util.h"

/* One line while it is split. */
typedef struct Splitter {
        const char *p;
        StrBuf word;
        char **words; /* NULL-terminated once it is not NULL */
        size_t n;
} Splitter;

char **words_free(char **words)
{
        for (char **w = words; w && *w; w++)
                free(*w);
        free(words);
        return NULL;
}

size_t words_count(char *const *words)
{
        size_t n = 0;

        while (words && words[n])
                n++;
        return n;
}

static int digit_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        c = (char) tolower((unsigned char) c);
        return c >= 'a' && c <= 'f' ? c - 'a' + 10 : 99;
}

/* Exactly n digits of a base (8 or 16). */
static int read_number(const char *s, unsigned n, unsigned base, uint32_t *ret)
{
        uint32_t v = 0;

        for (unsigned i = 0; i < n; i++) {
                int d = digit_value(s[i]);

                if (d >= (int) base)
                        return -EINVAL;
                v = v * base + (uint32_t) d;
        }
        if (v == 0)
                return -EINVAL;
        *ret = v;
        return 0;
}

/* Appends a code point; surrogates and what is above U+10FFFF are found by the check of the whole
 * word. */
static void put_utf8(StrBuf *b, uint32_t c)
{
        if (c < 0x80)
                strbuf_putc(b, (char) c);
        else if (c < 0x800) {
                strbuf_putc(b, (char) (0xc0 | (c >> 6)));
                strbuf_putc(b, (char) (0x80 | (c & 0x3f)));
        } else if (c < 0x10000) {
                strbuf_putc(b, (char) (0xe0 | (c >> 12)));
                strbuf_putc(b, (char) (0x80 | ((c >> 6) & 0x3f)));
                strbuf_putc(b, (char) (0x80 | (c & 0x3f)));
        } else {
                strbuf_putc(b, (char) (0xf0 | ((c >> 18) & 0x0f)));
                strbuf_putc(b, (char) (0x80 | ((c >> 12) & 0x3f)));
                strbuf_putc(b, (char) (0x80 | ((c >> 6) & 0x3f)));
                strbuf_putc(b, (char) (0x80 | (c & 0x3f)));
        }
}

/* s->p is behind the backslash. */
static int read_escape(Splitter *s)
{
        static const char from[] = "abfnrtvs\\\"'", to[] = "\a\b\f\n\r\t\v \\\"'";
        char c = *s->p;
        const char *simple = c ? strchr(from, c) : NULL;
        unsigned n_digits, skip = 1;
        uint32_t v;
        int r;

        if (simple) {
                strbuf_putc(&s->word, to[simple - from]);
                s->p++;
                return 0;
        }
        if (c >= '0' && c <= '7') {
                n_digits = 3;
                skip = 0;
        } else if (c == 'x')
                n_digits = 2;
        else if (c == 'u')
                n_digits = 4;
        else if (c == 'U')
                n_digits = 8;
        else
                return -EINVAL;

        r = read_number(s->p + skip, n_digits, skip ? 16 : 8, &v);
        if (r < 0)
                return r;
        if (c == 'u' || c == 'U') {
                if (v > 0x10ffff)
                        return -EINVAL;
                put_utf8(&s->word, v);
        } else if (v > 0xff)
                return -EINVAL;
        else
                strbuf_putc(&s->word, (char) v);
        s->p += skip + n_digits;
        return 0;
}

static int read_word(Splitter *s)
{
        char quote = '\0';
        int r;

        for (; *s->p && (quote || !isspace((unsigned char) *s->p));) {
                char c = *s->p++;

                if (c == '\\') {
                        r = read_escape(s);
                        if (r < 0)
                                return r;
                } else if (quote ? c == quote : c == '"' || c == '\'')
                        quote = (char) (quote ? '\0' : c);
                else
                        strbuf_putc(&s->word, c);
        }
        return quote ? -EINVAL : strbuf_error(&s->word);
}

static int add_word(Splitter *s)
{
        char **p, *word;

        if (!utf8_is_valid(strbuf_str(&s->word), s->word.len))
                return -EINVAL;
        word = strbuf_steal(&s->word);
        if (!word)
                return -ENOMEM;
        p = realloc(s->words, (s->n + 2) * sizeof(char *));
        if (!p) {
                free(word);
                return -ENOMEM;
        }
        p[s->n++] = word;
        p[s->n] = NULL;
        s->words = p;
        return 0;
}

static int split(Splitter *s)
{
        int r;

        for (;;) {
                while (isspace((unsigned char) *s->p))
                        s->p++;
                if (!*s->p)
                        return 0;
                r = read_word(s);
                if (r < 0)
                        return r;
                r = add_word(s);
                if (r < 0)
                        return r;
        }
}

int words_parse(const char *line, char ***ret_words)
{
        Splitter s = { .p = line, .words = new0(char *, 1) };
        int r;

        r = s.words ? split(&s) : -ENOMEM;
        strbuf_done(&s.word);
        if (r < 0) {
                s.words = words_free(s.words);
                return r;
        }
        *ret_words = s.words;
        return 0;
}

static bool is_plain(char c)
{
        return isalnum((unsigned char) c) || (c && strchr("_-/.,:=@+%^~", c)) ||
                (unsigned char) c >= 0x80;
}

static void put_quoted(StrBuf *b, char c, unsigned flags)
{
        static const char from[] = "\a\b\f\n\r\t\v\\\"", to[] = "abfnrtv\\\"";
        const char *escape = strchr(from, c);

        if (escape) {
                strbuf_putc(b, '\\');
                strbuf_putc(b, to[escape - from]);
        } else if ((unsigned char) c < 0x20 || c == 0x7f)
                strbuf_printf(b, "\\x%02x", (unsigned char) c);
        else if (c == '%' && (flags & WORD_UNIT))
                strbuf_puts(b, "%%");
        else
                strbuf_putc(b, c);
}

void word_quote(StrBuf *b, const char *word, unsigned flags)
{
        bool plain = *word != '\0';

        for (const char *p = word; *p && plain; p++)
                plain = is_plain(*p);
        if (!plain)
                strbuf_putc(b, '"');
        for (const char *p = word; *p; p++)
                put_quoted(b, *p, flags);
        if (!plain)
                strbuf_putc(b, '"');
}

void words_quote(StrBuf *b, char *const *words, unsigned flags)
{
        for (size_t i = 0; words && words[i]; i++) {
                if (i > 0)
                        strbuf_putc(b, ' ');
                word_quote(b, words[i], flags);
        }
}

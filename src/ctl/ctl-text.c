/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-text.h"

#include <inttypes.h>
#include <limits.h>
#include <pwd.h>
#include <wchar.h>

#include "parse-util.h"

void text_clean(StrBuf *b, const char *s)
{
        while (*s) {
                size_t n = utf8_sequence(s, strlen(s));
                unsigned char first = (unsigned char) *s;
                bool c1 = n == 2 && first == 0xc2 && (unsigned char) s[1] < 0xa0;

                if (n == 0 || c1 || first < ' ' || first == 0x7f)
                        strbuf_putc(b, '?');
                else
                        strbuf_append(b, s, n);
                s += n > 0 ? n : 1;
        }
}

size_t text_width(const char *s)
{
        size_t width = 0;
        mbstate_t state = {};

        while (*s) {
                wchar_t c;
                size_t n = mbrtowc(&c, s, strlen(s), &state);
                int w = 1;

                if (n == 0 || n > 4) { /* not of this locale: one column for each byte */
                        n = 1;
                        memset(&state, 0, sizeof(state));
                } else {
                        w = wcwidth(c);
                }
                width += w > 0 ? (size_t) w : 0;
                s += n;
        }
        return width;
}

const char *text_local_time(char buf[static TEXT_TIME_MAX], const char *rfc3339)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        usec_t usec;
        struct tm tm;
        time_t sec;

        if (parse_rfc3339(rfc3339, &usec) >= 0) {
                sec = (time_t) (usec / USEC_PER_SEC);
                if (localtime_r(&sec, &tm) && strftime(buf, TEXT_TIME_MAX, "%F %T", &tm) > 0)
                        return buf;
        }
        text_clean(&b, rfc3339);
        (void) snprintf(buf, TEXT_TIME_MAX, "%s", strbuf_str(&b));
        return buf;
}

const char *text_bytes(char buf[static TEXT_TIME_MAX], uint64_t n)
{
        static const char units[] = "KMGTPE";
        unsigned unit = 0;
        uint64_t whole = n, tenths = 0;

        for (; whole >= 1024 && unit < CONST_STRLEN(units); unit++) {
                tenths = whole % 1024 * 10 / 1024;
                whole /= 1024;
        }
        if (unit == 0)
                (void) snprintf(buf, TEXT_TIME_MAX, "%" PRIu64 "B", whole);
        else
                (void) snprintf(buf, TEXT_TIME_MAX, "%" PRIu64 ".%" PRIu64 "%c", whole, tenths,
                        units[unit - 1]);
        return buf;
}

void text_actor(StrBuf *b, const char *actor, bool local)
{
        struct passwd *p = NULL;
        unsigned uid;

        strbuf_puts(b, actor);
        if (local && strncmp(actor, "uid:", 4) == 0 &&
                parse_unsigned(actor + 4, 0, INT_MAX, &uid) >= 0)
                p = getpwuid((uid_t) uid);
        if (p)
                strbuf_printf(b, " (%s)", p->pw_name);
}

void text_bar(StrBuf *b, double percent, unsigned n_cells)
{
        unsigned filled;

        if (!(percent > 0)) /* NaN too */
                percent = 0;
        if (percent > 100)
                percent = 100;
        filled = (unsigned) (percent * n_cells / 100);
        strbuf_putc(b, '[');
        for (unsigned i = 0; i < n_cells; i++)
                strbuf_putc(b, i < filled ? '#' : '-');
        strbuf_printf(b, "] %3.0f%%", percent);
}

void text_table_done(TextTable *t)
{
        for (size_t i = 0; i < t->n_cells; i++)
                free(t->cells[i]);
        t->cells = mfree(t->cells);
        t->n_cells = 0;
}

void text_table_add(TextTable *t, const char *cell)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        if (t->error < 0)
                return;
        if (t->n_cells == t->allocated) {
                size_t more = t->allocated ? 2 * t->allocated : 64;
                char **cells = reallocarray(t->cells, more, sizeof(char *));

                if (!cells) {
                        t->error = -ENOMEM;
                        return;
                }
                t->cells = cells;
                t->allocated = more;
        }
        text_clean(&b, cell && *cell ? cell : "-");
        t->cells[t->n_cells] = strbuf_steal(&b);
        if (t->cells[t->n_cells])
                t->n_cells++;
        else
                t->error = -ENOMEM;
}

void text_table_add_u64(TextTable *t, uint64_t n)
{
        char text[24];

        (void) snprintf(text, sizeof(text), "%" PRIu64, n);
        text_table_add(t, text);
}

static void print_row(const TextTable *t, FILE *f, char *const *row, const size_t *widths)
{
        for (unsigned c = 0; c < t->n_columns; c++) {
                size_t pad = widths[c] - text_width(row[c]);
                bool last = c + 1 == t->n_columns;

                if (t->right & 1U << c)
                        fprintf(f, "%*s%s", (int) pad, "", row[c]);
                else
                        fprintf(f, "%s%*s", row[c], last ? 0 : (int) pad, "");
                if (!last)
                        fputs("  ", f);
        }
}

int text_table_print(const TextTable *t, FILE *f, bool bold)
{
        size_t widths[TEXT_TABLE_COLUMNS_MAX] = {};

        if (t->error < 0)
                return t->error;
        assert(t->n_columns > 0 && t->n_columns <= TEXT_TABLE_COLUMNS_MAX);
        assert(t->n_cells % t->n_columns == 0);
        for (size_t i = 0; i < t->n_cells; i++) {
                size_t width = text_width(t->cells[i]);

                if (width > widths[i % t->n_columns])
                        widths[i % t->n_columns] = width;
        }
        for (size_t i = 0; i < t->n_cells; i += t->n_columns) {
                bool heading = bold && i == 0;

                fputs(heading ? "\033[1m" : "", f);
                print_row(t, f, t->cells + i, widths);
                fputs(heading ? "\033[0m\n" : "\n", f);
        }
        return 0;
}

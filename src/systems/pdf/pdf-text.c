/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-text.h"

#include "parse-util.h"

static bool is_space(char c)
{
        return c == ' ' || (c >= '\t' && c <= '\r');
}

uint64_t pdf_count_words(const char *text, size_t size)
{
        uint64_t n = 0;

        for (size_t i = 0; i < size; i++)
                n += !is_space(text[i]) && (i == 0 || is_space(text[i - 1]));
        return n;
}

void pdf_head(const char *text, size_t size, char ret[static PDF_HEAD_MAX])
{
        unsigned n_chars = 0;
        bool space = false;
        size_t n = 0;

        for (size_t i = 0; i < size && n_chars < PDF_HEAD_CHARS;) {
                size_t k = utf8_sequence(text + i, size - i);

                if (is_space(text[i])) {
                        space = n > 0;
                        i++;
                        continue;
                }
                if (space) {
                        ret[n++] = ' ';
                        n_chars++;
                        space = false;
                        if (n_chars == PDF_HEAD_CHARS)
                                break;
                }
                k = k > 0 ? k : 1;
                memcpy(ret + n, text + i, k);
                if (ret[n] >= 'A' && ret[n] <= 'Z')
                        ret[n] = (char) (ret[n] - 'A' + 'a');
                n += k;
                n_chars++;
                i += k;
        }
        ret[n] = '\0';
}

int pdf_split_pages(const char *text, size_t size, unsigned n_pages, size_t *ret_sizes)
{
        const char *at = text, *end = text + size;

        for (unsigned i = 0; i < n_pages; i++) {
                const char *feed = at < end ? memchr(at, '\f', (size_t) (end - at)) : NULL;

                if (!feed)
                        return 1;
                ret_sizes[i] = (size_t) (feed - at);
                at = feed + 1;
        }
        return at == end ? 0 : 1;
}

const char *pdf_next_line(const char **at, const char *end, size_t max, size_t *ret_size)
{
        while (*at < end) {
                const char *line = *at, *stop = memchr(line, '\n', (size_t) (end - line));
                size_t n = 0;

                if (!stop)
                        stop = end;
                *at = stop < end ? stop + 1 : end;
                while (line < stop && is_space(*line))
                        line++;
                while (line < stop && is_space(stop[-1]))
                        stop--;
                while (line + n < stop) {
                        size_t k = utf8_sequence(line + n, (size_t) (stop - line) - n);

                        if (n + (k ? k : 1) > max)
                                break;
                        n += k ? k : 1;
                }
                if (n > 0) {
                        *ret_size = n;
                        return line;
                }
        }
        return NULL;
}

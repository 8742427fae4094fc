/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-writer.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>

#include "json-check.h"
#include "parse-util.h"

#define UTF8_REPLACEMENT "\xef\xbf\xbd" /* U+FFFD */

/* n bytes as the inside of a JSON string. */
static void write_escaped(StrBuf *out, const char *s, size_t n)
{
        static const char special[] = "\"\\\b\f\n\r\t", letters[] = "\"\\bfnrt";
        size_t done = 0, i = 0;

        while (i < n) {
                unsigned char c = (unsigned char) s[i];
                size_t len = utf8_sequence(s + i, n - i);

                if (len > 0 && c >= 0x20 && c != '"' && c != '\\') {
                        i += len;
                        continue;
                }
                strbuf_append(out, s + done, i - done);
                if (len == 0 || c == '\0')
                        strbuf_puts(out, UTF8_REPLACEMENT);
                else if (strchr(special, c)) {
                        strbuf_putc(out, '\\');
                        strbuf_putc(out, letters[strchr(special, c) - special]);
                } else
                        strbuf_printf(out, "\\u%04x", c);
                done = ++i;
        }
        strbuf_append(out, s + done, n - done);
}

/* What comes before a value: the comma and the name. */
static void begin_value(JsonWriter *w, const char *name)
{
        uint64_t bit;

        if (w->depth == 0) {
                assert(!name);
                return;
        }

        bit = UINT64_C(1) << (w->depth - 1);
        assert(((w->objects & bit) != 0) == (name != NULL));
        if (w->begun & bit)
                strbuf_putc(w->out, ',');
        w->begun |= bit;
        if (name) {
                strbuf_putc(w->out, '"');
                write_escaped(w->out, name, strlen(name));
                strbuf_puts(w->out, "\":");
        }
}

static void open_container(JsonWriter *w, const char *name, bool object)
{
        uint64_t bit;

        begin_value(w, name);
        assert(w->depth < JSON_WRITER_DEPTH_MAX);
        bit = UINT64_C(1) << w->depth++;
        w->objects = object ? w->objects | bit : w->objects & ~bit;
        w->begun &= ~bit;
        strbuf_putc(w->out, object ? '{' : '[');
}

void json_open_object(JsonWriter *w, const char *name)
{
        open_container(w, name, true);
}

void json_open_array(JsonWriter *w, const char *name)
{
        open_container(w, name, false);
}

void json_close(JsonWriter *w)
{
        uint64_t bit;

        assert(w->depth > 0);
        bit = UINT64_C(1) << --w->depth;
        w->begun &= ~bit;
        strbuf_putc(w->out, w->objects & bit ? '}' : ']');
}

void json_put_string_n(JsonWriter *w, const char *name, const char *value, size_t n)
{
        begin_value(w, name);
        strbuf_putc(w->out, '"');
        write_escaped(w->out, value, n);
        strbuf_putc(w->out, '"');
}

void json_put_string(JsonWriter *w, const char *name, const char *value)
{
        if (value)
                json_put_string_n(w, name, value, strlen(value));
        else
                json_put_null(w, name);
}

void json_put_int(JsonWriter *w, const char *name, int64_t value)
{
        begin_value(w, name);
        strbuf_printf(w->out, "%" PRIi64, value);
}

void json_put_uint(JsonWriter *w, const char *name, uint64_t value)
{
        begin_value(w, name);
        strbuf_printf(w->out, "%" PRIu64, value);
}

void json_put_double(JsonWriter *w, const char *name, double value)
{
        char buf[32];

        if (!isfinite(value)) {
                json_put_null(w, name);
                return;
        }

        begin_value(w, name);
        for (int digits = 15; digits <= 17; digits++) {
                (void) snprintf(buf, sizeof(buf), "%.*g", digits, value);
                if (strtod(buf, NULL) == value)
                        break;
        }
        strbuf_puts(w->out, buf);
}

static void put_word(JsonWriter *w, const char *name, const char *word)
{
        begin_value(w, name);
        strbuf_puts(w->out, word);
}

void json_put_bool(JsonWriter *w, const char *name, bool value)
{
        put_word(w, name, value ? "true" : "false");
}

void json_put_null(JsonWriter *w, const char *name)
{
        put_word(w, name, "null");
}

void json_put_raw(JsonWriter *w, const char *name, const char *text, size_t n)
{
        if (json_check(text, n, JSON_DEPTH_LIMIT, NULL) < 0) {
                w->error = -EBADMSG;
                json_put_null(w, name);
                return;
        }
        begin_value(w, name);
        strbuf_append(w->out, text, n);
}

int json_writer_end(JsonWriter *w)
{
        assert(w->depth == 0);
        return strbuf_error(w->out) < 0 ? strbuf_error(w->out) : w->error;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "json-check.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "json-scan.h"
#include "parse-util.h"

/* GLOSSARY
 * token    a bracket, a name, or a whole scalar
 * state    what may come next
 */

typedef enum ScanState {
        SCAN_VALUE, /* a value must come */
        SCAN_VALUE_OR_CLOSE, /* after [ */
        SCAN_NAME, /* after , in an object */
        SCAN_NAME_OR_CLOSE, /* after { */
        SCAN_COLON,
        SCAN_COMMA_OR_CLOSE,
        SCAN_END, /* only white space */
} ScanState;

typedef struct Scanner {
        const char *text;
        size_t size;
        size_t at;
        ScanState state;
        unsigned depth, max_depth;
        uint8_t objects[JSON_DEPTH_LIMIT / 8]; /* bit d: level d is an object */
        JsonTokenHandler handler;
        void *userdata;
        JsonError *error;
} Scanner;

void json_error_set(JsonError *e, const char *text, size_t offset, const char *format, ...)
{
        va_list ap;

        if (!e)
                return;

        *e = (JsonError){ .offset = offset, .line = 1, .column = 1 };
        for (size_t i = 0; i < offset; i++)
                if (text[i] == '\n') {
                        e->line++;
                        e->column = 1;
                } else if ((text[i] & 0xc0) != 0x80)
                        e->column++;

        va_start(ap, format);
        (void) vsnprintf(e->text, sizeof(e->text), format, ap);
        va_end(ap);
}

static int refuse(Scanner *s, size_t at, const char *what)
{
        json_error_set(s->error, s->text, at, "%s", what);
        return -EBADMSG;
}

/* The same for "expected X, but here is Y". */
static int unexpected(Scanner *s, const char *expected)
{
        unsigned char c;

        if (s->at >= s->size) {
                json_error_set(
                        s->error, s->text, s->size, "expected %s, but the text ends", expected);
                return -EBADMSG;
        }

        c = (unsigned char) s->text[s->at];
        if (isgraph(c))
                json_error_set(s->error, s->text, s->at, "expected %s, not '%c'", expected, c);
        else
                json_error_set(
                        s->error, s->text, s->at, "expected %s, not byte 0x%02x", expected, c);
        return -EBADMSG;
}

static int emit(Scanner *s, JsonToken token, size_t begin)
{
        return s->handler ? s->handler(s->userdata, token, begin, s->at) : 0;
}

static bool in_object(const Scanner *s)
{
        unsigned level = s->depth - 1;

        return s->objects[level / 8] & (1U << (level % 8));
}

static void after_value(Scanner *s)
{
        s->state = s->depth == 0 ? SCAN_END : SCAN_COMMA_OR_CLOSE;
}

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

int json_hex4(const char *digits)
{
        int v = 0;

        for (int i = 0; i < 4; i++) {
                int d = hex_digit(digits[i]);

                if (d < 0)
                        return -1;
                v = v * 16 + d;
        }
        return v;
}

/* At the u of \u; leaves at behind the sequence, which is two for a character above U+FFFF. */
static int scan_unicode_escape(Scanner *s)
{
        size_t start = s->at - 1;
        int unit, low;

        unit = s->size - s->at >= 5 ? json_hex4(s->text + s->at + 1) : -1;
        if (unit < 0)
                return refuse(s, start, "expected four hexadecimal digits after \\u");
        if (unit == 0)
                return refuse(s, start, "\\u0000 cannot be stored");
        s->at += 5;
        if (unit < 0xd800 || unit > 0xdfff)
                return 0;

        low = -1;
        if (unit <= 0xdbff && s->size - s->at >= 6 && s->text[s->at] == '\\' &&
                s->text[s->at + 1] == 'u')
                low = json_hex4(s->text + s->at + 2);
        if (low < 0xdc00 || low > 0xdfff)
                return refuse(s, start, "a surrogate without its other half");
        s->at += 6;
        return 0;
}

static int scan_escape(Scanner *s)
{
        s->at++;
        if (s->at >= s->size)
                return unexpected(s, "a character after the backslash");
        if (s->text[s->at] == 'u')
                return scan_unicode_escape(s);
        if (!s->text[s->at] || !strchr("\"\\/bfnrt", s->text[s->at]))
                return unexpected(s, "one of \"\\/bfnrtu after the backslash");
        s->at++;
        return 0;
}

/* At the opening quote; leaves at behind the closing one. */
static int scan_string(Scanner *s)
{
        size_t begin = s->at++, n;
        int r;

        while (s->at < s->size) {
                unsigned char c = (unsigned char) s->text[s->at];

                if (c == '"') {
                        s->at++;
                        return 0;
                }
                if (c == '\\') {
                        r = scan_escape(s);
                        if (r < 0)
                                return r;
                } else if (c < 0x20)
                        return refuse(s, s->at, "a control character in a string must be escaped");
                else if (c < 0x80)
                        s->at++;
                else {
                        n = utf8_sequence(s->text + s->at, s->size - s->at);
                        if (n == 0)
                                return unexpected(s, "valid UTF-8");
                        s->at += n;
                }
        }
        return refuse(s, begin, "this string has no closing quote");
}

static size_t count_digits(Scanner *s)
{
        size_t begin = s->at;

        while (s->at < s->size && isdigit((unsigned char) s->text[s->at]))
                s->at++;
        return s->at - begin;
}

/* e, sign, digits, if they are there. *ret is cut to just beyond the largest that is taken. */
static int scan_exponent(Scanner *s, int64_t *ret)
{
        bool negative = false;
        int64_t v = 0;
        size_t begin;

        *ret = 0;
        if (s->at >= s->size || (s->text[s->at] != 'e' && s->text[s->at] != 'E'))
                return 0;
        s->at++;
        if (s->at < s->size && (s->text[s->at] == '+' || s->text[s->at] == '-'))
                negative = s->text[s->at++] == '-';

        begin = s->at;
        if (count_digits(s) == 0)
                return unexpected(s, "a digit of the exponent");
        for (size_t i = begin; i < s->at && v <= JSON_NUMBER_EXPONENT_MAX; i++)
                v = v * 10 + (s->text[i] - '0');

        *ret = negative ? -v : v;
        return 0;
}

/* Whether numeric can hold n_int digits before the point, n_frac behind it, times ten to the e.
 * digits is the first digit. A zero has nothing before the point, however large its exponent. */
static bool number_fits(const char *digits, size_t n_int, size_t n_frac, int64_t e)
{
        int64_t before = (int64_t) n_int;

        if (e > JSON_NUMBER_EXPONENT_MAX || e < -JSON_NUMBER_EXPONENT_MAX)
                return false;
        if ((int64_t) n_frac - e > JSON_NUMBER_AFTER_POINT_MAX)
                return false;

        if (digits[0] == '0') {
                size_t zeros = 0;

                while (zeros < n_frac && digits[2 + zeros] == '0')
                        zeros++;
                if (zeros == n_frac)
                        return true;
                before = -(int64_t) zeros;
        }
        return before + e <= JSON_NUMBER_BEFORE_POINT_MAX;
}

static int scan_number(Scanner *s)
{
        size_t begin = s->at, first, n_int, n_frac = 0;
        int64_t e;
        int r;

        if (s->text[s->at] == '-')
                s->at++;
        first = s->at;
        if (first < s->size && s->text[first] == '0') {
                s->at++;
                n_int = 1;
                if (s->at < s->size && isdigit((unsigned char) s->text[s->at]))
                        return refuse(
                                s, begin, "a number may not start with a zero and more digits");
        } else {
                n_int = count_digits(s);
                if (n_int == 0)
                        return unexpected(s, "a digit");
        }
        if (s->at < s->size && s->text[s->at] == '.') {
                s->at++;
                n_frac = count_digits(s);
                if (n_frac == 0)
                        return unexpected(s, "a digit after the point");
        }
        r = scan_exponent(s, &e);
        if (r < 0)
                return r;

        return number_fits(s->text + first, n_int, n_frac, e)
                ? 0
                : refuse(s, begin, "this number has more digits than the database can hold");
}

static int scan_word(Scanner *s, const char *word)
{
        size_t n = strlen(word);

        if (s->size - s->at < n || memcmp(s->text + s->at, word, n) != 0)
                return unexpected(
                        s, "a value (an object, array, string, number, true, false or null)");
        s->at += n;
        return 0;
}

static int scan_scalar(Scanner *s, char c)
{
        size_t begin = s->at;
        JsonToken token;
        int r;

        if (c == '"') {
                token = JSON_TOKEN_STRING;
                r = scan_string(s);
        } else if (c == '-' || isdigit((unsigned char) c)) {
                token = JSON_TOKEN_NUMBER;
                r = scan_number(s);
        } else if (c == 't') {
                token = JSON_TOKEN_TRUE;
                r = scan_word(s, "true");
        } else if (c == 'f') {
                token = JSON_TOKEN_FALSE;
                r = scan_word(s, "false");
        } else {
                token = JSON_TOKEN_NULL;
                r = scan_word(s, "null");
        }
        if (r < 0)
                return r;

        after_value(s);
        return emit(s, token, begin);
}

static int scan_open(Scanner *s, bool object)
{
        unsigned level = s->depth;

        if (s->depth >= s->max_depth)
                return refuse(s, s->at, "nested too deep");
        s->depth++;
        s->at++;
        if (object)
                s->objects[level / 8] |= (uint8_t) (1U << (level % 8));
        else
                s->objects[level / 8] &= (uint8_t) ~(1U << (level % 8));
        s->state = object ? SCAN_NAME_OR_CLOSE : SCAN_VALUE_OR_CLOSE;
        return emit(s, object ? JSON_TOKEN_OBJECT : JSON_TOKEN_ARRAY, s->at - 1);
}

static int scan_close(Scanner *s)
{
        s->depth--;
        s->at++;
        after_value(s);
        return emit(s, JSON_TOKEN_CLOSE, s->at - 1);
}

static int scan_name(Scanner *s, const char *expected)
{
        size_t begin = s->at;
        int r;

        if (s->at >= s->size || s->text[s->at] != '"')
                return unexpected(s, expected);
        r = scan_string(s);
        if (r < 0)
                return r;
        s->state = SCAN_COLON;
        return emit(s, JSON_TOKEN_NAME, begin);
}

static int scan_value(Scanner *s, char c)
{
        return c == '{' || c == '[' ? scan_open(s, c == '{') : scan_scalar(s, c);
}

/* One token, comma or colon. There is no white space at s->at; c is 0 at the end of the text. */
static int scan_step(Scanner *s, char c)
{
        switch (s->state) {
        case SCAN_VALUE:
                return scan_value(s, c);
        case SCAN_VALUE_OR_CLOSE:
                return c == ']' ? scan_close(s) : scan_value(s, c);
        case SCAN_NAME:
                return scan_name(s, "a name in double quotes");
        case SCAN_NAME_OR_CLOSE:
                return c == '}' ? scan_close(s) : scan_name(s, "a name in double quotes or '}'");
        case SCAN_COLON:
                if (c != ':')
                        return unexpected(s, "':' after the name");
                s->at++;
                s->state = SCAN_VALUE;
                return 0;
        case SCAN_COMMA_OR_CLOSE:
                if (c == (in_object(s) ? '}' : ']'))
                        return scan_close(s);
                if (c != ',')
                        return unexpected(s, in_object(s) ? "',' or '}'" : "',' or ']'");
                s->at++;
                s->state = in_object(s) ? SCAN_NAME : SCAN_VALUE;
                return 0;
        case SCAN_END:
                break;
        }
        return unexpected(s, "nothing after the value");
}

static bool is_space(char c)
{
        return c == ' ' || c == '\n' || c == '\r' || c == '\t';
}

int json_scan(const char *text, size_t size, unsigned max_depth, JsonTokenHandler handler,
        void *userdata, JsonError *ret_error)
{
        Scanner s = {
                .text = text,
                .size = size,
                .max_depth = max_depth,
                .handler = handler,
                .userdata = userdata,
                .error = ret_error,
        };
        int r;

        assert(max_depth <= JSON_DEPTH_LIMIT);

        for (;;) {
                char c = '\0';

                while (s.at < size && is_space(text[s.at]))
                        s.at++;
                if (s.at < size)
                        c = text[s.at];
                else if (s.state == SCAN_END)
                        return 0;
                r = scan_step(&s, c);
                if (r < 0)
                        return r;
        }
}

int json_check(const char *text, size_t size, unsigned max_depth, JsonError *ret_error)
{
        return json_scan(text, size, max_depth, NULL, NULL, ret_error);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "http-reply.h"

#include <stdio.h>
#include <strings.h>

#include "parse-util.h"

#define TOKEN_CHARS      "!#$%&'*+-.^_`|~0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
#define CHUNK_DIGITS_MAX 15U /* hexadecimal digits of a chunk's size: no overflow */

void http_reply_done(HttpReply *r)
{
        strbuf_done(&r->body);
        strbuf_done(&r->line);
}

static int refuse(HttpReply *r, int error, const char *wrong)
{
        r->wrong = wrong;
        return error;
}

static int malformed(HttpReply *r, const char *wrong)
{
        return refuse(r, -EBADMSG, wrong);
}

static bool is_digit(char c)
{
        return c >= '0' && c <= '9';
}

/* "HTTP/1.1 200 OK"; the reason may be empty. */
static int take_status_line(HttpReply *r, const char *s)
{
        if (strncmp(s, "HTTP/1.", 7) != 0 || (s[7] != '0' && s[7] != '1') || s[8] != ' ')
                return malformed(r, "it does not begin as HTTP/1.1 does");
        s += 9;
        if (s[0] < '1' || s[0] > '5' || !is_digit(s[1]) || !is_digit(s[2]) ||
                (s[3] != ' ' && s[3] != '\0'))
                return malformed(r, "its status is not a number from 100 to 599");
        r->status = (unsigned) ((s[0] - '0') * 100 + (s[1] - '0') * 10 + (s[2] - '0'));
        if (r->status == 101)
                return malformed(r, "it wants to change the protocol");
        r->step = HTTP_REPLY_FIELD;
        return 0;
}

static int take_length(HttpReply *r, const char *value)
{
        int e;

        if (r->has_length)
                return malformed(r, "it has two lengths");
        if (!is_digit(*value))
                return malformed(r, "its Content-Length is not a number");
        e = parse_u64(value, 0, UINT64_MAX, &r->n_left);
        if (e < 0)
                return malformed(r, "its Content-Length is not a number");
        r->has_length = true;
        return 0;
}

static int keep(HttpReply *r, char kept[static HTTP_REPLY_VALUE_MAX], const char *value)
{
        if (strlen(value) >= HTTP_REPLY_VALUE_MAX)
                return refuse(r, -EFBIG, "a header field is too long");
        (void) snprintf(kept, HTTP_REPLY_VALUE_MAX, "%s", value);
        return 0;
}

static int take_value(HttpReply *r, const char *name, const char *value)
{
        if (strcasecmp(name, "Content-Length") == 0)
                return take_length(r, value);
        if (strcasecmp(name, "Transfer-Encoding") == 0) {
                if (r->chunked || strcasecmp(value, "chunked") != 0)
                        return malformed(r, "its Transfer-Encoding is not just \"chunked\"");
                r->chunked = true;
        } else if (strcasecmp(name, "Content-Type") == 0) {
                return keep(r, r->content_type, value);
        } else if (strcasecmp(name, "Location") == 0) {
                return keep(r, r->location, value);
        } else if (strcasecmp(name, "Retry-After") == 0) {
                return keep(r, r->retry_after, value);
        }
        return 0;
}

static int take_field(HttpReply *r, char *line)
{
        size_t name = strspn(line, TOKEN_CHARS);
        char *value, *end;

        if (name == 0 || line[name] != ':')
                return malformed(r, "a header field has no name");
        if (++r->n_fields > HTTP_REPLY_FIELDS_MAX)
                return refuse(r, -EFBIG, "it has too many header fields");
        line[name] = '\0';
        value = line + name + 1;
        value += strspn(value, " \t");
        end = value + strlen(value);
        while (end > value && (end[-1] == ' ' || end[-1] == '\t'))
                *--end = '\0';
        /* A trailer says nothing that we could still believe. */
        return r->step == HTTP_REPLY_TRAILER ? 0 : take_value(r, line, value);
}

static bool is_sunk(const HttpReply *r)
{
        return r->sink && r->status == 200;
}

/* The empty line after the fields. */
static int take_head_end(HttpReply *r)
{
        if (r->status < 200) {
                if (r->chunked || (r->has_length && r->n_left > 0))
                        return malformed(r, "an interim response has a body");
                r->has_length = false;
                r->step = HTTP_REPLY_STATUS_LINE;
                return 0;
        }
        if (r->chunked && r->has_length)
                return malformed(r, "it has a length and chunks");
        if (r->status == 204 || r->status == 304) {
                r->step = HTTP_REPLY_DONE;
                return 0;
        }
        if (!r->chunked && !r->has_length)
                return malformed(r, "it has neither a length nor chunks");
        if (r->has_length && r->n_left > r->body_max && !is_sunk(r))
                return refuse(r, -EFBIG, "its body is too large");
        if (r->chunked)
                r->step = HTTP_REPLY_CHUNK_SIZE;
        else
                r->step = r->n_left > 0 ? HTTP_REPLY_BODY : HTTP_REPLY_DONE;
        return 0;
}

static int take_chunk_size(HttpReply *r, const char *line)
{
        size_t digits = strspn(line, "0123456789abcdefABCDEF");

        if (digits == 0 || digits > CHUNK_DIGITS_MAX ||
                (line[digits] != '\0' && line[digits] != ';'))
                return malformed(r, "a chunk's size is not a number");
        r->n_left = strtoull(line, NULL, 16);
        if (!is_sunk(r) && r->n_left > r->body_max - r->body.len)
                return refuse(r, -EFBIG, "its body is too large");
        r->step = r->n_left > 0 ? HTTP_REPLY_CHUNK : HTTP_REPLY_TRAILER;
        return 0;
}

/* A whole line, without its end. */
static int take_line(HttpReply *r, char *line)
{
        switch (r->step) {
        case HTTP_REPLY_STATUS_LINE:
                return take_status_line(r, line);
        case HTTP_REPLY_FIELD:
                return *line ? take_field(r, line) : take_head_end(r);
        case HTTP_REPLY_CHUNK_SIZE:
                return take_chunk_size(r, line);
        case HTTP_REPLY_CHUNK_END:
                if (*line)
                        return malformed(r, "a chunk is longer than its size");
                r->step = HTTP_REPLY_CHUNK_SIZE;
                return 0;
        default:
                if (*line)
                        return take_field(r, line);
                r->step = HTTP_REPLY_DONE;
                return 0;
        }
}

static int feed_line(HttpReply *r, const char *data, size_t n, size_t *ret_used)
{
        const char *end = memchr(data, '\n', n);
        size_t part = end ? (size_t) (end - data) + 1 : n;
        /* Lines between chunks are bounded one by one: there may be many. */
        bool of_chunk = r->step == HTTP_REPLY_CHUNK_SIZE || r->step == HTTP_REPLY_CHUNK_END;
        char *line;
        int e;

        if (!of_chunk)
                r->head_size += part;
        if ((of_chunk ? r->line.len + part : r->head_size) > HTTP_REPLY_HEAD_MAX)
                return refuse(r, -EFBIG, "its head is too large");
        *ret_used = part;
        strbuf_append(&r->line, data, part);
        e = strbuf_error(&r->line);
        if (e < 0 || !end)
                return e;
        line = r->line.data;
        if (r->line.len < 2 || line[r->line.len - 2] != '\r')
                return malformed(r, "a line does not end with CR LF");
        line[r->line.len - 2] = '\0';
        for (size_t i = 0; i + 2 < r->line.len; i++)
                if (((unsigned char) line[i] < ' ' && line[i] != '\t') || line[i] == 0x7f)
                        return malformed(r, "its head has control characters");
        e = take_line(r, line);
        strbuf_clear(&r->line);
        return e;
}

static int feed_body(HttpReply *r, const char *data, size_t n, size_t *ret_used)
{
        size_t part = n < r->n_left ? n : (size_t) r->n_left;

        if (is_sunk(r)) {
                r->sink_error = r->sink(r->sink_userdata, data, part);
                if (r->sink_error < 0)
                        return -ECANCELED;
        } else {
                strbuf_append(&r->body, data, part);
        }
        r->n_left -= part;
        *ret_used = part;
        if (r->n_left == 0)
                r->step = r->step == HTTP_REPLY_BODY ? HTTP_REPLY_DONE : HTTP_REPLY_CHUNK_END;
        return strbuf_error(&r->body);
}

int http_reply_feed(HttpReply *r, const char *data, size_t n)
{
        while (n > 0) {
                size_t used = 0;
                int e;

                if (r->step == HTTP_REPLY_DONE)
                        return malformed(r, "something follows it");
                if (r->step == HTTP_REPLY_BODY || r->step == HTTP_REPLY_CHUNK)
                        e = feed_body(r, data, n, &used);
                else
                        e = feed_line(r, data, n, &used);
                if (e < 0)
                        return e;
                data += used;
                n -= used;
        }
        return r->step == HTTP_REPLY_DONE;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <strings.h>

#include "http-field.h"
#include "multipart.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "strbuf.h"
#include "uri.h"

/* GLOSSARY
 * delimiter  CR LF "--" boundary; the first one of a body may do without its CR LF
 * matched    bytes of the delimiter that have been seen and are withheld: they are data after all
 * if the next byte does not go on with it
 */

#define BOUNDARY_MAX 70 /* RFC 2046, 5.1.1 */

typedef enum State {
        STATE_PREAMBLE, /* looking for the first delimiter */
        STATE_DATA, /* in a part's data, looking for the next one */
        STATE_AFTER, /* behind a delimiter: "--", or spaces and CR LF */
        STATE_AFTER_DASH,
        STATE_AFTER_SPACE,
        STATE_AFTER_CR,
        STATE_HEADER, /* in a part's header */
        STATE_EPILOGUE, /* behind the last delimiter: ignored */
} State;

struct Multipart {
        const MultipartOps *ops;
        void *userdata;
        MultipartLimits limits;
        State state;
        int result; /* what ended the parsing */
        char delimiter[BOUNDARY_MAX + 5];
        size_t delimiter_size;
        size_t matched;
        size_t assumed; /* of matched: bytes that were not in the body */
        unsigned n_parts;
        uint64_t part_size;
        StrBuf header; /* of the part, as it came */
        char name[REEVE_HTTP_PART_NAME_MAX + 1];
        char filename[REEVE_HTTP_PART_NAME_MAX + 1];
        char content_type[REEVE_HTTP_PART_NAME_MAX + 1];
        MultipartPart part; /* points into the three above */
};

static bool boundary_is_valid(const char *s)
{
        size_t n = strlen(s);

        for (size_t i = 0; i < n; i++)
                if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= 'A' && s[i] <= 'Z') ||
                            (s[i] >= '0' && s[i] <= '9') || strchr("'()+_,-./:=? ", s[i])))
                        return false;
        return n > 0 && n <= BOUNDARY_MAX && s[n - 1] != ' ';
}

int multipart_new(const char *content_type, const MultipartLimits *limits, const MultipartOps *ops,
        void *userdata, Multipart **ret)
{
        char boundary[BOUNDARY_MAX + 1];
        Multipart *m;

        if (!http_type_is(content_type, "multipart/form-data"))
                return MULTIPART_NOT_MULTIPART;
        if (http_param_get(content_type, "boundary", boundary, sizeof(boundary)) <= 0 ||
                !boundary_is_valid(boundary))
                return MULTIPART_BAD_BOUNDARY;
        m = new0(Multipart, 1);
        if (!m)
                return -ENOMEM;
        m->ops = ops;
        m->userdata = userdata;
        m->limits = *limits;
        m->delimiter_size =
                (size_t) snprintf(m->delimiter, sizeof(m->delimiter), "\r\n--%s", boundary);
        m->matched = m->assumed = 2; /* as if a CR LF had come before the body */
        *ret = m;
        return MULTIPART_DONE;
}

Multipart *multipart_free(Multipart *m)
{
        if (!m)
                return NULL;
        strbuf_done(&m->header);
        free(m);
        return NULL;
}

/* RFC 8187: UTF-8'language'%XX. */
static int decode_extended(const char *s, char *buf, size_t size)
{
        const char *text;
        int n;

        if (strncasecmp(s, "UTF-8'", 6) != 0)
                return MULTIPART_BAD_DISPOSITION;
        text = strchr(s + 6, '\'');
        if (!text || strlen(text + 1) >= size)
                return MULTIPART_BAD_DISPOSITION;
        n = uri_decode(text + 1, strlen(text + 1), false, buf);
        if (n < 0)
                return MULTIPART_BAD_DISPOSITION;
        buf[n] = '\0';
        return MULTIPART_DONE;
}

/* Browsers write '"' as %22 in names; nothing else of what they percent-encode is let through. */
static void undo_quotes(char *s)
{
        char *to = s;

        for (; *s != '\0'; s++) {
                if (strncmp(s, "%22", 3) == 0) {
                        *to++ = '"';
                        s += 2;
                } else
                        *to++ = *s;
        }
        *to = '\0';
}

static bool name_is_clean(const char *s)
{
        for (const char *c = s; *c != '\0'; c++)
                if ((unsigned char) *c < ' ' || *c == 0x7f)
                        return false;
        return utf8_is_valid(s, strlen(s));
}

/* Only the last component, since a path from another machine is of no use and may be an attack. */
static void drop_path(char *s)
{
        char *last = s;

        for (char *c = s; *c != '\0'; c++)
                if (*c == '/' || *c == '\\')
                        last = c + 1;
        if (streq(last, ".") || streq(last, ".."))
                last += strlen(last);
        memmove(s, last, strlen(last) + 1);
}

static int read_disposition(Multipart *m, const char *value)
{
        char extended[3 * REEVE_HTTP_PART_NAME_MAX];
        int r;

        if (!http_type_is(value, "form-data"))
                return MULTIPART_BAD_DISPOSITION;
        r = http_param_get(value, "name", m->name, sizeof(m->name));
        if (r <= 0)
                return MULTIPART_BAD_DISPOSITION;
        undo_quotes(m->name);
        m->part.name = m->name;
        r = http_param_get(value, "filename", m->filename, sizeof(m->filename));
        if (r < 0)
                return MULTIPART_BAD_DISPOSITION;
        if (r > 0) {
                undo_quotes(m->filename);
                m->part.filename = m->filename;
        }
        r = http_param_get(value, "filename*", extended, sizeof(extended));
        if (r < 0)
                return MULTIPART_BAD_DISPOSITION;
        if (r > 0) {
                r = decode_extended(extended, m->filename, sizeof(m->filename));
                if (r != MULTIPART_DONE)
                        return r;
                m->part.filename = m->filename;
        }
        if (!name_is_clean(m->name) || !name_is_clean(m->filename))
                return MULTIPART_BAD_DISPOSITION;
        drop_path(m->filename);
        return MULTIPART_DONE;
}

/* One line "Name: value" of a part's header. */
static int read_header_line(Multipart *m, char *line)
{
        char *colon = strchr(line, ':');
        char *value;
        size_t n;

        if (!colon || colon == line || line[0] == ' ' || line[0] == '\t')
                return MULTIPART_MALFORMED;
        *colon = '\0';
        value = colon + 1 + strspn(colon + 1, " \t");
        n = strlen(value);
        while (n > 0 && (value[n - 1] == ' ' || value[n - 1] == '\t'))
                value[--n] = '\0';
        if (strcasecmp(line, "Content-Disposition") == 0) {
                if (m->part.name)
                        return MULTIPART_BAD_DISPOSITION;
                return read_disposition(m, value);
        }
        if (strcasecmp(line, "Content-Type") == 0) {
                if (m->part.content_type || n >= sizeof(m->content_type) || !name_is_clean(value))
                        return MULTIPART_MALFORMED;
                memcpy(m->content_type, value, n + 1);
                m->part.content_type = m->content_type;
        }
        if (strcasecmp(line, "Content-Transfer-Encoding") == 0 &&
                strcasecmp(value, "binary") != 0 && strcasecmp(value, "8bit") != 0 &&
                strcasecmp(value, "7bit") != 0)
                return MULTIPART_BAD_ENCODING;
        return MULTIPART_DONE;
}

/* The whole header is there, its empty line cut off. */
static int read_header(Multipart *m)
{
        char *line = m->header.data;
        char *end = m->header.data + m->header.len;

        m->part = (MultipartPart){};
        m->filename[0] = '\0';
        while (line < end) {
                char *next = strstr(line, "\r\n"); /* each line has one: see on_header_byte() */
                int r;

                *next = '\0';
                if (strpbrk(line, "\r\n"))
                        return MULTIPART_MALFORMED;
                r = read_header_line(m, line);
                if (r != MULTIPART_DONE)
                        return r;
                line = next + 2;
        }
        if (!m->part.name)
                return MULTIPART_BAD_DISPOSITION;
        return MULTIPART_DONE;
}

static int begin_part(Multipart *m)
{
        int r;

        r = read_header(m);
        if (r != MULTIPART_DONE)
                return r;
        m->part_size = 0;
        m->state = STATE_DATA;
        /* A part without data: its delimiter may follow its header at once, the empty line being
         * the delimiter's CR LF. */
        m->matched = m->assumed = 2;
        return m->ops->on_part(&m->part, m->userdata);
}

static int on_header_byte(Multipart *m, char c)
{
        const StrBuf *h = &m->header;

        if (c == '\0')
                return MULTIPART_MALFORMED;
        if (h->len >= REEVE_HTTP_PART_HEADER_MAX)
                return MULTIPART_HEADER_TOO_LARGE;
        strbuf_putc(&m->header, c);
        if (strbuf_error(h) < 0)
                return strbuf_error(h);
        if (h->len == 2 && memcmp(h->data, "\r\n", 2) == 0)
                return MULTIPART_BAD_DISPOSITION; /* no header at all */
        if (h->len < 4 || memcmp(h->data + h->len - 4, "\r\n\r\n", 4) != 0)
                return MULTIPART_DONE;
        m->header.len -= 2;
        m->header.data[m->header.len] = '\0';
        return begin_part(m);
}

static int give_data(Multipart *m, const char *data, size_t n)
{
        uint64_t max = m->part.filename ? m->limits.file_size : m->limits.field_size;

        if (n == 0 || m->state != STATE_DATA)
                return MULTIPART_DONE;
        if (n > max - m->part_size)
                return m->part.filename ? MULTIPART_FILE_TOO_LARGE : MULTIPART_FIELD_TOO_LARGE;
        m->part_size += n;
        return m->ops->on_data(data, n, m->userdata);
}

static int on_delimiter(Multipart *m)
{
        bool in_part = m->state == STATE_DATA;

        m->matched = m->assumed = 0;
        m->state = STATE_AFTER;
        return in_part ? m->ops->on_end(m->userdata) : MULTIPART_DONE;
}

/* Takes data (or preamble) up to and including the next delimiter. Sets *used. A boundary has no
 * CR, so a delimiter begins nowhere within another one's beginning: no backing up is ever needed.
 */
static int scan_data(Multipart *m, const char *s, size_t n, size_t *used)
{
        size_t i = 0;

        while (i < n) {
                int r;

                if (m->matched == 0) {
                        const char *cr = memchr(s + i, '\r', n - i);
                        size_t plain = cr ? (size_t) (cr - (s + i)) : n - i;

                        r = give_data(m, s + i, plain);
                        if (r != 0)
                                return r;
                        i += plain;
                        if (i == n)
                                break;
                }
                if (s[i] == m->delimiter[m->matched]) {
                        i++;
                        if (++m->matched < m->delimiter_size)
                                continue;
                        *used = i;
                        return on_delimiter(m);
                }
                r = give_data(m, m->delimiter + m->assumed, m->matched - m->assumed);
                if (r != 0)
                        return r;
                m->matched = m->assumed = 0;
        }
        *used = i;
        return MULTIPART_DONE;
}

/* A byte behind a delimiter. */
static int on_after_byte(Multipart *m, char c)
{
        if (m->state == STATE_AFTER_CR && c == '\n') {
                if (++m->n_parts > m->limits.n_parts)
                        return MULTIPART_TOO_MANY_PARTS;
                strbuf_clear(&m->header);
                m->state = STATE_HEADER;
                return MULTIPART_DONE;
        }
        if (m->state == STATE_AFTER_DASH && c == '-') {
                m->state = STATE_EPILOGUE;
                return MULTIPART_DONE;
        }
        if (m->state == STATE_AFTER_CR || m->state == STATE_AFTER_DASH)
                return MULTIPART_MALFORMED;
        if (c == '\r')
                m->state = STATE_AFTER_CR;
        else if (c == ' ' || c == '\t')
                m->state = STATE_AFTER_SPACE;
        else if (c == '-' && m->state == STATE_AFTER)
                m->state = STATE_AFTER_DASH;
        else
                return MULTIPART_MALFORMED;
        return MULTIPART_DONE;
}

static int feed_some(Multipart *m, const char *s, size_t n, size_t *used)
{
        *used = 1;
        switch (m->state) {
        case STATE_PREAMBLE:
        case STATE_DATA:
                return scan_data(m, s, n, used);
        case STATE_HEADER:
                return on_header_byte(m, s[0]);
        case STATE_EPILOGUE:
                *used = n;
                return MULTIPART_DONE;
        default:
                return on_after_byte(m, s[0]);
        }
}

int multipart_feed(Multipart *m, const void *data, size_t size)
{
        const char *s = data;

        while (size > 0 && m->result == MULTIPART_DONE) {
                size_t used = 0;

                m->result = feed_some(m, s, size, &used);
                s += used;
                size -= used;
        }
        return m->result;
}

int multipart_finish(Multipart *m)
{
        if (m->result == MULTIPART_DONE && m->state != STATE_EPILOGUE)
                m->result = MULTIPART_TRUNCATED;
        return m->result;
}

const char *multipart_to_string(int outcome)
{
        static const char *const texts[_MULTIPART_MAX] = {
                [MULTIPART_DONE] = "The form is well-formed.",
                [MULTIPART_NOT_MULTIPART] = "The Content-Type is not multipart/form-data.",
                [MULTIPART_BAD_BOUNDARY] = "The Content-Type has no valid boundary.",
                [MULTIPART_MALFORMED] = "A part of the form is malformed.",
                [MULTIPART_BAD_DISPOSITION] =
                        "A part has no valid Content-Disposition with a name.",
                [MULTIPART_BAD_ENCODING] = "A part is encoded; send its bytes as they are.",
                [MULTIPART_TRUNCATED] = "The form ended before its last delimiter.",
                [MULTIPART_HEADER_TOO_LARGE] = "The header of a part of the form is too large.",
                [MULTIPART_TOO_MANY_PARTS] = "The form has too many parts.",
                [MULTIPART_FIELD_TOO_LARGE] = "A field of the form is too large.",
                [MULTIPART_FILE_TOO_LARGE] = "A file in the form is too large.",
        };

        if (outcome < 0 || outcome >= _MULTIPART_MAX)
                return NULL;
        return texts[outcome];
}

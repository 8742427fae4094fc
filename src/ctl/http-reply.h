/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "strbuf.h"

/* One HTTP/1.1 response, read from pieces of any size. What is not certain is refused: a length
 * given twice or in two ways, neither a length nor chunks, folded or nameless header fields, bare
 * carriage returns. Interim (1xx) responses are passed over. */

#define HTTP_REPLY_HEAD_MAX   (16UL * 1024) /* bytes of all heads and of a chunked body's trailer */
#define HTTP_REPLY_FIELDS_MAX 64U
#define HTTP_REPLY_VALUE_MAX  256U /* bytes of a value that is kept */

typedef enum HttpReplyStep {
        HTTP_REPLY_STATUS_LINE,
        HTTP_REPLY_FIELD,
        HTTP_REPLY_BODY, /* n_left bytes by Content-Length */
        HTTP_REPLY_CHUNK_SIZE,
        HTTP_REPLY_CHUNK,
        HTTP_REPLY_CHUNK_END,
        HTTP_REPLY_TRAILER,
        HTTP_REPLY_DONE,
} HttpReplyStep;

/* Takes a piece of a body. Returns 0 or -errno, which ends the reading. */
typedef int (*HttpBodySink)(void *userdata, const char *data, size_t n);

typedef struct HttpReply {
        /* the answer, whole when http_reply_feed() returned 1 */
        unsigned status;
        StrBuf body;
        char content_type[HTTP_REPLY_VALUE_MAX]; /* "" if there was none; so the others */
        char location[HTTP_REPLY_VALUE_MAX];
        char retry_after[HTTP_REPLY_VALUE_MAX];
        /* Where the body of a 200 goes instead, however large; or NULL. */
        HttpBodySink sink;
        void *sink_userdata;
        int sink_error; /* what it returned */
        /* the parser's */
        HttpReplyStep step;
        StrBuf line;
        size_t body_max, head_size;
        uint64_t n_left;
        unsigned n_fields;
        bool has_length, chunked;
        const char *wrong; /* after -EBADMSG or -EFBIG: what, without a full stop */
} HttpReply;

/* A reader of one response whose body has at most body_max bytes. */
static inline HttpReply http_reply(size_t body_max)
{
        return (HttpReply){ .body_max = body_max };
}
void http_reply_done(HttpReply *r);

/* Takes the next n bytes. Returns 1 (the response is whole; what follows it is refused), 0 (more is
 * needed), -EBADMSG or -EFBIG (r->wrong says why), -ECANCELED (r->sink_error) or -ENOMEM. Not to be
 * called after anything but 0. */
int http_reply_feed(HttpReply *r, const char *data, size_t n);

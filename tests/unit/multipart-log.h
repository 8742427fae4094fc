/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "multipart.h"
#include "strbuf.h"

/* Runs a parser over a body cut at the places that cut() names, and logs what it says in a form
 * that does not depend on the size of pieces: "<name|filename|type>data;" for each part, then the
 * result. */
typedef size_t (*MultipartCut)(size_t offset, void *userdata);

static int log_part(const MultipartPart *p, void *userdata)
{
        strbuf_printf(userdata, "<%s|%s|%s>", p->name, p->filename ? p->filename : "-",
                p->content_type ? p->content_type : "-");
        return 0;
}

static int log_data(const void *data, size_t size, void *userdata)
{
        assert(size > 0);
        strbuf_append(userdata, data, size);
        return 0;
}

static int log_end(void *userdata)
{
        strbuf_puts(userdata, ";");
        return 0;
}

static inline int multipart_log(const char *type, const MultipartLimits *limits, const char *body,
        size_t size, MultipartCut cut, StrBuf *out)
{
        static const MultipartOps ops = { log_part, log_data, log_end };
        _cleanup_(multipart_freep) Multipart *m = NULL;
        size_t position = 0;
        size_t offset = 0;
        int r;

        r = multipart_new(type, limits, &ops, out, &m);
        while (r == 0 && offset < size) {
                size_t n = cut(offset, &position);
                char *piece; /* of exactly this size: an address sanitizer sees more */

                if (n > size - offset)
                        n = size - offset;
                piece = malloc(n ? n : 1);
                assert(piece);
                memcpy(piece, body + offset, n);
                r = multipart_feed(m, piece, n);
                free(piece);
                offset += n;
        }
        if (m)
                r = multipart_finish(m);
        return r;
}

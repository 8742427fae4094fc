/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A response is read alike however it is cut: whole, byte by byte, and in halves. What is taken is
 * within the bounds, and a refusal says why. */
#include "fuzz.h"
#include "http-reply.h"

#define BODY_MAX 4096U

static int feed(HttpReply *r, const char *data, size_t size, size_t piece)
{
        int e = 0;

        *r = http_reply(BODY_MAX);
        for (size_t at = 0; at < size && e == 0; at += piece)
                e = http_reply_feed(r, data + at, size - at < piece ? size - at : piece);
        return e;
}

/* What follows a response is refused in the same piece, or not looked at in the next. */
static int without_rest(const HttpReply *r, int e)
{
        return r->step == HTTP_REPLY_DONE ? 1 : e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(http_reply_done) HttpReply whole = {}, bytes = {}, halves = {};
        int a = feed(&whole, (const char *) data, size, size ? size : 1);
        int b = feed(&bytes, (const char *) data, size, 1);
        int c = feed(&halves, (const char *) data, size, size / 2 + 1);

        assert(a >= 0 || whole.wrong);
        assert(without_rest(&whole, a) == without_rest(&bytes, b));
        assert(without_rest(&whole, a) == without_rest(&halves, c));
        assert(whole.status == bytes.status && whole.status == halves.status);
        assert(whole.body.len <= BODY_MAX && whole.head_size <= HTTP_REPLY_HEAD_MAX + size);
        assert(whole.body.len == bytes.body.len);
        assert(whole.body.len == 0 ||
                memcmp(whole.body.data, bytes.body.data, whole.body.len) == 0);
        if (b == 1)
                assert(bytes.status >= 200 && bytes.status < 600);
        return 0;
}

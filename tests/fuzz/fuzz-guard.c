/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the guard lets pass is certain: one known method, a target of visible ASCII without NUL, at
 * most one length, no length beside chunks, one Host. */
#include <strings.h>

#include "../unit/head-text.h"
#include "fuzz.h"
#include "reeve-limits.h"

static unsigned count(const HttpHead *head, const char *name)
{
        unsigned n = 0;

        for (unsigned i = 0; i < head->n_fields; i++)
                n += strcasecmp(head->fields[i].name, name) == 0;
        return n;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = calloc(1, size + 1);
        HttpField fields[128];
        HttpHead head;
        Guard g;
        int r;

        assert(text);
        memcpy(text, data, size);
        if (!head_from_text(text, size, fields, &head))
                return 0;
        r = guard_check(&head, REEVE_HTTP_HEAD_MAX, &g);
        if (r != 0) {
                assert(problem_status((Problem) r) >= 400 && g.detail);
                return 0;
        }
        assert(g.method >= 0 && streq(http_method_to_string(g.method), head.method));
        assert(strlen(head.target) <= REEVE_HTTP_TARGET_MAX && !strstr(head.target, "%00"));
        for (const char *c = head.target; *c; c++)
                assert(*c > ' ' && *c < 0x7f);
        assert(count(&head, "Content-Length") + count(&head, "Transfer-Encoding") <= 1);
        assert(count(&head, "Host") == 1 || streq(head.version, "HTTP/1.0"));
        assert(g.framed == (count(&head, "Content-Length") || count(&head, "Transfer-Encoding")));
        assert(!g.has_body || g.framed);
        return 0;
}

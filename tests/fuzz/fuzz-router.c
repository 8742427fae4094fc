/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Paths: the first byte chooses the method. What is matched has decoded, clean parameters, and is
 * what the decoded path says; nothing leads upwards. */
#include "fuzz.h"
#include "parse-util.h"
#include "router.h"
#include "uri.h"

static const HttpRoute table[] = {
        { HTTP_GET, "/" },
        { HTTP_GET, "/a/{x}" },
        { HTTP_POST, "/a/b" },
        { HTTP_GET, "/a/{x}/c/{y}" },
        { HTTP_GET, "/a/b/c/d" },
        { HTTP_PUT, "/{p}/{q}/{r...}" },
        { HTTP_GET, "/f/{name...}" },
        {},
};

static void check_match(const RouteMatch *m)
{
        assert(m->route && m->allow);
        for (unsigned i = 0; i < m->n_params; i++) {
                const char *v = m->params[i].value;
                bool tail = m->params[i].name[m->params[i].name_size] == '.';

                assert(v[0] != '\0' && utf8_is_valid(v, strlen(v)));
                assert(tail || !strchr(v, '/'));
                assert(!streq(v, ".") && !streq(v, "..") && !strstr(v, "/../"));
                for (; *v; v++)
                        assert((unsigned char) *v >= ' ' && *v != 0x7f);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(router_freep) Router *r = NULL;
        _cleanup_(router_match_done) RouteMatch m = {};
        UriParams params = {};
        int k;

        if (size == 0)
                return 0;
        assert(router_new(&r) == 0 && router_add(r, table) == 0);
        k = router_match(r, (HttpMethod) (data[0] % _HTTP_METHOD_MAX), (const char *) data + 1,
                size - 1, &m);
        assert(k >= 0);
        if (k == ROUTER_FOUND)
                check_match(&m);
        k = uri_params_parse((const char *) data + 1, size - 1, 16, false, &params);
        assert(k >= 0 && (k != URI_DONE || params.n_items <= 16));
        for (size_t i = 0; i < params.n_items; i++)
                assert(params.items[i].name[0] &&
                        utf8_is_valid(params.items[i].value, strlen(params.items[i].value)));
        uri_params_done(&params);
        return 0;
}

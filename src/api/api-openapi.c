/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-auth.h"
#include "api-jobs.h"
#include "openapi.h"

/* GET /openapi.json. Made when somebody asks for the first time. */

#define CACHED "public, max-age=300"

extern const OpenapiPart api_openapi; /* made of openapi/ and of reeve-http(7) */

static const char description[] =
        "Reeve makes background work a part of the operating system. Times are RFC 3339, errors "
        "are "
        "problems (RFC 9457), whose `type` and `status` can be relied on. A writer's members that "
        "nobody knows are refused; a reader must ignore those that it does not know.\n\n"
        "On TCP who asks has a key (`Authorization: Bearer KEY`) of one of the roles in `x-roles` "
        "of "
        "a route; on the unix socket the user that asks is known, and no key is needed. Routes of "
        "the "
        "fleet and of flags are for keys of all tenants.";

static const char security_schemes[] =
        "{\"key\":{\"type\":\"http\",\"scheme\":\"bearer\",\"description\":\"A key of `POST "
        "/api/keys`\"}}";

/* What serve() in api.c lets through, as roles. */
static unsigned put_roles(JsonWriter *w, const HttpRoute *route)
{
        static const char *const roles[] = { "admin", "submit", "read", "worker", "metrics" };
        unsigned right = route->auth == API_FLEET ? API_READ : route->auth, n = 0;

        for (unsigned i = 0; i < ELEMENTSOF(roles) && route->auth != API_PUBLIC; i++) {
                if (!(role_rights(roles[i]) & (1U << right)))
                        continue;
                json_put_string(w, NULL, roles[i]);
                n++;
        }
        return n;
}

int api_write_openapi(StrBuf *out)
{
        _cleanup_(freep) const OpenapiPart **parts = NULL;
        _cleanup_(freep) const HttpRoute **tables = NULL;
        OpenapiConfig config = {
                .title = "Reeve",
                .version = REEVE_VERSION,
                .description = description,
                .security_schemes = security_schemes,
                .scheme = "key",
                .put_roles = put_roles,
        };
        unsigned n = 0;

        while (api_systems[n])
                n++;
        parts = (const OpenapiPart **) new0(OpenapiPart *, n + 2);
        tables = (const HttpRoute **) new0(HttpRoute *, n + 2);
        if (!parts || !tables)
                return -ENOMEM;
        parts[0] = &api_openapi;
        tables[0] = api_routes();
        for (unsigned i = 0; i < n; i++) {
                parts[i + 1] = api_systems[i]->openapi;
                tables[i + 1] = api_systems[i]->routes;
        }
        config.parts = parts;
        config.tables = tables;
        return openapi_write(&config, out);
}

void handle_openapi(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        Api *a = c->api;

        if (a->openapi.len == 0 && call_failed(c, api_write_openapi(&a->openapi))) {
                strbuf_done(&a->openapi);
                a->openapi = (StrBuf){};
                return;
        }
        call_tagged(c,
                &(TaggedText){ .status = 200,
                        .text = strbuf_str(&a->openapi),
                        .size = a->openapi.len,
                        .cache = CACHED });
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "openapi.h"

#include <stdio.h>

#include "parse-util.h"
#include "problem.h"

#define REF_SCHEMA    "#/components/schemas/"
#define REF_PARAMETER "#/components/parameters/"
#define REF_HEADER    "#/components/headers/"
#define REF_RESPONSE  "#/components/responses/"
#define STATUS_MAX    599U

typedef struct Doc {
        const OpenapiConfig *config;
        JsonWriter w;
        bool problems[STATUS_MAX + 1]; /* which are referred to, by status */
        int error;
} Doc;

/* A piece of a list. */
typedef struct Word {
        const char *text;
        size_t size;
} Word;

static bool next_word(const char **at, char separator, Word *ret)
{
        const char *end;

        if (!*at || **at == '\0')
                return false;
        end = strchrnul(*at, separator);
        *ret = (Word){ *at, (size_t) (end - *at) };
        *at = *end ? end + 1 : end;
        return true;
}

/* What is behind the separator in a word, which ends there then; no text if there is none. */
static Word split_word(Word *w, char separator)
{
        const char *found = memchr(w->text, separator, w->size);
        Word rest = {};

        if (found) {
                rest = (Word){ found + 1, w->size - (size_t) (found + 1 - w->text) };
                w->size = (size_t) (found - w->text);
        }
        return rest;
}

static bool word_is(Word w, const char *text)
{
        return strlen(text) == w.size && memcmp(w.text, text, w.size) == 0;
}

static bool word_has(Word w, char c)
{
        return memchr(w.text, c, w.size) != NULL;
}

/* ---- references ---- */

static void put_ref(Doc *d, const char *name, const char *prefix, Word to)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_puts(&b, prefix);
        strbuf_append(&b, to.text, to.size);
        json_open_object(&d->w, name);
        json_put_string(&d->w, "$ref", strbuf_str(&b));
        json_close(&d->w);
        if (strbuf_error(&b) < 0)
                d->error = -ENOMEM;
}

static void open_named(Doc *d, Word name)
{
        _cleanup_(freep) char *copy = strndup(name.text, name.size);

        if (!copy)
                d->error = -ENOMEM;
        json_open_object(&d->w, copy ? copy : "");
}

/* "A" or "A|B", but for those that are problems. */
static void put_schema(Doc *d, Word names)
{
        _cleanup_(freep) char *list = strndup(names.text, names.size);
        const char *at = list;
        unsigned n = 0;
        Word name;

        if (!list) {
                d->error = -ENOMEM;
                return;
        }
        while (next_word(&at, '|', &name))
                n += !word_is(name, "Problem");
        if (n > 1) {
                json_open_object(&d->w, "schema");
                json_open_array(&d->w, "anyOf");
        }
        at = list;
        while (next_word(&at, '|', &name))
                if (!word_is(name, "Problem"))
                        put_ref(d, n > 1 ? NULL : "schema", REF_SCHEMA, name);
        if (n > 1) {
                json_close(&d->w);
                json_close(&d->w);
        }
}

static void put_problem_content(Doc *d)
{
        json_open_object(&d->w, "application/problem+json");
        put_ref(d, "schema", REF_SCHEMA, (Word){ "Problem", CONST_STRLEN("Problem") });
        json_close(&d->w);
}

/* ---- what a route takes ---- */

static void put_parameters(Doc *d, const HttpRoute *route)
{
        const char *at = route->doc.params;
        Word word, name;

        json_open_array(&d->w, "parameters");
        for (const char *p = route->pattern; (p = strchr(p, '{')); p++) {
                char key[80];

                (void) snprintf(key, sizeof(key), "path-%.*s", (int) strcspn(p + 1, ".}"), p + 1);
                /* One that means something else in this route is named by it. */
                if (!route->doc.params || route->doc.params[0] != '{')
                        put_ref(d, NULL, REF_PARAMETER, (Word){ key, strlen(key) });
        }
        while (next_word(&at, ' ', &word)) {
                name = split_word(&word, '=');
                put_ref(d, NULL, REF_PARAMETER, name.text ? name : word);
        }
        json_close(&d->w);
}

static void put_body(Doc *d, const HttpRoute *route)
{
        const char *at = route->doc.takes;
        Word type;

        if (!at)
                return;
        json_open_object(&d->w, "requestBody");
        json_put_bool(&d->w, "required", !(route->body & HTTP_BODY_OPTIONAL));
        json_open_object(&d->w, "content");
        while (next_word(&at, ' ', &type)) {
                Word schema = split_word(&type, '=');

                if (!schema.text && !word_has(type, '/')) {
                        schema = type;
                        type = (Word){ "application/json", CONST_STRLEN("application/json") };
                }
                open_named(d, type);
                if (schema.text)
                        put_schema(d, schema);
                json_close(&d->w);
        }
        json_close(&d->w);
        json_close(&d->w);
}

/* ---- what it gives ---- */

static const char *describe(unsigned status)
{
        switch (status) {
        case 200:
                return "Done, or as it is";
        case 201:
                return "It was made";
        case 202:
                return "It was taken, and goes on";
        case 204:
                return "Done; there is nothing to say";
        case 206:
                return "A part of it";
        case 304:
                return "It has not changed";
        case 503:
                return "Not now";
        default:
                return "Not as it was asked for";
        }
}

static void put_fields(Doc *d, Word fields)
{
        _cleanup_(freep) char *list = fields.text ? strndup(fields.text, fields.size) : NULL;
        const char *at = list;
        Word name;

        if (!fields.text)
                return;
        if (!list) {
                d->error = -ENOMEM;
                return;
        }
        json_open_object(&d->w, "headers");
        while (next_word(&at, ';', &name)) {
                _cleanup_(freep) char *copy = strndup(name.text, name.size);

                if (!copy)
                        d->error = -ENOMEM;
                put_ref(d, copy ? copy : "", REF_HEADER, name);
        }
        json_close(&d->w);
}

static void put_content(Doc *d, Word what)
{
        const char *problem = memmem(what.text, what.size, "|Problem", CONST_STRLEN("|Problem"));

        json_open_object(&d->w, "content");
        if (word_has(what, '/')) {
                open_named(d, what);
                json_close(&d->w);
        } else {
                json_open_object(&d->w, "application/json");
                put_schema(d, what);
                json_close(&d->w);
        }
        if (problem)
                put_problem_content(d);
        json_close(&d->w);
}

static void put_problem(Doc *d, unsigned status)
{
        char key[8];

        d->problems[status] = true;
        (void) snprintf(key, sizeof(key), "%u", status);
        put_ref(d, key, REF_RESPONSE, (Word){ key, strlen(key) });
}

/* Returns the status of a word of "gives"; 0: it has none. */
static unsigned put_answer(Doc *d, Word word)
{
        Word fields = split_word(&word, ';');
        Word what = split_word(&word, '=');
        unsigned status = 0;
        char key[8];

        (void) snprintf(key, sizeof(key), "%.*s", (int) word.size, word.text);
        if (parse_unsigned(key, 200, STATUS_MAX, &status) < 0) {
                d->error = -EINVAL;
                return 0;
        }
        if (status >= 400 && !what.text) {
                put_problem(d, status);
                return status;
        }
        json_open_object(&d->w, key);
        json_put_string(&d->w, "description", describe(status));
        put_fields(d, fields);
        if (what.text)
                put_content(d, what);
        json_close(&d->w);
        return status;
}

static void put_answers(Doc *d, const HttpRoute *route, bool is_public)
{
        bool has_param = strchr(route->pattern, '{'), has_body = route->body != HTTP_BODY_NONE;
        const struct {
                unsigned status;
                bool given;
        } always[] = {
                { 400, true },
                { 401, !is_public },
                { 403, !is_public },
                { 404, has_param },
                { 411, has_body && !(route->body & HTTP_BODY_OPTIONAL) },
                { 413, has_body },
                { 415, has_body },
                { 429, !is_public },
                { 503, true },
        };
        bool seen[STATUS_MAX + 1] = {};
        const char *at = route->doc.gives;
        Word word;

        json_open_object(&d->w, "responses");
        while (next_word(&at, ' ', &word))
                seen[put_answer(d, word)] = true;
        for (unsigned i = 0; i < ELEMENTSOF(always); i++)
                if (always[i].given && !seen[always[i].status])
                        put_problem(d, always[i].status);
        put_ref(d, "default", REF_RESPONSE, (Word){ "default", CONST_STRLEN("default") });
        json_close(&d->w);
}

/* ---- operations ---- */

static const char *find_text(const OpenapiConfig *config, const HttpRoute *route)
{
        char key[256];

        (void) snprintf(
                key, sizeof(key), "%s %s", http_method_to_string(route->method), route->pattern);
        for (const OpenapiPart *const *p = config->parts; *p; p++)
                for (const OpenapiText *t = (*p)->texts; t && t->route; t++)
                        if (streq(t->route, key))
                                return t->text;
        return NULL;
}

static void put_operation(Doc *d, const HttpRoute *route)
{
        static const char *const names[_HTTP_METHOD_MAX] = { [HTTP_GET] = "get",
                [HTTP_HEAD] = "head",
                [HTTP_POST] = "post",
                [HTTP_PUT] = "put",
                [HTTP_PATCH] = "patch",
                [HTTP_DELETE] = "delete",
                [HTTP_OPTIONS] = "options" };
        const char *text = find_text(d->config, route);
        bool is_public;

        if (!route->doc.id || !route->doc.tag || !route->doc.gives) {
                d->error = -EINVAL;
                return;
        }
        json_open_object(&d->w, names[route->method]);
        json_put_string(&d->w, "operationId", route->doc.id);
        json_put_string(&d->w, "summary", route->summary);
        if (text)
                json_put_string(&d->w, "description", text);
        json_open_array(&d->w, "tags");
        json_put_string(&d->w, NULL, route->doc.tag);
        json_close(&d->w);
        json_open_array(&d->w, "x-roles"); /* an extension: not every reader takes roles there */
        is_public = d->config->put_roles(&d->w, route) == 0;
        json_close(&d->w);
        json_open_array(&d->w, "security");
        if (!is_public) {
                json_open_object(&d->w, NULL);
                json_open_array(&d->w, d->config->scheme);
                json_close(&d->w);
                json_close(&d->w);
        }
        json_close(&d->w);
        put_parameters(d, route);
        put_body(d, route);
        put_answers(d, route, is_public);
        json_close(&d->w);
}

/* "/a/{name...}" is "/a/{name}": a client escapes what is in it, slashes too. */
static void open_path(Doc *d, const char *pattern)
{
        size_t n = strlen(pattern);
        Word name = { pattern, n };
        _cleanup_(freep) char *copy = NULL;

        if (n < 5 || strcmp(pattern + n - 4, "...}") != 0) {
                open_named(d, name);
                return;
        }
        copy = strdup(pattern);
        if (!copy) {
                d->error = -ENOMEM;
                json_open_object(&d->w, "");
                return;
        }
        memcpy(copy + n - 4, "}", 2);
        json_open_object(&d->w, copy);
}

/* The route of this number, over all tables; NULL behind the last one. */
static const HttpRoute *route_at(const Doc *d, size_t i)
{
        for (const HttpRoute *const *t = d->config->tables; *t; t++)
                for (const HttpRoute *r = *t; r->pattern; r++)
                        if (i-- == 0)
                                return r;
        return NULL;
}

/* Whether no route before it has the same pattern, or tag. */
static bool is_first(const Doc *d, size_t i, bool by_tag)
{
        const HttpRoute *r = route_at(d, i), *other;

        for (size_t k = 0; r && k < i && (other = route_at(d, k)); k++)
                if (by_tag ? streq_ptr(other->doc.tag, r->doc.tag)
                           : streq(other->pattern, r->pattern))
                        return false;
        return true;
}

static void put_paths(Doc *d)
{
        const HttpRoute *r, *other;

        json_open_object(&d->w, "paths");
        for (size_t i = 0; (r = route_at(d, i)); i++) {
                if (!is_first(d, i, false))
                        continue; /* its path is there */
                open_path(d, r->pattern);
                for (size_t k = i; (other = route_at(d, k)); k++)
                        if (streq(other->pattern, r->pattern))
                                put_operation(d, other);
                json_close(&d->w);
        }
        json_close(&d->w);
}

static void put_tags(Doc *d)
{
        const HttpRoute *r;

        json_open_array(&d->w, "tags");
        for (size_t i = 0; (r = route_at(d, i)); i++) {
                if (!r->doc.tag || !is_first(d, i, true))
                        continue;
                json_open_object(&d->w, NULL);
                json_put_string(&d->w, "name", r->doc.tag);
                json_close(&d->w);
        }
        json_close(&d->w);
}

/* ---- components ---- */

/* Members of all parts in one object; of: where a part has them. */
static void put_parts(Doc *d, const char *name, size_t of)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_putc(&b, '{');
        for (const OpenapiPart *const *p = d->config->parts; *p; p++) {
                const char *members = *(const char *const *) ((const char *) *p + of);

                if (*members && b.len > 1)
                        strbuf_putc(&b, ',');
                strbuf_puts(&b, members);
        }
        strbuf_putc(&b, '}');
        if (strbuf_error(&b) < 0)
                d->error = strbuf_error(&b);
        else
                json_put_raw(&d->w, name, strbuf_str(&b), b.len);
}

static void put_problem_response(Doc *d, const char *key, unsigned status)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        for (int i = PROBLEM_NONE + 1; i < _PROBLEM_MAX; i++)
                if (problem_status((Problem) i) == status)
                        strbuf_printf(&b, "%s%s (`%s`)", b.len > 0 ? "; " : "",
                                problem_title((Problem) i), problem_to_string((Problem) i));
        if (strbuf_error(&b) < 0)
                d->error = strbuf_error(&b);
        json_open_object(&d->w, key);
        json_put_string(&d->w, "description", b.len > 0 ? strbuf_str(&b) : "Something else");
        if (status == 401)
                put_fields(d, (Word){ "WWW-Authenticate", CONST_STRLEN("WWW-Authenticate") });
        else if (status == 409 || status == 429 || status == 503)
                put_fields(d, (Word){ "Retry-After", CONST_STRLEN("Retry-After") });
        json_open_object(&d->w, "content");
        put_problem_content(d);
        json_close(&d->w);
        json_close(&d->w);
}

static void put_components(Doc *d)
{
        char key[8];

        json_open_object(&d->w, "components");
        json_put_raw(&d->w, "securitySchemes", d->config->security_schemes,
                strlen(d->config->security_schemes));
        put_parts(d, "parameters", offsetof(OpenapiPart, parameters));
        put_parts(d, "headers", offsetof(OpenapiPart, headers));
        json_open_object(&d->w, "responses");
        for (unsigned i = 400; i <= STATUS_MAX; i++)
                if (d->problems[i]) {
                        (void) snprintf(key, sizeof(key), "%u", i);
                        put_problem_response(d, key, i);
                }
        put_problem_response(d, "default", 0);
        json_close(&d->w);
        put_parts(d, "schemas", offsetof(OpenapiPart, schemas));
        json_close(&d->w);
}

static void put_info(Doc *d)
{
        json_open_object(&d->w, "info");
        json_put_string(&d->w, "title", d->config->title);
        json_put_string(&d->w, "version", d->config->version);
        json_put_string(&d->w, "description", d->config->description);
        json_open_object(&d->w, "contact");
        json_put_string(&d->w, "name", "Reeve maintainers");
        json_put_string(&d->w, "email", "maintainers@reeve.invalid");
        json_close(&d->w);
        json_open_object(&d->w, "license");
        json_put_string(&d->w, "name", "LGPL 2.1 or later");
        json_put_string(&d->w, "identifier", "LGPL-2.1-or-later");
        json_close(&d->w);
        json_close(&d->w);
}

int openapi_write(const OpenapiConfig *config, StrBuf *out)
{
        Doc d = { .config = config, .w = json_writer(out) };
        int r;

        json_open_object(&d.w, NULL);
        json_put_string(&d.w, "openapi", "3.1.0");
        put_info(&d);
        json_open_array(&d.w, "servers");
        json_open_object(&d.w, NULL);
        json_put_string(&d.w, "url", "/");
        json_close(&d.w);
        json_close(&d.w);
        put_tags(&d);
        put_paths(&d);
        put_components(&d);
        json_close(&d.w);
        r = json_writer_end(&d.w);
        return r < 0 ? r : d.error;
}

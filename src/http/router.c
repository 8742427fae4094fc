/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "router.h"

#include "uri.h"

/* GLOSSARY
 * node  a place in the tree of segments; the root is "/"
 * tail  a {param...}: takes the rest of the path
 */

typedef struct Node Node;

struct Node {
        Node *next; /* of the same parent's literals */
        Node *literals;
        Node *param;
        Node *tail;
        const char *text; /* of a literal, in its pattern */
        size_t text_size;
        const HttpRoute *routes[_HTTP_METHOD_MAX];
        unsigned allow;
};

struct Router {
        Node root;
        const HttpRoute **routes;
        size_t n_routes;
};

typedef struct Segment {
        char *text; /* decoded, NUL-terminated */
        char *raw_end; /* where the next segment's text begins, less its NUL */
        bool slash; /* has an encoded slash */
} Segment;

typedef struct Path {
        Segment segments[REEVE_HTTP_SEGMENTS_MAX];
        size_t n_segments;
        char *buffer;
} Path;

static void node_free_below(Node *n);

static Node *node_free(Node *n)
{
        if (!n)
                return NULL;
        node_free_below(n);
        free(n);
        return NULL;
}

static void node_free_below(Node *n)
{
        while (n->literals) {
                Node *next = n->literals->next;

                node_free(n->literals);
                n->literals = next;
        }
        n->param = node_free(n->param);
        n->tail = node_free(n->tail);
}

int router_new(Router **ret)
{
        Router *r = new0(Router, 1);

        if (!r)
                return -ENOMEM;
        *ret = r;
        return 0;
}

Router *router_free(Router *r)
{
        if (!r)
                return NULL;
        node_free_below(&r->root);
        free(r->routes);
        free(r);
        return NULL;
}

/* The child for a segment of a pattern, made if it is not there. NULL: no memory. */
static Node *node_child(Node *n, const char *text, size_t size)
{
        Node **at = &n->literals;

        if (text[0] == '{')
                at = text[size - 2] == '.' ? &n->tail : &n->param;
        else
                while (*at && ((*at)->text_size != size || memcmp((*at)->text, text, size) != 0))
                        at = &(*at)->next;
        if (!*at) {
                *at = new0(Node, 1);
                if (!*at)
                        return NULL;
                (*at)->text = text;
                (*at)->text_size = size;
        }
        return *at;
}

static bool name_char(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_';
}

/* "literal", "{name}" or, if it is the last, "{name...}". */
static bool segment_is_valid(const char *s, size_t n, bool last)
{
        size_t i = 1;

        if (n == 0)
                return false;
        if (s[0] != '{')
                return !memchr(s, '{', n) && !memchr(s, '}', n) && !memchr(s, '%', n);
        while (i < n && name_char(s[i]))
                i++;
        if (i == 1)
                return false;
        if (last && i + 4 == n && strncmp(s + i, "...}", 4) == 0)
                return true;
        return i + 1 == n && s[i] == '}';
}

static int add_route(Router *r, const HttpRoute *route)
{
        const char *s = route->pattern;
        Node *n = &r->root;
        unsigned n_segments = 0;
        unsigned n_params = 0;

        if (s[0] != '/' || route->method < 0 || route->method >= _HTTP_METHOD_MAX)
                return -EINVAL;
        while (s[0] == '/' && s[1] != '\0') {
                size_t size = strcspn(s + 1, "/");

                if (!segment_is_valid(s + 1, size, s[1 + size] == '\0'))
                        return -EINVAL;
                n_params += s[1] == '{';
                if (++n_segments > REEVE_HTTP_SEGMENTS_MAX || n_params > REEVE_HTTP_PARAMS_MAX)
                        return -EINVAL;
                n = node_child(n, s + 1, size);
                if (!n)
                        return -ENOMEM;
                s += 1 + size;
        }
        if (s[0] == '/' && n != &r->root)
                return -EINVAL; /* a slash at the end */
        if (n->routes[route->method])
                return -EEXIST;
        n->routes[route->method] = route;
        n->allow |= 1U << route->method | 1U << HTTP_OPTIONS;
        if (route->method == HTTP_GET)
                n->allow |= 1U << HTTP_HEAD;
        return 0;
}

int router_add(Router *r, const HttpRoute *routes)
{
        const HttpRoute **grown;
        size_t n = 0;

        while (routes[n].pattern)
                n++;
        grown = reallocarray(r->routes, r->n_routes + n + 1, sizeof(*grown));
        if (!grown)
                return -ENOMEM;
        r->routes = grown;
        for (size_t i = 0; i < n; i++) {
                int k = add_route(r, &routes[i]);

                if (k < 0)
                        return k;
                r->routes[r->n_routes++] = &routes[i];
        }
        return 0;
}

/* Whether a component (between slashes, encoded ones included) is "." or "..". */
static bool has_dot_segment(const char *s)
{
        for (;;) {
                size_t n = strcspn(s, "/\\");

                if ((n == 1 && s[0] == '.') || (n == 2 && s[0] == '.' && s[1] == '.'))
                        return true;
                if (s[n] == '\0')
                        return false;
                s += n + 1;
        }
}

static int split_path(const char *path, size_t n, Path *p)
{
        char *at = p->buffer;
        size_t i = 0;

        if (n == 0 || path[0] != '/')
                return ROUTER_BAD_PATH;
        while (i < n && n > 1) {
                const char *slash = memchr(path + i + 1, '/', n - i - 1);
                size_t size = slash ? (size_t) (slash - (path + i + 1)) : n - i - 1;
                Segment *s = &p->segments[p->n_segments];
                int len;

                if (p->n_segments == REEVE_HTTP_SEGMENTS_MAX || size == 0)
                        return ROUTER_NO_PATH;
                len = uri_decode(path + i + 1, size, false, at);
                if (len < 0)
                        return ROUTER_BAD_PATH;
                s->text = at;
                s->raw_end = at + len;
                *s->raw_end = '\0';
                s->slash = memchr(at, '/', (size_t) len) != NULL;
                if (has_dot_segment(at))
                        return ROUTER_BAD_PATH;
                at += len + 1;
                p->n_segments++;
                i += 1 + size;
        }
        return ROUTER_FOUND;
}

/* The best node for the segments from i on. NULL: none. */
static const Node *find(const Node *n, const Path *p, size_t i)
{
        const Segment *s = &p->segments[i];
        const Node *found = NULL;

        if (i == p->n_segments)
                return n->allow != 0 ? n : NULL;
        for (const Node *l = n->literals; l; l = l->next)
                if (strlen(s->text) == l->text_size && memcmp(s->text, l->text, l->text_size) == 0)
                        found = find(l, p, i + 1);
        if (!found && n->param)
                found = find(n->param, p, i + 1);
        if (!found && n->tail && n->tail->allow != 0)
                found = n->tail;
        return found;
}

/* Takes the params out of the path, by the route's own names. */
static int fill_params(Path *p, RouteMatch *m)
{
        const char *s = m->route->pattern;

        for (size_t i = 0; i < p->n_segments && s[0] == '/'; i++) {
                size_t size = strcspn(s + 1, "/");
                bool tail = size > 4 && s[1] == '{' && s[size - 1] == '.';

                if (s[1] == '{') {
                        m->params[m->n_params++] = (RouteParam){ .name = s + 2,
                                .name_size = size - (tail ? 5 : 2),
                                .value = p->segments[i].text };
                        if (!tail && p->segments[i].slash)
                                return ROUTER_BAD_PATH;
                        if (tail)
                                for (size_t j = i; j + 1 < p->n_segments; j++)
                                        *p->segments[j].raw_end = '/';
                }
                s += 1 + size;
        }
        return ROUTER_FOUND;
}

static int match_method(const Node *n, HttpMethod method, RouteMatch *m)
{
        m->allow = n->allow;
        m->route = n->routes[method];
        if (!m->route && method == HTTP_HEAD)
                m->route = n->routes[HTTP_GET];
        if (m->route)
                return ROUTER_FOUND;
        return method == HTTP_OPTIONS ? ROUTER_OPTIONS : ROUTER_NO_METHOD;
}

int router_match(const Router *r, HttpMethod method, const char *path, size_t n, RouteMatch *ret)
{
        RouteMatch m = {};
        Path p = {};
        const Node *node;
        int k;

        p.buffer = malloc(n + 2);
        if (!p.buffer)
                return -ENOMEM;
        k = split_path(path, n, &p);
        if (k == ROUTER_FOUND) {
                node = find(&r->root, &p, 0);
                k = node ? match_method(node, method, &m) : ROUTER_NO_PATH;
        }
        if (k == ROUTER_FOUND)
                k = fill_params(&p, &m);
        if (k == ROUTER_NO_METHOD || k == ROUTER_OPTIONS)
                ret->allow = m.allow;
        if (k != ROUTER_FOUND) {
                free(p.buffer);
                return k;
        }
        m.buffer = p.buffer;
        *ret = m;
        return ROUTER_FOUND;
}

void router_match_done(RouteMatch *m)
{
        free(m->buffer);
        *m = (RouteMatch){};
}

const char *router_format_allow(unsigned allow, char buf[static ROUTER_ALLOW_MAX])
{
        char *at = buf;

        *at = '\0';
        for (int i = 0; i < _HTTP_METHOD_MAX; i++)
                if (allow & (1U << i))
                        at += sprintf(at, "%s%s", at == buf ? "" : ", ",
                                http_method_to_string((HttpMethod) i));
        return buf;
}

const HttpRoute *const *router_list(const Router *r, size_t *ret_n)
{
        *ret_n = r->n_routes;
        return r->routes;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <strings.h>

#include "guard.h"
#include "macros.h"
#include "parse-util.h"
#include "reeve-limits.h"

static const char *const methods[_HTTP_METHOD_MAX] = {
        [HTTP_GET] = "GET",
        [HTTP_HEAD] = "HEAD",
        [HTTP_POST] = "POST",
        [HTTP_PUT] = "PUT",
        [HTTP_PATCH] = "PATCH",
        [HTTP_DELETE] = "DELETE",
        [HTTP_OPTIONS] = "OPTIONS",
};

/* Fields that mean one thing: a second one is a contradiction, even when it says the same. */
static const char *const singletons[] = { "Authorization", "Content-Encoding", "Content-Length",
        "Content-Type", "Expect", "Host", "Idempotency-Key", "Range", "Transfer-Encoding" };

const char *http_method_to_string(HttpMethod method)
{
        if (method < 0 || method >= _HTTP_METHOD_MAX)
                return NULL;
        return methods[method];
}

HttpMethod http_method_from_string(const char *s)
{
        for (int m = 0; m < _HTTP_METHOD_MAX; m++)
                if (streq(methods[m], s))
                        return (HttpMethod) m;
        return _HTTP_METHOD_INVALID;
}

const char *http_head_get(const HttpHead *head, const char *name)
{
        for (unsigned i = 0; i < head->n_fields; i++)
                if (strcasecmp(head->fields[i].name, name) == 0)
                        return head->fields[i].value;
        return NULL;
}

/* RFC 9110, 5.6.2. */
static bool is_tchar(char c)
{
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (!is_tchar(s[i]))
                        return false;
        return n > 0;
}

static int hex_value(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        if (c >= 'A' && c <= 'F')
                return c - 'A' + 10;
        return -1;
}

static int refuse(Guard *g, Problem problem, const char *detail)
{
        g->detail = detail;
        return (int) problem;
}

static int check_target(const char *t, Guard *g)
{
        size_t n = strlen(t);

        if (n > REEVE_HTTP_TARGET_MAX)
                return refuse(g, PROBLEM_URI_TOO_LONG, "The request target is too long.");
        if (streq(t, "*") && g->method == HTTP_OPTIONS)
                return 0;
        if (t[0] != '/')
                return refuse(g, PROBLEM_BAD_TARGET, "The request target must begin with a slash.");
        for (size_t i = 0; i < n; i++) {
                int high;
                int low;

                if (t[i] <= ' ' || t[i] >= 0x7f || strchr("\"#<>\\^`{|}", t[i]))
                        return refuse(g, PROBLEM_BAD_TARGET,
                                "The request target has a character that must be "
                                "percent-encoded.");
                if (t[i] != '%')
                        continue;
                high = hex_value(t[i + 1]);
                low = high < 0 ? -1 : hex_value(t[i + 2]);
                if (low < 0)
                        return refuse(g, PROBLEM_BAD_TARGET,
                                "A % in the request target is not followed by two hexadecimal "
                                "digits.");
                if (high == 0 && low == 0)
                        return refuse(
                                g, PROBLEM_BAD_TARGET, "The request target contains a NUL (%00).");
        }
        return 0;
}

static int check_line(const HttpHead *head, Guard *g)
{
        if (!is_token(head->method, strlen(head->method)))
                return refuse(g, PROBLEM_BAD_REQUEST, "The method is not a token.");
        g->method = http_method_from_string(head->method);
        if (g->method < 0)
                return refuse(g, PROBLEM_NOT_IMPLEMENTED, "The method is not known here.");
        if (!streq(head->version, "HTTP/1.1") && !streq(head->version, "HTTP/1.0"))
                return refuse(g, PROBLEM_HTTP_VERSION, "Only HTTP/1.1 and HTTP/1.0 are spoken.");
        return check_target(head->target, g);
}

static bool value_is_clean(const HttpField *f)
{
        for (size_t i = 0; i < f->value_size; i++) {
                unsigned char c = (unsigned char) f->value[i];

                if ((c < ' ' && c != '\t') || c == 0x7f)
                        return false;
        }
        return true;
}

static bool is_singleton(const HttpField *f)
{
        for (size_t i = 0; i < ELEMENTSOF(singletons); i++)
                if (strcasecmp(f->name, singletons[i]) == 0)
                        return true;
        return false;
}

static int check_fields(const HttpHead *head, Guard *g)
{
        if (head->n_fields > REEVE_HTTP_FIELDS_MAX)
                return refuse(g, PROBLEM_HEAD_TOO_LARGE, "There are too many header fields.");
        for (unsigned i = 0; i < head->n_fields; i++) {
                const HttpField *f = &head->fields[i];

                if (!is_token(f->name, f->name_size))
                        return refuse(
                                g, PROBLEM_BAD_HEADER, "A header field's name is not a token.");
                if (!value_is_clean(f))
                        return refuse(g, PROBLEM_BAD_HEADER,
                                "A header field's value contains a control character.");
                if (!is_singleton(f))
                        continue;
                for (unsigned j = 0; j < i; j++)
                        if (strcasecmp(head->fields[j].name, f->name) == 0)
                                return refuse(g, PROBLEM_BAD_HEADER,
                                        "A header field that may be there once is there twice.");
        }
        return 0;
}

/* Without the white space at both ends. */
static const char *field_trimmed(const HttpHead *head, const char *name, size_t *ret_size)
{
        const char *s = http_head_get(head, name);
        size_t n;

        if (!s)
                return NULL;
        s += strspn(s, " \t");
        n = strlen(s);
        while (n > 0 && (s[n - 1] == ' ' || s[n - 1] == '\t'))
                n--;
        *ret_size = n;
        return s;
}

static int check_host(const HttpHead *head, Guard *g)
{
        size_t n;
        const char *host = field_trimmed(head, "Host", &n);

        if (!host) {
                if (streq(head->version, "HTTP/1.0"))
                        return 0;
                return refuse(g, PROBLEM_BAD_HOST, "The Host header field is missing.");
        }
        for (size_t i = 0; i < n; i++)
                if (host[i] <= ' ' || host[i] >= 0x7f || strchr("/@,?#\"<>\\^`{|}", host[i]))
                        return refuse(g, PROBLEM_BAD_HOST, "The Host header field is malformed.");
        if (n == 0)
                return refuse(g, PROBLEM_BAD_HOST, "The Host header field is empty.");
        return 0;
}

static int read_length(const char *s, size_t n, Guard *g)
{
        uint64_t v = 0;

        if (n == 0)
                return refuse(g, PROBLEM_BAD_FRAMING, "The Content-Length is empty.");
        for (size_t i = 0; i < n; i++)
                if (s[i] < '0' || s[i] > '9')
                        return refuse(
                                g, PROBLEM_BAD_FRAMING, "The Content-Length is not a number.");
        for (size_t i = 0; i < n; i++) {
                if (v > (uint64_t) INT64_MAX / 10 - 1)
                        return refuse(g, PROBLEM_BODY_TOO_LARGE, "The Content-Length is absurd.");
                v = v * 10 + (uint64_t) (s[i] - '0');
        }
        g->length = v;
        return 0;
}

/* How long the body is, RFC 9112, 6.3, without its leniencies. */
static int check_framing(const HttpHead *head, Guard *g)
{
        size_t length_size;
        size_t coding_size;
        const char *length = field_trimmed(head, "Content-Length", &length_size);
        const char *coding = field_trimmed(head, "Transfer-Encoding", &coding_size);

        g->length = GUARD_NO_LENGTH;
        g->framed = length || coding;
        if (coding) {
                if (length)
                        return refuse(g, PROBLEM_BAD_FRAMING,
                                "Content-Length and Transfer-Encoding exclude each other.");
                if (streq(head->version, "HTTP/1.0"))
                        return refuse(g, PROBLEM_BAD_FRAMING,
                                "HTTP/1.0 does not know Transfer-Encoding.");
                if (coding_size != 7 || strncasecmp(coding, "chunked", 7) != 0 || coding[7] != '\0')
                        return refuse(g, PROBLEM_NOT_IMPLEMENTED,
                                "The only Transfer-Encoding is \"chunked\".");
                g->has_body = true;
                return 0;
        }
        if (!length)
                return 0;
        /* Trailing space would be cut by us and not by the library below. */
        if (length[length_size] != '\0')
                return refuse(g, PROBLEM_BAD_FRAMING, "The Content-Length is not a number.");
        int r = read_length(length, length_size, g);
        if (r != 0)
                return r;
        g->has_body = g->length > 0;
        return 0;
}

static int check_expectations(const HttpHead *head, Guard *g)
{
        size_t n;
        const char *expect = field_trimmed(head, "Expect", &n);
        const char *coding;

        if (expect && (n != 12 || strncasecmp(expect, "100-continue", 12) != 0))
                return refuse(
                        g, PROBLEM_EXPECTATION, "The only expectation known is 100-continue.");
        coding = field_trimmed(head, "Content-Encoding", &n);
        if (coding && (n != 8 || strncasecmp(coding, "identity", 8) != 0))
                return refuse(g, PROBLEM_MEDIA_TYPE,
                        "Compressed bodies are not taken: send it without Content-Encoding.");
        return 0;
}

int guard_check(const HttpHead *head, size_t head_max, Guard *ret)
{
        static int (*const checks[])(const HttpHead *, Guard *) = { check_line, check_fields,
                check_host, check_framing, check_expectations };
        Guard g = {};

        ret->detail = NULL;
        if (!head->exact)
                return refuse(ret, PROBLEM_BAD_REQUEST,
                        "A line of the request ended without CR LF, was folded, or contained a "
                        "NUL.");
        if (head->size > head_max)
                return refuse(ret, PROBLEM_HEAD_TOO_LARGE,
                        "The request's line and header fields are too large together.");
        for (size_t i = 0; i < ELEMENTSOF(checks); i++) {
                int r = checks[i](head, &g);

                if (r != 0) {
                        ret->detail = g.detail;
                        return r;
                }
        }
        *ret = g;
        return 0;
}

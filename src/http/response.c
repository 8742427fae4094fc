/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <strings.h>

#include "fd-util.h"
#include "http-internal.h"

HttpResponse *http_response_new(unsigned status)
{
        HttpResponse *r = new0(HttpResponse, 1);

        if (!r)
                return NULL;
        r->status = status;
        r->fd = -EBADF;
        return r;
}

HttpResponse *http_response_free(HttpResponse *r)
{
        if (!r)
                return NULL;
        for (unsigned i = 0; i < r->n_fields; i++)
                free((char *) r->fields[i].name); /* name and value are one block */
        free(r->fields);
        free(r->body);
        safe_close(r->fd);
        free(r);
        return NULL;
}

HttpResponse *http_response_new_problem(const ProblemReport *report)
{
        _cleanup_(http_response_freep) HttpResponse *r = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};

        r = http_response_new(problem_status(report->problem));
        if (!r || problem_write(report, &b) < 0 ||
                http_response_take_body(r, "application/problem+json", &b) < 0)
                return NULL;
        if (r->status == 503 && http_response_add(r, "Retry-After", "2") < 0)
                return NULL;
        return TAKE_PTR(r);
}

/* Of a block that holds both, with their NULs. */
static HttpField field_of(const char *copy, size_t name_size, size_t value_size)
{
        return (HttpField){ .name = copy,
                .name_size = name_size,
                .value = copy + name_size + 1,
                .value_size = value_size };
}

int http_response_add(HttpResponse *r, const char *name, const char *value)
{
        static const char *const own[] = { "Connection", "Content-Length", "Date",
                "Transfer-Encoding" };
        size_t name_size = strlen(name);
        size_t value_size = strlen(value);
        HttpField *grown;
        char *copy;

        if (name_size == 0 || strpbrk(name, "()<>@,;:\\\"/[]?={} \t\r\n"))
                return -EINVAL;
        for (size_t i = 0; i < value_size; i++)
                if (((unsigned char) value[i] < ' ' && value[i] != '\t') || value[i] == 0x7f)
                        return -EINVAL;
        for (size_t i = 0; i < ELEMENTSOF(own); i++)
                if (strcasecmp(name, own[i]) == 0)
                        return -EINVAL;
        copy = malloc(name_size + value_size + 2);
        if (!copy)
                return -ENOMEM;
        memcpy(copy, name, name_size + 1);
        memcpy(copy + name_size + 1, value, value_size + 1);
        for (unsigned i = 0; i < r->n_fields; i++)
                if (strcasecmp(r->fields[i].name, name) == 0 &&
                        strcasecmp(name, "Set-Cookie") != 0) {
                        free((char *) r->fields[i].name);
                        r->fields[i] = field_of(copy, name_size, value_size);
                        return 0;
                }
        grown = reallocarray(r->fields, r->n_fields + 1, sizeof(*grown));
        if (!grown) {
                free(copy);
                return -ENOMEM;
        }
        r->fields = grown;
        r->fields[r->n_fields++] = field_of(copy, name_size, value_size);
        return 0;
}

int http_response_set_body(HttpResponse *r, const char *type, const void *data, size_t size)
{
        char *copy = malloc(size ? size : 1);

        if (!copy)
                return -ENOMEM;
        memcpy(copy, data, size);
        free(r->body);
        r->body = copy;
        r->size = size;
        return http_response_add(r, "Content-Type", type);
}

int http_response_take_body(HttpResponse *r, const char *type, StrBuf *buf)
{
        size_t size = buf->len;
        char *data;

        if (strbuf_error(buf) < 0)
                return strbuf_error(buf);
        data = strbuf_steal(buf);
        if (!data)
                return -ENOMEM;
        free(r->body);
        r->body = data;
        r->size = size;
        return http_response_add(r, "Content-Type", type);
}

int http_response_set_file(
        HttpResponse *r, const char *type, int fd, uint64_t offset, uint64_t length)
{
        safe_close(r->fd);
        r->fd = fd;
        r->offset = offset;
        r->length = length;
        return http_response_add(r, "Content-Type", type);
}

void http_response_send(HttpResponse *r, HttpExchange *x, bool close)
{
        HttpReply reply = { .status = r->status,
                .close = close,
                .fields = r->fields,
                .n_fields = r->n_fields,
                .body = TAKE_PTR(r->body),
                .size = r->size,
                .fd = TAKE_FD(r->fd),
                .offset = r->offset,
                .length = r->length };

        http_exchange_reply(x, &reply);
        http_response_free(r);
}

void http_response_open(HttpResponse *r, HttpExchange *x)
{
        http_exchange_open(x,
                &(HttpReply){ .status = r->status,
                        .fields = r->fields,
                        .n_fields = r->n_fields,
                        .fd = -EBADF });
        http_response_free(r);
}

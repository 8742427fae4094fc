/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <ctype.h>
#include <inttypes.h>
#include <stdio.h>

#include "api-auth.h"
#include "api-private.h"
#include "fd-util.h"
#include "http-field.h"

#define FILES_MAX 2000U

static bool is_visible(Call *c, int error, const char *const *row)
{
        c->pending = NULL;
        if (call_failed(c, error))
                return false;
        if (row && caller_sees(&c->caller, row[STORE_JOB_TENANT], row[STORE_JOB_SUBJECT]))
                return true;
        call_problem(c, PROBLEM_NOT_FOUND, "There is no job %s.", c->id);
        return false;
}

static void on_list(int error, const char *const *row, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        strbuf_printf(&b, "{\"files\":%s}", row[0]);
        call_json_buf(c, 200, &b, NULL);
}

static void on_list_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (is_visible(c, error, row))
                (void) call_failed(c,
                        store_list_files(
                                call_reader(c), c->id, FILES_MAX, on_list, c, &c->pending));
}

void handle_files(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_get_job(c->api->store, c->id, on_list_job, c, &c->pending));
}

/* RFC 6266 with RFC 8187's form of a name: any name, and no way out of the quotes. */
static void put_disposition(StrBuf *b, const char *name)
{
        const char *last = strrchr(name, '/');

        strbuf_puts(b, "attachment; filename*=UTF-8''");
        for (const char *p = last ? last + 1 : name; *p; p++)
                if (isalnum((unsigned char) *p) || strchr("-._~", *p))
                        strbuf_putc(b, *p);
                else
                        strbuf_printf(b, "%%%02X", (unsigned char) *p);
}

static bool has_etag(const char *field, const char *etag)
{
        return !field || http_etag_matches(field, etag);
}

/* fd is taken over. */
static void send_file(Call *c, int fd, uint64_t size, const char *const *row)
{
        _cleanup_(http_response_freep) HttpResponse *response = NULL;
        _cleanup_(strbuf_done) StrBuf disposition = {};
        const char *range = http_request_get_header(c->request, "Range");
        const char *type = row[STORE_FILE_TYPE];
        uint64_t first = 0;
        uint64_t length = size;
        char etag[BLOB_DIGEST_MAX + 4];
        char text[96];
        int k;

        (void) snprintf(etag, sizeof(etag), "\"%s\"", row[STORE_FILE_DIGEST]);
        if (http_etag_matches(http_request_get_header(c->request, "If-None-Match"), etag)) {
                safe_close(fd);
                response = http_response_new(304);
                if (response && http_response_add(response, "ETag", etag) < 0)
                        response = http_response_free(response);
                call_reply(c, TAKE_PTR(response), 304);
                return;
        }
        /* A part of another content is of no use. */
        k = has_etag(http_request_get_header(c->request, "If-Range"), etag)
                ? http_range_parse(range, size, &first, &length)
                : RANGE_WHOLE;
        if (k == RANGE_OUTSIDE) {
                safe_close(fd);
                call_problem(c, PROBLEM_RANGE, "The file has %" PRIu64 " bytes.", size);
                return;
        }
        if (k == RANGE_WHOLE) {
                first = 0;
                length = size;
        }
        put_disposition(&disposition, http_request_get_param(c->request, "name"));
        (void) snprintf(text, sizeof(text), "bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, first,
                first + length - 1, size);
        response = http_response_new(k == RANGE_PART ? 206 : 200);
        if (!response) {
                safe_close(fd);
        } else if (http_response_set_file(response, *type ? type : "application/octet-stream", fd,
                           first, length) < 0 ||
                http_response_add(response, "ETag", etag) < 0 ||
                http_response_add(response, "Accept-Ranges", "bytes") < 0 ||
                http_response_add(response, "X-Content-Type-Options", "nosniff") < 0 ||
                http_response_add(response, "Content-Security-Policy", "sandbox") < 0 ||
                http_response_add(response, "Content-Disposition", strbuf_str(&disposition)) < 0 ||
                (k == RANGE_PART && http_response_add(response, "Content-Range", text) < 0)) {
                response = http_response_free(response);
        }
        call_reply(c, TAKE_PTR(response), k == RANGE_PART ? 206 : 200);
}

static void on_file(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        uint64_t size = 0;
        int fd;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        if (!row) {
                call_problem(c, PROBLEM_NOT_FOUND, "Job %s has no such file.", c->id);
                return;
        }
        if (!*row[STORE_FILE_DIGEST]) {
                call_problem(c, PROBLEM_GONE,
                        "The files of job %s have expired: KeepResult= of its kind.", c->id);
                return;
        }
        fd = c->api->blobs ? blob_open_read(c->api->blobs, row[STORE_FILE_TENANT],
                                     row[STORE_FILE_DIGEST], &size)
                           : -EROFS;
        if (fd == -ENOENT)
                call_problem(c, PROBLEM_GONE, "The file is kept no more.");
        else if (!call_failed(c, fd < 0 ? fd : 0))
                send_file(c, fd, size, row);
}

static void on_file_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (is_visible(c, error, row))
                (void) call_failed(c,
                        store_get_file(c->api->store, c->id,
                                http_request_get_param(c->request, "name"), on_file, c,
                                &c->pending));
}

void handle_file(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_get_job(c->api->store, c->id, on_file_job, c, &c->pending));
}

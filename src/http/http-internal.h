/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "http.h"

struct HttpResponse {
        unsigned status;
        HttpField *fields;
        unsigned n_fields;
        char *body;
        size_t size;
        int fd;
        uint64_t offset;
        uint64_t length;
};

/* Replies and frees the response. */
void http_response_send(HttpResponse *r, HttpExchange *x, bool close);
/* Opens a stream with its status and fields, and frees the response. */
void http_response_open(HttpResponse *r, HttpExchange *x);

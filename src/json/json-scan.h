/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "json-check.h"

/* The one place that knows JSON's grammar; json_check() and json_parse() are made of it. */

typedef enum JsonToken {
        JSON_TOKEN_OBJECT, /* { */
        JSON_TOKEN_ARRAY, /* [ */
        JSON_TOKEN_CLOSE, /* } or ] */
        JSON_TOKEN_NAME, /* of a member, with its quotes */
        JSON_TOKEN_STRING, /* with its quotes */
        JSON_TOKEN_NUMBER,
        JSON_TOKEN_TRUE,
        JSON_TOKEN_FALSE,
        JSON_TOKEN_NULL,
} JsonToken;

/* Called for each token in order, text[begin] to text[end - 1]. A negative result ends the scan. */
typedef int (*JsonTokenHandler)(void *userdata, JsonToken token, size_t begin, size_t end);

/* Calls handler (may be NULL) for the tokens; on an error those before it have been given. Returns
 * as json_check() does, or what the handler returned. */
int json_scan(const char *text, size_t size, unsigned max_depth, JsonTokenHandler handler,
        void *userdata, JsonError *ret_error);

/* The number that four hexadecimal digits make; -1 if they are not all such. */
int json_hex4(const char *digits);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "macros.h"

/* Decodes %XX once into buf (n bytes are always enough; no NUL is added) and returns the number of
 * bytes, or -EINVAL: a bad escape, a control character, or not UTF-8 after decoding. plus: '+' is a
 * space, as in queries and forms. */
int uri_decode(const char *s, size_t n, bool plus, char *buf);

typedef struct UriParam {
        char *name;
        char *value; /* "" if there is no '=' */
} UriParam;

/* The decoded pairs of a query or of an application/x-www-form-urlencoded body. Plain value: start
 * with {}. */
typedef struct UriParams {
        UriParam *items;
        size_t n_items;
        char *buffer; /* what the items point into */
} UriParams;

enum {
        URI_DONE = 0,
        URI_MALFORMED = 1, /* as uri_decode() says, or a pair without a name */
        URI_TOO_MANY = 2, /* more pairs than max */
        URI_DUPLICATE = 3, /* a name is there twice: which of them would count? */
};

/* Reads pairs separated by '&'; an empty text gives none. Line ends are fine in values if
 * multiline. Returns a URI_ value or -ENOMEM. */
int uri_params_parse(const char *s, size_t n, size_t max, bool multiline, UriParams *ret);
void uri_params_done(UriParams *p);
/* NULL if there is none. */
const char *uri_params_get(const UriParams *p, const char *name);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* The head of a request as it came over the wire: nothing decoded, nothing judged. Everything
 * points into the connection's memory and is there until the exchange ends. */

typedef struct HttpField {
        const char *name; /* NUL-terminated; so is value */
        size_t name_size;
        const char *value;
        size_t value_size;
} HttpField;

typedef struct HttpHead {
        const char *method;
        const char *target; /* path and query, still percent-encoded */
        const char *version; /* "HTTP/1.1" */
        const HttpField *fields; /* in the order of their coming */
        unsigned n_fields;
        size_t size; /* bytes of all of it, the request line and the empty line included */
        bool exact; /* each line ended with CR LF, none was folded and no byte was NUL */
} HttpHead;

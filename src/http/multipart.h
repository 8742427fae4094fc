/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "macros.h"

/* A streaming parser of multipart/form-data (RFC 7578 over RFC 2046). Memory is constant: the
 * header of one part and, for a delimiter that may be cut in two, a counter. What it says does not
 * depend on how the body was cut into chunks, only the size of the pieces of data does. */

enum {
        MULTIPART_DONE = 0,
        MULTIPART_NOT_MULTIPART, /* the Content-Type is another one */
        MULTIPART_BAD_BOUNDARY, /* none in the Content-Type, or not as RFC 2046 has it */
        MULTIPART_MALFORMED, /* a header or the end of a delimiter is wrong */
        MULTIPART_BAD_DISPOSITION, /* Content-Disposition is missing or wrong */
        MULTIPART_BAD_ENCODING, /* a Content-Transfer-Encoding that changes bytes */
        MULTIPART_TRUNCATED, /* the body ended before the last delimiter */
        MULTIPART_HEADER_TOO_LARGE,
        MULTIPART_TOO_MANY_PARTS,
        MULTIPART_FIELD_TOO_LARGE,
        MULTIPART_FILE_TOO_LARGE,
        _MULTIPART_MAX,
};

typedef struct MultipartLimits {
        unsigned n_parts;
        uint64_t field_size; /* bytes of a part without a file name */
        uint64_t file_size; /* bytes of a part with one */
} MultipartLimits;

typedef struct MultipartPart {
        const char *name; /* UTF-8 without control characters */
        const char *filename; /* the same; only the last part of a path; NULL if none was given, ""
                                 if nothing of it is left (a form sent with no file chosen) */
        const char *content_type; /* as it came; NULL if none was given */
} MultipartPart;

/* Called in the middle of multipart_feed(). A negative return is a fault that multipart_feed()
 * passes on, a positive one an outcome of the caller's own; both end the parsing. The part's
 * strings are there until on_end returned. */
typedef struct MultipartOps {
        int (*on_part)(const MultipartPart *part, void *userdata);
        int (*on_data)(const void *data, size_t size, void *userdata);
        int (*on_end)(void *userdata);
} MultipartOps;

typedef struct Multipart Multipart;

/* Starts a parser for a body of this Content-Type. ops stays the caller's and must live as long as
 * the parser. Returns 0, MULTIPART_NOT_MULTIPART, MULTIPART_BAD_BOUNDARY or -ENOMEM. */
int multipart_new(const char *content_type, const MultipartLimits *limits, const MultipartOps *ops,
        void *userdata, Multipart **ret);
Multipart *multipart_free(Multipart *m);
DEFINE_CLEANUP(Multipart, multipart_free)

/* Takes the next bytes. After anything but 0 the parser stays where it is and says the same again.
 */
int multipart_feed(Multipart *m, const void *data, size_t size);

/* The body has ended. Returns 0, MULTIPART_TRUNCATED, or what multipart_feed() had said. */
int multipart_finish(Multipart *m);

/* One sentence for the client about an outcome. */
const char *multipart_to_string(int outcome);

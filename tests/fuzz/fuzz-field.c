/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Three lines: the size of a file, a header's field, and what it is asked about (a media type, a
 * parameter, an entity tag). A range that is taken is inside the file and says the same when it is
 * written out; what is read of a field does not depend on the room for it. */
#include <inttypes.h>

#include "fuzz.h"
#include "http-field.h"
#include "macros.h"
#include "parse-util.h"

static void check_range(const char *field, uint64_t size)
{
        uint64_t first = 0, length = 0, again_first = 0, again_length = 0;
        char text[64];
        int r = http_range_parse(field, size, &first, &length);

        CHECK(r == RANGE_WHOLE || r == RANGE_PART || r == RANGE_OUTSIDE);
        CHECK(http_range_parse(field, 0, &again_first, &again_length) != RANGE_PART);
        if (r != RANGE_PART)
                return;
        CHECK(length > 0 && first < size && length <= size - first);
        (void) snprintf(
                text, sizeof(text), "bytes=%" PRIu64 "-%" PRIu64, first, first + length - 1);
        r = http_range_parse(text, size, &again_first, &again_length);
        if (first + length - 1 <= 999999999999999999U) /* what has more digits is not taken */
                CHECK(r == RANGE_PART && again_first == first && again_length == length);
}

static void check_etag(const char *field, const char *word)
{
        _cleanup_(freep) char *etag = NULL, *weak = NULL;

        if (word[strcspn(word, "\"")])
                return; /* none that a server would make */
        CHECK(asprintf(&etag, "\"%s\"", word) > 0 && asprintf(&weak, "W/%s", etag) > 0);
        CHECK(http_etag_matches(field, etag) == http_etag_matches(field, weak));
        CHECK(http_etag_matches(etag, etag) && http_etag_matches(weak, etag));
}

static void check_param(const char *field, const char *name)
{
        char wide[256] = "", narrow[8] = "";
        int r = http_param_get(field, name, wide, sizeof(wide));
        int s = http_param_get(field, name, narrow, sizeof(narrow));

        CHECK(r == 0 || r == 1 || r == -EINVAL || r == -ENOBUFS);
        if (r == 1 && strlen(wide) < sizeof(narrow))
                CHECK(s == 1 && streq(wide, narrow));
        else if (r == 1)
                CHECK(s == -ENOBUFS);
        else if (r != -ENOBUFS)
                CHECK(s == r || s == -ENOBUFS);
}

static void check_type(const char *field, const char *type)
{
        _cleanup_(freep) char *one = NULL;

        if (*type && http_type_is(field, type))
                CHECK(strlen(field) >= strlen(type));
        (void) http_accepts(field, type);
        if (type[strcspn(type, " \t,;")])
                return; /* no media type */
        CHECK(asprintf(&one, "%s;q=0", type) > 0);
        if (strchr(type, '/') && !http_accepts(type, type))
                CHECK(!*type);
        if (strchr(type, '/'))
                CHECK(!http_accepts(one, type));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(freep) char *text = calloc(1, size + 1);
        char *field, *word;
        uint64_t n = 0;

        CHECK(text);
        if (size > 0)
                memcpy(text, data, size);
        field = strchr(text, '\n');
        if (!field)
                return 0;
        *field++ = '\0';
        word = strchr(field, '\n');
        if (!word)
                return 0;
        *word++ = '\0';
        (void) parse_u64(text, 0, UINT64_MAX, &n);
        check_range(field, n);
        check_etag(field, word);
        check_param(field, word);
        check_type(field, word);
        return 0;
}

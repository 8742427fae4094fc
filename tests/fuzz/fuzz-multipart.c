/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A form whose boundary is "b": the first eight bytes say how it is cut. Whatever the cuts, the
 * parser must say the same as over the whole. */
#include "../unit/multipart-log.h"
#include "fuzz.h"

static const uint8_t *cuts;

static size_t cut_as_told(size_t offset, void *userdata)
{
        size_t *at = userdata;

        return cuts[(*at)++ % 8] % 32 + 1;
}

static size_t cut_nowhere(size_t offset, void *userdata)
{
        return SIZE_MAX;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        static const MultipartLimits limits = { 8, 128, 1024 };
        static const char type[] = "multipart/form-data; boundary=b";
        _cleanup_(strbuf_done) StrBuf whole = {}, cut = {};
        int r;

        if (size < 8)
                return 0;
        cuts = data;
        r = multipart_log(type, &limits, (const char *) data + 8, size - 8, cut_nowhere, &whole);
        assert(r >= 0 && r < _MULTIPART_MAX);
        assert(multipart_log(type, &limits, (const char *) data + 8, size - 8, cut_as_told, &cut) ==
                r);
        /* A part that is too large is refused with the piece that makes it so. */
        if (r != MULTIPART_FIELD_TOO_LARGE && r != MULTIPART_FILE_TOO_LARGE)
                assert(cut.len == whole.len &&
                        (cut.len == 0 || memcmp(cut.data, whole.data, cut.len) == 0));
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The first byte is the number of descriptors, the rest a frame: one that is taken must be inside
 * the bounds that its reader relies on, and must come out of the encoder as a frame of the same
 * words. */
#include "fuzz.h"
#include "reeve-limits.h"
#include "run-frame.h"

static void check_bounds(const RunFrame *f)
{
        switch (f->type) {
        case RUN_FRAME_PROGRESS:
                assert(f->progress.progress >= -1 && f->progress.progress <= 100);
                assert(!f->progress.status || strlen(f->progress.status) <= REEVE_STATUS_TEXT_MAX);
                break;
        case RUN_FRAME_FILE:
                assert(run_file_name_is_valid(f->file.name));
                assert(!strstr(f->file.name, "/../") && f->file.name[0] != '/');
                break;
        case RUN_FRAME_END:
                assert(f->end.exit >= -1 && f->end.exit <= 255 && f->end.log);
                assert(f->end.cause < _RUN_CAUSE_MAX && f->end.result < _RUN_RESULT_MAX);
                assert(!f->end.error_code || f->end.error_message);
                break;
        case RUN_FRAME_RUN:
                assert(f->run.kind[0] && f->run.queue[0] && f->run.tenant[0]);
                break;
        default:
                break;
        }
        assert(f->n_inputs <= RUN_PACKET_FDS_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(run_frame_done) RunFrame f = {}, again = {};
        _cleanup_(strbuf_done) StrBuf first = {}, second = {};
        JsonError e = { 0 };
        unsigned n_fds;
        int r;

        if (size < 1 || size > RUN_PACKET_MAX)
                return 0;
        n_fds = data[0] >= '0' && data[0] <= '9' ? data[0] - (unsigned) '0' : data[0] % 65U;
        r = run_frame_decode((const char *) data + 1, size - 1, n_fds, &f, &e);
        if (r < 0) {
                assert(r == -EBADMSG && e.text[0]);
                return 0;
        }

        check_bounds(&f);
        r = run_frame_encode(&f, &first);
        if (r == -EMSGSIZE) /* escapes can make it longer than it came */
                return 0;
        assert(r == 0);
        assert(run_frame_decode(first.data, first.len, n_fds, &again, &e) == 0);
        assert(run_frame_encode(&again, &second) == 0);
        assert(streq(first.data, second.data));
        return 0;
}

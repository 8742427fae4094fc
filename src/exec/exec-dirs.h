/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "macros.h"

/* The files of a slot: BASE/input, BASE/output and BASE/notify in the unit's private /tmp, made
 * once and emptied after each run. */
typedef struct ExecDirs {
        char *base, *input, *output, *notify; /* paths */
        int base_fd, input_fd, output_fd;
        uint64_t notify_dev, notify_ino; /* of the socket that was bound last */
        bool private_tmp[2]; /* /tmp, /var/tmp are this unit's own: emptied too */
} ExecDirs;

/* Makes the directories below $TMPDIR or /tmp. Returns 0 or -errno; exec_dirs_done() in any case.
 */
int exec_dirs_make(ExecDirs *d);
/* Removes them with all that is in them. */
void exec_dirs_done(ExecDirs *d);

/* Empties them, and the private /tmp, for the next run. Returns 0 or -errno: something of the last
 * run is still there. */
int exec_dirs_clean(ExecDirs *d);

/* Copies the whole of a regular file to a new read-only file in the input directory, or in a
 * directory below it, which is made. Returns the
 * bytes copied, -EEXIST (that name is taken), -EINVAL (not a regular file) or another -errno. */
int64_t exec_dirs_put_input(ExecDirs *d, const char *name, int from);
/* Called when all inputs are there: nobody is to write to the directory. */
int exec_dirs_seal_inputs(ExecDirs *d);

/* A bound, non-blocking datagram socket at d->notify, in place of what is there. It serves many
 * runs: a bind() costs as much as the rest of a short run. Returns a descriptor or -errno. */
int exec_dirs_bind_notify(ExecDirs *d);
/* Whether it is still there: a handler can remove it or put its own in its place. */
bool exec_dirs_notify_is_bound(const ExecDirs *d);

/* The regular files in the output directory. A symlink, device, FIFO, socket or name that cannot be
 * told (run_file_name_is_valid()) is left out; *ret_why, static or NULL, says the first reason why
 * a file was left out or that a limit (REEVE_OUTPUT_*) was reached. */
typedef struct ExecOutputs {
        char **names;
        unsigned n, n_allocated;
        uint64_t bytes;
        const char *error; /* the first thing that was left out; static */
} ExecOutputs;

/* Returns 0 or -ENOMEM. */
int exec_outputs_list(const ExecDirs *d, ExecOutputs *ret);
/* Opens one for reading. Returns a descriptor or -errno. */
int exec_outputs_open(const ExecDirs *d, const char *name, uint64_t *ret_size);
void exec_outputs_done(ExecOutputs *o);

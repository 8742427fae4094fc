/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>

#include "macros.h"
#include "time-util.h"

/* The command line of reeve-exec, as the generator writes it (reeve-exec(8)). */
typedef struct ExecOptions {
        const char *unit; /* %n of the unit, for the worker and the operator */
        usec_t stop_usec; /* from TERM to KILL */
        usec_t timeout_usec; /* of a run; USEC_INFINITY: none */
        usec_t watchdog_usec; /* the longest silence of a handler; USEC_INFINITY: any */
        unsigned max_runs; /* then the launcher ends; 0: no limit */
        bool persistent;
        bool text; /* the result is text, not JSON */
        char **join; /* argv of the join phase, NULL-terminated; owned; join[0] NULL: the same
                        program */
        unsigned n_join;
        char **program; /* argv of the handler, NULL-terminated */
} ExecOptions;

enum {
        EXEC_OPTIONS_OK = 0,
        EXEC_OPTIONS_EXIT = 1, /* --help or --version was answered */
};

/* Parses the arguments; strings point into argv. Findings are logged. Returns an EXEC_OPTIONS_
 * value or -EINVAL. */
int exec_options_parse(int argc, char **argv, ExecOptions *ret);
void exec_options_done(ExecOptions *o);

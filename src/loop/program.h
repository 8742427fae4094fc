/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

/* The frame of a daemon: one event loop, which SIGTERM and SIGINT end in good order. Part of the
 * programs, so it logs what goes wrong. */

/* Blocks SIGTERM and SIGINT, which wait until program_serve(), and ignores SIGPIPE and SIGXFSZ:
 * whoever goes away, and a full disk, are errors of calls and not ends of ours. Then calls run with
 * the event loop of the program. Returns the exit status: whether run returned 0 or more. */
int program_run(int (*run)(sd_event *event, void *userdata), void *userdata);

/* Runs the loop until sd_event_exit(). stop is called for each SIGTERM and SIGINT, those that came
 * before too. Returns 0 or -errno, also that of sd_event_exit(). */
int program_serve(sd_event *event, void (*stop)(void *userdata), void *userdata);

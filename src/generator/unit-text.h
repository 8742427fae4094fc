/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "kind.h"
#include "strbuf.h"

/* The texts of generated units. Pure. A name needs no escaping: a kind's name holds only characters
 * that a unit's name may hold, and neither @ nor a slash, so that names of kinds and names of units
 * stand for each other one to one.
 *
 * source: SourcePath=, the kind's file on the system that will run this. */

#define UNIT_PREFIX  "reeve-run-"
#define TIMER_PREFIX "reeve-schedule@"

/* reeve-run-KIND.socket. view: not without reeve-view.service. */
void unit_text_socket(StrBuf *b, const Kind *k, const char *source, bool view);
/* reeve-run-KIND@.service. view: its runs take the view of reeve-view(8); else each has its own. */
void unit_text_service(StrBuf *b, const Kind *k, const char *source, bool view);
/* Whether the kind leaves to Reeve what its runs see of the host's files. */
bool unit_text_takes_view(const Kind *k);
/* reeve-schedule@KIND.timer, of a kind with OnCalendar= */
void unit_text_timer(StrBuf *b, const Kind *k, const char *source);
/* A drop-in of reeve-worker@.service: a worker comes after the sockets, and brings them; and the
 * timers. */
void unit_text_worker(StrBuf *b, const Kind *const *kinds, size_t n_kinds);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "ctl-status.h"

/* What "doctor" looks at beyond what "status" does. Each part adds to the faults what it finds,
 * with the command that helps, and a note of what it could not look at. */

/* Exit statuses of its own. */
enum { DOCTOR_WARNINGS = 1, DOCTOR_ERRORS = 2 };

/* Files, users, space, memory, configuration, time zones. */
void doctor_judge_host(Faults *f);
/* What there is of it in the directory of tools/quickstart --foreground, and what there is not. */
void doctor_judge_foreground(Faults *f, const char *directory);
/* Units, the bus, polkit, reeved; in the foreground the bus and reeved. bus NULL: there is none (r
 * says why). */
void doctor_judge_units(Faults *f, sd_bus *bus, int r);
/* What reeve-doctor says of the database: its one line. root: whether it ran as root. */
void doctor_judge_database(Faults *f, const JsonValue *facts, bool root);
/* Queues whose jobs wait though somebody could take them. now: of the host, CLOCK_REALTIME. */
void doctor_judge_waiting(Faults *f, const JsonValue *queues, const JsonValue *workers, usec_t now);

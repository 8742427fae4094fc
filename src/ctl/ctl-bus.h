/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

#include "ctl.h"

/* Changes go to reeved by the system bus, which knows who asks and asks polkit whether they may. */

/* A call of a method at path; fill in its arguments, then ctl_bus_ask(). Returns EXIT_STATUS_OK, or
 * another ExitStatus, told: there is no bus; or --url names another host's API. */
int ctl_bus_begin(
        Ctl *c, const char *path, const char *interface, const char *member, sd_bus_message **ret);
/* The object of Manager. */
int ctl_bus_begin_manager(Ctl *c, const char *member, sd_bus_message **ret);

/* Sends it and waits for the answer; on a terminal a password may be asked for. appended: the sum
 * of what filling it in returned, below 0 is told. Returns an ExitStatus, told. */
int ctl_bus_ask(sd_bus_message *call, int appended);
/* The same; *ret is the answer. */
int ctl_bus_ask_reply(sd_bus_message *call, int appended, sd_bus_message **ret);

/* An agent of polkit's that asks on this terminal; -1: none (no terminal, root, or no pkttyagent).
 */
pid_t agent_start(void);
void agent_stop(pid_t agent);

int pause_queue(Ctl *c);
int resume_queue(Ctl *c);

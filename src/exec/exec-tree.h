/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>

/* Every process below this one. Only for a child subreaper: there is no way out of its tree,
 * however often a process forks, whatever session or process group it makes. */

/* Sends SIGKILL to all descendants that live. Returns how many there were (new ones may have come
 * since: call it until it says 0 or there are no children to wait for), or -errno. */
int exec_tree_kill(void);

/* Whether the process is below this one; a negative number is that of a process group, of which a
 * member must be. Returns 1, 0 (also for what is not there, or what hides from us) or -errno. */
int exec_tree_has(pid_t pid);

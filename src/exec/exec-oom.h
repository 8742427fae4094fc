/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* How often the kernel has killed for memory in our cgroup: memory.events (v2) or
 * memory.oom_control (v1), field oom_kill. */

/* Opens the counter. Returns a descriptor that the caller owns, or -errno: there is no memory
 * controller, as in a foreground worker. */
int exec_oom_open(void);

/* The count; 0 if fd is negative or cannot be read. */
uint64_t exec_oom_count(int fd);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

/* Handlers of all kinds share a user, and the kernel lets processes of one user signal each other
 * by number, which can be guessed. A filter of system calls keeps handlers from doing that: a call
 * that names a process (kill() and its like, but also those that set limits, the scheduling or the
 * owner of a descriptor) waits until the launcher has looked whether that process is below itself,
 * and fails with EPERM if it is not. What names the caller (0) costs nothing; the rest was measured
 * at 12 us, 28 us for a process in another session. kill(-1) and the like are refused.
 * pidfd_send_signal() is said not to be there (ENOSYS), because a descriptor could be another one
 * by the time it is used: programs use kill() then. When the launcher is gone, what would be asked
 * fails with ENOSYS.
 *
 * A filter costs a tenth of a millisecond and more, so it is made once for a launcher and what it
 * starts. The launcher cannot ask itself: its own calls carry a secret. */

/* Confines this process and all that it will start, for good, and hides its memory from them.
 * Returns the listener, a descriptor (close-on-exec), or -errno if there can be none: because there
 * is one around us already (-EBUSY), or this kernel, the unit's own filters or NoNewPrivileges=no
 * forbid it. Then nobody is asked; kill(-1) and the like are still refused, if possible. */
int exec_confine(void);

/* As kill(), for the launcher itself. */
int exec_confine_kill(pid_t pid, int signal);

/* As prlimit() without a look at the old limit, for the launcher itself. */
int exec_confine_limit(pid_t pid, int resource, const struct rlimit *limit);

/* Answers one question. child: the leader of the handler's session, 0 if it is gone. Returns 0, or
 * -errno: the listener is of no more use. */
int exec_confine_answer(int listener, pid_t child);

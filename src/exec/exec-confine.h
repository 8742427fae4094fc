/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Refuses kill(-1, ...) with EPERM, to this process and to all that it will start: "everything I
 * may signal" would be every run on this host, because runs share a user. A single process of
 * another run can still be signalled by who guesses its number.
 *
 * Needs no privileges where NoNewPrivileges=yes is set; then nothing can undo it. Returns 0,
 * -EACCES (the unit has NoNewPrivileges=no), -EINVAL (a kernel without seccomp), or -errno. */
int exec_confine_signals(void);

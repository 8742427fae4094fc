/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/resource.h>
#include <sys/types.h>

#include "exec-dirs.h"
#include "run-frame.h"

/* A handler's process: its environment, its four descriptors, its start. */

#define EXEC_HANDLER_FD            3 /* REEVE_FD: progress */
#define EXEC_HANDLER_OOM_SCORE_ADJ 500 /* so that the kernel takes it and not the launcher */

/* A copy of our own environment without what belongs to the launcher (LISTEN_*, WATCHDOG_*,
 * REEVE_*, NOTIFY_SOCKET, the journal's stream, the peer's address). NULL without memory;
 * exec_env_free(). */
char **exec_env_base(void);

/* base with the variables of the contract; those of one run only if run is not NULL. */
char **exec_env_make(char **base, const ExecDirs *dirs, const RunFrame *run);
char **exec_env_free(char **env);
DEFINE_CLEANUP(char *, exec_env_free)

/* Raises our own limit of descriptors as far as it goes and says what a handler's is to be: as many
 * as we were started with, and never quite as many as we may have. For descriptors on their way
 * through sockets are counted for the user, against the limit of whoever sends the next: a handler
 * that could use them up would keep every other run on the host from handing over its result.
 * Returns 0 or -errno. */
int exec_limit_descriptors(struct rlimit *ret_handler);

/* Starts argv[0] (searched in PATH if it has no slash) in a session of its own, with fds[0] to
 * fds[3] as its descriptors 0 to 3 and default signals and that limit of
 * descriptors. The caller keeps fds. Returns the process,
 * -ENOENT (no such program, or no such interpreter), -EACCES or -ENOEXEC (cannot be executed), or
 * another -errno. */
pid_t exec_spawn(char *const *argv, char *const *env, const int fds[static 4],
        const struct rlimit *descriptors);

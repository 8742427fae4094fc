/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "conf.h"
#include "kind.h"
#include "pool.h"
#include "settings.h"

/* Reads Reeve's configuration from its directories and makes the core's objects of it. The only
 * folder that knows where the files are.
 *
 * root is put before every directory: NULL or "" for the running system. Findings go to report (may
 * be NULL) by file and line (line 0: the file as a whole), in the middle of the call; a file that
 * cannot be read is a finding too. Return values are 0 or a negative errno, -EINVAL only where it
 * says so. */

/* A kind with an error. */
typedef struct KindRefused {
        char *name;
        char *why; /* the first error, "FILE:LINE: ..." */
} KindRefused;

/* All kinds that are there and right, by name. */
typedef struct KindSet {
        Kind **kinds; /* n_kinds of them, sorted by name */
        size_t n_kinds;
        KindRefused *refused; /* n_refused of them, each reported: kept out, the others are not */
        size_t n_refused;
} KindSet;

/* Every NAME.kind of, in this order of precedence, /etc/reeve/kinds, /run/reeve/kinds, the active
 * release's kinds and /usr/lib/reeve/kinds, with the drop-ins of all four. Masked ones are left
 * out without a word. */
int kinds_load(const char *root, ConfReport report, void *userdata, KindSet **ret);
KindSet *kind_set_free(KindSet *s);
DEFINE_CLEANUP(KindSet, kind_set_free)
/* NULL if there is none. Owned by s. */
const Kind *kind_set_find(const KindSet *s, const char *name);

/* Whether a program of a kind is there, as far as this can be told before it runs; path is where it
 * was looked for. Returns 0, -ELIBACC if the interpreter that a script's first line names (then it
 * is in path) cannot be executed, or -errno as access(2) says it. */
int kind_check_program(const char *root, const char *program, char *path, size_t size);

/* One file NAME.kind anywhere, without drop-ins: for a look at a file before it is installed.
 * Returns -EINVAL if an error was reported. */
int kind_load_file(const char *path, ConfReport report, void *userdata, Kind **ret);

/* NAME.conf of /etc/reeve/pools, /run/reeve/pools and /usr/lib/reeve/pools, with drop-ins; the
 * defaults if there is none or it is masked. Returns -EINVAL if an error was reported. */
int pool_load(const char *root, const char *name, ConfReport report, void *userdata, Pool **ret);

/* reeve.conf of /etc/reeve, /run/reeve and /usr/lib/reeve, with drop-ins. Returns 0, -EINVAL if an
 * error was reported (*ret is usable: where a value was wrong its default stays), or another errno
 * if a file cannot be read: *ret has defaults, and who used them would work on another database,
 * and keep jobs for another time, than was asked for. The caller ends it with settings_done() in
 * each case. */
int settings_load(const char *root, ConfReport report, void *userdata, Settings *ret);

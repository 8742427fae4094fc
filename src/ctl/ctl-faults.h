/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "config-load.h"
#include "ctl.h"

/* What "status" and "doctor" find wrong, and what helps. */

typedef enum FaultLevel {
        FAULT_ERROR, /* something does not work, or what was promised does not hold */
        FAULT_WARNING, /* it works, and will not for long, or not as well as it could */
        FAULT_NOTE, /* good to know; nothing is wrong */
        _FAULT_LEVEL_MAX,
} FaultLevel;

/* The code of a note that says what could not be looked at. */
#define FAULT_NOT_LOOKED_AT "NOT_LOOKED_AT"

typedef struct Faults {
        const char *where; /* goes with those that are added; NULL: not told */
        StrBuf json; /* the elements of an array */
        StrBuf texts[_FAULT_LEVEL_MAX]; /* lines */
        unsigned counts[_FAULT_LEVEL_MAX];
        unsigned n; /* without notes */
        unsigned n_unseen; /* NOT_LOOKED_AT among the notes */
} Faults;

void faults_done(Faults *f);
/* 0, or -ENOMEM if something was lost. */
int faults_error(const Faults *f);
/* code: for programs, in capitals, the same for each of its sort. remedy: a command to type. */
void faults_add(Faults *f, FaultLevel level, const char *code, const char *remedy,
        const char *format, ...) _printf_(5, 6);

/* What is wrong with kinds on this host, which has one of these workers or is left alone: files
 * with an error or that no worker has read (kinds: those published), sockets that do not listen,
 * programs that are missing. Returns the set of kinds
 * that was read, or NULL; the caller frees it. */
KindSet *judge_host(Faults *f, const JsonValue *workers, const JsonValue *kinds);
/* What workers say that they cannot run; here: what judge_host() returned. */
void judge_worker_faults(Faults *f, const JsonValue *workers, const KindSet *here);

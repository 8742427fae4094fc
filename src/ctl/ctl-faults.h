/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "config-load.h"
#include "ctl.h"

/* What "status" finds wrong, and what helps. */

typedef struct Faults {
        StrBuf json, text; /* the elements of an array; lines */
        unsigned n;
} Faults;

void faults_done(Faults *f);
/* Errors of memory show in f->json and f->text. */
void faults_add(Faults *f, const char *remedy, const char *format, ...) _printf_(3, 4);

/* What is wrong with kinds on this host, which has one of these workers or is left alone: files
 * with an error, sockets that do not listen, programs that are missing. Returns the set of kinds
 * that was read, or NULL; the caller frees it. */
KindSet *judge_host(Faults *f, const JsonValue *workers);
/* What workers say that they cannot run; here: what judge_host() returned. */
void judge_worker_faults(Faults *f, const JsonValue *workers, const KindSet *here);

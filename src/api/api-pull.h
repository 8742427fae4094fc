/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api-private.h"

/* Programs elsewhere that fetch their jobs: what api-pull.c and api-run.c share. */

#define PULL_PAYLOAD_NAME                                                                          \
        "payload.json" /* among a job's files, if it is too large for the answer */
#define PULL_NAME_MAX  128U /* bytes of "worker" */
#define PULL_BAD_LEASE "lease: expected a time span from 1s to 1d, such as \"60s\""

typedef struct Pullers Pullers;

int pullers_new(Api *a, Pullers **ret);
Pullers *pullers_free(Pullers *p); /* NULL-safe, returns NULL */
/* Answers those that nothing was claimed for: the program stops. */
void pullers_flush(Pullers *p);

/* The member "lease" of an object; *ret stays if there is none. Returns 0, -EINVAL or -ERANGE. */
int pull_read_lease(const JsonValue *v, usec_t *ret);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "flag.h"
#include "manager-private.h"

#define FLAG_CONTEXT_MAX 64U /* properties in a context */

typedef struct FlagObject {
        Object object;
        char *key, *description, *bucketing, *seed, *rules, *on_stale, *value_on, *value_off;
        char *updated_by, *etag;
        char **allow, **queues; /* NULL-terminated */
        int enabled;
        double percent;
        uint64_t updated_usec;
        Flag flag; /* to evaluate */
        char *fault; /* what this program cannot read of it: a newer one wrote it. NULL: nothing */
} FlagObject;

int method_evaluate(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "store-jobs.h"

/* Makes the job of a kind's instant (RFC 3339), unless it or a later one's was made. The row: the
 * job's id; none: somebody else was there first. -EIO with SQLSTATE 22023: the kind is not known.
 * Rules as in store.h. */
typedef struct StoreInstant {
        const char *kind, *instant, *host;
        bool missed; /* also one before the last that was made */
} StoreInstant;

int store_enqueue_scheduled(Store *s, const StoreInstant *instant, StoreRowCallback callback,
        void *userdata, StoreRequest **ret_request);

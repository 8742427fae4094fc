/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/types.h>
#include <systemd/sd-bus.h>

#define BUS_CALLER_USER_MAX 64
#define BUS_CALLER_UNIT_MAX 256

/* Who called, as the bus knows it: it is the kernel's word, not the caller's. */
typedef struct BusCaller {
        uid_t uid;
        pid_t pid; /* 0: not known */
        char user[BUS_CALLER_USER_MAX]; /* "": the number has no name */
        char unit[BUS_CALLER_UNIT_MAX]; /* systemd's, "": not known. By the pid, so after the fact
                                         */
} BusCaller;

/* Reads the answer of GetConnectionCredentials. Returns 0, -ENODATA (no uid in it) or -errno. */
int bus_caller_read(sd_bus_message *answer, BusCaller *ret);

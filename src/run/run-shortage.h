/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What a host has not got at the moment, and may have later: neither a job's fault nor its
 * handler's. NO_SPACE for a full disk or quota, NO_RESOURCES for descriptors, memory or processes;
 * NULL if this error (negative errno) is nothing of the kind. */
const char *run_shortage_code(int error);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

/* What ExecStopPost= runs after a worker ended, however: stops its instance's row and ends its
 * runs, so that they can be claimed at once, with systemd's word on the end ($SERVICE_RESULT,
 * $EXIT_CODE, $EXIT_STATUS) on record. Gives up when the database does not answer within a few
 * seconds: the successor or the lease does it then. Returns 0 or -errno; what is wrong was logged.
 */
int release_instance(sd_event *event, const char *name, const char *root);

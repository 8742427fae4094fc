/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-bus.h>

/* The bus errors of org.reeve1 that are not D-Bus's own (SD_BUS_ERROR_...). Each is in
 * org.reeve1(5). */
#define BUS_ERROR_NO_SUCH_FLAG    "org.reeve1.Error.NoSuchFlag"
#define BUS_ERROR_FLAG_EXISTS     "org.reeve1.Error.FlagExists"
#define BUS_ERROR_NO_SUCH_QUEUE   "org.reeve1.Error.NoSuchQueue"
#define BUS_ERROR_BUSY            "org.reeve1.Error.Busy" /* nothing was changed, try again */
#define BUS_ERROR_NOT_READY       "org.reeve1.Error.NotReady" /* nothing was changed: no database */
#define BUS_ERROR_OUTCOME_UNKNOWN "org.reeve1.Error.OutcomeUnknown" /* the answer was lost */

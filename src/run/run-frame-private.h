/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "run-frame.h"

/* The words of the protocol, by their enums; for run-frame.c and run-decode.c only. */
extern const char *const run_frame_types[_RUN_FRAME_TYPE_MAX];
extern const char *const run_causes[_RUN_CAUSE_MAX];
extern const char *const run_results[_RUN_RESULT_MAX];

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdint.h>

/* A number that spreads delays; 0 where the kernel has none to give yet, which every caller takes
 * for "no spread". Not for secrets. */
uint32_t random_spread(void);

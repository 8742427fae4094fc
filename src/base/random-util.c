/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "random-util.h"

#include <sys/random.h>
#include <sys/types.h>

uint32_t random_spread(void)
{
        uint32_t v;

        return getrandom(&v, sizeof(v), GRND_NONBLOCK) == (ssize_t) sizeof(v) ? v : 0;
}

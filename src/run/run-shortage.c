/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "run-shortage.h"

#include <errno.h>
#include <stddef.h>

const char *run_shortage_code(int error)
{
        switch (error) {
        case -ENOSPC:
        case -EDQUOT:
                return "NO_SPACE";
        case -EMFILE:
        case -ENFILE:
        case -ENOMEM:
        case -EAGAIN: /* fork(): too many processes */
                return "NO_RESOURCES";
        default:
                return NULL;
        }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api.h"
#include "pdf-api.h"

/* What reeve-api is linked with. A system is added here and in meson.build, and nowhere else. */
const ApiSystem *const api_systems[] = {
        &pdf_api_system,
        NULL,
};

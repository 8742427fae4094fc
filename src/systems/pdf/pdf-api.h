/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api.h"

/* POST /api/pdf: a document becomes a job of the kind pdf. See reeve-pdf(7). */
extern const ApiSystem pdf_api_system;

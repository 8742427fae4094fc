/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl.h"

/* Becomes "reeve-generator --check FILES...". Returns an ExitStatus, told, if it cannot. */
int check_kinds(char *const *files, int n_files);

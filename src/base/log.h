/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <syslog.h>

#include "macros.h"

/* Logging is for programs; libraries return errors. Lines go to the journal by its own socket if
 * standard error is connected to it (then with fields), else to standard error as "<program>:
 * text". */

/* Names the program in lines on standard error, and decides where lines go. name is not copied. */
void log_setup(const char *name);
/* Lines above this syslog level (LOG_INFO at first, or $REEVE_LOG_LEVEL) are dropped. */
void log_set_max_level(int level);
int log_get_max_level(void);
/* "journal" or "console". */
const char *log_get_target(void);
/* "debug", "info", ... or 0..7. Returns 0 or -EINVAL. */
int log_level_from_string(const char *s, int *ret);
const char *log_level_to_string(int level);

/* One line. error is 0 or a negative errno, which %m in the format then names; returned unchanged.
 */
int log_full(int level, int error, const char *format, ...) _printf_(3, 4);

/* One line with journal fields: pairs name, value, ended by NULL. A pair with a NULL value is left
 * out. Names are [A-Z0-9_]. Returns error. */
int log_fields(int level, int error, const char *const *fields, const char *format, ...)
        _printf_(4, 5);

#define log_debug(...)            ((void) log_full(LOG_DEBUG, 0, __VA_ARGS__))
#define log_info(...)             ((void) log_full(LOG_INFO, 0, __VA_ARGS__))
#define log_notice(...)           ((void) log_full(LOG_NOTICE, 0, __VA_ARGS__))
#define log_warning(...)          ((void) log_full(LOG_WARNING, 0, __VA_ARGS__))
#define log_error(...)            ((void) log_full(LOG_ERR, 0, __VA_ARGS__))
#define log_warning_errno(e, ...) log_full(LOG_WARNING, e, __VA_ARGS__)
#define log_error_errno(e, ...)   log_full(LOG_ERR, e, __VA_ARGS__)
#define log_oom()                 log_full(LOG_ERR, -ENOMEM, "Out of memory.")

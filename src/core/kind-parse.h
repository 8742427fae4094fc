/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "conf.h"

/* The parsers of values that only .kind files have. Each is a ConfParser; the target's type is in
 * brackets. */

/* A span of at most ten years, or "infinity" where the entry's max is USEC_INFINITY; min counts.
 * [usec_t] */
int kind_parse_span(const ConfEntry *e, const char *value, void *target);
/* The same, where 0 and "infinity" both mean never. [usec_t, USEC_INFINITY] */
int kind_parse_span_or_never(const ConfEntry *e, const char *value, void *target);
/* Words as words_parse() reads them; the first an absolute path. "" gives NULL. [char **] */
int kind_parse_command(const ConfEntry *e, const char *value, void *target);
/* The same with one word. [char **] */
int kind_parse_program(const ConfEntry *e, const char *value, void *target);
int kind_parse_mode(const ConfEntry *e, const char *value, void *target); /* [KindMode] */
int kind_parse_output(const ConfEntry *e, const char *value, void *target); /* [KindOutput] */
int kind_parse_missed(const ConfEntry *e, const char *value, void *target); /* [KindMissed] */
/* One line of text without control characters. "" gives NULL. [char *] */
int kind_parse_text(const ConfEntry *e, const char *value, void *target);
/* "tenant", "subject" and JSON pointers, at most REEVE_KEY_WORDS_MAX. "" gives NULL. [char **] */
int kind_parse_key(const ConfEntry *e, const char *value, void *target);
/* RFC 6901, at least one reference token. "" gives NULL. [char *] */
int kind_parse_pointer(const ConfEntry *e, const char *value, void *target);
/* "100/min", "10/30s". "" gives no limit. [KindRate] */
int kind_parse_rate(const ConfEntry *e, const char *value, void *target);
/* systemd.time(7)'s calendar events, as calendar_is_valid() has them. "" gives NULL. [char *] */
int kind_parse_calendar(const ConfEntry *e, const char *value, void *target);
int kind_parse_method(const ConfEntry *e, const char *value, void *target); /* [char *] */
/* http:// or https://, a host, no user name or password. [char *] */
int kind_parse_url(const ConfEntry *e, const char *value, void *target);
/* A credential's name. "" gives NULL. [char *] */
int kind_parse_credential(const ConfEntry *e, const char *value, void *target);
/* Text with ${JSON pointer}; $${ stands for ${ itself. "" gives NULL. [char *] */
int kind_parse_template(const ConfEntry *e, const char *value, void *target);
/* "408 429 500-599". "" gives none. [KindHttp: retry_status, n_retry_status] */
int kind_parse_statuses(const ConfEntry *e, const char *value, void *target);

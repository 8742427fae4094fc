/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <libpq-fe.h>
#include <stdbool.h>

#include "time-util.h"

/* What a server's error means for a request: -ECONNRESET, -EAGAIN or -EIO, as pq-loop.h says.
 * ret_lost tells whether the connection is to be given up, too:
 * - FATAL, class 08, 57P: the server goes away, which libpq notices only with the read after
 *   (measured); libpq's own errors have no SQLSTATE;
 * - 26000, and 0A000 "cached plan must not change result type": a pooler or a migration has taken
 *   prepared statements away; 25006: the server is no primary any more. Nothing was done then.
 * unprepared: 26000 was to be expected, for preparing the statement failed just before. */
int pq_error_of_result(const PGresult *result, bool unprepared, bool *ret_lost);

/* Whether a libpq connection string has a user of its own. */
bool pq_conninfo_names_user(const char *conninfo);

/* The pause before the next attempt: doubles from 100 ms, with up to a quarter taken off at random,
 * so that a fleet does not come back as one. */
usec_t pq_retry_delay(unsigned n_failures, usec_t max_usec);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pq-util.h"

#include <sys/random.h>

#include "macros.h"

#define PQ_RETRY_MIN_USEC (100 * USEC_PER_MSEC)

int pq_error_of_result(const PGresult *result, bool unprepared, bool *ret_lost)
{
        /* Conflicts, locks, a statement that somebody or statement_timeout cancelled, and a server
         * without disk, memory or a working file: none of it is a word about the statement. */
        static const char *const retryable[] = { "40", "53", "55P03", "57014", "58" };
        const char *sqlstate, *severity, *function;

        sqlstate = PQresultErrorField(result, PG_DIAG_SQLSTATE);
        severity = PQresultErrorField(result, PG_DIAG_SEVERITY_NONLOCALIZED);
        *ret_lost = !sqlstate || strncmp(sqlstate, "08", 2) == 0 ||
                strncmp(sqlstate, "57P", 3) == 0 ||
                (severity && (streq(severity, "FATAL") || streq(severity, "PANIC")));
        if (*ret_lost)
                return -ECONNRESET;

        function = PQresultErrorField(result, PG_DIAG_SOURCE_FUNCTION);
        *ret_lost = streq(sqlstate, "25006") || (streq(sqlstate, "26000") && !unprepared) ||
                (streq(sqlstate, "0A000") && function && streq(function, "RevalidateCachedQuery"));
        if (*ret_lost || streq(sqlstate, "26000"))
                return -EAGAIN;

        for (size_t i = 0; i < ELEMENTSOF(retryable); i++)
                if (strncmp(sqlstate, retryable[i], strlen(retryable[i])) == 0)
                        return -EAGAIN;
        return -EIO;
}

bool pq_conninfo_names_user(const char *conninfo)
{
        PQconninfoOption *options = PQconninfoParse(conninfo, NULL);
        bool found = false;

        for (PQconninfoOption *o = options; o && o->keyword; o++)
                if (streq(o->keyword, "user") && o->val)
                        found = true;
        PQconninfoFree(options);
        return found;
}

usec_t pq_retry_delay(unsigned n_failures, usec_t max_usec)
{
        usec_t delay = PQ_RETRY_MIN_USEC << (n_failures > 10 ? 10 : n_failures);
        uint32_t random = 0;

        if (delay > max_usec)
                delay = max_usec;
        if (getrandom(&random, sizeof(random), GRND_NONBLOCK) < 0)
                random = 0; /* no spread then */
        return delay - delay / 4 * (random % 1024) / 1024;
}

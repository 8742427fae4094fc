/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pq-fixture.h"

#include <stdio.h>

PqLoop *loop;
sd_event *event;

static char told[4096];
static bool sending; /* inside pq_loop_send(): no callback may come */

const PqStatement one = { "one", "select 1", 0 }, two = { "two", "select 2", 0 };

void tell(const char *format, ...)
{
        size_t n = strlen(told);
        va_list ap;

        assert_false(sending);
        if (n > 0 && n < sizeof(told) - 2)
                n += (size_t) snprintf(told + n, sizeof(told) - n, ", ");
        va_start(ap, format);
        (void) vsnprintf(told + n, sizeof(told) - n, format, ap);
        va_end(ap);
}

/* Everything told since the last look. */
void assert_told(const char *expected)
{
        assert_string_equal(told, expected);
        told[0] = '\0';
}

void on_state(PqLoop *p, PqState state, const char *text, void *userdata)
{
        if (state == PQ_CONNECTED)
                assert_null(text);
        else
                assert_non_null(text);
        tell(state == PQ_CONNECTED ? "up" : "down: %s", text);
}

void on_notify(PqLoop *p, void *userdata)
{
        tell("notify");
}

void on_result(PqRequest *q, int error, const PGresult *result, void *userdata)
{
        bool rows = result && PQresultStatus(result) == PGRES_TUPLES_OK;

        tell("%s %s%s", (const char *) userdata,
                error == 0                     ? "ok"
                        : error == -ECONNRESET ? "ECONNRESET"
                        : error == -ETIMEDOUT  ? "ETIMEDOUT"
                        : error == -EAGAIN     ? "EAGAIN"
                        : error == -EIO        ? "EIO"
                                               : "?",
                rows ? " rows" : "");
}

int send_named(const PqStatement *statement, const char *name, PqRequest **ret)
{
        int r;

        sending = true;
        r = pq_loop_send(loop, statement, NULL, on_result, (void *) name, ret);
        sending = false;
        return r;
}

/* Runs the loop until nothing happens for a while. */
void settle(void)
{
        while (sd_event_run(event, 5 * USEC_PER_MSEC) > 0)
                ;
}

void readable(void)
{
        fake_pq_readable();
        settle();
}

void begin_with(const FakeCall *script, size_t n, PqConfig config)
{
        config.conninfo = config.conninfo ? config.conninfo : "host=/nowhere";
        config.on_state = on_state;
        config.on_notify = on_notify;
        told[0] = '\0';
        sending = false;
        fake_pq_begin(script, (unsigned) n);
        assert_true(sd_event_new(&event) >= 0);
        assert_int_equal(pq_loop_new(event, &config, &loop), 0);
        settle();
}

void end(void)
{
        loop = pq_loop_free(loop);
        event = sd_event_unref(event);
        fake_pq_end();
        assert_told("");
}

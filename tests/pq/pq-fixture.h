/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "fake-pq.h"
#include "pq-loop.h"
#include "test.h"

/* One connection object on a loop, over the fake libpq, and what its callbacks told in order:
 * "up", "down: TEXT", "notify", "NAME ok|ERRNO[ rows]". */
extern sd_event *event;
extern PqLoop *loop;

extern const PqStatement one, two;

/* Makes the object with the script and runs its first attempt. */
void begin_with(const FakeCall *script, size_t n, PqConfig config);
#define BEGIN(script, ...) begin_with((script), ELEMENTSOF(script), (PqConfig){ __VA_ARGS__ })

/* Frees it; the script must have been followed to its end, and everything told been asked for. */
void end(void);

void tell(const char *format, ...) _printf_(1, 2);

/* Everything told since the last look. */
void assert_told(const char *expected);

/* pq_loop_send() with on_result(); fails the test if a callback comes before it returns. */
int send_named(const PqStatement *statement, const char *name, PqRequest **ret);

/* Runs the loop until nothing happens for a while. */
void settle(void);

/* The same after the server sent something. */
void readable(void);

void on_state(PqLoop *p, PqState state, const char *text, void *userdata);
void on_notify(PqLoop *p, void *userdata);
void on_result(PqRequest *q, int error, const PGresult *result, void *userdata);

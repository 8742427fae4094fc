/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* pq-real CONNINFO named|unnamed DEADLINE_MSEC poll MSEC : one request every so often until stdin
 * ends pq-real CONNINFO named|unnamed DEADLINE_MSEC run N PERCENT : N requests, so many cancelled,
 * then ends
 *
 * Drives pq-loop against a real server for tests/pg/test_pq_loop.py. Each line of output is
 * something that was told: "up", "down TEXT", "notify", "ok", "lost", "late" (overrun), "again",
 * "refused"; the last one is the sum. longest is the longest time the loop spent in one dispatch,
 * in microseconds: it may never block. */
#include <errno.h>
#include <stdio.h>
#include <unistd.h>

#include "parse-util.h"
#include "pq-loop.h"

#define IN_FLIGHT 300

static sd_event *event;
static PqLoop *loop;
static PqRequest *requests[IN_FLIGHT]; /* by slot, NULL once answered or cancelled */
static uint64_t n_wanted, n_sent, n_right, n_wrong, n_cancelled, n_lost, n_unsent;
static unsigned n_open, percent, seed = 1;
static usec_t longest_usec, period_usec;

/* Two of the same form, so that an answer of the wrong one is no error but is seen. */
static const PqStatement statements[] = {
        { "twice", "select $1::bigint * 2, $2::text from generate_series(1, 1 + $1::bigint % 3)",
                2 },
        { "thrice", "select $1::bigint * 3, $2::text from generate_series(1, 1 + $1::bigint % 3)",
                2 },
};

static unsigned dice(void)
{
        seed = seed * 1103515245 + 12345;
        return seed >> 16;
}

static void say(const char *what, const char *text)
{
        printf("%s%s%s\n", what, text ? " " : "", text ? text : "");
        fflush(stdout);
}

static void on_state(PqLoop *p, PqState state, const char *text, void *userdata)
{
        say(state == PQ_CONNECTED ? "up" : "down", text);
}

static void on_notify(PqLoop *p, void *userdata)
{
        say("notify", NULL);
}

static void use(unsigned slot);

/* The slot's number is in the request and comes back, followed by stuffing: an answer to another
 * request is seen. */
static bool is_right(const PGresult *result, unsigned slot)
{
        unsigned factor = 2 + slot % 2;
        uint64_t product;
        int n = PQntuples(result);

        return n > 0 && parse_u64(PQgetvalue(result, 0, 0), 0, UINT64_MAX, &product) == 0 &&
                product % factor == 0 && n == (int) (1 + product / factor % 3) &&
                strtoul(PQgetvalue(result, n - 1, 1), NULL, 10) == slot;
}

static void on_answer(PqRequest *q, int error, const PGresult *result, void *userdata)
{
        unsigned slot = (unsigned) ((PqRequest **) userdata - requests);

        requests[slot] = NULL;
        n_open--;
        if (error == 0 && is_right(result, slot))
                n_right++;
        else if (error == 0)
                n_wrong++;
        else
                n_lost++;
        if (n_wanted == 0)
                say(error == 0                         ? "ok"
                                : error == -ETIMEDOUT  ? "late"
                                : error == -ECONNRESET ? "lost"
                                : error == -EAGAIN     ? "again"
                                                       : "refused",
                        NULL);
        use(slot);
}

static int send_one(unsigned slot)
{
        static char text[6000]; /* more than a buffer of a pooler */
        char number[24];
        const char *values[] = { number, text };
        int r;

        snprintf(number, sizeof(number), "%u", dice());
        snprintf(text, sizeof(text), "%u %*s", slot, (int) (dice() % 8 ? 1 : dice() % 5900), "x");
        r = pq_loop_send(
                loop, &statements[slot % 2], values, on_answer, &requests[slot], &requests[slot]);
        if (r < 0) {
                n_unsent++;
                return r;
        }
        n_open++;
        n_sent++;
        return 0;
}

/* Sends from a free slot, and cancels another now and then, whose slot is free then. */
static void use(unsigned slot)
{
        unsigned other = dice() % IN_FLIGHT;

        if (!requests[slot] && n_sent < n_wanted && send_one(slot) < 0)
                return;
        if (requests[other] && dice() % 100 < percent) {
                requests[other] = pq_request_cancel(requests[other]);
                n_open--;
                n_cancelled++;
        }
        if (n_wanted > 0 && n_sent >= n_wanted && n_open == 0)
                (void) sd_event_exit(event, 0);
}

static int on_tick(sd_event_source *s, uint64_t usec, void *userdata)
{
        for (unsigned slot = 0; n_wanted > 0 && slot < IN_FLIGHT; slot++)
                use(slot);
        if (n_wanted == 0 && !requests[0])
                (void) send_one(0);
        (void) sd_event_source_set_time_relative(s, period_usec);
        return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
}

static int on_stdin(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        char buffer[16];

        return read(fd, buffer, sizeof(buffer)) > 0 ? 0 : sd_event_exit(event, 0);
}

/* sd_event_loop() with a stopwatch around everything that is not waiting. */
static int run(void)
{
        while (sd_event_get_state(event) != SD_EVENT_FINISHED) {
                usec_t before = now_usec(CLOCK_MONOTONIC), waited = 0, spent;
                int r = sd_event_prepare(event);

                if (r == 0) {
                        waited = now_usec(CLOCK_MONOTONIC);
                        r = sd_event_wait(event, UINT64_MAX);
                        waited = now_usec(CLOCK_MONOTONIC) - waited;
                }
                if (r > 0)
                        r = sd_event_dispatch(event);
                if (r < 0)
                        return r;
                spent = now_usec(CLOCK_MONOTONIC) - before - waited;
                if (spent > longest_usec)
                        longest_usec = spent;
        }
        return 0;
}

static int start(char **argv)
{
        uint64_t deadline, number, share = 0;
        PqConfig config = { .conninfo = argv[1],
                .prepared = streq(argv[2], "named"),
                .application_name = "pq-real",
                .on_state = on_state,
                .on_notify = on_notify };
        int r;

        if (parse_u64(argv[3], 1, 3600000, &deadline) < 0 ||
                parse_u64(argv[5], 1, UINT32_MAX, &number) < 0 ||
                (argv[6] && parse_u64(argv[6], 0, 100, &share) < 0))
                return -EINVAL;
        config.deadline_usec = deadline * USEC_PER_MSEC;
        config.retry_max_usec = 400 * USEC_PER_MSEC;
        config.listen = getenv("PQ_REAL_LISTEN");
        n_wanted = streq(argv[4], "run") ? number : 0;
        period_usec = (n_wanted > 0 ? 20 : number) * USEC_PER_MSEC;
        percent = (unsigned) share;

        r = sd_event_new(&event);
        if (r >= 0)
                r = pq_loop_new(event, &config, &loop);
        if (r >= 0)
                r = sd_event_add_time_relative(
                        event, NULL, CLOCK_MONOTONIC, period_usec, USEC_PER_MSEC, on_tick, NULL);
        if (r >= 0 && n_wanted == 0)
                r = sd_event_add_io(event, NULL, STDIN_FILENO, 1 /* EPOLLIN */, on_stdin, NULL);
        return r;
}

int main(int argc, char **argv)
{
        int r = argc < 6 ? -EINVAL : start(argv);

        if (r >= 0)
                r = run();
        printf("sum sent=%lu right=%lu wrong=%lu lost=%lu cancelled=%lu unsent=%lu longest=%lu\n",
                n_sent, n_right, n_wrong, n_lost, n_cancelled, n_unsent, longest_usec);
        pq_loop_free(loop);
        sd_event_unref(event);
        return r < 0 ? 1 : 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "calendar.h"
#include "config-load.h"
#include "instant.h"
#include "log.h"
#include "parse-util.h"
#include "store-schedule.h"

/* reeve-schedule@KIND.service: the kind's timer says that an instant of OnCalendar= has come. The
 * timers of all hosts say it; which of them makes the job is decided by the database. */

#define ANSWER_USEC (20 * USEC_PER_SEC)

static const char *arg_root;
static const char *arg_kind;
static bool arg_show;
static usec_t arg_at;
static bool arg_missed; /* --at= */

typedef struct Schedule {
        sd_event *event;
        Store *store;
        const char *kind;
        char instant[INSTANT_MAX];
        char host[256];
        bool asked;
} Schedule;

static int help(void)
{
        puts("reeve-schedule [OPTION...] KIND\n\n"
             "Makes the job of the kind's last instant of OnCalendar=, unless another host did. "
             "Started by\n"
             "reeve-schedule@KIND.timer. See reeve-schedule(8).\n\n"
             "  -h --help       this text\n"
             "     --version    the version\n"
             "     --show       print the instant, and make no job\n"
             "     --at=TIME    the last instant before that time, such as 2026-11-21T10:20:30Z\n"
             "     --root=DIR   read the configuration below this directory\n\n"
             "Exit status: 0 made, or made by another one; 1 failure; 2 wrong usage.");
        return 0;
}

/* Returns 1 to go on, 0 to exit successfully, -EINVAL after an error was printed. */
static int parse_argv(int argc, char *argv[])
{
        enum { ARG_VERSION = 256, ARG_SHOW, ARG_AT, ARG_ROOT };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "show", no_argument, NULL, ARG_SHOW },
                { "at", required_argument, NULL, ARG_AT },
                { "root", required_argument, NULL, ARG_ROOT },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        puts("reeve-schedule " REEVE_VERSION);
                        return 0;
                case ARG_SHOW:
                        arg_show = true;
                        break;
                case ARG_AT:
                        if (parse_rfc3339(optarg, &arg_at) < 0) {
                                log_error("--at=%s: expected a time such as 2026-11-21T10:20:30Z.",
                                        optarg);
                                return -EINVAL;
                        }
                        arg_missed = true;
                        break;
                case ARG_ROOT:
                        arg_root = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        if (optind != argc - 1) {
                log_error("Expected one argument, the name of a kind.");
                return -EINVAL;
        }
        arg_kind = argv[optind];
        return 1;
}

static void on_report(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        if (level == CONF_ERROR)
                log_warning("%s:%u: %s", file, line, text);
}

static int find_instant(char ret[static INSTANT_MAX])
{
        _cleanup_(kind_set_freep) KindSet *kinds = NULL;
        const Kind *k;
        int r;

        r = kinds_load(arg_root, on_report, NULL, &kinds);
        if (r < 0)
                return log_error_errno(r, "Failed to read the kinds: %m");
        k = kind_set_find(kinds, arg_kind);
        if (!k) {
                log_error("There is no kind %s on this host.", arg_kind);
                return -ENOENT;
        }
        if (!k->on_calendar) {
                log_error("Kind %s has no OnCalendar=.", arg_kind);
                return -ENOENT;
        }
        r = instant_before(k->on_calendar, arg_at, ret);
        if (r == -ENOENT)
                log_error("OnCalendar=%s of kind %s had no instant within ten years.",
                        k->on_calendar, arg_kind);
        else if (r < 0)
                (void) log_error_errno(
                        r, "Failed to find the last instant of OnCalendar=%s: %m", k->on_calendar);
        return r;
}

static void on_answer(int error, const char *const *row, void *userdata)
{
        Schedule *s = userdata;

        if (error == 0 && row && row[0])
                log_info("Kind %s at %s: made job %s.", s->kind, s->instant, row[0]);
        else if (error == 0)
                log_info("Kind %s at %s: made by another host, or before.", s->kind, s->instant);
        /* Every other error may be a matter of time; the statement can be sent again. */
        if (error == 0 || error == -EIO || error == -EPROTO)
                (void) sd_event_exit(s->event, error);
        s->asked = false;
}

static void on_state(bool connected, const char *text, void *userdata)
{
        Schedule *s = userdata;
        const StoreInstant instant = { s->kind, s->instant, s->host, arg_missed };

        if (connected && !s->asked)
                s->asked = store_enqueue_scheduled(s->store, &instant, on_answer, s, NULL) >= 0;
}

static int on_timeout(sd_event_source *source, uint64_t usec, void *userdata)
{
        return sd_event_exit(sd_event_source_get_event(source), -ETIMEDOUT);
}

static int make_job(Schedule *s, const Settings *settings)
{
        const StoreConfig config = {
                .conninfo = settings->database,
                .role = "reeve_worker",
                .application_name = "reeve-schedule",
                .on_state = on_state,
                .userdata = s,
        };
        int r;

        if (gethostname(s->host, sizeof(s->host) - 1) < 0)
                return log_error_errno(-errno, "Failed to learn the host's name: %m");
        r = sd_event_default(&s->event);
        if (r >= 0)
                r = store_new(s->event, &config, &s->store);
        if (r >= 0)
                r = sd_event_add_time_relative(
                        s->event, NULL, CLOCK_MONOTONIC, ANSWER_USEC, 0, on_timeout, NULL);
        if (r >= 0)
                r = sd_event_loop(s->event);
        if (r < 0) {
                const char *why = s->store ? store_last_error(s->store) : "";

                if (*why)
                        log_error("Failed to make the job of kind %s at %s: %s", s->kind,
                                s->instant, why);
                else
                        (void) log_error_errno(r, "Failed to make the job of kind %s at %s: %m",
                                s->kind, s->instant);
        }
        store_free(s->store);
        sd_event_unref(s->event);
        return r;
}

int main(int argc, char *argv[])
{
        Settings settings = {};
        Schedule s = {};
        int r;

        log_setup("reeve-schedule");
        /* Not TRIGGER_TIMER_REALTIME_USEC: systemd 252 tells the time before last there. */
        arg_at = now_usec(CLOCK_REALTIME);
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        s.kind = arg_kind;
        r = find_instant(s.instant);
        if (r < 0)
                return EXIT_FAILURE;
        if (arg_show) {
                puts(s.instant);
                return EXIT_SUCCESS;
        }
        r = settings_load(arg_root, on_report, NULL, &settings);
        if (r < 0 && r != -EINVAL)
                (void) log_error_errno(r, "Cannot read reeve.conf: %m");
        else
                r = make_job(&s, &settings);
        settings_done(&settings);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

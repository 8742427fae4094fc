/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "program.h"

#include <signal.h>

#include "log.h"
#include "macros.h"

static const int ends[] = { SIGTERM, SIGINT };

typedef struct Stop {
        void (*stop)(void *userdata);
        void *userdata;
} Stop;

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        const Stop *stop = userdata;

        stop->stop(stop->userdata);
        return 0;
}

static int arrange_signals(void)
{
        sigset_t set;

        (void) sigemptyset(&set);
        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                (void) sigaddset(&set, ends[i]);
        if (sigprocmask(SIG_BLOCK, &set, NULL) < 0 || signal(SIGPIPE, SIG_IGN) == SIG_ERR ||
                signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
                return -errno;
        return 0;
}

int program_run(int (*run)(sd_event *event, void *userdata), void *userdata)
{
        sd_event *event = NULL;
        int r;

        r = arrange_signals();
        if (r >= 0)
                r = sd_event_default(&event);
        if (r < 0)
                (void) log_error_errno(r, "Failed to set up: %m");
        else
                r = run(event, userdata);
        sd_event_unref(event);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

int program_serve(sd_event *event, void (*stop)(void *userdata), void *userdata)
{
        Stop s = { stop, userdata };
        sd_event_source *sources[ELEMENTSOF(ends)] = {};
        int r = 0;

        for (size_t i = 0; i < ELEMENTSOF(ends) && r >= 0; i++)
                r = sd_event_add_signal(event, &sources[i], ends[i], on_signal, &s);
        if (r < 0)
                (void) log_error_errno(r, "Failed to watch signals: %m");
        else {
                r = sd_event_loop(event);
                if (r < 0)
                        (void) log_error_errno(r, "Leaving: %m");
        }
        for (size_t i = 0; i < ELEMENTSOF(ends); i++)
                sd_event_source_disable_unref(sources[i]);
        return r < 0 ? r : 0;
}

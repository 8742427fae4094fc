/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>

#include "log.h"
#include "manager.h"

static ManagerOptions arg_options;

static int help(void)
{
        puts("reeved [OPTION...]\n\n"
             "Serves org.reeve1 on the system bus: queues, workers and flags. See reeved(8) and "
             "org.reeve1(5).\n\n"
             "  -h --help       this text\n"
             "     --version    the version\n"
             "     --root=DIR   read the configuration below this directory");
        return 0;
}

/* Returns 1 to go on, 0 to exit successfully, -EINVAL after an error was printed. */
static int parse_argv(int argc, char *argv[])
{
        enum { ARG_VERSION = 256, ARG_ROOT };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "root", required_argument, NULL, ARG_ROOT },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        puts("reeved " REEVE_VERSION);
                        return 0;
                case ARG_ROOT:
                        arg_options.root = optarg;
                        break;
                default:
                        return -EINVAL;
                }
        if (optind < argc) {
                log_error("Unexpected argument \"%s\".", argv[optind]);
                return -EINVAL;
        }
        return 1;
}

static int on_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        manager_stop(userdata);
        return 0;
}

static int block_signals(void)
{
        sigset_t set;

        if (sigemptyset(&set) < 0 || sigaddset(&set, SIGTERM) < 0 || sigaddset(&set, SIGINT) < 0 ||
                sigprocmask(SIG_BLOCK, &set, NULL) < 0)
                return -errno;
        if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
                return -errno;
        return 0;
}

static int run_manager(sd_event *event)
{
        _cleanup_(manager_freep) Manager *m = NULL;
        int r = manager_new(event, &arg_options, &m);

        if (r < 0)
                return r;
        r = sd_event_add_signal(event, NULL, SIGTERM, on_signal, m);
        if (r >= 0)
                r = sd_event_add_signal(event, NULL, SIGINT, on_signal, m);
        if (r < 0)
                return log_error_errno(r, "Failed to watch signals: %m");
        r = sd_event_loop(event);
        return r < 0 ? log_error_errno(r, "Leaving: %m") : 0;
}

int main(int argc, char *argv[])
{
        sd_event *event = NULL;
        int r;

        log_setup("reeved");
        /* Fixed, or one huge message would raise it, and the heap would keep as much from then on.
         */
        (void) mallopt(M_MMAP_THRESHOLD, 128 * 1024);
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;

        r = block_signals();
        if (r >= 0)
                r = sd_event_default(&event);
        if (r < 0)
                (void) log_error_errno(r, "Failed to set up: %m");
        else
                r = run_manager(event);
        sd_event_unref(event);
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

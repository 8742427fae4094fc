/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <malloc.h>
#include <stdio.h>

#include "log.h"
#include "manager.h"
#include "program.h"

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

static void stop(void *userdata)
{
        manager_stop(userdata);
}

/* Ready when it has its name on the bus: the manager says so itself. */
static int run(sd_event *event, void *userdata)
{
        _cleanup_(manager_freep) Manager *m = NULL;
        int r = manager_new(event, &arg_options, &m);

        return r < 0 ? r : program_serve(event, stop, m);
}

int main(int argc, char *argv[])
{
        int r;

        log_setup("reeved");
        /* Fixed, or one huge message would raise it, and the heap would keep as much from then on.
         */
        (void) mallopt(M_MMAP_THRESHOLD, 128 * 1024);
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        return program_run(run, NULL);
}

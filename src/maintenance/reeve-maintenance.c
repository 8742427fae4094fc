/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>

#include "log.h"
#include "maintenance.h"
#include "program.h"

static MaintenanceOptions arg_options = { .blobs = "/var/lib/reeve/blobs" };

static int help(void)
{
        puts("reeve-maintenance [OPTION...]\n\n"
             "Forgets what has expired: results, old weeks of jobs, files that no job names. Run "
             "by\n"
             "reeve-maintenance.timer. See reeve-maintenance(8).\n\n"
             "  -h --help       this text\n"
             "     --version    the version\n"
             "     --root=DIR   read the configuration below this directory\n"
             "     --blobs=DIR  where blobs are (/var/lib/reeve/blobs)\n\n"
             "Exit status: 0 done, 1 something failed, 2 wrong usage.");
        return 0;
}

/* Returns 1 to go on, 0 to exit successfully, -EINVAL after an error was printed. */
static int parse_argv(int argc, char *argv[])
{
        enum { ARG_VERSION = 256, ARG_ROOT, ARG_BLOBS };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "root", required_argument, NULL, ARG_ROOT },
                { "blobs", required_argument, NULL, ARG_BLOBS },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        puts("reeve-maintenance " REEVE_VERSION);
                        return 0;
                case ARG_ROOT:
                        arg_options.root = optarg;
                        break;
                case ARG_BLOBS:
                        arg_options.blobs = optarg;
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

static int run(sd_event *event, void *userdata)
{
        return maintenance_run(event, &arg_options);
}

int main(int argc, char *argv[])
{
        int r;

        log_setup("reeve-maintenance");
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        return program_run(run, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <sys/resource.h>
#include <systemd/sd-daemon.h>

#include "log.h"
#include "parse-util.h"
#include "program.h"
#include "release.h"
#include "worker-private.h"

static WorkerOptions arg_options = {
        .run_directory = "/run/reeve/run",
        .blobs = "/var/lib/reeve/blobs",
};
static bool arg_release;

static int help(void)
{
        printf("reeve-worker [OPTIONS...] POOL[:N]\n\n"
               "Claims jobs of a pool's queues and has each run in a unit of its own. Started by "
               "systemd as\n"
               "reeve-worker@POOL.service; a second instance of a pool is "
               "reeve-worker@POOL:2.service.\n\n"
               "  -h --help                 Show this text\n"
               "     --version              Show the version\n"
               "     --release              Free what an instance of this name has left, and exit\n"
               "     --root=DIR             Read the configuration below DIR\n"
               "     --run-directory=DIR    Where the sockets of the kinds are (/run/reeve/run)\n"
               "     --blobs=DIR            Where the blob store is (/var/lib/reeve/blobs)\n"
               "     --launcher=PROGRAM     Start runs by PROGRAM (reeve-exec) without systemd: "
               "nothing\n"
               "                            isolates them\n\n"
               "SIGTERM drains: runs may end within the pool's DrainSec=. A second SIGTERM ends "
               "them at once.\n"
               "Exit status: 0 ended as told, 1 failure, 2 wrong usage. See reeve-worker(8).\n");
        return 0;
}

static bool instance_name_is_valid(const char *name)
{
        char pool[128];
        const char *colon = strchr(name, ':');
        size_t n = colon ? (size_t) (colon - name) : strlen(name);
        unsigned number;

        if (n >= sizeof(pool))
                return false;
        memcpy(pool, name, n);
        pool[n] = '\0';
        return name_is_valid(pool) && (!colon || parse_unsigned(colon + 1, 1, 9999, &number) >= 0);
}

/* Returns 1 to go on, 0 to exit successfully, -EINVAL after an error was printed. */
static int parse_argv(int argc, char *argv[])
{
        enum {
                ARG_VERSION = 256,
                ARG_RELEASE,
                ARG_ROOT,
                ARG_RUN_DIRECTORY,
                ARG_BLOBS,
                ARG_LAUNCHER
        };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "release", no_argument, NULL, ARG_RELEASE },
                { "root", required_argument, NULL, ARG_ROOT },
                { "run-directory", required_argument, NULL, ARG_RUN_DIRECTORY },
                { "blobs", required_argument, NULL, ARG_BLOBS },
                { "launcher", required_argument, NULL, ARG_LAUNCHER },
                {},
        };
        int c;

        while ((c = getopt_long(argc, argv, "h", options, NULL)) >= 0)
                switch (c) {
                case 'h':
                        return help();
                case ARG_VERSION:
                        puts("reeve-worker " REEVE_VERSION);
                        return 0;
                case ARG_RELEASE:
                        arg_release = true;
                        break;
                case ARG_ROOT:
                        arg_options.root = optarg;
                        break;
                case ARG_RUN_DIRECTORY:
                        arg_options.run_directory = optarg;
                        break;
                case ARG_BLOBS:
                        arg_options.blobs = optarg;
                        break;
                case ARG_LAUNCHER:
                        arg_options.launcher = optarg;
                        break;
                default:
                        return -EINVAL;
                }

        if (optind != argc - 1) {
                log_error("Expected one argument, the instance's name: POOL or POOL:N.");
                return -EINVAL;
        }
        arg_options.name = argv[optind];
        if (!instance_name_is_valid(arg_options.name)) {
                log_error("\"%s\" is not an instance's name: expected POOL or POOL:N.",
                        arg_options.name);
                return -EINVAL;
        }
        return 1;
}

static void stop(void *userdata)
{
        worker_stop(userdata);
}

static int run(sd_event *event, void *userdata)
{
        _cleanup_(worker_freep) Worker *w = NULL;
        int r;

        if (arg_release)
                return release_instance(event, arg_options.name, arg_options.root);
        r = worker_new(event, &arg_options, &w);
        if (r < 0)
                return r;
        /* Ready before the database is: it waits for it, and says so. */
        (void) sd_notify(false, "READY=1");
        return program_serve(event, stop, w);
}

int main(int argc, char *argv[])
{
        int r;

        log_setup("reeve-worker");
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        return program_run(run, NULL);
}

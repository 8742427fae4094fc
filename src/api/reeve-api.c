/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>

#include "api.h"
#include "log.h"
#include "program.h"

static ApiOptions arg_options = { .blobs = "/var/lib/reeve/blobs" };

static int help(void)
{
        puts("reeve-api [OPTION...]\n\n"
             "Answers HTTP on the sockets that reeve-api.socket hands over. See reeve-api(8).\n\n"
             "  -h --help       this text\n"
             "     --version    the version\n"
             "     --routes     every route\n"
             "     --openapi    the description of all routes, as /openapi.json gives it\n"
             "     --root=DIR   read the configuration below this directory\n"
             "     --blobs=DIR  where blobs are (/var/lib/reeve/blobs)");
        return 0;
}

static void list_table(const HttpRoute *table)
{
        for (const HttpRoute *r = table; r->pattern; r++)
                printf("%s %s\n", http_method_to_string(r->method), r->pattern);
}

static int list_routes(void)
{
        list_table(api_routes());
        for (const ApiSystem *const *s = api_systems; *s; s++)
                list_table((*s)->routes);
        return 0;
}

static int print_openapi(void)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        int r = api_write_openapi(&b);

        if (r < 0)
                return log_error_errno(r, "Failed to make the description: %m");
        puts(strbuf_str(&b));
        return 0;
}

/* Returns 1 to go on, 0 to exit successfully, -errno after an error was printed. */
static int parse_argv(int argc, char *argv[])
{
        enum { ARG_VERSION = 256, ARG_ROUTES, ARG_OPENAPI, ARG_ROOT, ARG_BLOBS };
        static const struct option options[] = {
                { "help", no_argument, NULL, 'h' },
                { "version", no_argument, NULL, ARG_VERSION },
                { "routes", no_argument, NULL, ARG_ROUTES },
                { "openapi", no_argument, NULL, ARG_OPENAPI },
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
                        puts("reeve-api " REEVE_VERSION);
                        return 0;
                case ARG_ROUTES:
                        return list_routes();
                case ARG_OPENAPI:
                        return print_openapi();
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

static void stop(void *userdata)
{
        api_stop(userdata);
}

static int run(sd_event *event, void *userdata)
{
        _cleanup_(api_freep) Api *a = NULL;
        int r;

        r = api_new(event, &arg_options, &a);
        if (r < 0)
                return r;
        /* Ready before the database is: until then requests are answered with 503. */
        (void) sd_notify(false, "READY=1");
        return program_serve(event, stop, a);
}

int main(int argc, char *argv[])
{
        int r;

        log_setup("reeve-api");
        r = parse_argv(argc, argv);
        if (r <= 0)
                return r < 0 ? 2 : EXIT_SUCCESS;
        return program_run(run, NULL);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-options.h"

#include <getopt.h>
#include <stdio.h>

#include "log.h"
#include "parse-util.h"

enum {
        ARG_UNIT = 0x100,
        ARG_STOP,
        ARG_TIMEOUT,
        ARG_WATCHDOG,
        ARG_MAX_RUNS,
        ARG_MODE,
        ARG_OUTPUT,
        ARG_JOIN,
        ARG_VERSION,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, ARG_VERSION },
        { "unit", required_argument, NULL, ARG_UNIT },
        { "stop-usec", required_argument, NULL, ARG_STOP },
        { "timeout-usec", required_argument, NULL, ARG_TIMEOUT },
        { "watchdog-usec", required_argument, NULL, ARG_WATCHDOG },
        { "max-runs", required_argument, NULL, ARG_MAX_RUNS },
        { "mode", required_argument, NULL, ARG_MODE },
        { "output", required_argument, NULL, ARG_OUTPUT },
        { "join", required_argument, NULL, ARG_JOIN },
        { 0 },
};

static void help(void)
{
        (void) printf("reeve-exec [OPTIONS...] -- PROGRAM [ARGUMENTS...]\n\n"
                      "Runs handlers for the worker at the other end of standard input (a\n"
                      "SOCK_SEQPACKET socket). Started by systemd, once for each slot.\n\n"
                      "  --unit=NAME             Name of this unit, for the worker\n"
                      "  --stop-usec=N           From SIGTERM to SIGKILL (default 5 s)\n"
                      "  --timeout-usec=N        The longest run; 0 for any (default)\n"
                      "  --watchdog-usec=N       The longest silence; 0 for any (default)\n"
                      "  --max-runs=N            End after that many; 0 for no limit (default 1)\n"
                      "  --mode=exec|persistent  Start the program for each run, or once\n"
                      "  --output=json|text      What the program writes\n"
                      "  --join=WORD             Program of the join phase, then each argument\n\n"
                      "See reeve-exec(8) and reeve-handler(7).\n");
}

/* One of two words. */
static int parse_choice(const char *arg, const char *no, const char *yes, bool *ret)
{
        if (!streq(arg, no) && !streq(arg, yes))
                return -EINVAL;
        *ret = streq(arg, yes);
        return 0;
}

static int parse_usec(const char *arg, usec_t *ret)
{
        return parse_u64(arg, 0, USEC_INFINITY, ret);
}

static int parse_option(ExecOptions *o, int c, char *arg)
{
        switch (c) {
        case ARG_UNIT:
                o->unit = arg;
                return 0;
        case ARG_STOP:
                return parse_usec(arg, &o->stop_usec);
        case ARG_TIMEOUT:
                return parse_usec(arg, &o->timeout_usec);
        case ARG_WATCHDOG:
                return parse_usec(arg, &o->watchdog_usec);
        case ARG_MAX_RUNS:
                return parse_unsigned(arg, 0, 1000000000, &o->max_runs);
        case ARG_MODE:
                return parse_choice(arg, "exec", "persistent", &o->persistent);
        case ARG_OUTPUT:
                return parse_choice(arg, "json", "text", &o->text);
        case ARG_JOIN:
                o->join[o->n_join++] = arg;
                return 0;
        default:
                return -EINVAL;
        }
}

void exec_options_done(ExecOptions *o)
{
        free(o->join);
        *o = (ExecOptions){ 0 };
}

int exec_options_parse(int argc, char **argv, ExecOptions *ret)
{
        _cleanup_(exec_options_done) ExecOptions o = {
                .unit = "reeve-exec", .stop_usec = 5 * USEC_PER_SEC, .max_runs = 1
        };
        int c, index = 0;

        o.join = new0(char *, (size_t) argc + 1);
        if (!o.join)
                return log_oom();

        while ((c = getopt_long(argc, argv, "+h", long_options, &index)) >=
                0) { // NOLINT(concurrency-mt-unsafe)
                if (c == 'h') {
                        help();
                        return EXEC_OPTIONS_EXIT;
                }
                if (c == ARG_VERSION) {
                        (void) printf("reeve-exec %s\n", REEVE_VERSION);
                        return EXEC_OPTIONS_EXIT;
                }
                if (c == '?')
                        return -EINVAL; /* getopt has said so */
                if (parse_option(&o, c, optarg) < 0)
                        return log_error_errno(-EINVAL, "--%s=%s: not such a value (try --help)",
                                long_options[index].name, optarg);
        }
        if (optind >= argc)
                return log_error_errno(-EINVAL, "No program named (try --help).");

        o.program = argv + optind;
        if (o.timeout_usec == 0)
                o.timeout_usec = USEC_INFINITY;
        if (o.watchdog_usec == 0)
                o.watchdog_usec = USEC_INFINITY;
        *ret = STEAL(o);
        return EXEC_OPTIONS_OK;
}

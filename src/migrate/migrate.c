/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <getopt.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <unistd.h>

#include "config-load.h"
#include "log.h"
#include "migrate.h"
#include "parse-util.h"
#include "strbuf.h"

typedef struct Command {
        const char *name;
        int (*run)(Migrate *m);
        bool files; /* reads the directory */
        bool connects; /* beforehand */
} Command;

static const Command commands[] = {
        { "status", migrate_status, true, true },
        { "up", migrate_up, true, true },
        { "down", migrate_down, false, true },
        { "check", migrate_check, true, true },
        { "show", migrate_show, false, true },
        { "wait", migrate_wait, false, false },
        {},
};

static const char help_text[] =
        "reeve-migrate [OPTIONS...] COMMAND\n\n"
        "Brings Reeve's database schema to a version.\n\n"
        "Commands:\n"
        "  status                 Which migrations are applied, and which are pending\n"
        "  up                     Apply what is pending\n"
        "  down                   Take the newest back, by the script stored in the database\n"
        "  check                  Compare files, records, objects, roles and server settings\n"
        "  show VERSION           Print the script that was applied (--down: that takes it back)\n"
        "  wait                   Wait until the schema has this program's version\n\n"
        "Options:\n"
        "     --to=N              up, down, wait: this version instead of the newest\n"
        "     --steps=N           down: so many migrations (1)\n"
        "     --dry-run           up, down: run it all and undo it, tell how long it took\n"
        "     --confirm-data-loss down: go on although data is destroyed\n"
        "     --wait=SEC          Wait so long for the database (0; with wait: infinity)\n"
        "     --down              show: the down script\n"
        "     --json              status: as JSON\n"
        "     --database=STRING   libpq connection string (default: Database= of reeve.conf)\n"
        "     --user=ROLE         Database role (default: that of the string, or reeve_owner)\n"
        "     --directory=DIR     Where the migrations are (" REEVE_DATADIR "/migrations)\n"
        "     --lock-timeout=SEC  How long a statement waits for a lock (1s)\n"
        "     --lock-tries=N      How often a migration is tried (3)\n"
        "     --lock-pause=SEC    Between two tries (10s)\n"
        "     --queue-timeout=SEC How long to wait for another reeve-migrate (1min)\n"
        "  -h --help              This text\n"
        "     --version           The version\n\n"
        "Exit status: 0 done, 1 failed, 2 usage, 3 migrations are pending, 4 files and database\n"
        "disagree, 5 refused, 6 database away or read-only, 7 roles are missing.\n";

enum {
        ARG_VERSION = 256,
        ARG_TO,
        ARG_STEPS,
        ARG_DRY_RUN,
        ARG_CONFIRM,
        ARG_WAIT,
        ARG_DOWN,
        ARG_JSON,
        ARG_DATABASE,
        ARG_USER,
        ARG_DIRECTORY,
        ARG_LOCK_TIMEOUT,
        ARG_LOCK_TRIES,
        ARG_LOCK_PAUSE,
        ARG_QUEUE_TIMEOUT,
};

static const struct option long_options[] = {
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, ARG_VERSION },
        { "to", required_argument, NULL, ARG_TO },
        { "steps", required_argument, NULL, ARG_STEPS },
        { "dry-run", no_argument, NULL, ARG_DRY_RUN },
        { "confirm-data-loss", no_argument, NULL, ARG_CONFIRM },
        { "wait", required_argument, NULL, ARG_WAIT },
        { "down", no_argument, NULL, ARG_DOWN },
        { "json", no_argument, NULL, ARG_JSON },
        { "database", required_argument, NULL, ARG_DATABASE },
        { "user", required_argument, NULL, ARG_USER },
        { "directory", required_argument, NULL, ARG_DIRECTORY },
        { "lock-timeout", required_argument, NULL, ARG_LOCK_TIMEOUT },
        { "lock-tries", required_argument, NULL, ARG_LOCK_TRIES },
        { "lock-pause", required_argument, NULL, ARG_LOCK_PAUSE },
        { "queue-timeout", required_argument, NULL, ARG_QUEUE_TIMEOUT },
        {},
};

static int bad_value(const char *option, const char *should)
{
        log_error("--%s=%s is not %s.", option, optarg, should);
        return EXIT_USAGE;
}

static int take_number(const char *option, unsigned min, unsigned *target)
{
        return parse_unsigned(optarg, min, 999999, target) < 0 ? bad_value(option, "a number")
                                                               : EXIT_DONE;
}

static int take_span(const char *option, bool infinity, usec_t *target)
{
        usec_t usec;

        if (parse_timespan(optarg, &usec) < 0 || (usec == USEC_INFINITY && !infinity) ||
                (usec != USEC_INFINITY && usec > USEC_PER_DAY))
                return bad_value(option, "a time span of at most a day, such as 30s");
        *target = usec;
        return EXIT_DONE;
}

static int take_option(Options *o, int c)
{
        switch (c) {
        case ARG_TO:
                o->to_given = true;
                return take_number("to", 0, &o->to);
        case ARG_STEPS:
                return take_number("steps", 1, &o->steps);
        case ARG_DRY_RUN:
                o->dry_run = true;
                return EXIT_DONE;
        case ARG_CONFIRM:
                o->confirm_data_loss = true;
                return EXIT_DONE;
        case ARG_WAIT:
                return take_span("wait", true, &o->wait_usec);
        case ARG_DOWN:
                o->show_down = true;
                return EXIT_DONE;
        case ARG_JSON:
                o->json = true;
                return EXIT_DONE;
        case ARG_DATABASE:
                o->database = optarg;
                return EXIT_DONE;
        case ARG_USER:
                o->user = optarg;
                return EXIT_DONE;
        case ARG_DIRECTORY:
                o->directory = optarg;
                o->directory_given = true;
                return EXIT_DONE;
        case ARG_LOCK_TIMEOUT:
                return take_span("lock-timeout", false, &o->lock_usec);
        case ARG_LOCK_TRIES:
                return take_number("lock-tries", 1, &o->tries);
        case ARG_LOCK_PAUSE:
                return take_span("lock-pause", false, &o->pause_usec);
        case ARG_QUEUE_TIMEOUT:
                return take_span("queue-timeout", false, &o->queue_usec);
        default:
                log_error("Try --help.");
                return EXIT_USAGE;
        }
}

/* Returns an exit code, or -1 to go on with *ret_command. */
static int parse_arguments(Options *o, int argc, char **argv, const Command **ret_command)
{
        const Command *command = commands;
        int c, r;

        while ((c = getopt_long(argc, argv, "h", long_options, NULL)) >= 0) {
                if (c == 'h' || c == ARG_VERSION) {
                        (void) fputs(c == 'h' ? help_text : "reeve " REEVE_VERSION "\n", stdout);
                        return EXIT_DONE;
                }
                r = take_option(o, c);
                if (r != EXIT_DONE)
                        return r;
        }
        if (optind >= argc) {
                log_error("No command. Try --help.");
                return EXIT_USAGE;
        }
        while (command->name && !streq(command->name, argv[optind]))
                command++;
        if (!command->name) {
                log_error("Unknown command \"%s\". Try --help.", argv[optind]);
                return EXIT_USAGE;
        }
        optind++;
        if (command->run == migrate_show) {
                if (optind >= argc || parse_unsigned(argv[optind], 1, 999999, &o->show) < 0) {
                        log_error("show needs the number of a migration.");
                        return EXIT_USAGE;
                }
                optind++;
        }
        if (optind < argc) {
                log_error("Too many arguments: \"%s\". Try --help.", argv[optind]);
                return EXIT_USAGE;
        }
        *ret_command = command;
        return -1;
}

/* An option that a command does not know is a mistake that would do something else than was meant.
 */
static int check_options(const Options *o, const Command *command)
{
        bool up = command->run == migrate_up, down = command->run == migrate_down;
        const struct {
                const char *name;
                bool given, fits;
        } rules[] = {
                { "to", o->to_given, up || down || command->run == migrate_wait },
                { "steps", o->steps > 0, down && !o->to_given },
                { "dry-run", o->dry_run, up || down },
                { "confirm-data-loss", o->confirm_data_loss, down },
                { "down", o->show_down, command->run == migrate_show },
                { "json", o->json, command->run == migrate_status },
        };

        for (size_t i = 0; i < ELEMENTSOF(rules); i++)
                if (rules[i].given && !rules[i].fits) {
                        log_error("--%s does not go with this command%s.", rules[i].name,
                                down ? " or its other options" : "");
                        return EXIT_USAGE;
                }
        return EXIT_DONE;
}

static void on_report(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        if (level == CONF_ERROR)
                log_error("%s:%u: %s", file, line, text);
}

static int read_conninfo(Migrate *m)
{
        Settings settings = {};
        int r;

        if (m->options.database) {
                m->conninfo = strdup(m->options.database);
                if (!m->conninfo)
                        (void) log_oom();
                return m->conninfo ? EXIT_DONE : EXIT_FAULT;
        }
        r = settings_load(NULL, on_report, NULL, &settings);
        if (r >= 0 || r == -EINVAL) /* a wrong value was told; those that are right hold */
                m->conninfo = TAKE_PTR(settings.database);
        else
                (void) log_error_errno(r, "Cannot read reeve.conf: %m");
        settings_done(&settings);
        return m->conninfo ? EXIT_DONE : EXIT_FAULT;
}

/* Who is recorded. */
static int find_actor(Migrate *m)
{
        const struct passwd *p = getpwuid(getuid());
        char host[256] = "localhost";
        StrBuf b = {};

        (void) gethostname(host, sizeof(host) - 1);
        if (p)
                strbuf_puts(&b, p->pw_name);
        else
                strbuf_printf(&b, "%lu", (unsigned long) getuid());
        strbuf_printf(&b, "@%s", host);
        m->actor = strbuf_steal(&b);
        if (!m->actor)
                (void) log_oom();
        return m->actor ? EXIT_DONE : EXIT_FAULT;
}

/* A server on a unix socket sees who we are: root becomes the user that owns the schema. */
static int drop_privileges(const Migrate *m)
{
        _cleanup_(freep) char *text = NULL;
        const struct passwd *p;
        bool local = false;
        int r;

        r = schema_conninfo_is_local(m->conninfo, &local, &text);
        if (r < 0) {
                log_error("\"%s\" is not a connection string: %s.", m->conninfo,
                        text ? text : "no memory");
                return EXIT_USAGE;
        }
        if (geteuid() != 0 || !local)
                return EXIT_DONE;
        p = getpwnam("reeve");
        if (!p)
                return EXIT_DONE;
        if (initgroups(p->pw_name, p->pw_gid) < 0 ||
                setresgid(p->pw_gid, p->pw_gid, p->pw_gid) < 0 ||
                setresuid(p->pw_uid, p->pw_uid, p->pw_uid) < 0) {
                (void) log_error_errno(-errno, "Cannot become user reeve: %m");
                return EXIT_FAULT;
        }
        return EXIT_DONE;
}

static int read_files(Migrate *m)
{
        _cleanup_(freep) char *text = NULL;
        int r;

        r = migration_files_read(m->options.directory, &m->files, &text);
        if (r == -ENOMEM) {
                (void) log_oom();
                return EXIT_FAULT;
        }
        if (r < 0) {
                log_error("%s.", text);
                return EXIT_FAULT;
        }
        if (!m->options.directory_given && m->files.n != REEVE_SCHEMA_VERSION) {
                log_error("%s has migrations up to %zu, but this program was built for version %u: "
                          "the package is not whole (apt-get install --reinstall reeve).",
                        m->options.directory, m->files.n, (unsigned) REEVE_SCHEMA_VERSION);
                return EXIT_MISMATCH;
        }
        return EXIT_DONE;
}

static int run(Migrate *m, const Command *command)
{
        int r;

        r = read_conninfo(m);
        if (r == EXIT_DONE && command->files)
                r = read_files(m);
        if (r == EXIT_DONE)
                r = find_actor(m);
        if (r == EXIT_DONE)
                r = drop_privileges(m);
        if (r == EXIT_DONE && command->connects)
                r = migrate_connect(m);
        if (r == EXIT_DONE)
                r = command->run(m);
        if (fflush(stdout) != 0 && r == EXIT_DONE) {
                (void) log_error_errno(-errno, "Cannot write to standard output: %m");
                r = EXIT_FAULT;
        }
        return r;
}

int main(int argc, char **argv)
{
        Migrate m = {
                .options = {
                        .directory = REEVE_DATADIR "/migrations",
                        .queue_usec = USEC_PER_MIN,
                        .lock_usec = USEC_PER_SEC,
                        .pause_usec = 10 * USEC_PER_SEC,
                        .tries = 3,
                        .wait_usec = USEC_INFINITY,
                },
        };
        const Command *command = commands;
        usec_t unset = USEC_INFINITY - 1;
        int r;

        log_setup("reeve-migrate");
        m.options.wait_usec = unset;
        r = parse_arguments(&m.options, argc, argv, &command);
        if (r >= 0)
                return r;
        r = check_options(&m.options, command);
        if (r != EXIT_DONE)
                return r;
        if (m.options.wait_usec == unset)
                m.options.wait_usec = command->run == migrate_wait ? USEC_INFINITY : 0;
        r = run(&m, command);

        (void) schema_free(m.schema);
        schema_server_done(&m.server);
        schema_records_done(&m.records);
        migration_files_done(&m.files);
        free(m.conninfo);
        free(m.actor);
        return r;
}

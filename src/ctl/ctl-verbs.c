/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl.h"

#define BIT(id) (UINT64_C(1) << (id))

static const CtlOption options[_OPTION_MAX] = {
        [OPTION_HELP] = { "help", 'h', NULL, "Explain, and do nothing" },
        [OPTION_VERSION] = { "version", 0, NULL, "Print the version" },
        [OPTION_JSON] = { "json", 0, NULL, "What the API says, lists with one object a line" },
        [OPTION_SOCKET] = { "socket", 0, "PATH", "The API's unix socket" },
        [OPTION_URL] = { "url", 0, "URL", "The API by TCP, such as http://127.0.0.1:8380" },
        [OPTION_KEY_FILE] = { "key-file", 0, "FILE", "A file with the key for --url" },
        [OPTION_FILE] = { "file", 0, "NAME=PATH", "Hand a file over; may be given again" },
        [OPTION_QUEUE] = { "queue", 0, "QUEUE", "The queue" },
        [OPTION_PRIORITY] = { "priority", 0, "N", "1 to 10, higher first" },
        [OPTION_DELAY] = { "delay", 0, "SPAN", "Run it after this time, such as 5min" },
        [OPTION_RUN_AT] = { "run-at", 0, "TIME", "Run it then, such as 2026-11-22T10:00:00Z" },
        [OPTION_TIMEOUT] = { "timeout", 0, "SPAN", "How long it may take" },
        [OPTION_MAX_ATTEMPTS] = { "max-attempts", 0, "N", "How often it is tried" },
        [OPTION_UNIQUE_KEY] = { "unique-key", 0, "KEY", "One live job at a time with this key" },
        [OPTION_UNIQUE_FOR] = { "unique-for", 0, "SPAN", "The same payload makes no second job" },
        [OPTION_CONCURRENCY_KEY] = { "concurrency-key", 0, "KEY", "Counted among these runs" },
        [OPTION_IDEMPOTENCY_KEY] = { "idempotency-key", 0, "KEY",
                "Within 24 hours the same request makes no second job" },
        [OPTION_TENANT] = { "tenant", 0, "TENANT", "Who is kept apart from whom" },
        [OPTION_SUBJECT] = { "subject", 0, "SUBJECT", "On whose behalf" },
        [OPTION_WAIT] = { "wait", 0, NULL, "Wait for its end and show the result" },
        [OPTION_STATE] = { "state", 0, "STATE", "Jobs in this state" },
        [OPTION_KIND] = { "kind", 0, "KIND", "Jobs of this kind" },
        [OPTION_LIMIT] = { "limit", 0, "N", "At most so many (50)" },
        [OPTION_ALL] = { "all", 0, NULL, "All that there are" },
        [OPTION_HISTORY] = { "history", 0, NULL, "What happened to it, and who did it" },
        [OPTION_OUTPUT] = { "output", 0, "DIR|-",
                "Where they go: a directory, or standard output" },
        [OPTION_REASON] = { "reason", 0, "TEXT", "Why, for the history" },
        [OPTION_FOLLOW] = { "follow", 'f', NULL, "Go on with new lines until it ends" },
        [OPTION_ROLE] = { "role", 0, "ROLE", "admin, submit, read, worker or metrics" },
        [OPTION_ACTS] = { "act-for-subjects", 0, NULL, "The key may name any subject" },
        [OPTION_ENABLED] = { "enabled", 0, NULL, "The new flag is enabled at once" },
        [OPTION_PERCENT] = { "percent", 0, "PERCENT", "For how many of a hundred (0)" },
        [OPTION_BUCKETING] = { "bucketing", 0, "WAY", "murmur3 (of any subject), or modulo" },
        [OPTION_SEED] = { "seed", 0, "TEXT", "Hashed with the subject instead of the key" },
        [OPTION_ALLOW] = { "allow", 0, "SUBJECT", "On for this one; may be given again" },
        [OPTION_RULES] = { "rules", 0, "JSON", "On as well where one of them holds" },
        [OPTION_ON_STALE] = { "on-stale", 0, "STATE",
                "Without the database for long: off, on or keep (off)" },
        [OPTION_DESCRIPTION] = { "description", 0, "TEXT", "A line about it" },
        [OPTION_CONTEXT] = { "context", 0, "JSON", "An object with what rules ask for" },
        [OPTION_SMOKE] = { "smoke", 0, NULL, "The short test, which is the only one there is" },
        [OPTION_PARENT] = { "parent", 0, "ID", "Children of this job" },
        [OPTION_DRY_RUN] = { "dry-run", 0, NULL, "Say what would be done, and do nothing" },
};

#define SUBMIT_OPTIONS                                                                             \
        (BIT(OPTION_FILE) | BIT(OPTION_QUEUE) | BIT(OPTION_PRIORITY) | BIT(OPTION_DELAY) |         \
                BIT(OPTION_RUN_AT) | BIT(OPTION_TIMEOUT) | BIT(OPTION_MAX_ATTEMPTS) |              \
                BIT(OPTION_UNIQUE_KEY) | BIT(OPTION_UNIQUE_FOR) | BIT(OPTION_CONCURRENCY_KEY) |    \
                BIT(OPTION_IDEMPOTENCY_KEY) | BIT(OPTION_TENANT) | BIT(OPTION_SUBJECT) |           \
                BIT(OPTION_WAIT))
#define LIST_OPTIONS                                                                               \
        (BIT(OPTION_STATE) | BIT(OPTION_KIND) | BIT(OPTION_QUEUE) | BIT(OPTION_TENANT) |           \
                BIT(OPTION_SUBJECT) | BIT(OPTION_PARENT) | BIT(OPTION_LIMIT) | BIT(OPTION_ALL))

#define FLAG_OPTIONS                                                                               \
        (BIT(OPTION_ENABLED) | BIT(OPTION_PERCENT) | BIT(OPTION_BUCKETING) | BIT(OPTION_SEED) |    \
                BIT(OPTION_ALLOW) | BIT(OPTION_RULES) | BIT(OPTION_ON_STALE) |                     \
                BIT(OPTION_DESCRIPTION) | BIT(OPTION_CONTEXT) | BIT(OPTION_SUBJECT) |              \
                BIT(OPTION_REASON))

static const CtlVerb verbs[] = {
        { "status", "", "Whether all is well, and what to do if not", verb_status, 0, 0, 0, false,
                false, "Exit status 1 if something is wrong." },
        { "submit", "KIND [JSON|-]", "Hand a job over; prints its id", verb_submit, SUBMIT_OPTIONS,
                1, 2, false, false,
                "The payload is JSON, or - for standard input; null if there is none. With --wait "
                "the\nresult goes to standard output; exit status 4 if the job failed or was "
                "cancelled." },
        { "list", "", "Jobs, newest first", verb_list, LIST_OPTIONS, 0, 0, false, false, NULL },
        { "show", "ID", "A job, or its history", verb_show, BIT(OPTION_HISTORY), 1, 1, false, false,
                "With its payload, and how many children it has in each state: list --parent=ID "
                "names them." },
        { "files", "ID [NAME...]", "A job's files, or fetch some of them", verb_files,
                BIT(OPTION_OUTPUT) | BIT(OPTION_ALL), 1, -1, false, false,
                "Without a NAME, lists them. With names, or --all for all that the job has left, "
                "they "
                "are\nwritten into the current directory or --output=; a file that is there "
                "already "
                "stays." },
        { "wait", "ID...", "Wait for the end of jobs", verb_wait, 0, 1, -1, false, false,
                "Shows the progress: a bar on a terminal, else a line for each change. Exit status "
                "4 if\none of them failed or was cancelled. Goes on when the API is restarted." },
        { "monitor", "[ID]", "What happens to jobs, as it happens", verb_monitor,
                BIT(OPTION_KIND) | BIT(OPTION_QUEUE) | BIT(OPTION_TENANT) | BIT(OPTION_STATE), 0, 1,
                false, false,
                "A line for each event, until Ctrl-C; with a job's ID until it has ended: exit "
                "status 4 if\nit failed or was cancelled. Goes on where it was when the API is "
                "restarted." },
        { "cancel", "ID...", "Cancel jobs", verb_cancel, BIT(OPTION_REASON), 1, -1, false, false,
                NULL },
        { "retry", "ID...", "Make new jobs of such as have ended; prints their ids", verb_retry,
                BIT(OPTION_REASON), 1, -1, false, false, NULL },
        { "logs", "ID", "What a job's runs wrote to standard error", verb_logs, BIT(OPTION_FOLLOW),
                1, 1, false, false,
                "From this host's journal; if that knows nothing of the job, the end of it that "
                "the\ndatabase keeps for each attempt." },
        { "queues", "[pause|resume QUEUE]", "Queues, and what is in them", verb_queues,
                BIT(OPTION_REASON), 0, 2, false, false,
                "A paused queue is claimed from by no worker; runs that are going on end as "
                "usual." },
        { "workers", "", "Living workers", verb_workers, 0, 0, 0, false, false, NULL },
        { "kinds", "[check [FILE...]|retire NAME]",
                "Published kinds, or what is wrong with .kind files", verb_kinds,
                BIT(OPTION_REASON), 0, -1, false, false,
                "check asks reeve-generator(8): exit status 1 if a kind would be kept out. retire "
                "takes a\nkind out of use that no worker has and no job needs any more." },
        { "key", "list|create NAME|revoke ID", "Keys for those who come by TCP", verb_key,
                BIT(OPTION_ROLE) | BIT(OPTION_TENANT) | BIT(OPTION_SUBJECT) | BIT(OPTION_ACTS), 1,
                2, false, false,
                "create needs --role= and, but for admin and metrics, --tenant=: \"default\" where "
                "there are\nno tenants, \"*\" for all. It prints the key, this once." },
        { "flag", "COMMAND [KEY]", "Flags: who gets the new way of doing it", verb_flag,
                FLAG_OPTIONS, 1, -1, false, false,
                "Commands:\n"
                "  list                     Flags in use\n"
                "  show KEY                 A flag\n"
                "  create KEY               Make one; it is off unless --enabled is given\n"
                "  enable KEY, disable KEY  Turn it on, or off for everybody\n"
                "  percent KEY PERCENT      For how many of a hundred, in steps of 0.001\n"
                "  rules KEY                Print its rules\n"
                "  rules KEY JSON|@FILE|-   On as well where one of them holds, such as\n"
                "                           [{\"property\":\"size\",\"op\":\">\",\"value\":1000}]\n"
                "  allow KEY [SUBJECT...]   On as well for these, and no others\n"
                "  queues KEY [QUEUE...]    Where those have their jobs whom it lets in: what\n"
                "                           \"rollback\" waits for\n"
                "  archive KEY              Take it out of use; its key stays taken\n"
                "  history KEY              Who changed it, when and why\n"
                "  eval KEY                 What it says for --subject= and --context=" },
        { "rollback", "emergency FLAG", "Turn a flag off, and see that what it let in ends",
                verb_rollback,
                BIT(OPTION_REASON) | BIT(OPTION_TIMEOUT) | BIT(OPTION_QUEUE) | BIT(OPTION_DRY_RUN),
                2, 2, false, false,
                "Turns the flag off, waits until the jobs that it let in have ended (--timeout=, "
                "30min),\nand checks that none has come since. It goes on without this command: "
                "Ctrl-C ends the\nwatching only, and the same command again joins it. Exit status "
                "1 "
                "if it failed." },
        { "migrate", "COMMAND...", "Look at or change the schema: reeve-migrate(8)", verb_migrate,
                0, 0, -1, true, false, "All that follows goes to reeve-migrate as it stands." },
        { "doctor", "", "What is wrong or will be, and the command that helps", verb_doctor, 0, 0,
                0, false, false,
                "Looks at units, database, files, space and configuration of this host, and at "
                "what the API\nsays. Exit status 2 if there is an error, 1 if there are "
                "warnings." },
        { "selftest", "", "Send one job through everything", verb_selftest, BIT(OPTION_SMOKE), 0, 0,
                false, false,
                "A line for each step. Its kind is reeve-selftest, in the queue inline; the result "
                "and the\nfile are forgotten at the next hour. Exit status 1 if a step failed." },
        { "help", "[VERB]", "Explain a verb", verb_help, 0, 0, 1, false, false, NULL },
        { "complete", "[--] WORD...", "Words that may stand in place of the last", verb_complete, 0,
                0, -1, true, true, NULL },
        {},
};

const CtlVerb *ctl_verbs(void)
{
        return verbs;
}

const CtlVerb *ctl_verb_find(const char *name)
{
        for (const CtlVerb *v = verbs; v->name; v++)
                if (streq(v->name, name))
                        return v;
        return NULL;
}

const CtlOption *ctl_option(CtlOptionId id)
{
        return &options[id];
}

uint64_t ctl_global_options(void)
{
        return BIT(OPTION_HELP) | BIT(OPTION_VERSION) | BIT(OPTION_JSON) | BIT(OPTION_SOCKET) |
                BIT(OPTION_URL) | BIT(OPTION_KEY_FILE);
}

static int usage(const Ctl *c, const char *text, const char *what)
{
        return ctl_error(EXIT_STATUS_USAGE, "%s: %s. Try \"reevectl help%s%s\".", what, text,
                c->verb ? " " : "", c->verb ? c->verb->name : "");
}

/* The option that word names ("--state", "--state=x", "-f"), or _OPTION_MAX. */
static CtlOptionId find_option(const char *word, const char **ret_value)
{
        size_t n = strcspn(word, "=");

        *ret_value = word[n] ? word + n + 1 : NULL;
        for (CtlOptionId id = 0; id < _OPTION_MAX; id++) {
                const CtlOption *o = &options[id];

                if (word[1] == '-' && strlen(o->name) == n - 2 &&
                        strncmp(word + 2, o->name, n - 2) == 0)
                        return id;
                if (word[1] != '-' && o->letter && word[1] == o->letter && word[2] == '\0')
                        return id;
        }
        return _OPTION_MAX;
}

static int set_option(Ctl *c, CtlOptionId id, const char *value)
{
        const char **more;

        c->values[id] = value;
        if (id != OPTION_FILE && id != OPTION_ALLOW)
                return EXIT_STATUS_OK;
        more = (const char **) reallocarray(c->again, c->n_again + 1, sizeof(char *));
        if (!more)
                return ctl_oom();
        c->again = more;
        c->again[c->n_again++] = value;
        return EXIT_STATUS_OK;
}

/* The option at argv[*i], and its value if that is the next word. */
static int take_option(Ctl *c, char *argv[], int argc, int *i)
{
        const char *word = argv[*i], *value;
        CtlOptionId id = find_option(word, &value);

        if (id == _OPTION_MAX)
                return usage(c, "there is no such option", word);
        if (!options[id].value && value)
                return usage(c, "it takes no value", word);
        if (options[id].value && !value) {
                if (*i + 1 >= argc)
                        return usage(c, "a value is missing", word);
                value = argv[++*i];
        }
        return set_option(c, id, value ? value : "");
}

static int check_options(const Ctl *c)
{
        uint64_t known = ctl_global_options() | c->verb->options;

        for (CtlOptionId id = 0; id < _OPTION_MAX; id++)
                if (c->values[id] && !(known & BIT(id)))
                        return ctl_error(EXIT_STATUS_USAGE,
                                "--%s does not go with %s. Try \"reevectl help %s\".",
                                options[id].name, c->verb->name, c->verb->name);
        return EXIT_STATUS_OK;
}

static int check_arguments(const Ctl *c)
{
        if (c->n_args < c->verb->n_min)
                return usage(c, "an argument is missing", c->verb->name);
        if (c->verb->n_max >= 0 && c->n_args > c->verb->n_max)
                return usage(c, "this argument is one too many", c->args[c->verb->n_max]);
        return EXIT_STATUS_OK;
}

int ctl_read_command_line(Ctl *c, int argc, char *argv[])
{
        bool only_arguments = false;
        int r;

        /* The arguments move to the front of argv[1...]. */
        c->args = argv + 1;
        for (int i = 1; i < argc; i++) {
                char *word = argv[i];

                if (only_arguments || word[0] != '-' || word[1] == '\0') {
                        if (c->verb) {
                                c->args[c->n_args++] = word;
                                continue;
                        }
                        c->verb = ctl_verb_find(word);
                        if (!c->verb)
                                return usage(c, "there is no such verb", word);
                        if (c->verb->passes) {
                                c->args = argv + i + 1;
                                c->n_args = argc - i - 1;
                                break;
                        }
                } else if (streq(word, "--")) {
                        only_arguments = true;
                } else {
                        r = take_option(c, argv, argc, &i);
                        if (r != EXIT_STATUS_OK)
                                return r;
                }
        }
        c->json = c->values[OPTION_JSON];
        if (!c->verb || c->values[OPTION_HELP] || c->values[OPTION_VERSION])
                return EXIT_STATUS_OK;
        r = check_options(c);
        return r == EXIT_STATUS_OK ? check_arguments(c) : r;
}

/* ---- commands of a verb ---- */

int ctl_run_command(Ctl *c, const CtlCommand *commands)
{
        const CtlCommand *found = commands;

        while (found->name && !streq(found->name, c->args[0]))
                found++;
        if (!found->name)
                return usage(c, "there is no such command", c->args[0]);
        if (c->n_args - 1 < found->n_min)
                return usage(c, "an argument is missing", c->args[0]);
        if (found->n_max >= 0 && c->n_args - 1 > found->n_max)
                return usage(c, "this argument is one too many", c->args[found->n_max + 1]);
        for (CtlOptionId id = 0; id < _OPTION_MAX; id++)
                if (c->values[id] && !((ctl_global_options() | found->options) & BIT(id)))
                        return ctl_error(EXIT_STATUS_USAGE,
                                "--%s does not go with %s %s. Try \"reevectl help %s\".",
                                options[id].name, c->verb->name, found->name, c->verb->name);
        return found->run(c);
}

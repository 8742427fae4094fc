/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

/* The one table of reevectl's verbs and options: the command line, help and completion are made of
 * it, and a test compares the man page. */

typedef enum ExitStatus {
        EXIT_STATUS_OK = 0,
        EXIT_STATUS_FAILED = 1,
        EXIT_STATUS_USAGE = 2,
        EXIT_STATUS_NOT_FOUND = 3,
        EXIT_STATUS_JOB_FAILED = 4, /* or was cancelled */
        EXIT_STATUS_NO_CONNECTION = 5,
        EXIT_STATUS_REFUSED = 6,
} ExitStatus;

typedef enum CtlOptionId {
        OPTION_HELP,
        OPTION_VERSION,
        OPTION_JSON,
        OPTION_SOCKET,
        OPTION_URL,
        OPTION_KEY_FILE,
        OPTION_FILE,
        OPTION_QUEUE,
        OPTION_PRIORITY,
        OPTION_DELAY,
        OPTION_RUN_AT,
        OPTION_TIMEOUT,
        OPTION_MAX_ATTEMPTS,
        OPTION_UNIQUE_KEY,
        OPTION_UNIQUE_FOR,
        OPTION_CONCURRENCY_KEY,
        OPTION_IDEMPOTENCY_KEY,
        OPTION_TENANT,
        OPTION_SUBJECT,
        OPTION_WAIT,
        OPTION_STATE,
        OPTION_KIND,
        OPTION_LIMIT,
        OPTION_ALL,
        OPTION_HISTORY,
        OPTION_OUTPUT,
        OPTION_REASON,
        OPTION_FOLLOW,
        OPTION_ROLE,
        OPTION_ACTS,
        OPTION_ENABLED,
        OPTION_PERCENT,
        OPTION_BUCKETING,
        OPTION_SEED,
        OPTION_ALLOW,
        OPTION_RULES,
        OPTION_ON_STALE,
        OPTION_DESCRIPTION,
        OPTION_CONTEXT,
        OPTION_SMOKE,
        OPTION_DRY_RUN,
        OPTION_PARENT,
        _OPTION_MAX,
} CtlOptionId;

typedef struct CtlOption {
        const char *name; /* without the dashes */
        char letter; /* or 0 */
        const char *value; /* what it takes, in capitals; NULL: nothing */
        const char *help;
} CtlOption;

typedef struct Ctl Ctl;

typedef struct CtlVerb {
        const char *name;
        const char *arguments; /* for the synopsis */
        const char *help; /* one line */
        int (*run)(Ctl *c); /* returns an ExitStatus */
        uint64_t options; /* 1 << CtlOptionId, besides those of all verbs */
        int n_min, n_max; /* arguments; -1: any number */
        bool passes; /* all that follows goes to another program */
        bool hidden; /* not for people: not in the help, and not in the man page's list */
        const char *details; /* more for "help VERB" */
} CtlVerb;

const CtlVerb *ctl_verbs(void); /* ended by a verb without a name */
const CtlVerb *ctl_verb_find(const char *name);
const CtlOption *ctl_option(CtlOptionId id);
/* Options that go with every verb. */
uint64_t ctl_global_options(void);

/* Reads the command line into c. Returns EXIT_STATUS_OK or EXIT_STATUS_USAGE, told on standard
 * error. c->verb is NULL if none was named. */
int ctl_read_command_line(Ctl *c, int argc, char *argv[]);

void ctl_print_help(FILE *f, const CtlVerb *verb);

int verb_status(Ctl *c);
int verb_submit(Ctl *c);
int verb_list(Ctl *c);
int verb_show(Ctl *c);
int verb_files(Ctl *c);
int verb_wait(Ctl *c);
int verb_monitor(Ctl *c);
int verb_cancel(Ctl *c);
int verb_retry(Ctl *c);
int verb_logs(Ctl *c);
int verb_queues(Ctl *c);
int verb_workers(Ctl *c);
int verb_kinds(Ctl *c);
int verb_key(Ctl *c);
int verb_flag(Ctl *c);
int verb_rollback(Ctl *c);
int verb_migrate(Ctl *c);
int verb_selftest(Ctl *c);
int verb_doctor(Ctl *c);
int verb_help(Ctl *c);
int verb_complete(Ctl *c);

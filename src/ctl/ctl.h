/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <limits.h>

#include "ctl-text.h"
#include "ctl-verbs.h"
#include "http-client.h"
#include "json-reader.h"
#include "json-writer.h"

/* What makes new and changed .kind files count. */
#define KINDS_REREAD "systemctl daemon-reload; systemctl restart 'reeve-worker@*'"

/* What the verbs of reevectl share. */

struct Ctl {
        const CtlVerb *verb;
        const char *values[_OPTION_MAX]; /* of each option; "" for one without a value */
        const char **again; /* of the option that may be given again, in order */
        unsigned n_again;
        char **args; /* what follows the verb; owned by main() */
        int n_args;
        HttpClient client;
        char *key;
        bool json;
        bool bold; /* standard output is a terminal and NO_COLOR is not set */
};

/* An answer and what is in it. */
typedef struct Answer {
        HttpReply reply;
        JsonDocument *document; /* NULL: the body is not JSON */
        const JsonValue *root; /* or NULL */
} Answer;

void answer_done(Answer *a);

/* One line on standard error, "reevectl: ...", cleaned. Returns the exit status. */
int ctl_error(int exit_status, const char *format, ...) _printf_(2, 3);
int ctl_oom(void);

/* Asks and reads the answer. What is no success (2xx) is told as the problem it is; ret->root is
 * NULL after 204 only. Returns
 * EXIT_STATUS_OK or another ExitStatus, told. */
int ctl_ask(Ctl *c, const HttpAsk *ask, Answer *ret);
/* GET. */
int ctl_get(Ctl *c, const char *target, Answer *ret);
/* As ctl_ask(), and tells nothing: *ret_error is 0 or the fault of http_client_ask(), and the reply
 * may have any status. */
void ctl_try(Ctl *c, const HttpAsk *ask, Answer *ret, int *ret_error);
/* Tells why there is no connection, and the remedy; or the problem that an answer is. */
int ctl_tell_fault(Ctl *c, int error);
int ctl_tell_problem(const Answer *a);

/* A service that was there and may be away for a while, for instance to be restarted. */
typedef struct CtlAway {
        bool answered; /* once, so that a pause is worth waiting for */
        usec_t since_usec; /* 0: it is there */
} CtlAway;
void ctl_has_answered(CtlAway *a);
/* After an answer that is none (as ctl_try() gave it): whether to ask again; told the first time.
 */
bool ctl_may_come_back(CtlAway *a, int error, unsigned status);

/* What a job does, in words: its state, progress and status, or why it failed, for good or for now.
 */
void ctl_put_job(StrBuf *b, const JsonValue *job);

/* /api/jobs/ID and a suffix such as "/cancel" with a body or NULL. */
int ctl_ask_job(Ctl *c, const char *method, const char *id, const char *suffix, const char *body,
        Answer *ret);
/* Whether it has the form of a job's id; told if not. */
bool ctl_is_id(const char *id);

/* The member that is an array; NULL is told as an answer that is not understood. */
const JsonValue *ctl_list(const Answer *a, const char *name);
/* Each element, one on a line, as it stands in the answer. */
void ctl_print_lines(const JsonValue *list);
/* The body as it came, with a new line at its end. */
void ctl_print_body(const Answer *a);

/* Members for people: "" or 0 if there is none. */
const char *member_text(const JsonValue *v, const char *name);
uint64_t member_u64(const JsonValue *v, const char *name);
bool member_bool(const JsonValue *v, const char *name);

/* "commands" that a verb has: how many words follow each, and the options that go with it. */
typedef struct CtlCommand {
        const char *name;
        int n_min, n_max; /* -1: any number */
        uint64_t options;
        int (*run)(Ctl *c); /* c->args[0] is the command */
} CtlCommand;

/* Runs the command that c->args[0] names; told if there is none or what follows does not fit. The
 * table ends with one without a name. */
int ctl_run_command(Ctl *c, const CtlCommand *commands);

/* Waits until the jobs have ended, and shows their progress. Returns an ExitStatus. */
int wait_for_jobs(Ctl *c, char *const *ids, unsigned n_ids);

/* Where tools/quickstart --foreground has its programs, configuration and logs: without units and
 * without a package. NULL: this is not its reevectl. */
const char *ctl_foreground(void);
/* What to type: the remedy, or where there are no units what helps there. */
const char *ctl_remedy(const char *remedy);
/* Below this are /etc/reeve, /usr/lib/reeve, ...: of the host or of the foreground; NULL or a path
 * in buf. */
const char *ctl_root(char buf[static PATH_MAX]);
/* The path of a program of Reeve's in directory (installed), or its like in the foreground. */
const char *ctl_program(char buf[static PATH_MAX], const char *directory, const char *name);

/* Runs a program and reads what it writes to standard output, about size_max bytes at most; quiet:
 * what it writes to standard error is lost. Returns its exit status, or -errno (-ENOENT: there is
 * no such program). */
int run_and_read(const char *const *argv, bool quiet, size_t size_max, StrBuf *ret);

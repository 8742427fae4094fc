/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl.h"
#include "job.h"
#include "uuid.h"

static void print_options(FILE *f, uint64_t mask)
{
        for (CtlOptionId id = 0; id < _OPTION_MAX; id++) {
                const CtlOption *o = ctl_option(id);
                char left[64];

                if (!(mask & UINT64_C(1) << id))
                        continue;
                (void) snprintf(left, sizeof(left), "%c%c --%s%s%s", o->letter ? '-' : ' ',
                        o->letter ? o->letter : ' ', o->name, o->value ? "=" : "",
                        o->value ? o->value : "");
                fprintf(f, "  %-26s %s\n", left, o->help);
        }
}

void ctl_print_help(FILE *f, const CtlVerb *verb)
{
        if (verb) {
                fprintf(f, "reevectl %s%s%s%s\n\n%s.\n", verb->name,
                        verb->options ? " [OPTIONS...]" : "", *verb->arguments ? " " : "",
                        verb->arguments, verb->help);
                if (verb->details)
                        fprintf(f, "%s\n", verb->details);
                if (verb->options) {
                        fputs("\nOptions:\n", f);
                        print_options(f, verb->options);
                }
                if (!verb->passes) {
                        fputs("\nOptions of all verbs:\n", f);
                        print_options(f, ctl_global_options());
                }
                return;
        }
        fputs("reevectl [OPTIONS...] VERB ...\n\nHands jobs to Reeve, and looks after "
              "them.\n\nVerbs:\n",
                f);
        for (const CtlVerb *v = ctl_verbs(); v->name; v++) {
                char left[64];

                (void) snprintf(left, sizeof(left), "%s %s", v->name, v->arguments);
                if (!v->hidden)
                        fprintf(f, "  %-26s %s\n", left, v->help);
        }
        fputs("\nOptions:\n", f);
        print_options(f, ctl_global_options());
        fputs("\nMore about a verb: reevectl help VERB. The manual: reevectl(1).\n"
              "Exit status: 0 done, 1 failed, 2 usage, 3 not found, 4 the job failed or was\n"
              "cancelled, 5 no connection, 6 refused.\n",
                f);
}

int verb_help(Ctl *c)
{
        const CtlVerb *verb = NULL;

        if (c->n_args > 0) {
                verb = ctl_verb_find(c->args[0]);
                if (!verb)
                        return ctl_error(EXIT_STATUS_USAGE,
                                "%s: there is no such verb. Try \"reevectl help\".", c->args[0]);
        }
        ctl_print_help(stdout, verb);
        return EXIT_STATUS_OK;
}

/* ---- completion: candidates, one on a line, for the last word ---- */

static void offer(const char *word, const char *prefix, const char *candidate)
{
        size_t n = strlen(prefix);

        if (strncmp(word, prefix, n) == 0 && strncmp(candidate, word + n, strlen(word) - n) == 0)
                printf("%s%s\n", prefix, candidate);
}

static void offer_options(const char *word, uint64_t mask)
{
        for (CtlOptionId id = 0; id < _OPTION_MAX; id++) {
                char text[64];

                if (!(mask & UINT64_C(1) << id))
                        continue;
                (void) snprintf(text, sizeof(text), "--%s%s", ctl_option(id)->name,
                        ctl_option(id)->value ? "=" : "");
                offer(word, "", text);
        }
}

/* What the API knows; silent if it cannot be asked. */
static void offer_names(
        Ctl *c, const char *word, const char *prefix, const char *target, const char *list)
{
        _cleanup_(answer_done) Answer a = {};
        const HttpAsk ask = { .method = "GET", .target = target, .usec = 2 * USEC_PER_SEC };
        const JsonValue *names;
        int error;

        c->client.connect_usec = USEC_PER_SEC;
        ctl_try(c, &ask, &a, &error);
        if (error < 0 || a.reply.status != 200 || !a.root)
                return;
        names = json_value_member(a.root, list);
        for (const JsonValue *v = names ? json_value_first(names, NULL) : NULL; v;
                v = json_value_next(names, v, NULL))
                offer(word, prefix,
                        member_text(v,
                                streq(list, "jobs")            ? "id"
                                        : streq(list, "flags") ? "key"
                                                               : "name"));
}

static void offer_words(const char *word, const char *prefix, const char *const *words)
{
        for (; *words; words++)
                offer(word, prefix, *words);
}

static void offer_values(Ctl *c, const char *word)
{
        static const char *const ways[] = { "murmur3", "modulo", NULL };
        static const char *const states[] = { "off", "on", "keep", NULL };

        if (strncmp(word, "--state=", 8) == 0)
                for (JobState s = JOB_NONE + 1; s < _JOB_STATE_MAX; s++)
                        offer(word, "--state=", job_state_to_string(s));
        else if (strncmp(word, "--queue=", 8) == 0)
                offer_names(c, word, "--queue=", "/api/queues", "queues");
        else if (strncmp(word, "--kind=", 7) == 0)
                offer_names(c, word, "--kind=", "/api/kinds", "kinds");
        else if (strncmp(word, "--parent=", 9) == 0)
                offer_names(c, word, "--parent=", "/api/jobs?state=waiting", "jobs");
        else if (strncmp(word, "--bucketing=", 12) == 0)
                offer_words(word, "--bucketing=", ways);
        else if (strncmp(word, "--on-stale=", 11) == 0)
                offer_words(word, "--on-stale=", states);
}

/* Of verbs that have commands: the command, then the name that it takes. */
static bool offer_commands(
        Ctl *c, const CtlVerb *verb, const char *command, int n_before, const char *word)
{
        static const char *const queue[] = { "pause", "resume", NULL };
        static const char *const flag[] = { "list", "show", "create", "enable", "disable",
                "percent", "rules", "allow", "queues", "archive", "history", "eval", NULL };
        static const char *const rollback[] = { "emergency", NULL };
        static const char *const kinds[] = { "check", "retire", NULL };
        bool is_flag = streq(verb->name, "flag"), is_rollback = streq(verb->name, "rollback");
        Uuid id;

        if (streq(verb->name, "files") && n_before > 0 && uuid_parse(command, &id) >= 0) {
                char target[128];

                (void) snprintf(target, sizeof(target), "/api/jobs/%s/files", command);
                offer_names(c, word, "", target, "files");
                return true;
        }
        if (streq(verb->name, "kinds") && n_before == 0) {
                offer_words(word, "", kinds);
                return true;
        }
        if (streq(verb->name, "kinds") && n_before == 1 && streq(command, "retire")) {
                offer_names(c, word, "", "/api/kinds", "kinds");
                return true;
        }
        if (!is_flag && !is_rollback && !streq(verb->name, "queues"))
                return false;
        if (n_before == 0)
                offer_words(word, "", is_flag ? flag : is_rollback ? rollback : queue);
        else if (n_before == 1 && !is_flag && !is_rollback)
                offer_names(c, word, "", "/api/queues", "queues");
        else if (n_before == 1 && !streq(command, "create") && !streq(command, "list"))
                offer_names(c, word, "", "/api/flags", "flags");
        return true;
}

static void offer_arguments(Ctl *c, const CtlVerb *verb, int n_before, const char *word)
{
        if (streq(verb->name, "help")) {
                for (const CtlVerb *v = ctl_verbs(); v->name; v++)
                        if (!v->hidden && n_before == 0)
                                offer(word, "", v->name);
        } else if (streq(verb->name, "migrate")) {
                static const char *const commands[] = { "status", "up", "down", "check", "show",
                        "wait" };

                for (size_t i = 0; i < ELEMENTSOF(commands) && n_before == 0; i++)
                        offer(word, "", commands[i]);
        } else if (streq(verb->name, "submit") && n_before == 0) {
                offer_names(c, word, "", "/api/kinds", "kinds");
        } else if (streq(verb->name, "cancel")) {
                offer_names(c, word, "", "/api/jobs?state=running", "jobs");
        } else if (n_before == 0 &&
                (strncmp(verb->arguments, "ID", 2) == 0 || streq(verb->arguments, "[ID]"))) {
                offer_names(c, word, "", "/api/jobs", "jobs");
        }
}

int verb_complete(Ctl *c)
{
        const CtlVerb *verb = NULL;
        const char *word, *command = "";
        int first = c->n_args > 0 && streq(c->args[0], "--"), n_before = 0;

        if (c->n_args <= first)
                return EXIT_STATUS_USAGE;
        word = c->args[c->n_args - 1];
        for (int i = first; i < c->n_args - 1; i++) {
                const char *before = c->args[i];

                if (strncmp(before, "--socket=", 9) == 0)
                        c->client.socket_path = before + 9;
                else if (before[0] == '-')
                        continue;
                else if (verb && n_before++ == 0)
                        command = before;
                else if (!verb)
                        verb = ctl_verb_find(before);
        }
        if (word[0] == '-' && strchr(word, '='))
                offer_values(c, word);
        else if (word[0] == '-')
                offer_options(word,
                        verb && verb->passes ? 0
                                             : ctl_global_options() | (verb ? verb->options : 0));
        else if (verb && !offer_commands(c, verb, command, n_before, word))
                offer_arguments(c, verb, n_before, word);
        else if (!verb)
                for (const CtlVerb *v = ctl_verbs(); v->name; v++)
                        if (!v->hidden)
                                offer(word, "", v->name);
        return EXIT_STATUS_OK;
}

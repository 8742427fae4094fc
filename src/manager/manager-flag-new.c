/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flag-rules.h"
#include "manager-change.h"
#include "parse-util.h"
#include "reeve-limits.h"

/* The options of CreateFlag(). Texts stay in the message, which the change keeps. */

char **strv_free(char **strings)
{
        for (char **s = strings; s && *s; s++)
                free(*s);
        return mfree(strings);
}

StoreNewFlag *new_flag_free(StoreNewFlag *f)
{
        if (!f)
                return NULL;
        strv_free((char **) f->allow);
        return mfree(f);
}

typedef int (*OptionReader)(
        sd_bus_message *m, const char *name, void *to, StoreNewFlag *f, sd_bus_error *error);

static int read_text(
        sd_bus_message *m, const char *name, void *to, StoreNewFlag *f, sd_bus_error *error)
{
        return sd_bus_message_read_basic(m, SD_BUS_TYPE_STRING, to);
}

static int read_enabled(
        sd_bus_message *m, const char *name, void *to, StoreNewFlag *f, sd_bus_error *error)
{
        int enabled, r = sd_bus_message_read_basic(m, SD_BUS_TYPE_BOOLEAN, &enabled);

        if (r >= 0)
                f->enabled = enabled;
        return r;
}

static int read_percent(
        sd_bus_message *m, const char *name, void *to, StoreNewFlag *f, sd_bus_error *error)
{
        unsigned thousandths = 0;
        double percent;
        int r = sd_bus_message_read_basic(m, SD_BUS_TYPE_DOUBLE, &percent);

        if (r >= 0)
                r = percent_read(percent, &thousandths, error);
        if (r >= 0)
                f->percent = thousandths;
        return r;
}

static int read_allow(
        sd_bus_message *m, const char *name, void *to, StoreNewFlag *f, sd_bus_error *error)
{
        char **subjects = NULL;
        int r;

        if (f->allow)
                return sd_bus_error_setf(
                        error, SD_BUS_ERROR_INVALID_ARGS, "Option %s is given twice.", name);
        r = sd_bus_message_read_strv(m, &subjects);
        if (r >= 0)
                f->allow = (const char *const *) subjects;
        return r;
}

static const struct {
        const char *name, *type;
        OptionReader read;
        size_t offset;
} options[] = {
        { "enabled", "b", read_enabled, 0 },
        { "percent", "d", read_percent, 0 },
        { "allow", "as", read_allow, 0 },
        { "rules", "s", read_text, offsetof(StoreNewFlag, rules) },
        { "value_on", "s", read_text, offsetof(StoreNewFlag, value_on) },
        { "value_off", "s", read_text, offsetof(StoreNewFlag, value_off) },
        { "description", "s", read_text, offsetof(StoreNewFlag, description) },
        { "bucketing", "s", read_text, offsetof(StoreNewFlag, bucketing) },
        { "seed", "s", read_text, offsetof(StoreNewFlag, seed) },
        { "on_stale", "s", read_text, offsetof(StoreNewFlag, on_stale) },
        { "reason", "s", read_text, offsetof(StoreNewFlag, reason) },
};

static int read_option(sd_bus_message *m, StoreNewFlag *f, sd_bus_error *error)
{
        const char *name, *type;
        unsigned i = 0;
        int r = sd_bus_message_read(m, "s", &name);

        if (r < 0)
                return r;
        while (i < ELEMENTSOF(options) && !streq(options[i].name, name))
                i++;
        if (i == ELEMENTSOF(options))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "There is no option \"%.64s\"; see org.reeve1(5).", name);
        r = sd_bus_message_peek_type(m, NULL, &type);
        if (r < 0)
                return r;
        if (!streq(type, options[i].type))
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Option %s is of type \"%s\", not \"%s\".", name, options[i].type, type);
        r = sd_bus_message_enter_container(m, SD_BUS_TYPE_VARIANT, type);
        if (r >= 0)
                r = options[i].read(m, name, (char *) f + options[i].offset, f, error);
        return r < 0 ? r : sd_bus_message_exit_container(m);
}

static int check_length(const char *text, size_t max, const char *option, sd_bus_error *error)
{
        if (!text || strlen(text) <= max)
                return 0;
        return sd_bus_error_setf(
                error, SD_BUS_ERROR_INVALID_ARGS, "Option %s has at most %zu bytes.", option, max);
}

int allow_check(const char *const *allow, sd_bus_error *error)
{
        unsigned n = 0;

        for (; allow && allow[n]; n++)
                if (!allow[n][0] || strlen(allow[n]) > REEVE_SUBJECT_MAX)
                        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                "A subject in allow has 1 to %u bytes.", REEVE_SUBJECT_MAX);
        if (n <= REEVE_FLAG_ALLOW_MAX)
                return 0;
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "Option allow has at most %u subjects.", REEVE_FLAG_ALLOW_MAX);
}

int queues_check(const char *const *queues, sd_bus_error *error)
{
        unsigned n = 0;

        for (; queues && queues[n]; n++)
                if (!name_is_valid(queues[n]))
                        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                                "\"%.64s\" is no name of a queue.", queues[n]);
        if (n <= REEVE_FLAG_QUEUES_MAX)
                return 0;
        return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                "A flag guards at most %u queues.", REEVE_FLAG_QUEUES_MAX);
}

int rules_check(const char *rules, sd_bus_error *error)
{
        _cleanup_(flag_rules_done) FlagRules parsed = {};
        JsonError e = {};
        int r;

        if (strlen(rules) > REEVE_FLAG_RULES_BYTES_MAX)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Rules have at most %lu bytes.", REEVE_FLAG_RULES_BYTES_MAX);
        r = flag_rules_parse(rules, strlen(rules), &parsed, &e);
        if (r == -EBADMSG || r == -EINVAL)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Rules, line %u, column %u: %s.", e.line, e.column, e.text);
        return r;
}

static int check_value(const char *text, const char *option, sd_bus_error *error)
{
        JsonError e = {};
        int r;

        if (!text || !*text)
                return 0;
        r = check_length(text, REEVE_FLAG_VALUE_MAX, option, error);
        if (r >= 0 && json_check(text, strlen(text), REEVE_JSON_DEPTH_MAX, &e) < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Option %s is no JSON: column %u: %s.", option, e.column, e.text);
        return r;
}

static int check_words(const StoreNewFlag *f, sd_bus_error *error)
{
        if (f->bucketing && *f->bucketing && flag_bucketing_from_string(f->bucketing) < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Option bucketing is no \"%.64s\".", f->bucketing);
        if (f->on_stale && *f->on_stale && flag_on_stale_from_string(f->on_stale) < 0)
                return sd_bus_error_setf(error, SD_BUS_ERROR_INVALID_ARGS,
                        "Option on_stale is no \"%.64s\".", f->on_stale);
        return 0;
}

static int check(const StoreNewFlag *f, sd_bus_error *error)
{
        int r = check_words(f, error);

        if (r >= 0)
                r = check_length(f->seed, REEVE_FLAG_SEED_MAX, "seed", error);
        if (r >= 0)
                r = check_length(f->description, REEVE_DESCRIPTION_MAX, "description", error);
        if (r >= 0)
                r = allow_check(f->allow, error);
        if (r >= 0 && f->rules && *f->rules)
                r = rules_check(f->rules, error);
        if (r >= 0)
                r = check_value(f->value_on, "value_on", error);
        if (r >= 0)
                r = check_value(f->value_off, "value_off", error);
        return r;
}

int new_flag_read(sd_bus_message *m, StoreNewFlag **ret, sd_bus_error *error)
{
        _cleanup_(new_flag_freep) StoreNewFlag *f = new0(StoreNewFlag, 1);
        int r;

        if (!f)
                return -ENOMEM;
        r = sd_bus_message_read(m, "s", &f->key);
        if (r >= 0)
                r = sd_bus_message_enter_container(m, SD_BUS_TYPE_ARRAY, "{sv}");
        while (r >= 0 &&
                (r = sd_bus_message_enter_container(m, SD_BUS_TYPE_DICT_ENTRY, "sv")) > 0) {
                r = read_option(m, f, error);
                if (r >= 0)
                        r = sd_bus_message_exit_container(m);
        }
        if (r >= 0)
                r = check(f, error);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(f);
        return 0;
}

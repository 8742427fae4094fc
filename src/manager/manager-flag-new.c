/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "manager-change.h"
#include "reeve-limits.h"

/* The options of CreateFlag(). Texts stay in the message, which the change keeps. */

StoreNewFlag *new_flag_free(StoreNewFlag *f)
{
        if (!f)
                return NULL;
        if (f->allow) {
                for (const char *const *s = f->allow; *s; s++)
                        free((char *) *s);
                free((void *) f->allow);
        }
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

static int check_word(
        const char *text, const char *const *known, const char *option, sd_bus_error *error)
{
        for (const char *const *k = known; text && *text && *k; k++)
                if (streq(*k, text))
                        return 0;
        if (!text || !*text)
                return 0;
        return sd_bus_error_setf(
                error, SD_BUS_ERROR_INVALID_ARGS, "Option %s is no \"%.64s\".", option, text);
}

static int check_length(const char *text, size_t max, const char *option, sd_bus_error *error)
{
        if (!text || strlen(text) <= max)
                return 0;
        return sd_bus_error_setf(
                error, SD_BUS_ERROR_INVALID_ARGS, "Option %s has at most %zu bytes.", option, max);
}

static int check_allow(const char *const *allow, sd_bus_error *error)
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

static int check(const StoreNewFlag *f, sd_bus_error *error)
{
        static const char *const bucketings[] = { "murmur3", "modulo", NULL };
        static const char *const on_stales[] = { "keep", "on", "off", NULL };
        int r = check_word(f->bucketing, bucketings, "bucketing", error);

        if (r >= 0)
                r = check_word(f->on_stale, on_stales, "on_stale", error);
        if (r >= 0)
                r = check_length(f->seed, REEVE_FLAG_SEED_MAX, "seed", error);
        if (r >= 0)
                r = check_length(f->description, REEVE_DESCRIPTION_MAX, "description", error);
        if (r >= 0)
                r = check_allow(f->allow, error);
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

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pool.h"

#include <stdio.h>

#include "kind-parse.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "words.h"

static int parse_queues(const ConfEntry *e, const char *value, void *target)
{
        _cleanup_(words_freep) char **words = NULL;
        char ***queues = target;
        int r;

        r = words_parse(value, &words);
        if (r < 0)
                return r;
        if (!words[0] || words_count(words) > REEVE_POOL_QUEUES_MAX)
                return -EINVAL;
        for (char **w = words; *w; w++)
                if (!streq(*w, "*") && !name_is_valid(**w == '!' ? *w + 1 : *w))
                        return -EINVAL;
        words_free(*queues);
        *queues = TAKE_PTR(words);
        return 0;
}

static int parse_slots(const ConfEntry *e, const char *value, void *target)
{
        if (streq(value, "auto")) {
                *(unsigned *) target = 0;
                return 0;
        }
        return conf_parse_unsigned(e, value, target);
}

#define KEY(k, parser, field, text, ...)                                                           \
        {                                                                                          \
                .section = "Pool", .key = (k), .parse = (parser), .offset = offsetof(Pool, field), \
                .hint = (text), __VA_ARGS__                                                        \
        }

static const ConfEntry entries[] = {
        KEY("Queues", parse_queues, queues, "names of queues, * for all, !NAME for all but that"),
        KEY("Slots", parse_slots, slots, "auto or a number from 1 to 512", .min = 1,
                .max = REEVE_SLOTS_MAX),
        KEY("Min", conf_parse_unsigned, min, "a number from 0 to 64", .max = REEVE_WORKERS_MAX),
        KEY("Max", conf_parse_unsigned, max, "a number from 1 to 64", .min = 1,
                .max = REEVE_WORKERS_MAX),
        KEY("DrainSec", kind_parse_span, drain_usec, "a time span such as 60s"),
        KEY("RecycleJobs", conf_parse_unsigned, recycle_jobs,
                "a number from 1 to 1000000000, or 0 for never", .max = REEVE_RECYCLE_JOBS_MAX),
        {},
};

const ConfEntry *pool_entries(void)
{
        return entries;
}

Pool *pool_free(Pool *p)
{
        if (!p)
                return NULL;
        free(p->name);
        words_free(p->queues);
        return mfree(p);
}

static const ConfItem *last_item(const Conf *c, const char *key)
{
        for (size_t i = c->n_items; i-- > 0;)
                if (streq(c->items[i].key, key))
                        return c->items + i;
        return NULL;
}

int pool_new_from_conf(
        const char *name, const Conf *c, ConfReport report, void *userdata, Pool **ret)
{
        _cleanup_(pool_freep) Pool *p = NULL;
        const ConfItem *item;
        int r;

        if (!name_is_valid(name)) {
                if (report)
                        report(userdata, CONF_ERROR, c->n_items > 0 ? c->items[0].file : name, 0,
                                "not a pool's name: letters, digits, \".\", \"_\" and \"-\", "
                                "a letter or digit first");
                return -EINVAL;
        }
        p = new0(Pool, 1);
        if (!p)
                return -ENOMEM;
        p->min = p->max = 1;
        p->drain_usec = 60 * USEC_PER_SEC;
        r = free_and_strdup(&p->name, name);
        if (r < 0)
                return r;
        r = words_parse(streq(name, "inline") ? "inline" : "* !inline", &p->queues);
        if (r < 0)
                return r;

        r = conf_apply(c, entries, p, report, userdata);
        if (r < 0)
                return r;
        /* One that is not written follows the other. */
        if (p->min > p->max) {
                item = last_item(c, "Max");
                if (item && last_item(c, "Min")) {
                        if (report)
                                report(userdata, CONF_ERROR, item->file, item->line,
                                        "Max= is less than Min=");
                        return -EINVAL;
                }
                if (item)
                        p->min = p->max;
                else
                        p->max = p->min;
        }
        *ret = TAKE_PTR(p);
        return 0;
}

bool pool_serves(const Pool *p, const char *queue)
{
        bool found = false;

        for (char *const *q = p->queues; *q; q++) {
                if (**q == '!' && streq(*q + 1, queue))
                        return false;
                found = found || streq(*q, "*") || streq(*q, queue);
        }
        return found;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "flag-set.h"

#include "reeve-limits.h"

#define POLL_USEC         (1500 * USEC_PER_MSEC)
#define POLL_HINTED_USEC  (10 * USEC_PER_SEC)
#define POLL_STALE_FACTOR 3 /* so that one lost answer makes nothing stale */

typedef struct Entry {
        Flag flag;
        char *fault; /* why it cannot be evaluated */
} Entry;

struct FlagSet {
        FlagSetConfig config;
        sd_event_source *timer;
        StoreRequest *pending;
        usec_t asked_usec; /* CLOCK_BOOTTIME, as the next */
        usec_t read_usec; /* when what is here was asked for; 0: never */
        bool again; /* something may have changed since the pending question */
        Entry *entries; /* by key */
        unsigned n_entries;
};

static void entries_free(Entry *entries, unsigned n)
{
        for (unsigned i = 0; i < n; i++) {
                flag_done(&entries[i].flag);
                free(entries[i].fault);
        }
        free(entries);
}

/* ---- rows ---- */

static int fill_in(const StoreFlag *row, Flag *f)
{
        int r = free_and_strdup(&f->key, row->key);

        if (r >= 0)
                r = free_and_strdup(&f->seed, row->seed);
        if (r >= 0)
                r = free_and_strdup(&f->value_on, row->value_on);
        if (r >= 0)
                r = free_and_strdup(&f->value_off, row->value_off);
        f->enabled = row->enabled;
        f->version = row->version;
        f->updated_usec = row->updated_usec;
        return r;
}

static int read_words(const StoreFlag *row, Flag *f, JsonError *e)
{
        int bucketing = flag_bucketing_from_string(row->bucketing);
        int on_stale = flag_on_stale_from_string(row->on_stale);

        if (bucketing < 0 || on_stale < 0 || row->percent < 0 ||
                row->percent > REEVE_FLAG_PERCENT_MAX) {
                json_error_set(e, "", 0, "unknown bucketing, on_stale or percentage");
                return -EINVAL;
        }
        f->bucketing = (FlagBucketing) bucketing;
        f->on_stale = (FlagOnStale) on_stale;
        f->percent = (unsigned) row->percent;
        return 0;
}

/* What could be read stays in f. */
static int read_row(const StoreFlag *row, Flag *f, JsonError *e)
{
        int r;

        f->on_stale = FLAG_STALE_OFF;
        r = fill_in(row, f);
        if (r >= 0)
                r = read_words(row, f, e);
        if (r >= 0)
                r = flag_allow_parse(row->allow, strlen(row->allow), &f->allow, e);
        if (r >= 0)
                r = flag_rules_parse(row->rules, strlen(row->rules), &f->rules, e);
        return r;
}

int flag_from_store(const StoreFlag *row, Flag *ret, JsonError *e)
{
        _cleanup_(flag_done) Flag f = {};
        int r = read_row(row, &f, e);

        if (r >= 0)
                *ret = STEAL(f);
        return r;
}

static int add_entry(Entry *entry, const StoreFlag *row)
{
        JsonError e = {};
        int r = read_row(row, &entry->flag, &e);

        if (r == -ENOMEM || r >= 0)
                return r;
        entry->fault = strdup(e.text);
        return entry->fault && entry->flag.key ? 0 : -ENOMEM;
}

/* ---- reading ---- */

static void ask(FlagSet *s);

static void on_flags(int error, const StoreFlag *flags, unsigned n_flags, void *userdata)
{
        FlagSet *s = userdata;
        Entry *entries;
        unsigned n = 0;
        int r = error;

        s->pending = NULL;
        entries = error < 0 ? NULL : new0(Entry, n_flags);
        while (r >= 0 && entries && n < n_flags) {
                r = add_entry(entries + n, flags + n);
                n++;
        }
        if (r < 0 || !entries) {
                entries_free(entries, n); /* it is asked for again with the next tick */
        } else {
                entries_free(s->entries, s->n_entries);
                s->entries = entries;
                s->n_entries = n;
                s->read_usec = s->asked_usec;
        }
        if (s->again)
                ask(s);
        if (r >= 0 && entries && s->config.on_read)
                s->config.on_read(s->config.userdata);
}

static void ask(FlagSet *s)
{
        s->again = s->pending != NULL;
        if (s->pending)
                return;
        s->asked_usec = now_usec(CLOCK_BOOTTIME);
        if (store_list_flags(s->config.store, NULL, on_flags, s, &s->pending) < 0)
                s->pending = NULL; /* not connected: the connection's coming is a hint */
}

void flag_set_hint(FlagSet *s)
{
        ask(s);
}

static int on_timer(sd_event_source *source, uint64_t usec, void *userdata)
{
        FlagSet *s = userdata;
        usec_t next = store_is_listening(s->config.store) ? POLL_HINTED_USEC : POLL_USEC;
        int r;

        if (!s->pending)
                ask(s);
        if (next > s->config.stale_usec / POLL_STALE_FACTOR)
                next = s->config.stale_usec / POLL_STALE_FACTOR;
        r = sd_event_source_set_time_relative(source, next);
        return r < 0 ? r : sd_event_source_set_enabled(source, SD_EVENT_ONESHOT);
}

int flag_set_new(sd_event *event, const FlagSetConfig *config, FlagSet **ret)
{
        _cleanup_(flag_set_freep) FlagSet *s = new0(FlagSet, 1);
        int r;

        if (!s)
                return -ENOMEM;
        s->config = *config;
        r = sd_event_add_time_relative(
                event, &s->timer, CLOCK_BOOTTIME, POLL_USEC, 50 * USEC_PER_MSEC, on_timer, s);
        if (r < 0)
                return r;
        (void) sd_event_source_set_description(s->timer, "flags");
        *ret = TAKE_PTR(s);
        return 0;
}

FlagSet *flag_set_free(FlagSet *s)
{
        if (!s)
                return NULL;
        store_request_cancel(s->pending);
        sd_event_source_unref(s->timer);
        entries_free(s->entries, s->n_entries);
        return mfree(s);
}

/* ---- asking the set ---- */

bool flag_set_is_loaded(const FlagSet *s)
{
        return s->read_usec > 0;
}

usec_t flag_set_age_usec(const FlagSet *s)
{
        return s->read_usec > 0 ? now_usec(CLOCK_BOOTTIME) - s->read_usec : USEC_INFINITY;
}

bool flag_set_is_stale(const FlagSet *s)
{
        return s->config.stale_usec != USEC_INFINITY && flag_set_age_usec(s) > s->config.stale_usec;
}

unsigned flag_set_count(const FlagSet *s)
{
        return s->n_entries;
}

static int compare_key(const void *key, const void *entry)
{
        return strcmp(key, ((const Entry *) entry)->flag.key);
}

const Flag *flag_set_find(const FlagSet *s, const char *key)
{
        const Entry *e = NULL;

        if (s->n_entries > 0)
                e = bsearch(key, s->entries, s->n_entries, sizeof(Entry), compare_key);
        return e ? &e->flag : NULL;
}

const Flag *flag_set_get(const FlagSet *s, unsigned i)
{
        return i < s->n_entries ? &s->entries[i].flag : NULL;
}

FlagResult flag_set_evaluate(const FlagSet *s, const Flag *flag, FlagContext *context)
{
        const Entry *e = CONTAINER_OF(flag, Entry, flag);

        if (flag->on_stale != FLAG_STALE_KEEP && flag_set_is_stale(s))
                return flag_when_stale(flag);
        if (e->fault && flag->enabled)
                return (FlagResult){ false, FLAG_ERROR, e->fault };
        return flag_context_evaluate(context, flag);
}

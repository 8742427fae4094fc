/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kind.h"

#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>

#include "kind-parse.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "words.h"

#define KEY(s, k, parser, field, text, ...)                                                        \
        {                                                                                          \
                .section = (s), .key = (k), .parse = (parser), .offset = offsetof(Kind, field),    \
                .hint = (text), __VA_ARGS__                                                        \
        }

static const ConfEntry entries[] = {
        KEY("Kind", "Description", kind_parse_text, description, "one line of text"),
        KEY("Kind", "Queue", conf_parse_name, queue, "a queue's name"),
        KEY("Kind", "Priority", conf_parse_unsigned, priority, "a number from 1 to 10", .min = 1,
                .max = 10),
        KEY("Kind", "MaxAttempts", conf_parse_unsigned, max_attempts, "a number from 1 to 1000",
                .min = 1, .max = REEVE_ATTEMPTS_MAX),
        KEY("Kind", "MaxInterruptions", conf_parse_unsigned, max_interruptions,
                "a number from 1 to 100", .min = 1, .max = REEVE_INTERRUPTIONS_BOUND),
        KEY("Kind", "RetrySec", kind_parse_span, retry.first_usec, "a time span such as 2s"),
        KEY("Kind", "RetryMaxSec", kind_parse_span, retry.max_usec, "a time span such as 60s"),
        KEY("Kind", "TimeoutSec", kind_parse_span_or_never, timeout_usec,
                "a time span such as 5min, or infinity", .min = USEC_PER_MSEC),
        KEY("Kind", "StopSec", kind_parse_span, stop_usec, "a time span such as 5s"),
        KEY("Kind", "WatchdogSec", kind_parse_span_or_never, watchdog_usec,
                "a time span such as 30s, or infinity", .min = USEC_PER_MSEC),
        KEY("Kind", "DeadlineSec", kind_parse_span_or_never, deadline_usec,
                "a time span such as 1h, or infinity", .min = USEC_PER_MSEC),
        KEY("Kind", "UniqueFor", kind_parse_span, unique_usec, "a time span such as 10min, or 0"),
        KEY("Kind", "KeepResult", kind_parse_span, keep_result_usec,
                "a time span such as 7d, or infinity", .max = USEC_INFINITY),
        KEY("Kind", "Concurrency", conf_parse_unsigned, concurrency,
                "a number of runs from 0 (no limit) to 1000000", .max = REEVE_RATE_MAX),
        KEY("Kind", "ConcurrencyKey", kind_parse_key, concurrency_key,
                "\"tenant\", \"subject\" or a JSON pointer such as /user, or several of them"),
        KEY("Kind", "RateLimit", kind_parse_rate, rate_limit,
                "runs in a time span, such as 100/1min"),
        KEY("Kind", "RateBurst", conf_parse_unsigned, rate_burst,
                "a number of runs from 1 to 1000000", .min = 1, .max = REEVE_RATE_MAX),
        KEY("Kind", "RateLimitKey", kind_parse_key, rate_key,
                "\"tenant\", \"subject\" or a JSON pointer such as /user, or several of them"),
        KEY("Kind", "OnCalendar", kind_parse_calendar, on_calendar,
                "a calendar event of systemd.time(7), such as \"Mon..Fri 08:30\""),
        KEY("Kind", "Missed", kind_parse_missed, missed, "skip or one"),
        KEY("Exec", "Start", kind_parse_command, exec.start,
                "an absolute path to a program, and its arguments quoted as in a unit file"),
        KEY("Exec", "Join", kind_parse_program, exec.join,
                "an absolute path to a program, without arguments"),
        KEY("Exec", "MaxRuns", conf_parse_unsigned, exec.max_runs, "a number from 1 to 1000000",
                .min = 1, .max = REEVE_RATE_MAX),
        KEY("Exec", "Mode", kind_parse_mode, exec.mode, "exec or persistent"),
        KEY("Exec", "Output", kind_parse_output, exec.output, "json or text"),
        KEY("Http", "Method", kind_parse_method, http.method, "GET, POST, PUT, PATCH or DELETE"),
        KEY("Http", "Url", kind_parse_url, http.url,
                "an http:// or https:// address without user name and password"),
        KEY("Http", "Credential", kind_parse_credential, http.credential, "a credential's name"),
        KEY("Http", "Body", kind_parse_template, http.body,
                "text in which each ${...} holds a JSON pointer such as ${/text}"),
        KEY("Http", "Result", kind_parse_pointer, http.result,
                "a JSON pointer such as /embeddings/0"),
        KEY("Http", "RetryStatus", kind_parse_statuses, http,
                "HTTP status codes and ranges such as 408 429 500-599"),
        KEY("Pull", "LeaseSec", kind_parse_span, pull.lease_usec,
                "a time span such as 60s, from 1s to 1d", .min = REEVE_LEASE_MIN_USEC,
                .max = REEVE_LEASE_MAX_USEC),
        {},
};

/* What a finding needs while one kind is made. */
typedef struct Check {
        const Conf *conf;
        ConfReport report;
        void *userdata;
        bool bad;
} Check;

const ConfEntry *kind_entries(void)
{
        return entries;
}

Kind *kind_free(Kind *k)
{
        if (!k)
                return NULL;
        free(k->name);
        free(k->file);
        free(k->description);
        free(k->queue);
        words_free(k->concurrency_key);
        words_free(k->rate_key);
        free(k->on_calendar);
        words_free(k->exec.start);
        words_free(k->exec.join);
        free(k->http.method);
        free(k->http.url);
        free(k->http.credential);
        free(k->http.body);
        free(k->http.result);
        free(k->http.retry_status);
        for (size_t i = 0; i < k->n_service; i++) {
                free(k->service[i].key);
                free(k->service[i].value);
                free(k->service[i].file);
        }
        free(k->service);
        return mfree(k);
}

/* The defaults that reeve.kind(5) names. */
static int kind_new(const char *name, Kind **ret)
{
        _cleanup_(kind_freep) Kind *k = NULL;
        int r;

        k = new0(Kind, 1);
        if (!k)
                return -ENOMEM;
        k->priority = 5;
        k->max_attempts = 3;
        k->max_interruptions = REEVE_INTERRUPTIONS_MAX;
        k->retry = (RetryPolicy){ .first_usec = 2 * USEC_PER_SEC, .max_usec = 60 * USEC_PER_SEC };
        k->timeout_usec = 5 * USEC_PER_MIN;
        k->stop_usec = 5 * USEC_PER_SEC;
        k->watchdog_usec = USEC_INFINITY;
        k->deadline_usec = USEC_INFINITY;
        k->keep_result_usec = 7 * USEC_PER_DAY;
        k->exec.max_runs = 1;
        k->pull.lease_usec = REEVE_LEASE_USEC;
        k->name = strdup(name);
        k->queue = strdup("default");
        k->http.method = strdup("POST");
        if (!k->name || !k->queue || !k->http.method)
                return -ENOMEM;
        r = kind_parse_statuses(NULL, "408 429 500-599", &k->http);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(k);
        return 0;
}

/* The last item of a section (any if NULL) and key (any if NULL): where a finding is shown. */
static const ConfItem *find_item(const Conf *c, const char *section, const char *key)
{
        for (size_t i = c->n_items; i-- > 0;)
                if ((!section || streq(c->items[i].section, section)) &&
                        (!key || streq(c->items[i].key, key)))
                        return c->items + i;
        return NULL;
}

static void finding(Check *k, ConfLevel level, const ConfItem *at, const char *format, ...)
        _printf_(4, 5);

static void finding(Check *k, ConfLevel level, const ConfItem *at, const char *format, ...)
{
        char text[512];
        va_list ap;

        k->bad |= level == CONF_ERROR;
        if (!k->report)
                return;
        va_start(ap, format);
        (void) vsnprintf(text, sizeof(text), format, ap);
        va_end(ap);
        k->report(k->userdata, level, at ? at->file : "", at ? at->line : 0, text);
}

/* What Reeve itself writes into the unit: twice would make it one that cannot start. */
static const char *owned_elsewhere(const char *key)
{
        static const char *const owned[][2] = {
                { "ExecStart", "Start= in [Exec] says what is run" },
                { "StandardInput", "standard input is the run's connection" },
                { "Type", "the launcher is Type=exec" },
                { "TimeoutStopSec", "StopSec= in [Kind] says it" },
                { "TimeoutSec", "TimeoutSec= and StopSec= in [Kind] say it" },
        };

        for (size_t i = 0; i < ELEMENTSOF(owned); i++)
                if (streq(owned[i][0], key))
                        return owned[i][1];
        return NULL;
}

static bool directive_is_valid(const char *key)
{
        if (!isalpha((unsigned char) *key))
                return false;
        for (; *key; key++)
                if (!isalnum((unsigned char) *key) && *key != '-')
                        return false;
        return true;
}

/* systemd ends a line at a carriage return too. */
static bool line_is_valid(const char *value)
{
        for (; *value; value++)
                if (iscntrl((unsigned char) *value) && *value != '\t')
                        return false;
        return true;
}

static int add_directive(Kind *k, const ConfItem *item)
{
        KindDirective *d = k->service + k->n_service;

        d->line = item->line;
        d->key = strdup(item->key);
        d->value = strdup(item->value);
        d->file = strdup(item->file);
        k->n_service++;
        return d->key && d->value && d->file ? 0 : -ENOMEM;
}

static int read_service(Kind *k, Check *check)
{
        const Conf *c = check->conf;
        int r;

        k->service = new0(KindDirective, c->n_items);
        if (!k->service)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_items; i++) {
                const ConfItem *item = c->items + i;
                const char *why;

                if (!streq(item->section, "Service"))
                        continue;
                why = owned_elsewhere(item->key);
                if (!directive_is_valid(item->key))
                        finding(check, CONF_ERROR, item, "%s= is no directive of a unit file",
                                item->key);
                else if (!line_is_valid(item->value))
                        finding(check, CONF_ERROR, item, "%s= holds a control character",
                                item->key);
                else if (why)
                        finding(check, CONF_ERROR, item, "%s= is not for [Service]: %s", item->key,
                                why);
                r = add_directive(k, item);
                if (r < 0)
                        return r;
        }
        return 0;
}

/* Everything but [Service] goes through the table. */
static int apply_entries(Kind *k, Check *check)
{
        const Conf *c = check->conf;
        _cleanup_(freep) ConfItem *items = NULL;
        Conf view = {};
        int r;

        view.items = items = new0(ConfItem, c->n_items);
        if (!items)
                return -ENOMEM;
        for (size_t i = 0; i < c->n_items; i++)
                if (!streq(c->items[i].section, "Service"))
                        view.items[view.n_items++] = c->items[i];

        r = conf_apply(&view, entries, k, check->report, check->userdata);
        if (r == -EINVAL) {
                check->bad = true;
                return 0;
        }
        return r;
}

static void check_type(Kind *k, Check *c)
{
        const ConfItem *exec = find_item(c->conf, "Exec", NULL);
        const ConfItem *http = find_item(c->conf, "Http", NULL);
        const ConfItem *pull = find_item(c->conf, "Pull", NULL);
        const ConfItem *service = find_item(c->conf, "Service", NULL);

        k->type = exec ? KIND_EXEC : http ? KIND_HTTP : pull ? KIND_PULL : KIND_EXEC;
        if (!!exec + !!http + !!pull > 1)
                finding(c, CONF_ERROR, pull ? pull : http,
                        "a kind has [Exec], [Http] or [Pull], not two of them");
        else if (!exec && !http && !pull)
                finding(c, CONF_ERROR, find_item(c->conf, NULL, NULL),
                        "neither [Exec] with Start= nor [Http] with Url= nor [Pull] with LeaseSec= "
                        "is there");
        else if (exec && !k->exec.start && !c->bad)
                finding(c, CONF_ERROR, exec, "Start= is missing in [Exec]");
        else if (http && !k->http.url && !c->bad)
                finding(c, CONF_ERROR, http, "Url= is missing in [Http]");
        if (k->type != KIND_EXEC && service)
                finding(c, CONF_WARNING, service,
                        "[Service] does nothing in a kind with [%s]: it has no unit",
                        http ? "Http" : "Pull");
}

unsigned kind_rate_burst(const KindRate *rate)
{
        usec_t n = rate->n * (100 * USEC_PER_MSEC) / rate->interval_usec;

        return n < 1 ? 1 : n > rate->n ? rate->n : (unsigned) n;
}

static void check_together(Kind *k, Check *c)
{
        const ConfItem *max = find_item(c->conf, "Kind", "RetryMaxSec");

        if (k->retry.max_usec < k->retry.first_usec) {
                if (max)
                        finding(c, CONF_ERROR, max, "RetryMaxSec= is less than RetrySec=");
                else
                        k->retry.max_usec = k->retry.first_usec;
        }
        if (k->concurrency_key && k->concurrency == 0)
                finding(c, CONF_ERROR, find_item(c->conf, "Kind", "ConcurrencyKey"),
                        "ConcurrencyKey= needs Concurrency=, the number of runs for one key");
        if (k->rate_limit.n == 0 && (k->rate_key || k->rate_burst > 0))
                finding(c, CONF_ERROR,
                        find_item(c->conf, "Kind", k->rate_key ? "RateLimitKey" : "RateBurst"),
                        "%s= needs RateLimit=", k->rate_key ? "RateLimitKey" : "RateBurst");
        else if (k->rate_limit.n > 0 && k->rate_burst == 0)
                k->rate_burst = kind_rate_burst(&k->rate_limit);
        /* How far ahead a bucket can be: the database has no instant beyond some 290,000 years. */
        if (k->rate_limit.n > 0 &&
                k->rate_limit.interval_usec / k->rate_limit.n > REEVE_SPAN_MAX_USEC / k->rate_burst)
                finding(c, CONF_ERROR, find_item(c->conf, "Kind", "RateBurst"),
                        "RateBurst= would be whole again after more than ten years at this "
                        "RateLimit=");
        if (k->missed != KIND_MISSED_SKIP && !k->on_calendar)
                finding(c, CONF_WARNING, find_item(c->conf, "Kind", "Missed"),
                        "Missed= does nothing without OnCalendar=");
        if (k->exec.mode == KIND_MODE_PERSISTENT && k->exec.output == KIND_OUTPUT_TEXT)
                finding(c, CONF_ERROR, find_item(c->conf, "Exec", "Output"),
                        "Output=text is not possible with Mode=persistent: its answers are JSON "
                        "lines");
}

static int set_hash(Kind *k)
{
        _cleanup_(strbuf_done) StrBuf text = {};

        kind_format(k, &text);
        if (strbuf_error(&text) < 0)
                return strbuf_error(&text);
        return sha256_hex(strbuf_str(&text), text.len, k->hash);
}

int kind_new_from_conf(
        const char *name, const Conf *c, ConfReport report, void *userdata, Kind **ret)
{
        Check check = { .conf = c, .report = report, .userdata = userdata };
        _cleanup_(kind_freep) Kind *k = NULL;
        int r;

        if (!name_is_valid(name)) {
                finding(&check, CONF_ERROR, find_item(c, NULL, NULL),
                        "%.100s is not a kind's name: letters, digits, \".\", \"_\" and \"-\", at "
                        "most %u, a letter or digit first",
                        name, REEVE_NAME_MAX);
                return -EINVAL;
        }

        r = kind_new(name, &k);
        if (r < 0)
                return r;
        r = free_and_strdup(&k->file, c->n_items > 0 ? c->items[0].file : "");
        if (r < 0)
                return r;
        r = apply_entries(k, &check);
        if (r < 0)
                return r;
        r = read_service(k, &check);
        if (r < 0)
                return r;
        check_type(k, &check);
        check_together(k, &check);
        if (check.bad)
                return -EINVAL;

        r = set_hash(k);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(k);
        return 0;
}

const char *kind_service_get(const Kind *k, const char *key)
{
        for (size_t i = k->n_service; i-- > 0;)
                if (streq(k->service[i].key, key))
                        return k->service[i].value;
        return NULL;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "kind.h"

#include "words.h"

static const char *const type_names[] = {
        [KIND_EXEC] = "exec", [KIND_HTTP] = "http", [KIND_PULL] = "pull"
};
static const char *const mode_names[] = {
        [KIND_MODE_EXEC] = "exec",
        [KIND_MODE_PERSISTENT] = "persistent",
};
static const char *const output_names[] = {
        [KIND_OUTPUT_JSON] = "json",
        [KIND_OUTPUT_TEXT] = "text",
};
static const char *const missed_names[] = {
        [KIND_MISSED_SKIP] = "skip",
        [KIND_MISSED_ONE] = "one",
};

const char *kind_type_to_string(KindType t)
{
        return type_names[t];
}

const char *kind_mode_to_string(KindMode m)
{
        return mode_names[m];
}

const char *kind_output_to_string(KindOutput o)
{
        return output_names[o];
}

const char *kind_missed_to_string(KindMissed m)
{
        return missed_names[m];
}

static void put_text(StrBuf *b, const char *key, const char *value)
{
        if (value)
                strbuf_printf(b, "%s=%s\n", key, value);
}

static void put_number(StrBuf *b, const char *key, unsigned v)
{
        strbuf_printf(b, "%s=%u\n", key, v);
}

/* Exact, unlike format_timespan(). */
static void put_span(StrBuf *b, const char *key, usec_t v)
{
        if (v == USEC_INFINITY)
                strbuf_printf(b, "%s=infinity\n", key);
        else
                strbuf_printf(b, "%s=%lluus\n", key, (unsigned long long) v);
}

static void put_command(StrBuf *b, const char *key, char **words)
{
        if (!words)
                return;
        strbuf_printf(b, "%s=", key);
        words_quote(b, words, 0);
        strbuf_putc(b, '\n');
}

static void put_kind(StrBuf *b, const Kind *k)
{
        strbuf_puts(b, "[Kind]\n");
        put_text(b, "Description", k->description);
        put_text(b, "Queue", k->queue);
        put_number(b, "Priority", k->priority);
        put_number(b, "MaxAttempts", k->max_attempts);
        put_number(b, "MaxInterruptions", k->max_interruptions);
        put_span(b, "RetrySec", k->retry.first_usec);
        put_span(b, "RetryMaxSec", k->retry.max_usec);
        put_span(b, "TimeoutSec", k->timeout_usec);
        put_span(b, "StopSec", k->stop_usec);
        put_span(b, "WatchdogSec", k->watchdog_usec);
        put_span(b, "DeadlineSec", k->deadline_usec);
        put_span(b, "UniqueFor", k->unique_usec);
        put_span(b, "KeepResult", k->keep_result_usec);
        put_number(b, "Concurrency", k->concurrency);
        put_command(b, "ConcurrencyKey", k->concurrency_key);
        if (k->rate_limit.n > 0) {
                strbuf_printf(b, "RateLimit=%u/%lluus\n", k->rate_limit.n,
                        (unsigned long long) k->rate_limit.interval_usec);
                put_number(b, "RateBurst", k->rate_burst);
                put_command(b, "RateLimitKey", k->rate_key);
        }
        put_text(b, "OnCalendar", k->on_calendar);
        put_text(b, "Missed", kind_missed_to_string(k->missed));
}

static void put_exec(StrBuf *b, const Kind *k)
{
        strbuf_puts(b, "[Exec]\n");
        put_command(b, "Start", k->exec.start);
        put_command(b, "Join", k->exec.join);
        put_number(b, "MaxRuns", k->exec.max_runs);
        put_text(b, "Mode", kind_mode_to_string(k->exec.mode));
        put_text(b, "Output", kind_output_to_string(k->exec.output));
}

static void put_http(StrBuf *b, const Kind *k)
{
        strbuf_puts(b, "[Http]\n");
        put_text(b, "Method", k->http.method);
        put_text(b, "Url", k->http.url);
        put_text(b, "Credential", k->http.credential);
        put_text(b, "Body", k->http.body);
        put_text(b, "Result", k->http.result);
        strbuf_puts(b, "RetryStatus=");
        for (size_t i = 0; i < k->http.n_retry_status; i++)
                strbuf_printf(b, "%s%u-%u", i > 0 ? " " : "", k->http.retry_status[i].first,
                        k->http.retry_status[i].last);
        strbuf_putc(b, '\n');
}

void kind_format(const Kind *k, StrBuf *b)
{
        put_kind(b, k);
        if (k->type == KIND_EXEC)
                put_exec(b, k);
        else if (k->type == KIND_HTTP)
                put_http(b, k);
        else {
                strbuf_puts(b, "[Pull]\n");
                put_span(b, "LeaseSec", k->pull.lease_usec);
        }
        if (k->n_service > 0)
                strbuf_puts(b, "[Service]\n");
        for (size_t i = 0; i < k->n_service; i++)
                put_text(b, k->service[i].key, k->service[i].value);
}

void kind_put_launcher_words(StrBuf *b, const Kind *k, unsigned flags)
{
        strbuf_printf(b, " --stop-usec=%llu", (unsigned long long) k->stop_usec);
        if (k->timeout_usec != USEC_INFINITY)
                strbuf_printf(b, " --timeout-usec=%llu", (unsigned long long) k->timeout_usec);
        if (k->watchdog_usec != USEC_INFINITY)
                strbuf_printf(b, " --watchdog-usec=%llu", (unsigned long long) k->watchdog_usec);
        strbuf_printf(
                b, " --max-runs=%u --mode=%s", k->exec.max_runs, kind_mode_to_string(k->exec.mode));
        if (k->exec.output != KIND_OUTPUT_JSON)
                strbuf_printf(b, " --output=%s", kind_output_to_string(k->exec.output));
        if (k->exec.join) {
                strbuf_puts(b, " --join=");
                words_quote(b, k->exec.join, flags);
        }
        strbuf_puts(b, " -- ");
        words_quote(b, k->exec.start, flags);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "json-writer.h"
#include "log.h"
#include "random-util.h"
#include "worker-private.h"

int worker_start_holds(Worker *w)
{
        w->holds = new0(KindHold, w->kinds->n_kinds);
        w->held = (const char **) new0(char *, w->kinds->n_kinds + 1);
        return w->holds && w->held ? 0 : -ENOMEM;
}

KindHold *worker_hold_of(const Worker *w, const Kind *kind)
{
        size_t i = 0;

        while (w->kinds->kinds[i] != kind)
                i++;
        return w->holds + i;
}

bool worker_holds_kind(const Worker *w, const Kind *kind)
{
        return kind_hold_is_on(worker_hold_of(w, kind), now_usec(CLOCK_MONOTONIC));
}

const char *const *worker_held_kinds(Worker *w)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);
        size_t n = 0;

        for (size_t i = 0; i < w->kinds->n_kinds; i++)
                if (kind_hold_is_on(w->holds + i, now))
                        w->held[n++] = w->kinds->kinds[i]->name;
        w->held[n] = NULL;
        return (const char *const *) w->held;
}

void worker_hold_kind(Worker *w, const Kind *kind, const char *code, const char *message)
{
        KindHold *h = worker_hold_of(w, kind);
        usec_t now = now_usec(CLOCK_MONOTONIC);
        char span[TIMESPAN_MAX];

        if (!kind_hold_begin(h, &kind->retry, code, message, now, random_spread()))
                return;
        if (h->n == 1)
                h->since_usec = now_usec(CLOCK_REALTIME);
        w->faults_told = false;
        log_warning("Kind %s cannot be run here: %s: %s. Its jobs wait and use up no attempt; "
                    "trying again in %s.",
                kind->name, h->code, h->message,
                format_timespan(
                        span, (h->until_usec - now) / (100 * USEC_PER_MSEC) * 100 * USEC_PER_MSEC));
}

void worker_kind_runs(Worker *w, const Kind *kind)
{
        if (!kind_hold_end(worker_hold_of(w, kind)))
                return;
        w->faults_told = false;
        log_info("Kind %s can be run again.", kind->name);
}

/* ---- who is told ---- */

static void put_fault(JsonWriter *j, const char *kind, const char *code, const char *message)
{
        json_open_object(j, NULL);
        json_put_string(j, "kind", kind);
        json_put_string(j, "code", code);
        json_put_string(j, "message", message);
}

static int write_faults(const Worker *w, StrBuf *b)
{
        JsonWriter j = json_writer(b);
        char since[RFC3339_MAX];

        json_open_array(&j, NULL);
        for (size_t i = 0; i < w->kinds->n_refused; i++) {
                put_fault(&j, w->kinds->refused[i].name, "KIND_KEPT_OUT", w->kinds->refused[i].why);
                json_close(&j);
        }
        for (size_t i = 0; i < w->kinds->n_kinds; i++) {
                const KindHold *h = w->holds + i;

                if (h->n == 0)
                        continue;
                put_fault(&j, w->kinds->kinds[i]->name, h->code, h->message);
                json_put_string(&j, "since", format_rfc3339(since, h->since_usec));
                json_close(&j);
        }
        json_close(&j);
        return json_writer_end(&j);
}

static void on_told(int error, void *userdata)
{
        Worker *w = userdata;

        if (error == 0)
                return;
        worker_note_error(w, error);
        w->faults_told = false;
}

void worker_tell_faults(Worker *w)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        if (w->faults_told || write_faults(w, &b) < 0)
                return;
        w->faults_told = store_set_faults(w->store, w->instance, strbuf_str(&b), on_told, w) >= 0;
}

void worker_describe_faults(const Worker *w, char *buf, size_t size)
{
        const char *name = NULL, *code = NULL;
        size_t n = w->kinds->n_refused;

        if (n > 0) {
                name = w->kinds->refused[0].name;
                code = "KIND_KEPT_OUT";
        }
        for (size_t i = 0; i < w->kinds->n_kinds; i++)
                if (w->holds[i].n > 0) {
                        name = w->kinds->kinds[i]->name;
                        code = w->holds[i].code;
                        n++;
                }
        if (n == 0)
                buf[0] = '\0';
        else if (n == 1)
                (void) snprintf(buf, size, "; cannot run kind %s (%s)", name, code);
        else
                (void) snprintf(
                        buf, size, "; cannot run %zu kinds, %s (%s) among them", n, name, code);
}

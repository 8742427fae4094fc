/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "json-check.h"
#include "json-writer.h"
#include "log.h"
#include "memfd-util.h"
#include "random-util.h"
#include "reeve-limits.h"
#include "run-shortage.h"
#include "store-children.h"
#include "worker-private.h"

#define ENDS_BATCH_MAX 200U

/* The pause before an end whose rows somebody holds is tried again. Each try may take the
 * connection for lock_timeout (bootstrap.sql). */
#define HELD_USEC (3 * USEC_PER_SEC)

/* The pause before it is tried again to keep what there was no room for. */
#define ROOM_USEC (2 * USEC_PER_SEC)

/* One batch on its way: the runs in the order in which they were sent. */
typedef struct Batch {
        unsigned n;
        unsigned n_asked; /* runs whose files are being named: their ends wait for it */
        int error; /* of one of these */
        bool held; /* one that somebody held when it was tried before */
        Run *runs[ENDS_BATCH_MAX];
} Batch;

/* ---- outcomes
 * ----------------------------------------------------------------------------------------------------
 */

/* The verdict becomes the run's outcome. */
static int set_outcome(Run *r, const Verdict *v)
{
        Outcome *o = &r->outcome;
        int e = 0;

        o->state = v->state;
        o->cause = v->cause;
        o->counts = v->counts;
        o->delay_usec = v->delay_usec;
        if (v->error_code[0]) {
                e = free_and_strdup(&o->error_code, v->error_code);
                if (e >= 0)
                        e = free_and_strdup(&o->error_message, v->error_message);
        }
        if (e >= 0 && v->result) {
                o->result = strndup(v->result, v->result_size);
                e = o->result ? 0 : -ENOMEM;
        }
        return e;
}

static void end_with(Run *r, const Verdict *v)
{
        if (set_outcome(r, v) < 0)
                log_oom(); /* state and cause are there: only the words are lost */
        run_ended(r);
}

void run_interrupted(Run *r, const char *cause)
{
        Verdict v;

        if (r->stopping)
                v = (Verdict){ .state = r->stop_reason == RUN_CANCELLED ? "cancelled" : "ready",
                        .cause = run_cause_to_string(r->stop_reason),
                        .counts = STORE_COUNTS_NEITHER };
        else
                verdict_of_interruption(cause, r->interruptions, r->max_interruptions, &v);
        if (!r->stopping && !r->started && streq(v.state, "ready")) {
                /* A unit that does not even start would use up all interruptions in a moment. */
                v.state = "scheduled";
                v.delay_usec = retry_delay_usec(
                        &r->kind->retry, (unsigned) r->interruptions + 1, 0, random_spread());
        }
        end_with(r, &v);
}

void run_stopped_early(Run *r, RunCause reason)
{
        r->stopping = true;
        r->stop_reason = reason;
        run_interrupted(r, NULL);
}

void run_give_back(Run *r)
{
        const Verdict v = { .state = "ready", .cause = "not-run", .counts = STORE_COUNTS_NEITHER };

        end_with(r, &v);
}

void run_no_handler(Run *r, const char *cause, const char *code, const char *message)
{
        const Kind *kind = r->kind;
        Verdict v;

        if (!code) { /* as the kind has it already */
                const KindHold *h = worker_hold_of(r->worker, kind);

                verdict_of_no_handler("not-run", h->code, h->message, &v);
        } else {
                worker_hold_kind(r->worker, kind, code, message);
                verdict_of_no_handler(cause, code, message, &v);
        }
        if (r->stopping && r->stop_reason == RUN_CANCELLED)
                v.state = "cancelled";
        end_with(r, &v);
}

void run_failed_early(Run *r, const char *cause, const char *code, const char *message)
{
        Verdict v = { .state = "failed", .cause = cause, .counts = STORE_COUNTS_ATTEMPT };

        if (retry_next(&r->kind->retry, r->attempt, r->max_attempts, 0, random_spread(),
                    &v.delay_usec))
                v.state = "scheduled";
        verdict_set_error(&v, code, message);
        end_with(r, &v);
}

/* The result as JSON text, NULL if there is none that can be used. The launcher has checked it, but
 * a hostile handler may speak in its launcher's place. */
static int read_result(const RunFrame *end, int fd, char **ret)
{
        _cleanup_(freep) char *text = NULL;
        size_t size = 0;
        int e;

        if (fd < 0 || (end->end.result != RUN_RESULT_OK && end->end.result != RUN_RESULT_TEXT))
                return 0;
        e = memfd_read(fd, REEVE_RESULT_MAX, &text, &size);
        if (e < 0)
                return e;

        if (end->end.result == RUN_RESULT_TEXT) {
                _cleanup_(strbuf_done) StrBuf b = {};
                JsonWriter j = json_writer(&b);

                json_put_string_n(&j, NULL, text, size);
                e = json_writer_end(&j);
                if (e < 0)
                        return e;
                *ret = strbuf_steal(&b);
                return *ret ? 0 : -ENOMEM;
        }
        if (json_check(text, size, REEVE_RESULT_DEPTH_MAX, NULL) < 0)
                return -EBADMSG;
        *ret = TAKE_PTR(text);
        return 0;
}

static int take_usage(Run *r, const RunFrame *end)
{
        Outcome *o = &r->outcome;

        o->exit_status = end->end.exit;
        o->exit_signal = end->end.signal;
        o->cpu_usec = end->end.cpu_usec;
        o->max_rss = end->end.max_rss;
        return free_and_strdup(&o->log, end->end.log && end->end.log[0] ? end->end.log : NULL);
}

int run_take_end(Run *r, const RunFrame *end, int fd)
{
        _cleanup_(freep) char *result = NULL;
        VerdictInput input = {
                .kind = r->kind,
                .end = end,
                .attempt = r->attempt,
                .max_attempts = r->max_attempts,
                .interruptions = r->interruptions,
                .max_interruptions = r->max_interruptions,
                .random = random_spread(),
                .join = r->flags & STORE_FLAG_JOIN,
        };
        bool ran = end->end.cause != RUN_MISSING && end->end.cause != RUN_NOT_EXECUTABLE &&
                (end->end.cause != RUN_INPUT_ERROR || !end->end.error_code);
        Verdict v;
        int e;

        if (ran)
                worker_note_duration(r->worker, r->kind, end->end.wall_usec);
        e = read_result(end, fd, &result);
        if (e == -ENOMEM)
                return e;
        if (e < 0) {
                take_usage(r, end);
                run_failed_early(r, "exit", "NOT_JSON", "the handler's result cannot be read");
                return 0;
        }
        input.result = result;
        e = verdict_of_run(&input, &v);
        if (e >= 0 && !ran)
                worker_hold_kind(r->worker, r->kind, v.error_code, v.error_message);
        if (e >= 0)
                e = take_usage(r, end);
        if (e >= 0) {
                e = set_outcome(r, &v);
                r->outcome.children = v.children;
                r->outcome.children_at_once = v.at_once;
                r->outcome.progress_from = v.progress_from;
                r->outcome.progress_to = v.progress_to;
        }
        if (e < 0)
                return e;
        run_ended(r);
        return 0;
}

/* ---- keeping files
 * -----------------------------------------------------------------------------------------------
 */

static void mark_ended(Run *r)
{
        Worker *w = r->worker;

        if (STEAL(r->again_usec) > 0)
                worker_kind_runs(w, r->kind); /* there was room in the end */
        r->state = RUN_ENDED;
        w->n_ended++;
        if (sd_event_source_set_enabled(w->end_defer, SD_EVENT_ONESHOT) < 0)
                worker_send_ends(w);
}

static bool waits_for_room(const Run *r)
{
        return r->state == RUN_KEEPING && r->again_usec > 0;
}

/* The work is done: its result is not thrown away for what the host may have again in a moment.
 * Meanwhile the kind is held, and the run takes a slot's place. */
static void wait_for_room(Run *r, const char *code, int error)
{
        char text[200];

        (void) snprintf(text, sizeof(text), "what its runs have written cannot be kept (%s)",
                strerror(-error)); // NOLINT(concurrency-mt-unsafe)
        worker_hold_kind(r->worker, r->kind, code, text);
        r->writer = blob_writer_free(r->writer);
        r->again_usec = now_usec(CLOCK_MONOTONIC) + ROOM_USEC;
        r->state = RUN_KEEPING;
}

void worker_keep_again(Worker *w)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        for (const Run *r = w->runs; r; r = r->next)
                if (waits_for_room(r) && r->again_usec <= now) {
                        (void) sd_event_source_set_enabled(w->keep_defer, SD_EVENT_ONESHOT);
                        return;
                }
}

unsigned worker_n_without_room(const Worker *w)
{
        unsigned n = 0;

        for (const Run *r = w->runs; r; r = r->next)
                n += waits_for_room(r);
        return n;
}

bool run_leave_room(Run *r, RunCause reason)
{
        if (!waits_for_room(r))
                return false;
        r->again_usec = 0;
        run_drop_files(r);
        r->outcome.children = mfree(r->outcome.children);
        r->outcome.result = mfree(r->outcome.result);
        r->outcome.result_blob = mfree(r->outcome.result_blob);
        run_stopped_early(r, reason);
        return true;
}

static void keep_failed(Run *r, int error)
{
        const char *code = run_shortage_code(error);

        if (code) {
                wait_for_room(r, code, error);
                return;
        }
        log_warning_errno(
                error, "Failed to keep the output of run %lld: %m", (long long) r->run_id);
        r->outcome.children = mfree(r->outcome.children);
        r->outcome.result = mfree(r->outcome.result);
        r->outcome.counts = STORE_COUNTS_ATTEMPT;
        run_drop_files(r);
        run_failed_early(r, "exit", "OUTPUT_NOT_KEPT", strerror(-error));
}

/* One step of one run in an iteration, so that a gigabyte of output holds nobody up. */
static int on_keep(sd_event_source *s, void *userdata)
{
        Worker *w = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        int e;

        for (Run *r = w->runs; r; r = r->next) {
                if (r->state != RUN_KEEPING || r->again_usec > now)
                        continue;
                e = run_keep_step(r);
                if (e < 0)
                        keep_failed(r, e);
                else if (e == 0)
                        mark_ended(r);
                return sd_event_source_set_enabled(s, SD_EVENT_ONESHOT);
        }
        return 0;
}

void run_ended(Run *r)
{
        Worker *w = r->worker;
        int e;

        if (r->state == RUN_QUEUED)
                w->n_queued--;
        r->deadline_usec = 0;
        r->request = store_request_cancel(r->request);
        e = run_keep_step(r);
        if (e < 0) {
                keep_failed(r, e);
                return;
        }
        if (e == 0) {
                mark_ended(r);
                return;
        }
        r->state = RUN_KEEPING;
        e = sd_event_source_set_enabled(w->keep_defer, SD_EVENT_ONESHOT);
        if (e < 0)
                keep_failed(r, e);
}

/* ---- into the database
 * ------------------------------------------------------------------------------------------- */

static const char *job_fields(const Run *r, const char *fields[static 11])
{
        static char run_id[24];

        snprintf(run_id, sizeof(run_id), "%lld", (long long) r->run_id);
        fields[0] = "REEVE_JOB_ID";
        fields[1] = r->job;
        fields[2] = "REEVE_RUN_ID";
        fields[3] = run_id;
        fields[4] = "REEVE_KIND";
        fields[5] = r->kind ? r->kind->name : NULL;
        fields[6] = "REEVE_QUEUE";
        fields[7] = r->queue;
        fields[8] = "REEVE_CAUSE";
        fields[9] = r->outcome.cause;
        fields[10] = NULL;
        return run_id;
}

/* One line for a job's end, not for its steps: the journal's rate limit is 10,000 lines in 30 s. */
static void log_end(const Run *r)
{
        const char *fields[11];
        const Outcome *o = &r->outcome;

        (void) job_fields(r, fields);
        if (streq(o->state, "succeeded"))
                (void) log_fields(LOG_DEBUG, 0, fields, "Job %s succeeded.", r->job);
        else if (streq(o->state, "ready") && o->error_code) /* said once, for the kind */
                (void) log_fields(LOG_DEBUG, 0, fields, "Job %s goes back: %s: %s", r->job,
                        o->error_code, o->error_message ? o->error_message : "");
        else
                (void) log_fields(streq(o->state, "failed") ? LOG_WARNING : LOG_INFO, 0, fields,
                        "Job %s is %s (cause %s)%s%s%s%s", r->job, o->state, o->cause,
                        o->error_code ? ": " : "", o->error_code ? o->error_code : "",
                        o->error_message ? ": " : "", o->error_message ? o->error_message : "");
}

static void run_done(Run *r, bool stale)
{
        Worker *w = r->worker;

        if (stale)
                log_info("Run %lld of job %s was somebody else's before it ended here.",
                        (long long) r->run_id, r->job);
        else
                log_end(r);
        /* One that never ran is not done. */
        w->n_done += !stale && !(streq(r->outcome.state, "ready") && r->outcome.error_code);
        w->n_failed += !stale && streq(r->outcome.state, "failed");
        run_free(r);
}

static void to_be_sent_again(Run *r)
{
        r->state = RUN_ENDED;
}

/* The server does not take what this run ended with. Once more without what came from the handler;
 * if that is refused too, the lease stays until the instance ends. */
static void run_refused(Run *r)
{
        Outcome *o = &r->outcome;
        Verdict v = { .state = "failed", .cause = o->cause, .counts = STORE_COUNTS_ATTEMPT };

        if (streq_ptr(o->error_code, "REFUSED")) {
                log_error("The database refuses the end of run %lld: %s", (long long) r->run_id,
                        store_last_error(r->worker->store));
                run_free(r);
                return;
        }
        verdict_set_error(
                &v, o->children ? "BAD_CHILDREN" : "REFUSED", store_last_error(r->worker->store));
        o->children = mfree(o->children);
        o->result = mfree(o->result);
        o->result_blob = mfree(o->result_blob);
        o->log = mfree(o->log);
        run_drop_files(r);
        if (set_outcome(r, &v) < 0)
                log_oom();
        to_be_sent_again(r);
}

static bool is_among(int64_t id, const int64_t *ids, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (ids[i] == id)
                        return true;
        return false;
}

/* -EAGAIN: somebody holds a row that one of them needs, maybe for long: reeve.cancel() in a
 * transaction that is left open. */
static void batch_failed(Worker *w, Batch *b, int error)
{
        bool refused = error == -EIO || error == -EPROTO, singly = refused || error == -EAGAIN;

        if (refused && b->n == 1)
                run_refused(b->runs[0]);
        else
                for (unsigned i = 0; i < b->n; i++) {
                        /* One of them is to blame: singly they tell which. */
                        b->runs[i]->alone = b->runs[i]->alone || singly;
                        if (error == -EAGAIN && b->n == 1)
                                b->runs[i]->again_usec = now_usec(CLOCK_MONOTONIC) + HELD_USEC;
                        to_be_sent_again(b->runs[i]);
                }
        w->retry_ends = true; /* with the next tick, or when the database is back */
        if (error == -EIO || error == -EAGAIN)
                worker_send_ends(w);
}

static void on_ended(int error, const int64_t *run_ids, unsigned n_run_ids, void *userdata)
{
        Worker *w = userdata;
        _cleanup_(freep) Batch *b = TAKE_PTR(w->batch);

        w->sending_ends = false;
        if (error < 0) {
                batch_failed(w, b, error);
                return;
        }
        w->last_claim_usec = now_usec(CLOCK_MONOTONIC);
        for (unsigned i = 0; i < b->n; i++)
                run_done(b->runs[i], !is_among(b->runs[i]->run_id, run_ids, n_run_ids));
        worker_send_ends(w);
        worker_claim(w);
        worker_check_drained(w);
}

static void on_spawned(int error, int64_t n, void *userdata)
{
        Worker *w = userdata;
        _cleanup_(freep) Batch *b = TAKE_PTR(w->batch);

        w->sending_ends = false;
        if (error < 0) {
                batch_failed(w, b, error);
                return;
        }
        log_debug("Job %s waits for %lld children.", b->runs[0]->job, (long long) n);
        w->n_done++;
        run_free(b->runs[0]);
        worker_send_ends(w);
        worker_claim(w);
        worker_check_drained(w);
}

static StoreEndedRun ended_run(const Run *r)
{
        const Outcome *o = &r->outcome;

        return (StoreEndedRun){ .run_id = r->run_id,
                .run_key = r->run_key,
                .state = o->state,
                .cause = o->cause,
                .exit_status = o->exit_status,
                .exit_signal = o->exit_signal,
                .error_code = o->error_code,
                .error_message = o->error_message,
                .result = o->result_blob ? NULL : o->result,
                .result_blob = o->result_blob,
                .delay_usec = o->delay_usec,
                .cpu_usec = o->cpu_usec,
                .max_rss = o->max_rss,
                .unit = r->unit,
                .log = o->log,
                .counts = o->counts };
}

static int send_ends(Worker *w, Batch *b);

static void on_files(int error, void *userdata)
{
        Worker *w = userdata;
        Batch *b = w->batch;

        if (error < 0)
                b->error = error;
        if (--b->n_asked > 0)
                return;
        if (b->error >= 0)
                b->error = send_ends(w, b);
        if (b->error >= 0)
                return;
        w->batch = NULL;
        w->sending_ends = false;
        batch_failed(w, b, b->error);
        free(b);
}

/* References to blobs are there before the run has ended: without them a success would have lost
 * its files. */
static int send_files(Run *r, Batch *b)
{
        _cleanup_(freep) StoreFile *files = new0(StoreFile, r->n_files + 1);
        StoreFiles added = { .run = { r->run_id, r->run_key }, .files = files };
        unsigned n = 0;
        int e;

        if (!files)
                return -ENOMEM;
        for (unsigned i = 0; i < r->n_kept; i++)
                files[n++] = (StoreFile){ "output", r->files[i].name, r->files[i].digest,
                        r->files[i].size };
        if (r->outcome.result_blob)
                files[n++] = (StoreFile){ "result", "", r->outcome.result_blob,
                        strlen(r->outcome.result) };
        if (n == 0)
                return 0;
        added.n_files = n;
        e = store_add_files(r->worker->store, &added, on_files, r->worker, NULL);
        b->n_asked += e >= 0;
        return e;
}

static int send_ends(Worker *w, Batch *b)
{
        StoreEndedRun runs[ENDS_BATCH_MAX];
        const StoreEndedRuns ended = { runs, b->n, w->host, w->name };
        const Run *first = b->runs[0];

        for (unsigned i = 0; i < b->n; i++)
                runs[i] = ended_run(b->runs[i]);
        if (first->outcome.children) {
                const Outcome *o = &first->outcome;
                const StoreSpawn spawn = { first->run_id, first->run_key, o->children, w->name,
                        o->children_at_once, o->progress_from, o->progress_to };

                return store_spawn_children(w->store, &spawn, on_spawned, w, NULL);
        }
        return store_end_runs(w->store, &ended, on_ended, w, NULL);
}

static int send_batch(Worker *w, Batch *b)
{
        int e = 0;

        for (unsigned i = 0; i < b->n && e >= 0; i++)
                e = send_files(b->runs[i], b);
        if (b->n_asked == 0)
                return e < 0 ? e : send_ends(w, b);
        b->error = e;
        return 0;
}

/* Those that can go together; one that asks for children goes alone, and so does one of a batch
 * that was refused. held: one that had to wait for somebody, if there is one whose pause is over.
 */
static unsigned gather(Worker *w, Batch *b, bool held)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        for (Run *r = w->runs; r && b->n < ENDS_BATCH_MAX; r = r->next) {
                bool alone = r->outcome.children || r->alone;

                if (r->state != RUN_ENDED || (r->again_usec > 0) != held || r->again_usec > now ||
                        (alone && b->n > 0))
                        continue;
                b->runs[b->n++] = r;
                if (alone)
                        break;
        }
        b->held = held && b->n > 0;
        return b->n;
}

/* In turn, so that however many are held, the others go on; and the other way round. */
static unsigned gather_next(Worker *w, Batch *b)
{
        bool held = !w->sent_held;
        unsigned n = gather(w, b, held);

        if (n == 0)
                n = gather(w, b, !held);
        return n;
}

void worker_send_ends(Worker *w)
{
        Batch *b;

        if (w->sending_ends || w->n_ended == 0 || !store_is_connected(w->store))
                return;
        b = new0(Batch, 1);
        if (!b) {
                log_oom();
                return;
        }
        if (gather_next(w, b) == 0 || send_batch(w, b) < 0) {
                w->retry_ends = true; /* the queue of statements is full, or memory is short */
                free(b);
                return;
        }
        w->batch = b;
        w->sending_ends = true;
        w->sent_held = b->held;
        w->retry_ends = false;
        for (unsigned i = 0; i < b->n; i++)
                b->runs[i]->state = RUN_SENT;
}

static int on_end_defer(sd_event_source *s, void *userdata)
{
        worker_send_ends(userdata);
        return 0;
}

int worker_start_ends(Worker *w)
{
        int e;

        e = sd_event_add_defer(w->event, &w->end_defer, on_end_defer, w);
        if (e >= 0)
                e = sd_event_source_set_enabled(w->end_defer, SD_EVENT_OFF);
        if (e >= 0)
                e = sd_event_source_set_priority(w->end_defer, SD_EVENT_PRIORITY_NORMAL + 10);
        if (e >= 0)
                e = sd_event_add_defer(w->event, &w->keep_defer, on_keep, w);
        if (e >= 0)
                e = sd_event_source_set_enabled(w->keep_defer, SD_EVENT_OFF);
        if (e >= 0)
                e = sd_event_source_set_priority(w->keep_defer, SD_EVENT_PRIORITY_NORMAL + 20);
        return e;
}

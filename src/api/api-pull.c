/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-pull.h"

#include "api-auth.h"
#include "api-jobs.h"
#include "lane-table.h"
#include "log.h"
#include "parse-util.h"
#include "store-instance.h"
#include "store-pull.h"

/* POST /api/queues/{queue}/claim. Claims that wait stand in one list; one statement at a time
 * claims for the first of them that a known lane may have something for, so that many pullers cost
 * no more than one. The table of lanes is the worker's. */

#define POLL_MIN_USEC (20 * USEC_PER_MSEC)
#define POLL_MAX_USEC (200 * USEC_PER_MSEC)

typedef struct Puller Puller;
struct Puller {
        Pullers *all;
        Puller *prev, *next;
        Call *call;
        JsonDocument *document; /* what the strings are in */
        const char *queue;
        const char **kinds; /* NULL-terminated */
        const char *name; /* who pulls */
        unsigned n;
        usec_t lease_usec;
        usec_t wait_usec;
        usec_t until_usec; /* CLOCK_MONOTONIC */
};

struct Pullers {
        Api *api;
        Puller *first, *last;
        unsigned n;
        LaneTable lanes;
        ClaimRules rules;
        sd_event_source *timer;
        usec_t poll_usec;
        usec_t searched_usec;
        bool found_all; /* by the last search */
        bool busy; /* a statement is on its way */
        Puller *served; /* for whom; NULL: it has gone meanwhile */
        StoreCursor cursors[REEVE_CLAIM_LANES_MAX];
        unsigned n_cursors, n_asked;
};

static void serve(Pullers *all);
static void begin_round(Pullers *all);

static void unlink_puller(Puller *p)
{
        Pullers *all = p->all;

        *(p->prev ? &p->prev->next : &all->first) = p->next;
        *(p->next ? &p->next->prev : &all->last) = p->prev;
        all->n--;
        if (all->served == p)
                all->served = NULL;
}

static void free_puller(Call *c)
{
        Puller *p = c->data;

        if (p->until_usec > 0)
                unlink_puller(p);
        json_document_free(p->document);
        free((void *) p->kinds);
        free(p);
        c->data = NULL;
        c->cleanup = NULL;
        c->revoked = NULL;
}

/* What is being claimed for it just now is its last. */
static void on_revoked(Call *c)
{
        const Puller *p = c->data;

        if (p == p->all->served)
                return;
        free_puller(c);
        (void) call_lost_key(c);
}

/* ---- what a claim gave ---- */

static void put_job(JsonWriter *w, const StoreClaimedJob *j, usec_t lease_usec)
{
        json_open_object(w, NULL);
        json_put_int(w, "run_id", j->run_id);
        json_put_string(w, "run_key", j->run_key);
        json_put_string(w, "job_id", j->id);
        json_put_string(w, "kind", j->kind);
        json_put_string(w, "queue", j->queue);
        json_put_int(w, "priority", j->priority);
        json_put_string(w, "tenant", j->tenant);
        json_put_string(w, "subject", j->subject);
        json_put_int(w, "attempt", j->attempt + 1);
        json_put_int(w, "max_attempts", j->max_attempts);
        json_put_uint(w, "lease_usec", lease_usec);
        if (j->payload_blob)
                json_put_string(w, "payload_file", PULL_PAYLOAD_NAME);
        else if (j->payload)
                json_put_raw(w, "payload", j->payload, strlen(j->payload));
        else
                json_put_null(w, "payload");
        if (j->inputs)
                json_put_raw(w, "inputs", j->inputs, strlen(j->inputs));
        json_close(w);
}

/* Answers with those that are not too late; n may be 0. */
static void reply_jobs(Puller *p, const StoreClaimedJob *jobs, unsigned n)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        usec_t lease_usec = p->lease_usec;
        Call *c = p->call;
        int r;

        free_puller(c);
        json_open_object(&w, NULL);
        json_open_array(&w, "runs");
        for (unsigned i = 0; i < n; i++)
                if (!jobs[i].late)
                        put_job(&w, jobs + i, lease_usec);
        json_close(&w);
        json_close(&w);
        r = json_writer_end(&w);
        if (!call_failed(c, r))
                call_json_buf(c, 200, &b, NULL);
}

static void on_ended(int error, const int64_t *run_ids, unsigned n, void *userdata)
{
        if (error < 0)
                log_warning_errno(
                        error, "Failed to end runs that nobody took; their leases will: %m");
}

/* Jobs whose deadline has passed have failed; those that nobody waits for any more are ready again.
 */
static void end_unwanted(Pullers *all, const StoreClaimedJob *jobs, unsigned n, bool wanted)
{
        StoreEndedRun runs[REEVE_PULL_MAX];
        StoreEndedRuns ended = { .runs = runs, .host = "", .actor = "reeve-api" };

        for (unsigned i = 0; i < n; i++) {
                StoreEndedRun *e = runs + ended.n_runs;

                if (wanted && !jobs[i].late)
                        continue;
                *e = (StoreEndedRun){ .run_id = jobs[i].run_id,
                        .run_key = jobs[i].run_key,
                        .state = jobs[i].late ? "failed" : "ready",
                        .cause = jobs[i].late ? "deadline" : "not-run",
                        .exit_status = -1,
                        .counts = STORE_COUNTS_NEITHER };
                if (jobs[i].late) {
                        e->error_code = "DEADLINE";
                        e->error_message = "its deadline passed before it ran";
                }
                ended.n_runs++;
        }
        if (ended.n_runs > 0)
                on_ended(
                        store_end_runs(all->api->store, &ended, on_ended, all, NULL), NULL, 0, all);
}

static bool any_in_time(const StoreClaimedJob *jobs, unsigned n)
{
        for (unsigned i = 0; i < n; i++)
                if (!jobs[i].late)
                        return true;
        return false;
}

static void rest(Pullers *all)
{
        all->busy = false;
        if (!all->first)
                return;
        (void) sd_event_source_set_time_relative(all->timer, all->poll_usec);
        (void) sd_event_source_set_enabled(all->timer, SD_EVENT_ONESHOT);
        all->poll_usec = all->poll_usec * 2 > POLL_MAX_USEC ? POLL_MAX_USEC : all->poll_usec * 2;
}

static void on_claimed(int error, const StoreClaimedJob *jobs, unsigned n, void *userdata)
{
        Pullers *all = userdata;
        Puller *p = all->served;

        all->served = NULL;
        all->busy = false;
        if (error < 0) {
                if (p) {
                        Call *c = p->call;

                        free_puller(c);
                        call_fault(c, error);
                }
                rest(all);
                return;
        }
        lane_table_claimed(&all->lanes, all->cursors, all->n_cursors, jobs, n, n < all->n_asked);
        end_unwanted(all, jobs, n, p != NULL);
        if (p && any_in_time(jobs, n)) {
                all->poll_usec = POLL_MIN_USEC;
                reply_jobs(p, jobs, n);
        }
        serve(all);
}

/* ---- rounds ---- */

static bool is_for(const LaneEntry *e, void *userdata)
{
        const Puller *p = userdata;
        const char *tenant = p->call->caller.tenant;

        if (!streq(e->queue, p->queue) || (*tenant && !streq(e->tenant, tenant)))
                return false;
        for (const char **k = p->kinds; *k; k++)
                if (streq(*k, e->kind))
                        return true;
        return false;
}

/* Claims for the first who may get something; if there is none, the round is over. */
static void serve(Pullers *all)
{
        if (all->busy)
                return;
        for (Puller *p = all->first; p; p = p->next) {
                StoreClaim claim = { .cursors = all->cursors,
                        .kinds = p->kinds,
                        .n_jobs = p->n,
                        .lease_usec = p->lease_usec,
                        .puller = p->name };

                const LaneSkip skip = { .queues = (const char *const *) all->rules.paused,
                        .limited = (const char *const *) all->rules.limited,
                        .filter = is_for,
                        .userdata = p };

                claim.n_cursors =
                        lane_table_pick(&all->lanes, &skip, all->cursors, REEVE_CLAIM_LANES_MAX);
                if (claim.n_cursors == 0)
                        continue;
                all->n_cursors = claim.n_cursors;
                all->n_asked = p->n;
                if (store_claim_jobs(all->api->store, 0, &claim, on_claimed, all, NULL) < 0)
                        break;
                all->served = p;
                all->busy = true;
                return;
        }
        rest(all);
}

static void on_rules(int error, const StoreClaimRule *rules, unsigned n, void *userdata)
{
        Pullers *all = userdata;

        all->busy = false;
        if (error < 0 || claim_rules_set(&all->rules, rules, n) < 0) {
                rest(all);
                return;
        }
        all->searched_usec = all->found_all ? now_usec(CLOCK_MONOTONIC) : 0;
        serve(all);
}

static void on_lanes(int error, const StoreLane *lanes, unsigned n, void *userdata)
{
        Pullers *all = userdata;
        int r = error;

        all->busy = false;
        all->found_all = n < STORE_LANES_MAX;
        for (unsigned i = 0; i < n && r >= 0; i++)
                r = lane_table_add(&all->lanes, lanes + i, true);
        if (r >= 0)
                r = store_list_claim_rules(all->api->store, on_rules, all, NULL);
        if (r < 0)
                rest(all);
        else
                all->busy = true;
}

/* What it does not find at once it finds in the next round: those that are known do not wait. */
static int search(Pullers *all)
{
        _cleanup_(freep) int64_t *known = NULL;
        int r = lane_table_known(&all->lanes, &known);

        return r < 0 ? r
                     : store_find_lanes(all->api->store, known, all->lanes.n, on_lanes, all, NULL);
}

static void begin_round(Pullers *all)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (all->busy || !all->first)
                return;
        lane_table_begin_round(&all->lanes, now);
        if (now < all->searched_usec + LANE_SEARCH_USEC(&all->lanes)) {
                serve(all);
                return;
        }
        if (search(all) < 0)
                rest(all);
        else
                all->busy = true;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Pullers *all = userdata;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        Puller *next;

        for (Puller *p = all->first; p; p = next) {
                next = p->next;
                if (now >= p->until_usec && p != all->served)
                        reply_jobs(p, NULL, 0);
        }
        begin_round(all);
        return 0;
}

int pullers_new(Api *a, Pullers **ret)
{
        Pullers *all = new0(Pullers, 1);
        int r;

        if (!all)
                return -ENOMEM;
        all->api = a;
        all->poll_usec = POLL_MIN_USEC;
        r = sd_event_add_time(
                a->event, &all->timer, CLOCK_MONOTONIC, 0, USEC_PER_MSEC, on_timer, all);
        if (r >= 0)
                r = sd_event_source_set_enabled(all->timer, SD_EVENT_OFF);
        if (r < 0) {
                pullers_free(all);
                return r;
        }
        (void) sd_event_source_set_description(all->timer, "pullers");
        *ret = all;
        return 0;
}

Pullers *pullers_free(Pullers *all)
{
        if (!all)
                return NULL;
        sd_event_source_disable_unref(all->timer);
        lane_table_done(&all->lanes);
        claim_rules_done(&all->rules);
        return mfree(all);
}

void pullers_flush(Pullers *all)
{
        Puller *next;

        for (Puller *p = all->first; p; p = next) {
                next = p->next;
                if (p != all->served)
                        reply_jobs(p, NULL, 0);
        }
}

/* ---- the request ---- */

static void wait_for_jobs(Puller *p)
{
        Pullers *all = p->all;
        usec_t wait = p->call->api->stopping ? 0 : p->wait_usec;

        p->until_usec = now_usec(CLOCK_MONOTONIC) + wait;
        p->prev = all->last;
        *(all->last ? &all->last->next : &all->first) = p;
        all->last = p;
        all->n++;
        p->call->revoked = on_revoked;
        all->poll_usec = POLL_MIN_USEC;
        begin_round(all);
}

static void on_pulled_kinds(int error, const StorePulledKind *kinds, unsigned n, void *userdata)
{
        Call *c = userdata;
        Puller *p = c->data;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        for (const char **k = p->kinds; *k; k++) {
                const StorePulledKind *found = NULL;

                for (unsigned i = 0; i < n; i++)
                        if (streq(kinds[i].name, *k))
                                found = kinds + i;
                if (!found) {
                        call_problem(c, PROBLEM_UNPROCESSABLE,
                                "kinds: no worker has published a kind %s with [Pull] in its file.",
                                *k);
                        return;
                }
                if (p->lease_usec == 0 || (usec_t) found->lease_usec < p->lease_usec)
                        p->lease_usec = (usec_t) found->lease_usec;
        }
        wait_for_jobs(p);
}

/* Returns what is wrong ("": out of memory), or NULL. */
static const char *read_kinds(const JsonValue *v, Puller *p)
{
        const JsonValue *list = json_value_member(v, "kinds");
        unsigned n = list && json_value_is(list, JSON_ARRAY) ? json_value_count(list) : 0, i = 0;

        if (n == 0 || n > REEVE_POOL_QUEUES_MAX)
                return "kinds: expected an array of 1 to 256 names";
        p->kinds = (const char **) new0(char *, n + 1);
        if (!p->kinds)
                return "";
        for (const JsonValue *k = json_value_first(list, NULL); k;
                k = json_value_next(list, k, NULL))
                if (json_value_string(k, p->kinds + i++) < 0 || !name_is_valid(p->kinds[i - 1]))
                        return "kinds: expected an array of 1 to 256 names";
        return NULL;
}

static const char *read_claim(const JsonValue *v, Puller *p)
{
        const char *wrong = read_kinds(v, p), *wait = NULL;
        uint64_t n = 1;

        if (wrong)
                return wrong;
        if (json_get_uint64(v, "n", 1, REEVE_PULL_MAX, &n, NULL) < 0)
                return "n: expected a number from 1 to 100";
        p->n = (unsigned) n;
        if (pull_read_lease(v, &p->lease_usec) < 0)
                return PULL_BAD_LEASE;
        if (json_get_string(v, "wait", &wait, NULL) < 0 ||
                (wait && parse_timespan(wait, &p->wait_usec) < 0) || p->wait_usec > WAIT_MAX_USEC)
                return "wait: expected a time span of at most 60s, such as \"30s\"";
        if (json_get_string(v, "worker", &p->name, NULL) < 0 ||
                (p->name && (!*p->name || strlen(p->name) > PULL_NAME_MAX)))
                return "worker: expected a string of 1 to 128 bytes";
        if (!p->name)
                p->name = p->call->caller.actor;
        return NULL;
}

int pull_read_lease(const JsonValue *v, usec_t *ret)
{
        const char *lease = NULL;
        usec_t usec;
        int r = json_get_string(v, "lease", &lease, NULL);

        if (r < 0 || !lease)
                return r < 0 ? r : 0;
        r = parse_timespan(lease, &usec);
        if (r < 0)
                return r;
        if (usec < REEVE_LEASE_MIN_USEC || usec > REEVE_LEASE_MAX_USEC)
                return -ERANGE;
        *ret = usec;
        return 0;
}

static void claim_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        static const char *const known[] = { "kinds", "n", "lease", "wait", "worker", NULL };
        Call *c = userdata;
        Puller *p = c->data;
        const char *wrong;

        if (!call_read_json(c, data, size, known, &p->document))
                return;
        wrong = read_claim(json_document_root(p->document), p);
        if (wrong && !*wrong)
                call_fault(c, -ENOMEM);
        else if (wrong)
                call_problem(c, PROBLEM_INVALID, "%s.", wrong);
        else
                (void) call_failed(
                        c, store_list_pulled_kinds(c->api->store, on_pulled_kinds, c, &c->pending));
}

void handle_claim(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        const char *queue = http_request_get_param(r, "queue");
        Puller *p;

        if (c->caller.subject[0]) {
                call_problem(c, PROBLEM_FORBIDDEN,
                        "This key is for one subject; queues hold jobs of many.");
                return;
        }
        if (!name_is_valid(queue)) {
                call_problem(c, PROBLEM_NOT_FOUND, "There is no such queue.");
                return;
        }
        if (c->api->pullers->n >= REEVE_PULLERS_MAX) {
                call_problem(c, PROBLEM_TOO_MANY_REQUESTS, "%u claims are waiting here already.",
                        REEVE_PULLERS_MAX);
                return;
        }
        p = new0(Puller, 1);
        if (call_failed(c, p ? 0 : -ENOMEM))
                return;
        *p = (Puller){ .all = c->api->pullers, .call = c, .queue = queue };
        c->data = p;
        c->cleanup = free_puller;
        call_collect(c, 64UL * 1024, claim_collected);
}

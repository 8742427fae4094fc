/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <poll.h>
#include <stdio.h>

#include "fd-util.h"
#include "json-reader.h"
#include "json-writer.h"
#include "log.h"
#include "memfd-util.h"
#include "reeve-limits.h"
#include "run-shortage.h"
#include "store-children.h"
#include "worker-private.h"

/* Beyond the run's own limits, for a launcher to end it and to say so. */
#define LAUNCHER_GRACE_USEC (10 * USEC_PER_SEC)

/* One file to give to a run. */
typedef struct Input {
        const char *name, *digest; /* digest NULL: the children's lines */
        uint64_t size;
} Input;

static int copy_strings(Run *r, const StoreClaimedJob *job)
{
        int e = free_and_strdup(&r->run_key, job->run_key);

        if (e >= 0)
                e = free_and_strdup(&r->job, job->id);
        if (e >= 0)
                e = free_and_strdup(&r->queue, job->queue);
        if (e >= 0)
                e = free_and_strdup(&r->tenant, job->tenant);
        if (e >= 0)
                e = free_and_strdup(&r->subject, job->subject);
        if (e >= 0)
                e = free_and_strdup(&r->payload, job->payload);
        if (e >= 0)
                e = free_and_strdup(&r->payload_blob, job->payload_blob);
        if (e >= 0)
                e = free_and_strdup(&r->inputs, job->inputs);
        return e;
}

int run_new(Worker *w, const StoreClaimedJob *job, Run **ret)
{
        const Kind *kind = kind_set_find(w->kinds, job->kind);
        Run *r;

        r = new0(Run, 1);
        if (!r)
                return -ENOMEM;
        r->worker = w;
        r->kind = kind && kind->type == KIND_EXEC ? kind : NULL;
        r->run_id = job->run_id;
        r->attempt = job->attempt;
        r->interruptions = job->interruptions;
        r->max_attempts = job->max_attempts;
        r->max_interruptions = job->max_interruptions;
        r->flags = job->flags;
        r->timeout_usec = (usec_t) job->timeout_usec;
        r->progress = -1;
        r->last_child = -1;
        r->outcome.exit_status = -1;

        r->next = w->runs;
        if (r->next)
                r->next->prev = r;
        w->runs = r;
        w->n_runs++;
        r->state = RUN_PREPARING;

        if (copy_strings(r, job) < 0) {
                run_free(r);
                return -ENOMEM;
        }
        *ret = r;
        return 0;
}

Run *run_free(Run *r)
{
        Worker *w;

        if (!r)
                return NULL;
        w = r->worker;
        if (r->prev)
                r->prev->next = r->next;
        else
                w->runs = r->next;
        if (r->next)
                r->next->prev = r->prev;
        w->n_runs--;
        if (r->state == RUN_QUEUED)
                w->n_queued--;
        if (r->state == RUN_ENDED || r->state == RUN_SENT)
                w->n_ended--;
        if (r->slot)
                r->slot->run = NULL;

        store_request_cancel(r->request);
        run_drop_files(r);
        free(r->run_key);
        free(r->job);
        free(r->queue);
        free(r->tenant);
        free(r->subject);
        free(r->payload);
        free(r->payload_blob);
        free(r->inputs);
        free(r->unit);
        free(r->status);
        free(r->children_lines);
        for (unsigned i = 0; i < r->n_child_files; i++)
                free(r->child_files[i].name);
        free(r->child_files);
        free(r->outcome.error_code);
        free(r->outcome.error_message);
        free(r->outcome.result);
        free(r->outcome.result_blob);
        free(r->outcome.children);
        free(r->outcome.log);
        return mfree(r);
}

/* ---- the join phase: what the children gave
 * ---------------------------------------------------------------------- */

static void put_child(JsonWriter *j, const StoreChild *c)
{
        json_open_object(j, NULL);
        json_put_int(j, "index", c->child_no);
        json_put_string(j, "id", c->id);
        json_put_string(j, "kind", c->kind);
        json_put_string(j, "state", c->state);
        json_put_string(j, "cause", c->cause);
        if (c->result)
                json_put_raw(j, "result", c->result, strlen(c->result));
        if (c->result_blob)
                json_put_string(j, "result_blob", c->result_blob);
        if (c->error_code) {
                json_open_object(j, "error");
                json_put_string(j, "code", c->error_code);
                json_put_string(j, "message", c->error_message);
                json_close(j);
        }
        json_close(j);
}

static int add_children(Run *r, const StoreChild *children, unsigned n)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_append(&b, r->children_lines ? r->children_lines : "", r->children_size);
        for (unsigned i = 0; i < n; i++) {
                JsonWriter j = json_writer(&b);
                int e;

                put_child(&j, children + i);
                e = json_writer_end(&j);
                if (e < 0)
                        return e;
                strbuf_putc(&b, '\n');
                r->last_child = children[i].child_no;
        }
        if (strbuf_error(&b) < 0)
                return -ENOMEM;
        free(r->children_lines);
        r->children_size = b.len;
        r->children_lines = strbuf_steal(&b);
        return r->children_lines ? 0 : -ENOMEM;
}

static void enqueue_run(Run *r);

static int add_child_files(Run *r, const StoreChildFile *files, unsigned n)
{
        ChildFile *more;

        if (r->n_child_files + n > REEVE_JOIN_FILES_MAX)
                return -E2BIG;
        more = reallocarray(r->child_files, r->n_child_files + n + 1, sizeof(ChildFile));
        if (!more)
                return -ENOMEM;
        r->child_files = more;
        for (unsigned i = 0; i < n; i++) {
                ChildFile *f = r->child_files + r->n_child_files;
                bool output = streq(files[i].direction, "output");

                *f = (ChildFile){ .size = (uint64_t) files[i].size };
                (void) snprintf(f->digest, sizeof(f->digest), "%s", files[i].digest);
                if (asprintf(&f->name, output ? "children/%lld/%s" : "children/%lld.json%s",
                            (long long) files[i].child_no, files[i].name) < 0)
                        return -ENOMEM;
                r->n_child_files++;
        }
        return 0;
}

static void on_child_files(int error, const StoreChildFile *files, unsigned n, void *userdata)
{
        Run *r = userdata;

        r->request = NULL;
        if (error == 0)
                error = add_child_files(r, files, n);
        if (error == 0 && n == STORE_CHILDREN_PAGE)
                error = store_list_child_files(
                        r->worker->store, r->job, files + n - 1, on_child_files, r, &r->request);
        else if (error == 0)
                enqueue_run(r);
        if (error == -E2BIG)
                run_failed_early(r, "input-error", "TOO_MANY_FILES",
                        "its children left more than 900 files");
        else if (error < 0)
                run_give_back(r); /* the database is away: somebody will do it later */
}

static void on_children(int error, const StoreChild *children, unsigned n, void *userdata)
{
        Run *r = userdata;

        r->request = NULL;
        if (error == 0)
                error = add_children(r, children, n);
        if (error == 0 && n == STORE_CHILDREN_PAGE)
                error = store_list_children(
                        r->worker->store, r->job, r->last_child, on_children, r, &r->request);
        else if (error == 0)
                error = store_list_child_files(
                        r->worker->store, r->job, NULL, on_child_files, r, &r->request);
        if (error < 0)
                run_give_back(r); /* the database is away: somebody will do it later */
}

/* ---- a slot
 * ------------------------------------------------------------------------------------------------------
 */

/* "restart", not "start": a unit whose kind was gone while systemd read its units has lost its
 * socket, counts as active and listens no more. */
static void tell_no_socket(Run *r, int error)
{
        char text[400];

        if (r->worker->launcher)
                (void) snprintf(text, sizeof(text), "%s cannot be started (%s)",
                        r->worker->launcher, strerror(-error));
        else
                (void) snprintf(text, sizeof(text),
                        "no reeve-run-%s.socket listens on this host (%s): systemctl "
                        "daemon-reload, then "
                        "systemctl restart reeve-run-%s.socket",
                        r->kind->name, strerror(-error), r->kind->name);
        run_no_handler(r, "missing", "NO_SOCKET", text);
}

void run_no_resources(Run *r, int error)
{
        char text[200];

        (void) snprintf(text, sizeof(text),
                "the worker has none left (%s): see LimitNOFILE= of its unit", strerror(-error));
        run_no_handler(r, "not-run", run_shortage_code(error), text);
}

static void take_slot(Run *r, Slot *s)
{
        int e = 0;

        if (worker_holds_kind(r->worker, r->kind)) { /* claimed together with one that found out */
                run_no_handler(r, NULL, NULL, NULL);
                return;
        }
        if (r->state == RUN_QUEUED)
                r->worker->n_queued--;
        r->state = RUN_RUNNING;
        r->slot = s;
        s->run = r;
        if (s->state == SLOT_READY) {
                s->state = SLOT_BUSY;
                run_send(r);
                return;
        }

        e = slot_connect(s, r->kind);
        if (e >= 0)
                return;
        r->slot = NULL;
        s->run = NULL;
        if (e == -EAGAIN) { /* the socket's backlog is full: with the next slot that gets free, or
                               the next tick */
                r->state = RUN_QUEUED;
                r->worker->n_queued++;
                return;
        }
        if (run_shortage_code(e))
                run_no_resources(r, e);
        else
                tell_no_socket(r, e);
}

static void enqueue_run(Run *r)
{
        Slot *s = worker_find_slot(r->worker, r->kind);

        if (s) {
                take_slot(r, s);
                return;
        }
        r->state = RUN_QUEUED;
        r->worker->n_queued++;
}

void run_start(Run *r)
{
        if (!(r->flags & STORE_FLAG_JOIN)) {
                enqueue_run(r);
                return;
        }
        if (store_list_children(r->worker->store, r->job, -1, on_children, r, &r->request) < 0)
                run_give_back(r);
}

static Run *first_queued(const Worker *w)
{
        Run *first = NULL;

        /* New runs are put in front of the list, so the last one is the oldest. */
        for (Run *r = w->runs; r; r = r->next)
                if (r->state == RUN_QUEUED)
                        first = r;
        return first;
}

void worker_start_queued(Worker *w)
{
        Run *r;

        while (w->n_queued > 0 && (r = first_queued(w))) {
                unsigned before = w->n_queued;
                Slot *s = worker_find_slot(w, r->kind);

                if (!s)
                        return;
                take_slot(r, s);
                if (w->n_queued == before)
                        return;
        }
}

/* ---- what it is given
 * -------------------------------------------------------------------------------------------- */

/* The job's inputs and, for the join phase, the children. Returns an array that the caller frees;
 * names point into *document. */
static int list_inputs(const Run *r, JsonDocument **document, Input **ret, unsigned *ret_n)
{
        _cleanup_(freep) Input *inputs = NULL;
        const JsonValue *root = NULL;
        unsigned n = 0;
        JsonError error;
        int e;

        if (r->inputs) {
                e = json_parse(
                        r->inputs, strlen(r->inputs), REEVE_JSON_DEPTH_MAX, document, &error);
                if (e < 0)
                        return e;
                root = json_document_root(*document);
        }
        inputs = new0(Input, (root ? json_value_count(root) : 0) + r->n_child_files + 1);
        if (!inputs)
                return -ENOMEM;

        for (const JsonValue *v = root ? json_value_first(root, NULL) : NULL; v;
                v = json_value_next(root, v, NULL)) {
                if (json_get_string(v, "name", &inputs[n].name, &error) != JSON_FOUND ||
                        json_get_string(v, "blob", &inputs[n].digest, &error) != JSON_FOUND ||
                        json_get_uint64(v, "size", 0, INT64_MAX, &inputs[n].size, &error) !=
                                JSON_FOUND)
                        return -EBADMSG;
                n++;
        }
        if (r->flags & STORE_FLAG_JOIN) {
                inputs[n].name = "children.ndjson";
                inputs[n++].size = r->children_size;
        }
        for (unsigned i = 0; i < r->n_child_files; i++) {
                const ChildFile *f = r->child_files + i;

                inputs[n++] = (Input){ f->name, f->digest, f->size };
        }

        *ret = TAKE_PTR(inputs);
        *ret_n = n;
        return 0;
}

static int open_input(const Run *r, const Input *input)
{
        if (input->digest)
                return blob_open_read(r->worker->blobs, r->tenant, input->digest, NULL);
        return memfd_new_sealed(
                "reeve-children", r->children_lines ? r->children_lines : "", r->children_size);
}

static int open_payload(const Run *r)
{
        if (r->payload_blob)
                return blob_open_read(r->worker->blobs, r->tenant, r->payload_blob, NULL);
        return memfd_new_sealed("reeve-payload", r->payload, strlen(r->payload));
}

/* A launcher that is slow to read: a run with many inputs is many packets. Waits a second at most,
 * all in all rarely. */
static int send_frame(int sock, const RunFrame *f, const int *fds, unsigned n_fds)
{
        struct pollfd p = { .fd = sock, .events = POLLOUT };
        int e = run_frame_send(sock, f, fds, n_fds);

        if (e == -EAGAIN && poll(&p, 1, 1000) == 1)
                e = run_frame_send(sock, f, fds, n_fds);
        return e;
}

/* One run or inputs frame, with the descriptors of its part of the inputs. */
static int send_part(Run *r, RunFrame *f, const Input *inputs, unsigned n)
{
        RunInput named[RUN_PACKET_FDS_MAX];
        int fds[RUN_PACKET_FDS_MAX], e = 0;
        unsigned n_fds = 0;

        if (f->type == RUN_FRAME_RUN) {
                fds[n_fds] = open_payload(r);
                e = fds[n_fds] < 0 ? fds[n_fds] : 0;
                n_fds += e == 0;
        }
        for (unsigned i = 0; i < n && e == 0; i++) {
                named[i] = (RunInput){ inputs[i].name, inputs[i].size };
                fds[n_fds] = open_input(r, inputs + i);
                e = fds[n_fds] < 0 ? fds[n_fds] : 0;
                n_fds += e == 0;
        }
        if (e == 0) {
                f->inputs = named;
                f->n_inputs = n;
                e = send_frame(r->slot->fd, f, fds, n_fds);
                e = e == -ENOENT ? -EPIPE : e; /* -ENOENT below means a blob */
        }
        for (unsigned i = 0; i < n_fds; i++)
                safe_close(fds[i]);
        f->inputs = NULL;
        return e;
}

static int send_all(Run *r)
{
        _cleanup_(json_document_freep) JsonDocument *document = NULL;
        _cleanup_(freep) Input *inputs = NULL;
        unsigned n = 0, done = 0, part;
        RunFrame f = {
                .type = RUN_FRAME_RUN,
                .run_id = r->run_id,
                .run = { .job_id = r->job,
                        .kind = r->kind->name,
                        .queue = r->queue,
                        .tenant = r->tenant,
                        .subject = r->subject,
                        .attempt = (unsigned) r->attempt + 1,
                        .join = r->flags & STORE_FLAG_JOIN,
                        .timeout_usec = r->timeout_usec },
        };
        int e;

        e = list_inputs(r, &document, &inputs, &n);
        while (e == 0) {
                part = n - done < RUN_PACKET_FDS_MAX - 1 ? n - done : RUN_PACKET_FDS_MAX - 1;
                f.more = done + part < n;
                e = send_part(r, &f, inputs + done, part);
                done += part;
                if (!f.more)
                        break;
                f = (RunFrame){ .type = RUN_FRAME_INPUTS, .run_id = r->run_id };
        }
        return e;
}

void run_extend_deadline(Run *r, usec_t usec)
{
        usec_t at = now_usec(CLOCK_MONOTONIC) + r->kind->stop_usec + LAUNCHER_GRACE_USEC;

        if (usec >= USEC_INFINITY - at)
                r->deadline_usec = 0;
        else if (r->deadline_usec != 0 && at + usec > r->deadline_usec)
                r->deadline_usec = at + usec;
}

void run_send(Run *r)
{
        Slot *s = r->slot;
        int e;

        if (r->timeout_usec < USEC_INFINITY / 2)
                r->deadline_usec = now_usec(CLOCK_MONOTONIC) + r->timeout_usec +
                        r->kind->stop_usec + LAUNCHER_GRACE_USEC;
        if (free_and_strdup(&r->unit, s->unit) < 0)
                e = -ENOMEM;
        else
                e = send_all(r);
        if (e >= 0)
                return;

        if (e == -ENOENT || e == -EBADMSG || e == -EINVAL || e == -EACCES) {
                r->slot = NULL;
                slot_close(s);
                run_failed_early(r, "input-error", "INPUT_ERROR",
                        e == -ENOENT ? "an input of the job is not in the blob store of this host"
                                     : strerror(-e));
                return;
        }
        if (run_shortage_code(e) && e != -EAGAIN) {
                r->slot = NULL;
                slot_close(s);
                run_no_resources(r, e);
                return;
        }
        slot_lost(s, strerror(-e));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "verdict.h"
#include "worker.h"

/* What the files of the worker call in each other. Nothing here blocks, but for writing to the blob
 * store. */

/* worker.c: the instance's life */

typedef struct WorkerOptions {
        const char *name; /* POOL or POOL:N */
        const char *root; /* before configuration directories; NULL: none */
        const char *run_directory; /* of the kinds' sockets */
        const char *launcher; /* reeve-exec, to start it ourselves; NULL: systemd does */
        const char *blobs; /* where the blob store is */
} WorkerOptions;

/* Reads the configuration, connects in the background. Logs what is wrong. Returns 0 or -errno. */
int worker_new(sd_event *event, const WorkerOptions *options, Worker **ret);
Worker *worker_free(Worker *w);
DEFINE_CLEANUP(Worker, worker_free)
/* First time: drain. Second time: end the runs at once. */
void worker_stop(Worker *w);
/* Called whenever a run is gone: ends a drain when none is left. */
void worker_check_drained(Worker *w);
/* The instance was declared dead by somebody else: its runs are not its own any more. */
void worker_disowned(Worker *w);
/* Gives back leases of ours that we know nothing of: claims whose answer was lost. */
void worker_check_own_runs(Worker *w);

/* worker-register.c: makes the instance's row, once there is none of its name any more that lives;
 * to be called in WORKER_WAITING, again and again */

void worker_register(Worker *w);

/* worker-claim.c: what to claim and when */

void worker_claim(Worker *w); /* now, unless a claim is under way */
void worker_hint(Worker *w); /* soon */
/* How many claimed jobs have no slot yet, those included whose inputs are being fetched. */
unsigned worker_n_waiting(const Worker *w);

/* A run of the kind took so long: quick kinds are claimed ahead. */
void worker_note_duration(Worker *w, const Kind *kind, usec_t usec);

/* worker-hold.c: kinds that cannot be run here, and who is told */

int worker_start_holds(Worker *w);
void worker_hold_kind(Worker *w, const Kind *kind, const char *code, const char *message);
/* A run of the kind has begun. */
void worker_kind_runs(Worker *w, const Kind *kind);
KindHold *worker_hold_of(const Worker *w, const Kind *kind);
bool worker_holds_kind(const Worker *w, const Kind *kind);
/* Names of those that are not to be claimed now, NULL-terminated; valid until the next call. */
const char *const *worker_held_kinds(Worker *w);
/* Keeps the instance's row saying what is wrong with kinds; called now and then. */
void worker_tell_faults(Worker *w);
/* The same in a few words for STATUS=: "" if nothing is. */
void worker_describe_faults(const Worker *w, char *buf, size_t size);

/* worker-run.c: a claimed job on its way to a launcher */

int run_new(Worker *w, const StoreClaimedJob *job, Run **ret);
Run *run_free(Run *r);
DEFINE_CLEANUP(Run, run_free)
/* Finds it a slot, or leaves it queued. */
void run_start(Run *r);
/* After a slot became free. */
void worker_start_queued(Worker *w);
/* Sends run frame and inputs through its connected slot. */
void run_send(Run *r);
/* The handler asked for more time. */
void run_extend_deadline(Run *r, usec_t usec);

/* worker-slot.c: connections to launchers */

void slot_close(Slot *s);
/* Returns 0, -ENOENT or -ECONNREFUSED (no socket of that kind on this host), -EAGAIN (too many are
 * waiting), -errno. */
int slot_connect(Slot *s, const Kind *kind);
/* One that can take a run of this kind, NULL if there is none; may close an idle connection of
 * another kind. */
Slot *worker_find_slot(Worker *w, const Kind *kind);
void slot_stop_run(Slot *s, RunCause reason);
/* The launcher is gone or talks nonsense: its run was interrupted. */
void slot_lost(Slot *s, const char *why);
/* Gives up launchers that do not say hello or do not end their run in time. */
void worker_check_slots(Worker *w);
unsigned worker_n_busy(const Worker *w);
void worker_stop_unit(Worker *w, const char *unit);

/* worker-spawn.c: where systemd does not start launchers. 0 or -errno; the child's source is the
 * slot's until spawn_forget(), the descriptor the slot's. */
int spawn_prepare(Worker *w);
int spawn_launcher(Worker *w, const Kind *kind, sd_event_source **ret_child, int *ret_fd);
sd_event_source *spawn_forget(sd_event_source *child);
void spawn_kill(sd_event_source *child);

/* worker-end.c: outcomes and their way into the database */

/* Takes an end frame; fd is the result's descriptor or negative, and stays the caller's. Returns 0
 * or -ENOMEM. */
int run_take_end(Run *r, const RunFrame *end, int fd);
/* The same for ends without a frame. */
void run_interrupted(Run *r, const char *cause);
void run_stopped_early(Run *r, RunCause reason);
void run_give_back(Run *r); /* it never ran: ready again, counts as nothing */
/* The kind's handler cannot be started here: ready again, counts as nothing, and the kind is held.
 * code NULL: it is held already, for the reason that it has. */
void run_no_handler(Run *r, const char *cause, const char *code, const char *message);
void run_no_resources(Run *r, int error); /* the same: the worker has not got what it needs */
/* An error of ours before the handler could start: another attempt, if there is one left. */
void run_failed_early(Run *r, const char *cause, const char *code, const char *message);
/* Its outcome is set: keeps output files, then sends it. */
void run_ended(Run *r);
/* What a run has written finds no room, or no descriptor: it is tried again until it does. */
void worker_keep_again(Worker *w); /* if it is time */
unsigned worker_n_without_room(const Worker *w);
bool run_leave_room(Run *r, RunCause reason); /* no more: the run is done anew, or cancelled */
void worker_send_ends(Worker *w);
int worker_start_ends(Worker *w);

/* worker-output.c: output files and large results into blobs */

/* Takes the descriptor, also on failure. Returns 0, -EINVAL (a name twice or not a name, too many,
 * too much). */
int run_add_file(Run *r, const char *name, uint64_t size, int fd);
void run_drop_files(Run *r);
/* One step. Returns 1 if there is more to do, 0 when all is kept, -errno. */
int run_keep_step(Run *r);

/* worker-upkeep.c: heartbeats, due jobs, the dead */

int worker_start_upkeep(Worker *w);
void worker_stop_upkeep(Worker *w);

/* Asks which runs are to be cancelled, which queues are paused and which kinds have limits. */
void worker_look_at_orders(Worker *w);
/* Logs what the server refuses, at most twice a minute; and as callbacks of statements that nobody
 * waits for. */
void worker_note_error(Worker *w, int error);
void worker_on_done(int error, void *userdata);
void worker_on_count(int error, int64_t n, void *userdata);

/* worker-health.c: watchdog and STATUS= */

int worker_start_health(Worker *w);
void worker_update_status(Worker *w);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <sys/resource.h>
#include <systemd/sd-event.h>

#include "exec-dirs.h"
#include "exec-log.h"
#include "exec-options.h"
#include "exec-progress.h"
#include "run-frame.h"

/* GLOSSARY
 * slot     this launcher: a place where one run can be
 * run      what the worker has asked for; at most one at a time
 * child    the handler's process; in persistent mode it outlives a run
 * tree     the child and everything below it
 */

typedef enum RunState {
        RUN_STATE_NONE, /* the slot is free */
        RUN_STATE_PREPARING, /* inputs are still coming */
        RUN_STATE_RUNNING,
        RUN_STATE_STOPPING, /* TERM was sent; kill_at is the end of patience */
        RUN_STATE_KILLING, /* the tree is being killed and reaped */
        RUN_STATE_SENDING, /* it is over; output files and the end are going to the worker */
} RunState;

typedef struct Pipe {
        int fd;
        sd_event_source *source;
} Pipe;

typedef struct Child {
        pid_t pid; /* 0: none */
        bool ended; /* reaped; status counts */
        int status; /* as of wait(2) */
        Pipe in; /* persistent: the write end of its standard input */
        StrBuf request; /* what it has not taken yet */
        Pipe out, err, progress, notify;
        usec_t cpu_usec; /* of all that were reaped */
        usec_t cpu_before; /* persistent: when the run started */
        uint64_t max_rss;
} Child;

/* A frame that the socket had no room for. */
typedef struct Outgoing Outgoing;

typedef struct Launcher {
        const ExecOptions *options;
        sd_event *event;
        sd_event_source *timer;
        int sock;
        sd_event_source *sock_source;
        Pipe listener; /* asks about processes that handlers want to signal */
        RunPacket packet;
        Outgoing *queue, *queue_last;
        bool queue_full; /* the socket says when it can take more; else only the clock does */
        ExecDirs dirs;
        char **env;
        struct rlimit descriptors; /* of handlers: not as many as our own */
        int oom_fd;
        uint64_t oom_count; /* before the run */
        unsigned n_runs; /* that have ended */
        bool closing; /* no further run: the worker is gone, or systemd wants us to end */
        bool connected;

        RunState state;
        Child child;
        ExecLog log;
        ExecProgress progress;
        usec_t progress_at; /* not before this is progress sent again */
        usec_t extended_to; /* timeout_at that is to be told; 0: none */

        /* of the run */
        RunFrame run;
        char run_id_text[24];
        int payload; /* its descriptor */
        bool more_inputs;
        unsigned n_inputs;
        bool input_failed; /* an input could not be put in place; the log says why */
        usec_t started_at; /* CLOCK_MONOTONIC, as all instants here; 0: not yet */
        usec_t timeout_at, watchdog_at, kill_at, give_up_at;
        StrBuf out; /* of the handler, at most a byte above the limit */
        ExecOutputs outputs;
        unsigned n_outputs_sent;
        int result_fd;
        RunFrame end; /* what is known of the end; strings are borrowed or in end_text */
        StrBuf end_log, end_error;
} Launcher;

/* launcher.c: the connection and the clock */

/* Makes a launcher for the worker at the other end of sock. That and the listener (exec_confine();
 * a negative number: there is none) become the launcher's. Returns 0 or -errno. */
int launcher_new(const ExecOptions *options, int sock, int listener, Launcher **ret);
Launcher *launcher_free(Launcher *l);
DEFINE_CLEANUP(Launcher, launcher_free)
/* Runs until there is nothing more to do. Returns 0 or -errno. */
int launcher_run(Launcher *l);
/* Sends a frame, or puts it into the queue; fd (or -EBADF) stays the caller's. */
void launcher_send(Launcher *l, const RunFrame *f, int fd);
/* Whether a frame would have to wait. */
bool launcher_is_congested(const Launcher *l);
/* Sets the clock to the nearest instant that anybody waits for. */
void launcher_arm(Launcher *l);
usec_t launcher_now(const Launcher *l);

/* slot.c: the life of a run */

/* Forgets all about the last run. */
void slot_clear(Launcher *l);

/* A frame of the worker. Returns 0 or -EBADMSG: it makes no sense, the connection is to end. */
int slot_on_frame(Launcher *l, RunFrame *f);
/* Something has ended, been sent or become due: does what can be done. */
void slot_advance(Launcher *l);
void slot_on_timer(Launcher *l, usec_t now);
/* Sends TERM; what is there after StopSec is killed. */
void slot_stop(Launcher *l, RunCause cause);
/* A persistent handler has answered. */
void slot_on_answer(Launcher *l);

/* child.c: the handler's process */

/* Starts the handler. Returns 0 or what exec_spawn() and the system calls before it return. */
int child_start(Launcher *l);
/* Waits for whatever has ended. Returns whether any process is left below us. */
bool child_reap(Launcher *l);
/* Takes what is still in the pipes and closes them. */
void child_drain(Launcher *l);
/* The same at the end of the slot: closes the notification socket too. */
void child_done(Launcher *l);
/* Takes what has been written until now to all but standard output. */
void child_catch_up(Launcher *l);
/* Closes a persistent handler's standard input and sends TERM to the process group. */
void child_terminate(Launcher *l);
/* Sends on what the handler said about itself, unless it did just now; the last word always. */
void child_report(Launcher *l, bool last);

/* persistent.c */

/* Begins to write the line that asks for the run. Returns 0 or -errno. */
int persistent_ask(Launcher *l);
/* Takes the lines that are complete. */
void persistent_on_output(Launcher *l);
/* Takes the answer that a handler gave before it ended. */
void persistent_last_words(Launcher *l);
/* Fills in what the run used of the process that lives on. */
void persistent_usage(Launcher *l);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "blob.h"
#include "kind.h"
#include "run-frame.h"
#include "store-run.h"

/* What a worker knows of a run, and of the slot it is in. */

typedef struct Worker Worker;
typedef struct Run Run;
typedef struct Slot Slot;

typedef enum RunState {
        RUN_QUEUED, /* Worker.queued */
        RUN_PREPARING, /* its inputs are being fetched */
        RUN_RUNNING, /* in a slot */
        RUN_KEEPING, /* its output files are being kept */
        RUN_ENDED, /* Worker.ended: waits to be sent */
        RUN_SENT, /* sent to the database */
} RunState;

/* What the launcher said at the end, and what becomes of it. Strings owned. */
typedef struct Outcome {
        const char *state; /* static: succeeded, failed, cancelled, scheduled, ready */
        const char *cause; /* static */
        int exit_status, exit_signal;
        char *error_code, *error_message;
        char *result, *result_blob;
        char *children; /* JSON array: the job waits for them instead of ending */
        unsigned children_at_once;
        int progress_from, progress_to;
        usec_t delay_usec;
        uint64_t cpu_usec, max_rss;
        char *log;
        StoreCounts counts;
} Outcome;

typedef struct OutputFile {
        char *name;
        int fd; /* -EBADF once it is kept */
        char digest[BLOB_DIGEST_MAX];
        uint64_t size;
} OutputFile;

/* A file of a child, an input of its parent's join phase. */
typedef struct ChildFile {
        char *name; /* as the parent sees it: children/INDEX/NAME */
        char digest[BLOB_DIGEST_MAX];
        uint64_t size;
} ChildFile;

struct Run {
        Worker *worker;
        Run *prev, *next; /* Worker.runs */
        Slot *slot; /* while RUN_RUNNING */
        RunState state;
        const Kind *kind; /* owned by the worker */
        int64_t run_id;
        char *run_key;
        char *job, *queue, *tenant, *subject; /* subject may be NULL */
        char *payload, *payload_blob, *inputs;
        int64_t attempt, interruptions, max_attempts, max_interruptions, flags;
        usec_t timeout_usec;
        char *unit; /* as the launcher named itself; NULL before */

        bool started, marked; /* the launcher has started it; the database has been told */
        bool stopping; /* a stop frame was sent */
        RunCause stop_reason;
        usec_t started_usec,
                deadline_usec; /* CLOCK_MONOTONIC; deadline: when its launcher is given up */

        int progress; /* -1: nothing to tell */
        char *status;

        char *children_lines; /* NDJSON of ended children, for the join phase */
        size_t children_size;
        int64_t last_child;
        ChildFile *child_files; /* that they left */
        unsigned n_child_files;
        StoreRequest *request; /* the one under way for this run alone */

        OutputFile *files;
        unsigned n_files, n_files_allocated;
        unsigned n_kept;
        BlobWriter *writer; /* of the file that is being kept */

        Outcome outcome;
        bool alone; /* to be sent in a batch of its own: one of its batch was refused */
        usec_t again_usec; /* ended, or keeping without room: not before then; 0: at once */
};

typedef enum SlotState {
        SLOT_EMPTY, /* no connection */
        SLOT_CONNECTING, /* systemd starts the unit: waits for hello */
        SLOT_READY, /* connected and idle */
        SLOT_BUSY, /* has a run */
        SLOT_SETTLING, /* its run has ended: it will say ready, or go */
} SlotState;

struct Slot {
        Worker *worker;
        SlotState state;
        const Kind *kind;
        int fd;
        sd_event_source *io;
        sd_event_source *launcher; /* a child of ours; NULL: systemd's */
        RunPacket packet;
        Run *run;
        char *unit;
        usec_t since_usec;
};

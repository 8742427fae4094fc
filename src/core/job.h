/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

/* Where a job is: the table that holds its row says it (migrations/0001_queue.up.sql). */
typedef enum JobState {
        JOB_NONE, /* before enqueue: no row */
        JOB_SCHEDULED, /* reeve.scheduled */
        JOB_BLOCKED, /* reeve.blocked */
        JOB_READY, /* reeve.ready */
        JOB_RUNNING, /* reeve.lease */
        JOB_WAITING, /* reeve.waiting */
        JOB_SUCCEEDED, /* reeve.done */
        JOB_FAILED, /* reeve.done */
        JOB_CANCELLED, /* reeve.done */
        _JOB_STATE_MAX,
        _JOB_STATE_INVALID = -22,
} JobState;

typedef enum JobEvent {
        JOB_EVENT_ENQUEUE, /* asked for, to be run at once */
        JOB_EVENT_SCHEDULE, /* asked for, to be run later */
        JOB_EVENT_BLOCK, /* asked for, or to be claimed, and its key has no token */
        JOB_EVENT_DUE, /* its time has come */
        JOB_EVENT_UNBLOCK, /* a token is free */
        JOB_EVENT_CLAIM, /* a worker took it */
        JOB_EVENT_SUCCEED, /* the handler gave a result */
        JOB_EVENT_SPAWN, /* the handler asked for children */
        JOB_EVENT_RETRY, /* an error, attempts are left */
        JOB_EVENT_FAIL, /* a final error, or no attempts or interruptions left */
        JOB_EVENT_CANCEL, /* somebody said so */
        JOB_EVENT_INTERRUPT, /* crash, OOM, drain, host loss: not the handler's verdict */
        JOB_EVENT_JOIN, /* its last child ended */
        JOB_EVENT_DEADLINE, /* its deadline passed before it ran */
        _JOB_EVENT_MAX,
        _JOB_EVENT_INVALID = -22,
} JobEvent;

typedef struct JobStep {
        JobState from;
        JobEvent event;
        JobState to;
        const char *why; /* for readers of the table */
} JobStep;

/* The state after an event. Returns JOB_NONE if that event is not possible in that state. */
JobState job_next(JobState from, JobEvent event);

/* The whole table, for the man page and the tests. */
const JobStep *job_steps_get(size_t *ret_n);

bool job_state_is_terminal(JobState state);

const char *job_state_to_string(JobState state);
JobState job_state_from_string(const char *s);
const char *job_event_to_string(JobEvent event);

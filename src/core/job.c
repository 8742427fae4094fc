/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job.h"

#include "macros.h"

/* Every legal step of a job. job_next() consults nothing else; tests/pg/test_transitions.py runs
 * each line of it, and each pair that is not in it, against the statements. */
static const JobStep job_steps[] = {
        { JOB_NONE, JOB_EVENT_ENQUEUE, JOB_READY, "it can run at once" },
        { JOB_NONE, JOB_EVENT_SCHEDULE, JOB_SCHEDULED, "it is to run later" },
        { JOB_NONE, JOB_EVENT_BLOCK, JOB_BLOCKED, "its key has no token" },
        { JOB_SCHEDULED, JOB_EVENT_DUE, JOB_READY, "its time has come" },
        { JOB_SCHEDULED, JOB_EVENT_CANCEL, JOB_CANCELLED, "somebody cancelled it" },
        { JOB_SCHEDULED, JOB_EVENT_DEADLINE, JOB_FAILED, "its deadline passed" },
        { JOB_BLOCKED, JOB_EVENT_UNBLOCK, JOB_READY, "a token is free" },
        { JOB_BLOCKED, JOB_EVENT_CANCEL, JOB_CANCELLED, "somebody cancelled it" },
        { JOB_BLOCKED, JOB_EVENT_DEADLINE, JOB_FAILED, "its deadline passed" },
        { JOB_READY, JOB_EVENT_CLAIM, JOB_RUNNING, "a worker took it" },
        { JOB_READY, JOB_EVENT_BLOCK, JOB_BLOCKED, "its key has no token" },
        { JOB_READY, JOB_EVENT_CANCEL, JOB_CANCELLED, "somebody cancelled it" },
        { JOB_READY, JOB_EVENT_DEADLINE, JOB_FAILED, "its deadline passed" },
        { JOB_RUNNING, JOB_EVENT_SUCCEED, JOB_SUCCEEDED, "the handler gave its result" },
        { JOB_RUNNING, JOB_EVENT_SPAWN, JOB_WAITING, "the handler asked for children" },
        { JOB_RUNNING, JOB_EVENT_RETRY, JOB_SCHEDULED, "it will be tried again" },
        { JOB_RUNNING, JOB_EVENT_FAIL, JOB_FAILED, "final error, or nothing left to try" },
        { JOB_RUNNING, JOB_EVENT_CANCEL, JOB_CANCELLED, "somebody cancelled it" },
        { JOB_RUNNING, JOB_EVENT_INTERRUPT, JOB_READY, "it was interrupted" },
        { JOB_WAITING, JOB_EVENT_JOIN, JOB_READY, "its last child ended" },
        { JOB_WAITING, JOB_EVENT_CANCEL, JOB_CANCELLED, "somebody cancelled it" },
        { JOB_WAITING, JOB_EVENT_DEADLINE, JOB_FAILED, "its deadline passed" },
};

static const char *const state_names[_JOB_STATE_MAX] = {
        [JOB_NONE] = "none",
        [JOB_SCHEDULED] = "scheduled",
        [JOB_BLOCKED] = "blocked",
        [JOB_READY] = "ready",
        [JOB_RUNNING] = "running",
        [JOB_WAITING] = "waiting",
        [JOB_SUCCEEDED] = "succeeded",
        [JOB_FAILED] = "failed",
        [JOB_CANCELLED] = "cancelled",
};

static const char *const event_names[_JOB_EVENT_MAX] = {
        [JOB_EVENT_ENQUEUE] = "enqueue",
        [JOB_EVENT_SCHEDULE] = "schedule",
        [JOB_EVENT_BLOCK] = "block",
        [JOB_EVENT_DUE] = "due",
        [JOB_EVENT_UNBLOCK] = "unblock",
        [JOB_EVENT_CLAIM] = "claim",
        [JOB_EVENT_SUCCEED] = "succeed",
        [JOB_EVENT_SPAWN] = "spawn",
        [JOB_EVENT_RETRY] = "retry",
        [JOB_EVENT_FAIL] = "fail",
        [JOB_EVENT_CANCEL] = "cancel",
        [JOB_EVENT_INTERRUPT] = "interrupt",
        [JOB_EVENT_JOIN] = "join",
        [JOB_EVENT_DEADLINE] = "deadline",
};

JobState job_next(JobState from, JobEvent event)
{
        for (size_t i = 0; i < ELEMENTSOF(job_steps); i++)
                if (job_steps[i].from == from && job_steps[i].event == event)
                        return job_steps[i].to;
        return JOB_NONE;
}

const JobStep *job_steps_get(size_t *ret_n)
{
        *ret_n = ELEMENTSOF(job_steps);
        return job_steps;
}

bool job_state_is_terminal(JobState state)
{
        return state == JOB_SUCCEEDED || state == JOB_FAILED || state == JOB_CANCELLED;
}

const char *job_state_to_string(JobState state)
{
        return state >= 0 && state < _JOB_STATE_MAX ? state_names[state] : NULL;
}

JobState job_state_from_string(const char *s)
{
        for (int i = 0; i < _JOB_STATE_MAX; i++)
                if (streq(state_names[i], s))
                        return (JobState) i;
        return _JOB_STATE_INVALID;
}

const char *job_event_to_string(JobEvent event)
{
        return event >= 0 && event < _JOB_EVENT_MAX ? event_names[event] : NULL;
}

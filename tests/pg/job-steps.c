/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Prints the table of a job's life as JSON for test_transitions.py. */
#include <stdio.h>

#include "job.h"

int main(void)
{
        const JobStep *steps;
        size_t n;

        steps = job_steps_get(&n);
        printf("{\"states\":[");
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                printf("%s\"%s\"", s ? "," : "", job_state_to_string((JobState) s));
        printf("],\"events\":[");
        for (int e = 0; e < _JOB_EVENT_MAX; e++)
                printf("%s\"%s\"", e ? "," : "", job_event_to_string((JobEvent) e));
        printf("],\"steps\":[");
        for (size_t i = 0; i < n; i++)
                printf("%s[\"%s\",\"%s\",\"%s\"]", i ? "," : "", job_state_to_string(steps[i].from),
                        job_event_to_string(steps[i].event), job_state_to_string(steps[i].to));
        printf("]}\n");
        return 0;
}

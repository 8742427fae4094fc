/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "job.h"
#include "test.h"

static void test_terminal_states_have_no_step(void **state)
{
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                for (int e = 0; e < _JOB_EVENT_MAX; e++)
                        if (job_state_is_terminal((JobState) s))
                                assert_int_equal(job_next((JobState) s, (JobEvent) e), JOB_NONE);
}

static void test_steps_are_unique_and_reachable(void **state)
{
        const JobStep *steps;
        size_t n;

        steps = job_steps_get(&n);
        for (int s = JOB_SCHEDULED; s < _JOB_STATE_MAX; s++) {
                unsigned n_in = 0;

                for (size_t i = 0; i < n; i++)
                        n_in += steps[i].to == (JobState) s;
                assert_true(n_in > 0);
        }
        for (size_t i = 0; i < n; i++)
                for (size_t j = i + 1; j < n; j++)
                        assert_false(
                                steps[i].from == steps[j].from && steps[i].event == steps[j].event);
}

static void test_names_round_trip(void **state)
{
        for (int s = 0; s < _JOB_STATE_MAX; s++)
                assert_int_equal(job_state_from_string(job_state_to_string((JobState) s)), s);
        assert_int_equal(job_state_from_string("nonsense"), _JOB_STATE_INVALID);
        assert_null(job_state_to_string(_JOB_STATE_MAX));
        for (int e = 0; e < _JOB_EVENT_MAX; e++)
                assert_non_null(job_event_to_string((JobEvent) e));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_terminal_states_have_no_step),
                cmocka_unit_test(test_steps_are_unique_and_reachable),
                cmocka_unit_test(test_names_round_trip),
        };

        return cmocka_run_group_tests(tests, NULL, NULL);
}

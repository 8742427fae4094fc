/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-private.h"

#define JOB_BODIES (HTTP_BODY_ANY | HTTP_BODY_OPTIONAL) /* api-create.c looks at the type */
#define MAY_BODY   (HTTP_BODY_JSON | HTTP_BODY_OPTIONAL)

/* reeve-http(7) lists these; a test compares. */
static const HttpRoute routes[] = {
        { HTTP_GET, "/health", handle_health, API_PUBLIC, 0, 0, "whether this works" },
        { HTTP_GET, "/api/health", handle_health, API_PUBLIC, 0, 0, "whether this works" },
        { HTTP_GET, "/metrics", handle_metrics, API_METRICS, 0, 0, "numbers for Prometheus" },
        { HTTP_POST, "/api/jobs", handle_create, API_SUBMIT, JOB_BODIES, API_BODY_UPLOAD,
                "create jobs" },
        { HTTP_GET, "/api/jobs", handle_list, API_READ, 0, 0, "list jobs, newest first" },
        { HTTP_GET, "/api/jobs/{id}", handle_get_job, API_READ, 0, 0, "a job" },
        { HTTP_DELETE, "/api/jobs/{id}", handle_cancel, API_SUBMIT, MAY_BODY, API_BODY_SMALL,
                "cancel a job" },
        { HTTP_POST, "/api/jobs/{id}/cancel", handle_cancel, API_SUBMIT, MAY_BODY, API_BODY_SMALL,
                "cancel a job" },
        { HTTP_POST, "/api/jobs/{id}/retry", handle_retry, API_SUBMIT, MAY_BODY, API_BODY_SMALL,
                "make a new job of one that has ended" },
        { HTTP_GET, "/api/jobs/{id}/history", handle_history, API_READ, 0, 0,
                "what happened to a job" },
        { HTTP_GET, "/api/jobs/{id}/events", handle_job_events, API_READ, 0, 0,
                "a job's states and progress as they come, to its end" },
        { HTTP_GET, "/api/events", handle_events, API_READ, 0, 0,
                "what happens to jobs as it comes" },
        { HTTP_GET, "/api/jobs/{id}/files", handle_files, API_READ, 0, 0, "a job's files" },
        { HTTP_GET, "/api/jobs/{id}/files/{name...}", handle_file, API_READ, 0, 0,
                "the content of a file" },
        { HTTP_GET, "/api/queues", handle_queues, API_FLEET, 0, 0, "queues and what is in them" },
        { HTTP_POST, "/api/queues/{queue}/claim", handle_claim, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "take jobs, to run them elsewhere" },
        { HTTP_POST, "/api/runs/{run_id}/complete", handle_run_complete, API_WORK, HTTP_BODY_JSON,
                API_BODY_UPLOAD, "a run that was taken has a result" },
        { HTTP_POST, "/api/runs/{run_id}/fail", handle_run_fail, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "a run that was taken has failed" },
        { HTTP_POST, "/api/runs/{run_id}/extend", handle_run_extend, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "a run that was taken needs more time" },
        { HTTP_POST, "/api/runs/{run_id}/progress", handle_run_progress, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "how far a run that was taken is" },
        { HTTP_GET, "/api/workers", handle_workers, API_FLEET, 0, 0, "living workers" },
        { HTTP_GET, "/api/kinds", handle_kinds, API_READ, 0, 0, "published kinds" },
        { HTTP_GET, "/api/stats", handle_stats, API_FLEET, 0, 0, "jobs by live state" },
        { HTTP_GET, "/api/flags", handle_flags, API_FLEET, 0, 0, "flags in use" },
        { HTTP_GET, "/api/flags/{key}", handle_flag, API_FLEET, 0, 0, "a flag" },
        { HTTP_GET, "/api/flags/{key}/history", handle_flag_history, API_FLEET, 0, 0,
                "who changed a flag, when and why" },
        { HTTP_POST, "/ofrep/v1/evaluate/flags", handle_evaluate_flags, API_EVALUATE, MAY_BODY,
                API_BODY_SMALL, "what all flags say for somebody (OpenFeature)" },
        { HTTP_POST, "/ofrep/v1/evaluate/flags/{key...}", handle_evaluate_flag, API_EVALUATE,
                MAY_BODY, API_BODY_SMALL, "what a flag says for somebody (OpenFeature)" },
        { HTTP_GET, "/api/keys", handle_list_keys, API_ADMIN, 0, 0, "list keys" },
        { HTTP_POST, "/api/keys", handle_add_key, API_ADMIN, HTTP_BODY_JSON, API_BODY_SMALL,
                "make a key" },
        { HTTP_DELETE, "/api/keys/{key}", handle_revoke_key, API_ADMIN, 0, 0, "revoke a key" },
        {},
};

const HttpRoute *api_routes(void)
{
        return routes;
}

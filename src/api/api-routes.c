/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-private.h"

#define MAY_BODY (HTTP_BODY_JSON | HTTP_BODY_OPTIONAL)
#define OF_FILE                                                                                    \
        " of-kind of-name of-queue of-priority of-tenant of-subject of-unique_key of-run_at"       \
        " of-deadline of-unique_for of-concurrency_key"
#define FILTERS "filter-tenant filter-kind filter-queue filter-state"

/* The router's table, and what /openapi.json is made of. reeve-http(7) lists these; a test
 * compares. */
static const HttpRoute routes[] = {
        { HTTP_GET, "/openapi.json", handle_openapi, API_PUBLIC, 0, 0, "this description", 0,
                { "getDescription", "description", "If-None-Match", NULL,
                        "200=Description;ETag 304;ETag" } },
        { HTTP_GET, "/health", handle_health, API_PUBLIC, 0, 0, "whether this works", 0,
                { "getHealth", "health", NULL, NULL, "200=Health 503=Health;Retry-After" } },
        { HTTP_GET, "/api/health", handle_health, API_PUBLIC, 0, 0, "whether this works", 0,
                { "getApiHealth", "health", NULL, NULL, "200=Health 503=Health;Retry-After" } },
        { HTTP_GET, "/metrics", handle_metrics, API_METRICS, 0, 0, "numbers for Prometheus", 0,
                { "getMetrics", "health", NULL, NULL, "200=text/plain" } },
        /* api-create.c looks at the type. */
        { HTTP_POST, "/api/jobs", handle_create, API_SUBMIT, HTTP_BODY_ANY, API_BODY_UPLOAD,
                "create jobs", 0,
                { "createJobs", "jobs", "Idempotency-Key" OF_FILE,
                        "application/json=JobRequest|JobRequests application/x-ndjson=JobLines"
                        " multipart/form-data=JobForm */*",
                        "200=Job|CreatedJobs;ETag;Location 202=Created|CreatedJobs;Location 404 409"
                        " 422 507" } },
        { HTTP_GET, "/api/jobs", handle_list, API_READ, 0, 0, "list jobs, newest first", 0,
                { "listJobs", "jobs",
                        FILTERS
                        " filter-subject filter-parent created_after created_before limit cursor",
                        NULL, "200=JobPage" } },
        { HTTP_GET, "/api/jobs/{id}", handle_get_job, API_READ, 0, 0, "a job", 0,
                { "getJob", "jobs", "wait details If-None-Match", NULL, "200=Job;ETag 304;ETag" } },
        { HTTP_DELETE, "/api/jobs/{id}", handle_cancel, API_SUBMIT, MAY_BODY, API_BODY_SMALL,
                "cancel a job", 0,
                { "deleteJob", "jobs", "reason", "Reason", "200=Cancelled 202=Cancelled 409" } },
        { HTTP_POST, "/api/jobs/{id}/cancel", handle_cancel, API_SUBMIT, MAY_BODY, API_BODY_SMALL,
                "cancel a job", 0,
                { "cancelJob", "jobs", "reason", "Reason", "200=Cancelled 202=Cancelled 409" } },
        { HTTP_POST, "/api/jobs/{id}/retry", handle_retry, API_SUBMIT, MAY_BODY, API_BODY_SMALL,
                "make a new job of one that has ended", 0,
                { "retryJob", "jobs", "reason", "Reason",
                        "200=Job;ETag;Location 202=Job;ETag;Location 409" } },
        { HTTP_GET, "/api/jobs/{id}/history", handle_history, API_READ, 0, 0,
                "what happened to a job", 0,
                { "getJobHistory", "jobs", NULL, NULL, "200=History" } },
        { HTTP_GET, "/api/jobs/{id}/events", handle_job_events, API_READ, 0, 0,
                "a job's states and progress as they come, to its end", 0,
                { "followJob", "events", NULL, NULL, "200=text/event-stream" } },
        { HTTP_GET, "/api/events", handle_events, API_READ, 0, 0,
                "what happens to jobs as it comes", 0,
                { "followJobs", "events", FILTERS " Last-Event-ID", NULL,
                        "200=text/event-stream" } },
        { HTTP_GET, "/api/jobs/{id}/files", handle_files, API_READ, 0, 0, "a job's files", 0,
                { "listJobFiles", "jobs", NULL, NULL, "200=Files" } },
        { HTTP_GET, "/api/jobs/{id}/files/{name...}", handle_file, API_READ, 0, 0,
                "the content of a file", 0,
                { "getJobFile", "jobs", "Range If-Range If-None-Match", NULL,
                        "200=*/*;ETag;Accept-Ranges;Content-Disposition"
                        " 206=*/*;ETag;Accept-Ranges;Content-Disposition;Content-Range 304;ETag 410"
                        " 416" } },
        { HTTP_GET, "/api/queues", handle_queues, API_FLEET, 0, 0, "queues and what is in them", 0,
                { "listQueues", "fleet", NULL, NULL, "200=Queues" } },
        { HTTP_POST, "/api/queues/{queue}/claim", handle_claim, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "take jobs, to run them elsewhere", 0,
                { "claimRuns", "workers elsewhere", NULL, "ClaimRequest", "200=Runs 422" } },
        { HTTP_POST, "/api/runs/{run_id}/complete", handle_run_complete, API_WORK, HTTP_BODY_JSON,
                API_BODY_UPLOAD, "a run that was taken has a result", 0,
                { "completeRun", "workers elsewhere", NULL, "RunCompleted",
                        "200=Job;ETag;Location 409 507" } },
        { HTTP_POST, "/api/runs/{run_id}/fail", handle_run_fail, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "a run that was taken has failed", 0,
                { "failRun", "workers elsewhere", NULL, "RunFailed",
                        "200=Job;ETag;Location 409" } },
        { HTTP_POST, "/api/runs/{run_id}/extend", handle_run_extend, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "a run that was taken needs more time", 0,
                { "extendRun", "workers elsewhere", NULL, "RunExtended", "200=Lease 409" } },
        { HTTP_POST, "/api/runs/{run_id}/progress", handle_run_progress, API_WORK, HTTP_BODY_JSON,
                API_BODY_SMALL, "how far a run that was taken is", 0,
                { "reportProgress", "workers elsewhere", NULL, "RunProgress", "200=Lease 409" } },
        { HTTP_GET, "/api/workers", handle_workers, API_FLEET, 0, 0, "living workers", 0,
                { "listWorkers", "fleet", NULL, NULL, "200=Workers" } },
        { HTTP_GET, "/api/kinds", handle_kinds, API_READ, 0, 0, "published kinds", 0,
                { "listKinds", "fleet", NULL, NULL, "200=Kinds" } },
        { HTTP_DELETE, "/api/kinds/{kind}", handle_retire_kind, API_ADMIN, 0, 0,
                "take a kind out of use", 0, { "retireKind", "fleet", "reason", NULL, "204 409" } },
        { HTTP_GET, "/api/stats", handle_stats, API_FLEET, 0, 0, "jobs by live state", 0,
                { "getStats", "fleet", NULL, NULL, "200=Stats" } },
        { HTTP_GET, "/api/flags", handle_flags, API_FLEET, 0, 0, "flags in use", 0,
                { "listFlags", "flags", NULL, NULL, "200=Flags" } },
        { HTTP_GET, "/api/flags/{key}", handle_flag, API_FLEET, 0, 0, "a flag", 0,
                { "getFlag", "flags", NULL, NULL, "200=Flag" } },
        { HTTP_GET, "/api/flags/{key}/history", handle_flag_history, API_FLEET, 0, 0,
                "who changed a flag, when and why", 0,
                { "getFlagHistory", "flags", NULL, NULL, "200=FlagHistory" } },
        { HTTP_POST, "/ofrep/v1/evaluate/flags", handle_evaluate_flags, API_EVALUATE, MAY_BODY,
                API_BODY_SMALL, "what all flags say for somebody (OpenFeature)", 0,
                { "evaluateFlags", "flags", "If-None-Match", "EvaluationRequest",
                        "200=Evaluations;ETag 304;ETag 400=EvaluationFailure|Problem" } },
        { HTTP_POST, "/ofrep/v1/evaluate/flags/{key...}", handle_evaluate_flag, API_EVALUATE,
                MAY_BODY, API_BODY_SMALL, "what a flag says for somebody (OpenFeature)", 0,
                { "evaluateFlag", "flags", NULL, "EvaluationRequest",
                        "200=Evaluation 400=EvaluationFailure|Problem"
                        " 404=EvaluationFailure|Problem" } },
        { HTTP_GET, "/api/keys", handle_list_keys, API_ADMIN, 0, 0, "list keys", 0,
                { "listKeys", "keys", NULL, NULL, "200=Keys" } },
        { HTTP_POST, "/api/keys", handle_add_key, API_ADMIN, HTTP_BODY_JSON, API_BODY_SMALL,
                "make a key", 0, { "createKey", "keys", NULL, "KeyRequest", "201=NewKey 409" } },
        { HTTP_DELETE, "/api/keys/{key}", handle_revoke_key, API_ADMIN, 0, 0, "revoke a key", 0,
                { "revokeKey", "keys", "{key}=key-number", NULL, "204" } },
        {},
};

const HttpRoute *api_routes(void)
{
        return routes;
}

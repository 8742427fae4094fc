/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "router.h"

/* The handlers of the routes; userdata is the Call. */

void handle_openapi(HttpRequest *r, void *userdata);
void handle_health(HttpRequest *r, void *userdata);
void handle_metrics(HttpRequest *r, void *userdata);
void handle_stats(HttpRequest *r, void *userdata);
void handle_add_key(HttpRequest *r, void *userdata);
void handle_list_keys(HttpRequest *r, void *userdata);
void handle_revoke_key(HttpRequest *r, void *userdata);
void handle_create(HttpRequest *r, void *userdata);
void handle_get_job(HttpRequest *r, void *userdata);
void handle_cancel(HttpRequest *r, void *userdata);
void handle_retry(HttpRequest *r, void *userdata);
void handle_history(HttpRequest *r, void *userdata);
void handle_job_events(HttpRequest *r, void *userdata);
void handle_events(HttpRequest *r, void *userdata);
void handle_list(HttpRequest *r, void *userdata);
void handle_files(HttpRequest *r, void *userdata);
void handle_file(HttpRequest *r, void *userdata);
void handle_queues(HttpRequest *r, void *userdata);
void handle_workers(HttpRequest *r, void *userdata);
void handle_kinds(HttpRequest *r, void *userdata);
void handle_retire_kind(HttpRequest *r, void *userdata);
void handle_claim(HttpRequest *r, void *userdata);
void handle_run_complete(HttpRequest *r, void *userdata);
void handle_run_fail(HttpRequest *r, void *userdata);
void handle_run_extend(HttpRequest *r, void *userdata);
void handle_run_progress(HttpRequest *r, void *userdata);
void handle_evaluate_flag(HttpRequest *r, void *userdata);
void handle_evaluate_flags(HttpRequest *r, void *userdata);
void handle_flags(HttpRequest *r, void *userdata);
void handle_flag(HttpRequest *r, void *userdata);
void handle_flag_history(HttpRequest *r, void *userdata);

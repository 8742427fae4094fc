/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "ctl-faults.h"

/* Becomes "reeve-generator --check FILES...". Returns an ExitStatus, told, if it cannot. */
int check_kinds(char *const *files, int n_files);

/* What the API says of everything. */
typedef struct Overview {
        Answer health, stats, workers, queues, kinds;
        const JsonValue *worker_list, *queue_list, *kind_list; /* NULL: not asked */
        Faults faults;
} Overview;

void overview_done(Overview *o);
/* Asks for all but the health, and judges it; on this host's socket the host's kinds too. Returns
 * an ExitStatus, told. */
int overview_ask(Ctl *c, Overview *o);
/* What /api/health says is wrong. */
void judge_health(Faults *f, const JsonValue *health);
/* As pool_serves(): named, or meant by "*"; "!name" wins. */
bool worker_serves(const JsonValue *worker, const char *queue);

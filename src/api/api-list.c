/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdio.h>

#include "api-auth.h"
#include "api-private.h"
#include "job.h"
#include "parse-util.h"

#define LIST_DEFAULT 50U
#define LIST_MAX     200U
#define UUID_FIRST   "00000000-0000-0000-0000-000000000000"
#define UUID_LAST    "ffffffff-ffff-ffff-ffff-ffffffffffff"

/* The smallest id of an instant, as reeve.uuid_floor() makes it. */
static void floor_id(usec_t realtime_usec, char buf[static UUID_TEXT_SIZE])
{
        uint64_t msec = realtime_usec / USEC_PER_MSEC;

        (void) snprintf(buf, UUID_TEXT_SIZE, "%08" PRIx64 "-%04" PRIx64 "-0000-0000-000000000000",
                msec >> 16 & 0xffffffff, msec & 0xffff);
}

static void on_page(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        _cleanup_(strbuf_done) StrBuf b = {};

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[STORE_PAGE_JOBS] ? 0 : -EPROTO))
                return;
        strbuf_printf(&b, "{\"jobs\":%s", row[STORE_PAGE_JOBS]);
        if (row[STORE_PAGE_MORE])
                strbuf_printf(&b, ",\"next\":\"%s\"", row[STORE_PAGE_MORE]);
        strbuf_putc(&b, '}');
        call_json_buf(c, 200, &b, NULL);
}

typedef struct ListQuery {
        StoreJobFilter filter;
        char below[UUID_TEXT_SIZE], from[UUID_TEXT_SIZE];
} ListQuery;

/* Returns what is wrong with a parameter, or NULL. */
static const char *read_time(const char *value, char buf[static UUID_TEXT_SIZE])
{
        usec_t usec;

        if (parse_rfc3339(value, &usec) < 0)
                return "expected a time as RFC 3339 has it, such as 2026-11-21T10:20:30Z";
        floor_id(usec, buf);
        return NULL;
}

static const char *read_param(ListQuery *q, const char *name, const char *value)
{
        Uuid id;

        if (streq(name, "tenant"))
                q->filter.tenant = value;
        else if (streq(name, "kind"))
                q->filter.kind = value;
        else if (streq(name, "queue"))
                q->filter.queue = value;
        else if (streq(name, "subject"))
                q->filter.subject = value;
        else if (streq(name, "state")) {
                q->filter.state = value;
                if (job_state_from_string(value) <= JOB_NONE)
                        return "there is no such state; there are scheduled, blocked, ready, "
                               "running, "
                               "waiting, succeeded, failed and cancelled";
        } else if (streq(name, "created_after")) {
                return read_time(value, q->from);
        } else if (streq(name, "created_before")) {
                return read_time(value, q->below);
        } else if (streq(name, "limit")) {
                if (parse_unsigned(value, 1, LIST_MAX, &q->filter.n_most) < 0)
                        return "expected a number from 1 to 200";
        } else if (streq(name, "parent")) {
                q->filter.parent = value;
                if (uuid_parse(value, &id) < 0)
                        return "a job's id is a UUID";
        } else if (!streq(name, "cursor")) {
                return "there is no such filter; known are tenant, kind, queue, state, subject, "
                       "parent, created_after, created_before, limit and cursor";
        } else if (uuid_parse(value, &id) < 0) {
                return "not a cursor of this list";
        }
        return NULL;
}

void handle_list(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        const UriParams *params = http_request_get_queries(r);
        const char *cursor = http_request_get_query(r, "cursor");
        ListQuery q = { .filter.n_most = LIST_DEFAULT, .below = UUID_LAST, .from = UUID_FIRST };

        for (size_t i = 0; i < params->n_items; i++) {
                const char *wrong = read_param(&q, params->items[i].name, params->items[i].value);

                if (wrong) {
                        call_problem(c, PROBLEM_BAD_QUERY, "%s: %s.", params->items[i].name, wrong);
                        return;
                }
        }
        /* Both are ids; the lower one counts. */
        if (cursor && strcasecmp(cursor, q.below) < 0)
                (void) snprintf(q.below, sizeof(q.below), "%s", cursor);
        q.filter.below = q.below;
        q.filter.from = q.from;
        if (!caller_sees(&c->caller, q.filter.tenant ? q.filter.tenant : c->caller.tenant,
                    q.filter.subject ? q.filter.subject : c->caller.subject)) {
                call_problem(c, PROBLEM_FORBIDDEN, "%s sees no other tenant's or subject's jobs.",
                        c->caller.actor);
                return;
        }
        if (c->caller.tenant[0])
                q.filter.tenant = c->caller.tenant;
        if (c->caller.subject[0])
                q.filter.subject = c->caller.subject;
        (void) call_failed(c, store_list_jobs(call_reader(c), &q.filter, on_page, c, &c->pending));
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pq-loop.h"

#include <stdio.h>
#include <sys/epoll.h>

#include "pq-util.h"

#define PQ_QUEUE_MAX      1024
#define PQ_STATEMENTS_MAX 64
#define PQ_ERROR_MAX      300
#define PQ_EVENT_PRIORITY SD_EVENT_PRIORITY_NORMAL

struct PqRequest {
        PqLoop *loop;
        PqRequest *next;
        const PqStatement *statement;
        PqResultCallback callback; /* NULL after cancel */
        void *userdata;
        PGresult *result; /* the last one of this request, or the first error */
        bool failed; /* result is an error */
        bool preparing; /* the next result is that of preparing the statement */
        char **values; /* of one that waits for its turn */
        bool waiting; /* not sent yet */
        bool unprepared; /* relied on the preparing of an earlier request, which failed */
        usec_t sent_usec; /* CLOCK_MONOTONIC; of one that waits: when it was asked for */
};

struct PqLoop {
        sd_event *event;
        PqConfig config; /* strings owned */
        PqState state;
        PGconn *conn;
        int fd; /* what io watches: libpq may change it while connecting */
        sd_event_source *io;
        sd_event_source *timer; /* the next attempt, or the deadline of this one */
        sd_event_source *deadline; /* of the oldest request */
        sd_event_source *loss; /* deferred teardown: no callback comes out of a sending function */
        PqRequest *first, *last;
        unsigned n_pending;
        const PqStatement *prepared[PQ_STATEMENTS_MAX]; /* on this connection */
        unsigned n_prepared;
        unsigned n_failures; /* attempts since the last connection */
        usec_t attempt_started_usec, last_attempt_usec, last_answer_usec;
        char error[PQ_ERROR_MAX];
};

static const PqStatement listen_statement = { "listen", NULL, 0 };

static void start_attempt(PqLoop *p);
static void connection_lost(PqLoop *p, int error, const char *text);
static int send_waiting(PqLoop *p);

static void set_error(PqLoop *p, const char *text)
{
        size_t n;

        snprintf(p->error, sizeof(p->error), "%s", text ? text : "");
        for (char *c = p->error; *c; c++)
                if (*c == '\n' || *c == '\t')
                        *c = ' ';
        for (n = strlen(p->error); n > 0 && p->error[n - 1] == ' ';)
                p->error[--n] = '\0';
}

static PqRequest *request_free(PqRequest *q)
{
        if (!q)
                return NULL;
        PQclear(q->result);
        for (unsigned i = 0; q->values && i < q->statement->n_params; i++)
                free(q->values[i]);
        free(q->values);
        free(q);
        return NULL;
}

static PqRequest *queue_pop(PqLoop *p)
{
        PqRequest *q = p->first;

        if (!q)
                return NULL;
        p->first = q->next;
        if (!p->first)
                p->last = NULL;
        p->n_pending--;
        return q;
}

/* Tells a request how it ended and frees it. Rows whose Sync did not come may never have been
 * committed, so nobody sees them. */
static void request_finish(PqRequest *q, int error)
{
        const PGresult *result = error == 0 || q->failed ? q->result : NULL;

        if (q->callback)
                q->callback(q, error, result, q->userdata);
        request_free(q);
}

static void tell_state(PqLoop *p)
{
        if (p->config.on_state)
                p->config.on_state(p, p->state, p->state == PQ_CONNECTED ? NULL : p->error,
                        p->config.userdata);
}

static void tell_notify(PqLoop *p)
{
        if (p->config.on_notify)
                p->config.on_notify(p, p->config.userdata);
}

static int request_error(const PqRequest *q, bool *ret_lost)
{
        *ret_lost = false;
        return q->failed ? pq_error_of_result(q->result, q->unprepared, ret_lost) : 0;
}

/* ---- the socket ---- */

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata);

static int watch(PqLoop *p, uint32_t events)
{
        int fd = PQsocket(p->conn), r;

        if (fd < 0)
                return -EBADF;
        /* A new socket may carry the old number, so it is always taken anew while connecting. */
        if (p->io && p->fd == fd && p->state == PQ_CONNECTED)
                return sd_event_source_set_io_events(p->io, events);

        p->io = sd_event_source_disable_unref(p->io);
        r = sd_event_add_io(p->event, &p->io, fd, events, on_io, p);
        if (r < 0)
                return r;
        p->fd = fd;
        (void) sd_event_source_set_description(p->io, "pq-io");
        return sd_event_source_set_priority(p->io, PQ_EVENT_PRIORITY);
}

static void on_connected_io(PqLoop *p);

/* If we were the ones who did not run, the answer lies in the socket: it is looked at first. */
static int on_deadline(sd_event_source *s, uint64_t usec, void *userdata)
{
        PqLoop *p = userdata;

        on_connected_io(p);
        if (p->state == PQ_CONNECTED && p->first &&
                now_usec(CLOCK_MONOTONIC) >= p->first->sent_usec + p->config.deadline_usec)
                connection_lost(p, -ETIMEDOUT, "the database did not answer in time");
        return 0;
}

/* Keeps one timer on the oldest request. */
static int arm_deadline(PqLoop *p)
{
        usec_t at;
        int r;

        if (!p->first) {
                if (p->deadline)
                        return sd_event_source_set_enabled(p->deadline, SD_EVENT_OFF);
                return 0;
        }

        at = p->first->sent_usec + p->config.deadline_usec;
        if (!p->deadline) {
                r = sd_event_add_time(
                        p->event, &p->deadline, CLOCK_MONOTONIC, at, USEC_PER_MSEC, on_deadline, p);
                if (r < 0)
                        return r;
                (void) sd_event_source_set_description(p->deadline, "pq-deadline");
                return 0;
        }
        r = sd_event_source_set_time(p->deadline, at);
        if (r < 0)
                return r;
        return sd_event_source_set_enabled(p->deadline, SD_EVENT_ONESHOT);
}

/* PQflush and the events that go with what it says: with unsent data both directions, for the
 * server may wait until we read. */
static int flush(PqLoop *p)
{
        int r = PQflush(p->conn);

        if (r < 0) {
                set_error(p, PQerrorMessage(p->conn));
                return -ECONNRESET;
        }
        return watch(p, r > 0 ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static bool is_prepared(const PqLoop *p, const PqStatement *statement)
{
        for (unsigned i = 0; i < p->n_prepared; i++)
                if (p->prepared[i] == statement)
                        return true;
        return false;
}

/* Preparing q's statement failed: those sent after it and not yet answered have nothing to run. */
static void forget_prepared(PqLoop *p, const PqRequest *q)
{
        for (unsigned i = 0; i < p->n_prepared; i++)
                if (p->prepared[i] == q->statement)
                        p->prepared[i] = p->prepared[--p->n_prepared];
        for (PqRequest *later = q->next; later; later = later->next)
                if (later->statement == q->statement)
                        later->unprepared = true;
}

/* One result belongs to the oldest request; its Sync ends it. Returns 0 or -errno. */
static int take_result(PqLoop *p, PGresult *result)
{
        PqRequest *q = p->first;
        bool lost;
        int error;

        switch (PQresultStatus(result)) {
        case PGRES_PIPELINE_SYNC:
                PQclear(result);
                (void) queue_pop(p);
                p->last_answer_usec = now_usec(CLOCK_MONOTONIC);
                error = request_error(q, &lost);
                if (lost)
                        set_error(p, PQresultErrorMessage(q->result));
                else if (send_waiting(p) < 0)
                        lost = true;
                request_finish(q, error);
                return lost ? -ECONNRESET : 0;

        case PGRES_PIPELINE_ABORTED:
                PQclear(result);
                return 0;

        case PGRES_FATAL_ERROR:
                if (q->failed) {
                        PQclear(result);
                        return 0;
                }
                PQclear(q->result);
                q->result = result;
                q->failed = true;
                if (q->preparing)
                        forget_prepared(p, q);
                error = request_error(q, &lost);
                if (lost)
                        set_error(p, PQresultErrorMessage(result));
                return lost && error == -ECONNRESET ? -ECONNRESET : 0;

        default:
                if (q->failed || q->preparing) {
                        q->preparing = false;
                        PQclear(result);
                } else {
                        PQclear(q->result);
                        q->result = result;
                }
                return 0;
        }
}

/* Takes everything libpq has. PQgetResult would block while PQisBusy, and PQisBusy is 0 at the end
 * of the pipeline and for ever on a broken connection: so the queue says when to stop, and two
 * NULLs in a row, which no pipeline has, that there is nothing more to come. */
static int read_results(PqLoop *p)
{
        unsigned n_nulls = 0;
        int r;

        while (p->first && !PQisBusy(p->conn)) {
                PGresult *result = PQgetResult(p->conn);

                if (!result) { /* the end of one statement of the request */
                        if (++n_nulls == 1)
                                continue;
                        set_error(p, PQerrorMessage(p->conn));
                        return -ECONNRESET;
                }
                n_nulls = 0;
                r = take_result(p, result);
                if (r < 0)
                        return r;
        }
        return arm_deadline(p);
}

static void read_notifies(PqLoop *p)
{
        bool any = false;
        PGnotify *n;

        while ((n = PQnotifies(p->conn))) {
                PQfreemem(n);
                any = true;
        }
        if (any)
                tell_notify(p);
}

static void on_connected_io(PqLoop *p)
{
        bool ended = !PQconsumeInput(p->conn);
        int r;

        if (ended)
                set_error(p, PQerrorMessage(p->conn));
        /* Results that came before an end are still to be had, and tell what happened. */
        r = read_results(p);
        if (r >= 0 && !ended) {
                read_notifies(p);
                r = flush(p);
        }
        if (r < 0 || ended)
                connection_lost(p, -ECONNRESET, p->error);
}

/* ---- connecting ---- */

static void drop_connection(PqLoop *p)
{
        p->io = sd_event_source_disable_unref(p->io);
        p->timer = sd_event_source_disable_unref(p->timer);
        p->deadline = sd_event_source_disable_unref(p->deadline);
        p->loss = sd_event_source_disable_unref(p->loss);
        PQfinish(p->conn);
        p->conn = NULL;
        p->fd = -EBADF;
        p->n_prepared = 0;
}

static int on_retry(sd_event_source *s, uint64_t usec, void *userdata)
{
        start_attempt(userdata);
        return 0;
}

static int set_timer(PqLoop *p, usec_t in_usec, sd_event_time_handler_t handler)
{
        int r;

        p->timer = sd_event_source_disable_unref(p->timer);
        r = sd_event_add_time_relative(
                p->event, &p->timer, CLOCK_MONOTONIC, in_usec, USEC_PER_MSEC, handler, p);
        if (r < 0)
                return r;
        return sd_event_source_set_description(p->timer, "pq-timer");
}

static void connection_lost(PqLoop *p, int error, const char *text)
{
        PqRequest *orphans = p->first;

        if (text != p->error)
                set_error(p, text);
        if (!p->error[0])
                set_error(p, "the connection was lost");
        if (p->state == PQ_CONNECTING)
                p->last_attempt_usec = now_usec(CLOCK_MONOTONIC);
        drop_connection(p);
        p->state = PQ_WAITING;
        p->first = p->last = NULL;
        p->n_pending = 0;
        if (set_timer(p, pq_retry_delay(p->n_failures, p->config.retry_max_usec), on_retry) < 0)
                (void) sd_event_exit(p->event, -ENOMEM);
        p->n_failures++;

        while (orphans) {
                PqRequest *q = orphans;
                bool lost;

                orphans = q->next;
                request_finish(q, q->failed ? request_error(q, &lost) : error);
        }
        tell_state(p);
}

static void on_listening(PqRequest *q, int error, const PGresult *result, void *userdata)
{
        if (error == 0) /* what was sent before we listened is seen by looking once */
                tell_notify(userdata);
}

static void connected(PqLoop *p)
{
        int r;

        p->last_attempt_usec = now_usec(CLOCK_MONOTONIC);
        p->timer = sd_event_source_disable_unref(p->timer);
        if (PQsetnonblocking(p->conn, 1) < 0 || !PQenterPipelineMode(p->conn)) {
                connection_lost(p, -ECONNRESET, PQerrorMessage(p->conn));
                return;
        }
        p->state = PQ_CONNECTED;
        p->n_failures = 0;
        r = watch(p, EPOLLIN);
        if (r >= 0 && p->config.listen)
                r = pq_loop_send(p, &listen_statement, NULL, on_listening, p, NULL);
        if (r < 0) {
                connection_lost(p, -ECONNRESET, "out of memory");
                return;
        }
        tell_state(p);
}

static void poll_attempt(PqLoop *p)
{
        PostgresPollingStatusType status = PQconnectPoll(p->conn);

        switch (status) {
        case PGRES_POLLING_READING:
        case PGRES_POLLING_WRITING:
                if (watch(p, status == PGRES_POLLING_READING ? EPOLLIN : EPOLLOUT) < 0)
                        connection_lost(p, -ECONNRESET, "cannot watch the socket");
                break;
        case PGRES_POLLING_OK:
                connected(p);
                break;
        default:
                connection_lost(p, -ECONNRESET, PQerrorMessage(p->conn));
        }
}

static int on_io(sd_event_source *s, int fd, uint32_t revents, void *userdata)
{
        PqLoop *p = userdata;

        if (p->state == PQ_CONNECTING)
                poll_attempt(p);
        else
                on_connected_io(p);
        return 0;
}

static int on_attempt_timeout(sd_event_source *s, uint64_t usec, void *userdata)
{
        connection_lost(userdata, -ETIMEDOUT, "no connection to the database in time");
        return 0;
}

static void ignore_notice(void *arg, const PGresult *result)
{
}

static void start_attempt(PqLoop *p)
{
        /* What stands before dbname is a default that the connection string may overrule. Requests
         * have their deadline; the kernel's timeouts end an idle LISTEN connection as well. */
        const char *keywords[8] = { "application_name", "keepalives_idle", "tcp_user_timeout",
                "dbname", "client_encoding" };
        const char *values[8] = { p->config.application_name, "10", "15000", p->config.conninfo,
                "UTF8" };

        if (p->config.user && !pq_conninfo_names_user(p->config.conninfo)) {
                keywords[5] = "user";
                values[5] = p->config.user;
        }

        p->timer = sd_event_source_disable_unref(p->timer);
        p->attempt_started_usec = now_usec(CLOCK_MONOTONIC);
        p->state = PQ_CONNECTING;
        p->conn = PQconnectStartParams(keywords, values, 1);
        if (!p->conn || PQstatus(p->conn) == CONNECTION_BAD) {
                connection_lost(
                        p, -ECONNRESET, p->conn ? PQerrorMessage(p->conn) : "out of memory");
                return;
        }
        PQsetNoticeReceiver(p->conn, ignore_notice, NULL);
        if (set_timer(p, p->config.connect_timeout_usec, on_attempt_timeout) < 0 ||
                watch(p, EPOLLOUT) < 0)
                connection_lost(p, -ECONNRESET, "out of memory");
}

/* ---- sending ---- */

static int on_loss(sd_event_source *s, void *userdata)
{
        PqLoop *p = userdata;

        connection_lost(p, -ECONNRESET, p->conn ? PQerrorMessage(p->conn) : p->error);
        return 0;
}

/* The connection broke while something was sent: tear down in the next iteration, because no
 * callback may come before the caller's function has returned. */
static void lose_later(PqLoop *p)
{
        if (!p->loss && sd_event_add_defer(p->event, &p->loss, on_loss, p) < 0)
                (void) sd_event_exit(p->event, -ENOMEM);
}

/* Puts one statement and its Sync into libpq's buffer. False: the connection is broken. */
static bool put(PqLoop *p, PqRequest *q, const char *const *values)
{
        const PqStatement *statement = q->statement;
        bool named = p->config.prepared &&
                (p->n_prepared < PQ_STATEMENTS_MAX || is_prepared(p, statement));

        if (statement == &listen_statement) {
                char *quoted =
                        PQescapeIdentifier(p->conn, p->config.listen, strlen(p->config.listen));
                char sql[128];

                snprintf(sql, sizeof(sql), "listen %s", quoted ? quoted : "reeve");
                PQfreemem(quoted);
                return PQsendQueryParams(p->conn, sql, 0, NULL, NULL, NULL, NULL, 0) &&
                        PQpipelineSync(p->conn);
        }
        if (!named)
                return PQsendQueryParams(p->conn, statement->sql, (int) statement->n_params, NULL,
                               values, NULL, NULL, 0) &&
                        PQpipelineSync(p->conn);

        if (!is_prepared(p, statement)) {
                if (!PQsendPrepare(p->conn, statement->name, statement->sql,
                            (int) statement->n_params, NULL))
                        return false;
                p->prepared[p->n_prepared++] = statement;
                q->preparing = true;
        }
        return PQsendQueryPrepared(p->conn, statement->name, (int) statement->n_params, values,
                       NULL, NULL, 0) &&
                PQpipelineSync(p->conn);
}

/* Sends the oldest request if it is one that waited for its turn. */
static int send_waiting(PqLoop *p)
{
        PqRequest *q = p->first;

        if (!q || !q->waiting)
                return 0;
        q->waiting = false;
        q->sent_usec = now_usec(CLOCK_MONOTONIC);
        if (!put(p, q, (const char *const *) q->values)) {
                set_error(p, PQerrorMessage(p->conn));
                return -ECONNRESET;
        }
        return flush(p);
}

static int copy_values(PqRequest *q, const char *const *values)
{
        unsigned n = q->statement->n_params;

        q->waiting = true;
        q->values = new0(char *, n);
        if (!q->values)
                return -ENOMEM;
        for (unsigned i = 0; i < n; i++)
                if (values[i]) {
                        q->values[i] = strdup(values[i]);
                        if (!q->values[i])
                                return -ENOMEM;
                }
        return 0;
}

int pq_loop_send(PqLoop *p, const PqStatement *statement, const char *const *values,
        PqResultCallback callback, void *userdata, PqRequest **ret_request)
{
        PqRequest *q;

        if (p->state != PQ_CONNECTED || p->loss)
                return -ENOTCONN;
        if (p->n_pending >= PQ_QUEUE_MAX)
                return -ENOBUFS;

        q = new0(PqRequest, 1);
        if (!q)
                return -ENOMEM;
        *q = (PqRequest){ .loop = p,
                .statement = statement,
                .callback = callback,
                .userdata = userdata,
                .sent_usec = now_usec(CLOCK_MONOTONIC) };
        if (!p->config.prepared && p->first && copy_values(q, values) < 0) {
                request_free(q);
                return -ENOMEM;
        }
        if (p->last)
                p->last->next = q;
        else
                p->first = q;
        p->last = q;
        p->n_pending++;

        if (!q->waiting && (!put(p, q, values) || flush(p) < 0 || arm_deadline(p) < 0))
                lose_later(p);
        if (ret_request)
                *ret_request = q;
        return 0;
}

PqRequest *pq_request_cancel(PqRequest *q)
{
        if (q)
                q->callback = NULL;
        return NULL;
}

/* ---- life ---- */

int pq_loop_new(sd_event *event, const PqConfig *config, PqLoop **ret)
{
        _cleanup_(pq_loop_freep) PqLoop *p = NULL;
        int r;

        p = new0(PqLoop, 1);
        if (!p)
                return -ENOMEM;
        p->event = sd_event_ref(event);
        p->fd = -EBADF;
        p->config = *config;
        p->config.conninfo = strdup(config->conninfo);
        p->config.application_name =
                strdup(config->application_name ? config->application_name : "reeve");
        p->config.user = config->user ? strdup(config->user) : NULL;
        p->config.listen = config->listen ? strdup(config->listen) : NULL;
        if (!p->config.conninfo || !p->config.application_name ||
                (config->user && !p->config.user) || (config->listen && !p->config.listen))
                return -ENOMEM;
        p->config.connect_timeout_usec = config->connect_timeout_usec ?: 5 * USEC_PER_SEC;
        p->config.deadline_usec = config->deadline_usec ?: 15 * USEC_PER_SEC;
        p->config.retry_max_usec = config->retry_max_usec ?: 2 * USEC_PER_SEC;

        r = set_timer(p, 0, on_retry);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(p);
        return 0;
}

PqLoop *pq_loop_free(PqLoop *p)
{
        if (!p)
                return NULL;

        drop_connection(p);
        while (p->first)
                request_free(queue_pop(p));
        free((char *) p->config.conninfo);
        free((char *) p->config.application_name);
        free((char *) p->config.user);
        free((char *) p->config.listen);
        p->event = sd_event_unref(p->event);
        free(p);
        return NULL;
}

bool pq_loop_is_connected(const PqLoop *p)
{
        return p->state == PQ_CONNECTED && !p->loss;
}

unsigned pq_loop_n_pending(const PqLoop *p)
{
        return p->n_pending;
}

usec_t pq_loop_last_answer_usec(const PqLoop *p)
{
        return p->last_answer_usec;
}

usec_t pq_loop_last_attempt_usec(const PqLoop *p)
{
        return p->last_attempt_usec;
}

usec_t pq_loop_oldest_age_usec(const PqLoop *p)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (p->state == PQ_CONNECTING)
                return now - p->attempt_started_usec;
        return p->first ? now - p->first->sent_usec : 0;
}

const char *pq_loop_last_error(const PqLoop *p)
{
        return p->error[0] ? p->error : NULL;
}

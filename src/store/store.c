/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "store.h"

#include <inttypes.h>
#include <stdio.h>

#include "parse-util.h"
#include "store-internal.h"
#include "store-jobs.h"
#include "store-run.h"
#include "store-sql.h"

#define STORE_ERROR_MAX 400
#define ROW_MAX         8

struct Store {
        PqLoop *pq;
        PqLoop *listener; /* its own connection: a pooler in transaction mode cannot LISTEN */
        StoreStateCallback on_state;
        StoreHintCallback on_hint;
        void *userdata;
        StoreRequest *requests; /* under way, linked by prev and next */
        char error[STORE_ERROR_MAX];
};

/* ---- parameters
 * --------------------------------------------------------------------------------------------------
 */

void params_done(StoreParams *p)
{
        for (unsigned i = 0; i < p->n; i++)
                strbuf_done(p->text + i);
        p->n = 0;
}

static StrBuf *params_next(StoreParams *p)
{
        assert(p->n < STORE_PARAMS_MAX);
        return p->text + p->n++;
}

void params_text(StoreParams *p, const char *text)
{
        StrBuf *b = params_next(p);

        p->is_null[p->n - 1] = !text;
        strbuf_puts(b, text ? text : "");
}

void params_i64(StoreParams *p, int64_t v)
{
        strbuf_printf(params_next(p), "%" PRId64, v);
}

void params_u64(StoreParams *p, uint64_t v)
{
        strbuf_printf(params_next(p), "%" PRIu64, v);
}

StrBuf *params_array(StoreParams *p)
{
        StrBuf *b = params_next(p);

        p->is_array[p->n - 1] = true;
        strbuf_putc(b, '{');
        return b;
}

static void array_next(StrBuf *a)
{
        if (a->len > 1)
                strbuf_putc(a, ',');
}

void array_text(StrBuf *a, const char *text)
{
        array_next(a);
        if (!text) {
                strbuf_puts(a, "NULL");
                return;
        }

        strbuf_putc(a, '"');
        while (*text) {
                size_t n = strcspn(text, "\"\\");

                strbuf_append(a, text, n);
                text += n;
                if (*text) {
                        strbuf_putc(a, '\\');
                        strbuf_putc(a, *text++);
                }
        }
        strbuf_putc(a, '"');
}

void array_i64(StrBuf *a, int64_t v)
{
        array_next(a);
        strbuf_printf(a, "%" PRId64, v);
}

void array_u64(StrBuf *a, uint64_t v)
{
        array_next(a);
        strbuf_printf(a, "%" PRIu64, v);
}

void array_bool(StrBuf *a, bool v)
{
        array_next(a);
        strbuf_putc(a, v ? 't' : 'f');
}

/* ---- rows
 * --------------------------------------------------------------------------------------------------------
 */

static int decode_value(
        const PGresult *result, int row, int column, StoreColumnType type, void *target)
{
        bool is_null = PQgetisnull(result, row, column);
        const char *value = is_null ? NULL : PQgetvalue(result, row, column);

        if (is_null && type != COLUMN_TEXT_NULL && type != COLUMN_USEC_NULL)
                return -EPROTO;

        switch (type) {
        case COLUMN_TEXT:
        case COLUMN_TEXT_NULL:
                *(const char **) target = value;
                return 0;
        case COLUMN_I64:
                return parse_i64(value, target) < 0 ? -EPROTO : 0;
        case COLUMN_USEC_NULL:
                if (is_null) {
                        *(usec_t *) target = USEC_INFINITY;
                        return 0;
                }
                return parse_u64(value, 0, UINT64_MAX, target) < 0 ? -EPROTO : 0;
        case COLUMN_BOOL:
                if (!streq(value, "t") && !streq(value, "f"))
                        return -EPROTO;
                *(bool *) target = value[0] == 't';
                return 0;
        }
        return -EPROTO;
}

int store_decode(const PGresult *result, const StoreColumn *columns, unsigned n_columns,
        size_t row_size, void **ret_rows, unsigned *ret_n)
{
        int n = PQntuples(result), r;
        _cleanup_(freep) char *rows = NULL;

        if (PQnfields(result) != (int) n_columns)
                return -EPROTO;
        rows = calloc(n > 0 ? (size_t) n : 1, row_size);
        if (!rows)
                return -ENOMEM;

        for (int i = 0; i < n; i++)
                for (unsigned c = 0; c < n_columns; c++) {
                        r = decode_value(result, i, (int) c, columns[c].type,
                                rows + (size_t) i * row_size + columns[c].offset);
                        if (r < 0)
                                return r;
                }

        *ret_rows = TAKE_PTR(rows);
        *ret_n = (unsigned) n;
        return 0;
}

/* ---- requests
 * ----------------------------------------------------------------------------------------------------
 */

static void note_error(Store *s, const char *what, const PGresult *result)
{
        const char *sqlstate = result ? PQresultErrorField(result, PG_DIAG_SQLSTATE) : NULL;
        const char *text = result ? PQresultErrorField(result, PG_DIAG_MESSAGE_PRIMARY) : NULL;

        if (sqlstate && text)
                snprintf(s->error, sizeof(s->error), "%s: %s (SQLSTATE %s)", what, text, sqlstate);
        else
                snprintf(s->error, sizeof(s->error), "%s: %s", what,
                        pq_loop_last_error(s->pq) ? pq_loop_last_error(s->pq) : "no answer");
}

static void request_unlink_free(StoreRequest *q)
{
        if (q->prev)
                q->prev->next = q->next;
        else
                q->store->requests = q->next;
        if (q->next)
                q->next->prev = q->prev;
        free(q);
}

static void on_answer(PqRequest *pq, int error, const PGresult *result, void *userdata)
{
        StoreRequest *q = userdata;

        q->pq = NULL;
        if (error < 0) {
                note_error(q->store, q->statement->name, result);
                result = NULL;
        }
        q->call.decode(q, error, result);
        request_unlink_free(q);
}

int store_send(Store *s, const PqStatement *statement, StoreParams *params, const StoreCall *call)
{
        const char *values[STORE_PARAMS_MAX];
        StoreRequest *q = NULL;
        int r = 0;

        assert(params->n == statement->n_params);
        for (unsigned i = 0; i < params->n; i++) {
                if (params->is_array[i])
                        strbuf_putc(params->text + i, '}');
                if (strbuf_error(params->text + i) < 0)
                        r = -ENOMEM;
                values[i] = params->is_null[i] ? NULL : strbuf_str(params->text + i);
        }

        if (r == 0) {
                q = new0(StoreRequest, 1);
                r = q ? 0 : -ENOMEM;
        }
        if (r == 0) {
                *q = (StoreRequest){ .store = s, .statement = statement };
                q->call = *call;
                r = pq_loop_send(s->pq, statement, values, on_answer, q, &q->pq);
        }
        params_done(params);
        if (r < 0) {
                free(q);
                return r;
        }
        q->next = s->requests;
        if (q->next)
                q->next->prev = q;
        s->requests = q;
        if (call->ret_request)
                *call->ret_request = q;
        return 0;
}

StoreRequest *store_request_cancel(StoreRequest *q)
{
        if (q) {
                pq_request_cancel(q->pq);
                request_unlink_free(q);
        }
        return NULL;
}

void store_decode_done(StoreRequest *q, int error, const PGresult *result)
{
        StoreDoneCallback callback = (StoreDoneCallback) q->call.callback;

        if (callback)
                callback(error, q->call.userdata);
}

void store_decode_count(StoreRequest *q, int error, const PGresult *result)
{
        StoreCountCallback callback = (StoreCountCallback) q->call.callback;
        int64_t n = 0;

        if (error == 0 && PQntuples(result) > 0)
                error = decode_value(result, 0, 0, COLUMN_I64, &n);
        if (callback)
                callback(error, error < 0 ? 0 : n, q->call.userdata);
}

void store_decode_run_ids(StoreRequest *q, int error, const PGresult *result)
{
        static const StoreColumn columns[] = { { COLUMN_I64, 0 } };
        StoreRunsCallback callback = (StoreRunsCallback) q->call.callback;
        _cleanup_(freep) int64_t *ids = NULL;
        unsigned n = 0;

        if (error == 0)
                error = store_decode(result, columns, 1, sizeof(int64_t), (void **) &ids, &n);
        callback(error, ids, error < 0 ? 0 : n, q->call.userdata);
}

void store_decode_row(StoreRequest *q, int error, const PGresult *result)
{
        StoreRowCallback callback = (StoreRowCallback) q->call.callback;
        const char *row[ROW_MAX] = {};
        int n = error == 0 ? PQnfields(result) : 0;
        bool found = error == 0 && PQntuples(result) > 0;

        if (n > ROW_MAX) {
                error = -EPROTO;
                found = false;
        }
        for (int i = 0; found && i < n; i++)
                row[i] = PQgetisnull(result, 0, i) ? NULL : PQgetvalue(result, 0, i);
        callback(error, found ? row : NULL, q->call.userdata);
}

void store_decode_n_rows(StoreRequest *q, int error, const PGresult *result)
{
        StoreCountCallback callback = (StoreCountCallback) q->call.callback;

        callback(error, error < 0 ? 0 : PQntuples(result), q->call.userdata);
}

int store_get_schema_version(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_get_schema_version, &p,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

int store_ensure_partitions(
        Store *s, StoreCountCallback callback, void *userdata, StoreRequest **ret_request)
{
        StoreParams p = {};

        return store_send(s, &sql_ensure_partitions, &p,
                STORE_CALL(store_decode_count, callback, userdata, ret_request));
}

/* ---- life
 * --------------------------------------------------------------------------------------------------------
 */

static void on_pq_state(PqLoop *pq, PqState state, const char *text, void *userdata)
{
        Store *s = userdata;

        if (state != PQ_CONNECTED)
                snprintf(s->error, sizeof(s->error), "%s", text ? text : "not connected");
        if (s->on_state)
                s->on_state(state == PQ_CONNECTED, text, s->userdata);
}

static void on_pq_notify(PqLoop *pq, void *userdata)
{
        Store *s = userdata;

        if (s->on_hint)
                s->on_hint(s->userdata);
}

int store_new(sd_event *event, const StoreConfig *config, Store **ret)
{
        _cleanup_(store_freep) Store *s = NULL;
        PqConfig pq = {
                .conninfo = config->conninfo,
                .user = config->role,
                .application_name = config->application_name,
                .prepared = config->prepared,
                .deadline_usec = config->deadline_usec,
                .on_state = on_pq_state,
        };
        PqConfig listener = pq;
        int r;

        s = new0(Store, 1);
        if (!s)
                return -ENOMEM;
        s->on_state = config->on_state;
        s->on_hint = config->on_hint;
        s->userdata = config->userdata;
        pq.userdata = s;
        r = pq_loop_new(event, &pq, &s->pq);
        if (r < 0)
                return r;

        if (config->listen) {
                listener.userdata = s;
                listener.on_state = NULL;
                listener.on_notify = on_pq_notify;
                listener.listen = config->channel ? config->channel : "reeve";
                r = pq_loop_new(event, &listener, &s->listener);
                if (r < 0)
                        return r;
        }

        *ret = TAKE_PTR(s);
        return 0;
}

Store *store_free(Store *s)
{
        if (!s)
                return NULL;
        pq_loop_free(s->listener);
        pq_loop_free(s->pq);
        while (s->requests)
                request_unlink_free(s->requests);
        return mfree(s);
}

bool store_is_connected(const Store *s)
{
        return pq_loop_is_connected(s->pq);
}

bool store_is_listening(const Store *s)
{
        return s->listener && pq_loop_is_connected(s->listener);
}

unsigned store_n_pending(const Store *s)
{
        return pq_loop_n_pending(s->pq);
}

usec_t store_last_answer_usec(const Store *s)
{
        return pq_loop_last_answer_usec(s->pq);
}

usec_t store_last_attempt_usec(const Store *s)
{
        return pq_loop_last_attempt_usec(s->pq);
}

usec_t store_oldest_age_usec(const Store *s)
{
        return pq_loop_oldest_age_usec(s->pq);
}

const char *store_last_error(const Store *s)
{
        return s->error;
}

bool store_lacks_schema(const Store *s)
{
        return strstr(s->error, "(SQLSTATE 42P01)") || strstr(s->error, "(SQLSTATE 3F000)");
}

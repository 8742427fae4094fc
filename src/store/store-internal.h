/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "pq-loop.h"
#include "store.h"
#include "strbuf.h"

/* What the files of this folder share: parameters, rows, requests. */

#define STORE_PARAMS_MAX 24

/* Parameters in order. Array parameters are built element by element. Memory errors show at
 * store_send(). */
typedef struct StoreParams {
        StrBuf text[STORE_PARAMS_MAX];
        bool is_null[STORE_PARAMS_MAX];
        bool is_array[STORE_PARAMS_MAX];
        unsigned n;
} StoreParams;

void params_done(StoreParams *p);
void params_text(StoreParams *p, const char *text); /* NULL: SQL NULL */
void params_i64(StoreParams *p, int64_t v);
void params_u64(StoreParams *p, uint64_t v);
/* Opens an array and returns it for array_ calls. */
StrBuf *params_array(StoreParams *p);
void array_text(StrBuf *a, const char *text); /* NULL: a null element */
void array_i64(StrBuf *a, int64_t v);
void array_u64(StrBuf *a, uint64_t v);
void array_bool(StrBuf *a, bool v);

typedef enum StoreColumnType {
        COLUMN_TEXT, /* const char *, into the result; not null */
        COLUMN_TEXT_NULL, /* the same, NULL allowed */
        COLUMN_I64, /* int64_t, not null */
        COLUMN_USEC_NULL, /* usec_t, null is USEC_INFINITY */
        COLUMN_BOOL, /* bool, not null */
} StoreColumnType;

/* A column of a result, in order, and where it goes in the row's structure. */
typedef struct StoreColumn {
        StoreColumnType type;
        size_t offset;
} StoreColumn;

/* Decodes all rows into a new array of structures of the given size, that the caller frees (the
 * texts stay in the result). Returns 0, -EPROTO (columns or values are not as the table says) or
 * -ENOMEM. */
int store_decode(const PGresult *result, const StoreColumn *columns, unsigned n_columns,
        size_t row_size, void **ret_rows, unsigned *ret_n);

/* Turns an answer into the public callback. Called with the result, or with an error and no result.
 */
typedef void (*StoreDecoder)(StoreRequest *q, int error, const PGresult *result);

typedef void (*StoreAnyCallback)(void);

typedef struct StoreCall {
        StoreDecoder decode;
        StoreAnyCallback callback; /* cast back by decode */
        void *userdata;
        StoreRequest **ret_request;
} StoreCall;

#define STORE_CALL(decode, callback, userdata, ret_request)                                        \
        (&(StoreCall){ decode, (StoreAnyCallback) (callback), userdata, ret_request })

struct StoreRequest {
        Store *store;
        StoreRequest *prev, *next; /* Store.requests */
        PqRequest *pq;
        const PqStatement *statement;
        StoreCall call;
};

/* Sends and empties params. Errors as in store.h. */
int store_send(Store *s, const PqStatement *statement, StoreParams *params, const StoreCall *call);

/* Decoders of the plain callbacks. */
void store_decode_done(StoreRequest *q, int error, const PGresult *result);
void store_decode_count(StoreRequest *q, int error, const PGresult *result); /* no row: 0 */
void store_decode_n_rows(
        StoreRequest *q, int error, const PGresult *result); /* a StoreCountCallback */
/* The first row as texts: a StoreRowCallback. */
void store_decode_row(StoreRequest *q, int error, const PGresult *result);
void store_decode_run_ids(StoreRequest *q, int error, const PGresult *result);

#define COLUMN(type, structure, member)                                                            \
        {                                                                                          \
                type, offsetof(structure, member)                                                  \
        }

/* A decoder of rows: the table, the row, and the call with rows and their number. */
#define DEFINE_ROWS_DECODER(name, row_type, callback_type, table)                                  \
        static void name(StoreRequest *q, int error, const PGresult *result)                       \
        {                                                                                          \
                callback_type callback = (callback_type) q->call.callback;                         \
                _cleanup_(freep) row_type *rows = NULL;                                            \
                unsigned n = 0;                                                                    \
                                                                                                   \
                if (error == 0)                                                                    \
                        error = store_decode(result, table, ELEMENTSOF(table), sizeof(row_type),   \
                                (void **) &rows, &n);                                              \
                callback(error, rows, error < 0 ? 0 : n, q->call.userdata);                        \
        }

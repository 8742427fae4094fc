/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <limits.h>

#include "api-handlers.h"
#include "api.h"
#include "blob.h"
#include "config-load.h"
#include "enqueue.h"
#include "flag-set.h"
#include "http.h"
#include "json-reader.h"
#include "store-jobs.h"

/* What the files of this folder share. call: a request that is being answered; caller: who asks. */

#define SCHEMA_NEEDED REEVE_SCHEMA_VERSION
#define CALL_CODES    8 /* different status codes of a route that are counted apart */
#define CALL_FIELDS   4 /* of its answer, added with call_add_field() */
typedef enum ApiRight {
        API_PUBLIC,
        API_EVALUATE, /* flags: answered without the database */
        API_READ,
        API_FLEET, /* what is of no tenant */
        API_SUBMIT,
        API_WORK, /* take jobs, and say how they ended */
        API_METRICS,
        API_ADMIN,
        _API_RIGHT_MAX,
} ApiRight;

/* In HttpRoute.body_max of the table; more: bytes of a file. Replaced by what is configured. */
typedef enum ApiBodyMax {
        API_BODY_NONE,
        API_BODY_SMALL, /* 64 KiB */
        API_BODY_UPLOAD, /* UploadMax=, and some for the rest of a form */
} ApiBodyMax;

/* In HttpRoute.rate of the table: requests an hour of one key; 0: any number. */
#define API_RATE_DEFAULT UINT_MAX /* Rate= */
#define API_ACTOR_MAX    96

typedef struct Caller {
        unsigned rights; /* 1 << ApiRight */
        char actor[API_ACTOR_MAX]; /* "uid:0", "key:NAME" */
        char tenant[REEVE_NAME_MAX + 1]; /* "": every tenant's */
        char subject[REEVE_SUBJECT_MAX + 1]; /* "": every subject's */
        bool acts; /* may name any subject */
        int64_t key; /* 0: a local user */
} Caller;

typedef struct Call Call;
/* Goes on with a call, which it may end. */
typedef void (*CallReady)(Call *c);
struct Call {
        Api *api;
        HttpRequest *request;
        const HttpRoute *route;
        Call *prev, *next;
        Caller caller;
        char id[UUID_TEXT_SIZE]; /* the {id} of the path, in lower case */
        StoreRequest *pending; /* cancelled with the call */
        Store *asked; /* by call_reader(), for its error; NULL: Api.store */
        void (*cleanup)(Call *c); /* frees data */
        void *data;
        char *fields[CALL_FIELDS][2]; /* names and values for its answer */
        CallReady ready; /* once it is known how often the caller has asked */
        CallReady revoked; /* while it waits: its key is not good any more; NULL: noted only */
        bool key_asked, key_gone;
        usec_t started_usec;
};

typedef struct RouteCount {
        unsigned codes[CALL_CODES];
        uint64_t n[CALL_CODES];
        uint64_t n_all;
        usec_t usec;
} RouteCount;

typedef struct Feed Feed;

struct Api {
        sd_event *event;
        Settings settings;
        Store *store, *reads; /* reads: see call_reader() */
        BlobStore *blobs; /* NULL: uploads are refused */
        Router *router;
        HttpRoute *routes;
        RouteCount *counts;
        SettingsRate *rates; /* by the route's number; n 0: no limit */
        unsigned n_routes, n_fds, n_told_errors, n_told_refused;
        HttpServer *server;
        Enqueuer *enqueuer;
        struct Waiters *waiters;
        Feed *feed;
        struct Pullers *pullers;
        struct Keyring *keyring;
        FlagSet *flags;
        Call *calls;
        int *fds;
        bool *is_unix; /* by the listener's number */
        struct Create *held; /* requests with an Idempotency-Key that are not answered yet */
        sd_event_source *tick;
        usec_t watchdog_usec, started_usec, pinged_usec, told_usec;
        StrBuf openapi; /* the description, once it was asked for */
        int64_t schema_version; /* 0: not known */
        bool accepting, connected, told_away, told_schema, stopping;
        char status[320];
};

/* ---- api.c: calls ---- */

/* Replies, and frees the call. */
void call_reply(Call *c, HttpResponse *response, unsigned status);
void call_problem(Call *c, Problem problem, const char *format, ...) _printf_(3, 4);
void call_report(Call *c, const ProblemReport *report);
/* The problem for an error of the store or of the program; logs what is a fault of ours. */
void call_fault(Call *c, int error);
/* A field of the answer, whatever that will be. Returns 0, -ENOBUFS or -ENOMEM. */
int call_add_field(Call *c, const char *name, const char *value);
/* {"NAME": ...} of a list's row. */
void call_list(Call *c, int error, const char *const *row, const char *name);
/* A JSON text as it is. */
void call_json(Call *c, unsigned status, const char *json);
/* The same from a buffer, which is left empty, with a Location if path is not NULL. */
void call_json_buf(Call *c, unsigned status, StrBuf *json, const char *location);
/* After starting something: true if it could not be started; the call is then over. */
static inline bool call_failed(Call *c, int r)
{
        if (r < 0)
                call_fault(c, r);
        return r < 0;
}
/* Whom to ask for a list: a connection behind which nothing else waits; if away, the one of all. */
Store *call_reader(Call *c);

/* Collects a body of at most max bytes for done, which the call's data must survive. */
void call_collect(Call *c, uint64_t max, HttpBodyDone done);

int api_start_health(Api *a);
void api_update_status(Api *a);
/* Asks the database for its schema, if nothing is on the way and it is time. */
void api_ping(Api *a);
/* Begins to accept connections: once the database has answered, an attempt to reach it has failed,
 * or a second is over. Until then they wait in the sockets. Does nothing the second time. */
void api_accept(Api *a);
/* Whether the database can be asked; detail says why not. While the service stops too: what is on a
 * connection that was accepted is served. */
bool api_is_available(const Api *a, char *detail, size_t size);

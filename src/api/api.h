/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <systemd/sd-event.h>

#include "macros.h"
#include "openapi.h"

/* The HTTP API: answers on sockets that systemd listens on, keeps nothing that matters. */

typedef struct Api Api;

typedef struct ApiOptions {
        const char *root; /* before the directories of the configuration; NULL: none */
        const char *blobs; /* where blobs are */
} ApiOptions;

/* Reads the configuration, takes the sockets, starts to connect. */
int api_new(sd_event *event, const ApiOptions *options, Api **ret);
Api *api_free(Api *a);
DEFINE_CLEANUP(Api, api_free)

/* Accepts no more, lets what has begun end, then ends the event loop. Again: at once. */
void api_stop(Api *a);

/* Every route of jobs, ended by one without pattern; body_max is an ApiBodyMax, or bytes. */
const HttpRoute *api_routes(void);

/* The routes of a built-in system, in the same form. */
typedef struct ApiSystem {
        const char *name;
        const HttpRoute *routes;
        const OpenapiPart *openapi; /* what their docs name */
} ApiSystem;

/* The systems that the program is linked with, ended by NULL: src/systems/systems.c. */
extern const ApiSystem *const api_systems[];

/* Appends the description of all routes. Returns 0 or the error of openapi_write(). */
int api_write_openapi(StrBuf *out);

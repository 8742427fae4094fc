/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf.h"
#include "time-util.h"

/* The embedded server: reeve-postgres.service on this host. */
#define SETTINGS_EMBEDDED_SOCKET_DIR "/run/reeve-postgres"
#define SETTINGS_DATABASE_DEFAULT    "host=" SETTINGS_EMBEDDED_SOCKET_DIR " dbname=reeve"

/* What a local user may do by the API's unix socket. */
typedef struct SettingsPeer {
        char **words; /* USER ROLE TENANT [SUBJECT], as in reeve.conf(5) */
} SettingsPeer;

typedef struct SettingsPeers {
        SettingsPeer *items; /* the first that fits counts */
        size_t n_items;
} SettingsPeers;

/* How often a key may use a route. */
typedef struct SettingsRate {
        unsigned n; /* requests in per_usec; 0: any number */
        usec_t per_usec;
} SettingsRate;

typedef struct SettingsRoutes {
        struct SettingsRoute {
                char **words; /* METHOD PATTERN RATE */
                SettingsRate rate;
        } * items; /* the last of a route counts */
        size_t n_items;
} SettingsRoutes;

/* reeve.conf and its drop-ins (reeve.conf(5)). */
typedef struct Settings {
        char *database; /* libpq connection string, never NULL */
        int prepared; /* named prepared statements: 0 no, 1 yes, -1 as settings_prepared() decides
                       */
        usec_t lease_usec; /* without a heartbeat for so long, a worker's jobs are claimable */
        usec_t heartbeat_usec; /* at most a third of the lease */
        usec_t sync_timeout_usec; /* how long a synchronous request waits before its 202 */
        bool inline_when_off; /* what a disabled flag refuses is done synchronously instead */
        usec_t sunset_usec; /* from a flag's last change on: when its old way ends */
        usec_t stale_usec; /* without the database flags stay for so long as they were */
        uint64_t body_max; /* bytes */
        uint64_t upload_max; /* bytes */
        SettingsRate rate; /* of routes that have a limit, but none of their own */
        SettingsRoutes route_rates;
        unsigned connections; /* of HTTP, at a time */
        unsigned client_connections; /* of them, by one address or local user */
        uint64_t head_max; /* bytes of a request's head */
        usec_t head_usec; /* how long a client may take for a head, ... */
        usec_t body_usec; /* ... a body, and REEVE_HTTP_RATE_MIN more, ... */
        usec_t send_usec; /* ... to take a reply, and the same, ... */
        usec_t idle_usec; /* ... and between two requests */
        unsigned event_streams; /* of events, at a time */
        uint64_t event_buffer; /* bytes that are kept for their readers */
        usec_t event_comment_usec; /* of silence in a stream */
        SettingsPeers peers;
        usec_t keep_jobs_usec; /* records of jobs that ended longer ago go, week by week */
        usec_t orphan_usec; /* files that no job has named for so long go */
} Settings;

/* The defaults, and then what was read. c may be empty. Findings go to report by file and line; a
 * wrong value is reported and its default stays. Returns 0, -EINVAL (an error was reported; s is
 * usable) or -ENOMEM (s needs settings_done() in each case). */
int settings_from_conf(Settings *s, const Conf *c, ConfReport report, void *userdata);
void settings_done(Settings *s);

/* Whether Database= is the embedded server: a key=value string whose host is its socket directory.
 * An address (postgresql://...) or a service file's name never is. */
bool settings_is_embedded(const Settings *s);

/* Prepared=, or where that is not set: yes for the embedded server, no for others, which may be a
 * pooler in transaction mode. */
bool settings_prepared(const Settings *s);

/* Every key, ended by one without key. */
const ConfEntry *settings_entries(void);

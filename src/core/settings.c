/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "settings.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>

#include "kind-parse.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "words.h"

static int parse_database(const ConfEntry *e, const char *value, void *target)
{
        return free_and_strdup(target, *value ? value : SETTINGS_DATABASE_DEFAULT);
}

static int parse_prepared(const ConfEntry *e, const char *value, void *target)
{
        bool b;
        int r;

        if (streq(value, "auto")) {
                *(int *) target = -1;
                return 0;
        }
        r = parse_bool(value, &b);
        if (r == 0)
                *(int *) target = b;
        return r;
}

/* "10/h" or "off". */
static int rate_from_string(const char *s, SettingsRate *ret)
{
        static const struct {
                const char *unit;
                usec_t usec;
        } units[] = {
                { "s", USEC_PER_SEC },
                { "min", USEC_PER_MIN },
                { "h", 60 * USEC_PER_MIN },
                { "d", USEC_PER_DAY },
        };
        const char *slash = strchr(s, '/');
        char number[16];
        uint64_t n;

        if (streq(s, "off")) {
                *ret = (SettingsRate){ 0 };
                return 0;
        }
        if (!slash || (size_t) (slash - s) >= sizeof(number))
                return -EINVAL;
        memcpy(number, s, (size_t) (slash - s));
        number[slash - s] = '\0';
        if (parse_u64(number, 1, REEVE_RATE_MAX, &n) < 0)
                return -EINVAL;
        for (unsigned i = 0; i < ELEMENTSOF(units); i++)
                if (streq(slash + 1, units[i].unit)) {
                        *ret = (SettingsRate){ (unsigned) n, units[i].usec };
                        return 0;
                }
        return -EINVAL;
}

static int parse_rate(const ConfEntry *e, const char *value, void *target)
{
        return rate_from_string(value, target);
}

static void routes_done(SettingsRoutes *r)
{
        for (size_t i = 0; i < r->n_items; i++)
                words_free(r->items[i].words);
        free(r->items);
        *r = (SettingsRoutes){};
}

static int parse_route_rate(const ConfEntry *e, const char *value, void *target)
{
        SettingsRoutes *routes = target;
        _cleanup_(words_freep) char **words = NULL;
        struct SettingsRoute *more;
        SettingsRate rate;
        int r;

        if (*value == '\0') {
                routes_done(routes);
                return 0;
        }
        r = words_parse(value, &words);
        if (r < 0)
                return r;
        if (words_count(words) != 3 || words[1][0] != '/' || rate_from_string(words[2], &rate) < 0)
                return -EINVAL;
        more = reallocarray(routes->items, routes->n_items + 1, sizeof(*more));
        if (!more)
                return -ENOMEM;
        routes->items = more;
        more[routes->n_items++] = (struct SettingsRoute){ TAKE_PTR(words), rate };
        return 0;
}

static int parse_when_off(const ConfEntry *e, const char *value, void *target)
{
        bool is_inline = streq(value, "inline");

        if (!is_inline && !streq(value, "refuse"))
                return -EINVAL;
        *(bool *) target = is_inline;
        return 0;
}

static void peers_done(SettingsPeers *p)
{
        for (size_t i = 0; i < p->n_items; i++)
                words_free(p->items[i].words);
        free(p->items);
        *p = (SettingsPeers){};
}

static bool role_is_valid(const char *role)
{
        static const char *const roles[] = { "admin", "submit", "read", "metrics" };

        for (unsigned i = 0; i < ELEMENTSOF(roles); i++)
                if (streq(role, roles[i]))
                        return true;
        return false;
}

/* Each line adds one; an empty one forgets those before it. */
static int parse_peer(const ConfEntry *e, const char *value, void *target)
{
        SettingsPeers *p = target;
        char **words = NULL;
        SettingsPeer *more;
        size_t n;
        int r;

        if (*value == '\0') {
                peers_done(p);
                return 0;
        }
        r = words_parse(value, &words);
        if (r < 0)
                return r;
        n = words_count(words);
        if (n < 3 || n > 4 || !role_is_valid(words[1]) ||
                (!streq(words[2], "*") && (!name_is_valid(words[2]) || streq(words[1], "admin"))) ||
                (n == 4 && (strlen(words[3]) == 0 || strlen(words[3]) > REEVE_SUBJECT_MAX))) {
                words_free(words);
                return -EINVAL;
        }
        more = reallocarray(p->items, p->n_items + 1, sizeof(SettingsPeer));
        if (!more) {
                words_free(words);
                return -ENOMEM;
        }
        p->items = more;
        p->items[p->n_items++].words = words;
        return 0;
}

#define KEY(s, k, parser, field, text, ...)                                                        \
        {                                                                                          \
                .section = (s), .key = (k), .parse = (parser),                                     \
                .offset = offsetof(Settings, field), .hint = (text), __VA_ARGS__                   \
        }

#define HTTP_SPAN(k, field)                                                                        \
        KEY("Limits", k, conf_parse_usec, field, "a time span from 1s to 1h, such as 30s",         \
                .min = USEC_PER_SEC, .max = 3600 * USEC_PER_SEC)

static const ConfEntry entries[] = {
        KEY("Database", "Database", parse_database, database, "a libpq connection string"),
        KEY("Database", "Prepared", parse_prepared, prepared, "yes, no or auto"),
        KEY("Worker", "LeaseSec", kind_parse_span, lease_usec, "a time span of at least 3s",
                .min = 3 * USEC_PER_SEC),
        KEY("Worker", "HeartbeatSec", kind_parse_span, heartbeat_usec,
                "a time span of at least 100ms", .min = 100 * USEC_PER_MSEC),
        KEY("Api", "SyncTimeoutSec", kind_parse_span, sync_timeout_usec, "a time span such as 60s"),
        KEY("Api", "WhenFlagOff", parse_when_off, inline_when_off, "refuse or inline"),
        KEY("Api", "SunsetSec", kind_parse_span, sunset_usec, "a time span such as 30d"),
        KEY("Flags", "StaleSec", kind_parse_span, stale_usec,
                "a time span of at least 3s, or infinity", .min = 3 * USEC_PER_SEC,
                .max = USEC_INFINITY),
        KEY("Peer", "Allow", parse_peer, peers,
                "USER ROLE TENANT [SUBJECT]; an admin's TENANT is *"),
        KEY("Limits", "BodyMax", conf_parse_size, body_max, "a size of at least 64K, such as 16M",
                .min = REEVE_PAYLOAD_INLINE_MAX),
        KEY("Limits", "UploadMax", conf_parse_size, upload_max,
                "a size of at least 64K, such as 1G", .min = REEVE_PAYLOAD_INLINE_MAX),
        KEY("Limits", "Rate", parse_rate, rate,
                "a number for each s, min, h or d, such as 100/h, or off"),
        KEY("Limits", "RouteRate", parse_route_rate, route_rates,
                "METHOD ROUTE RATE, such as POST /api/jobs 1000/min"),
        KEY("Limits", "Connections", conf_parse_unsigned, connections, "a number from 16 to 4096",
                .min = 16, .max = REEVE_HTTP_CONNECTIONS_BOUND),
        KEY("Limits", "ConnectionsPerClient", conf_parse_unsigned, client_connections,
                "a number from 1 to 4096", .min = 1, .max = REEVE_HTTP_CONNECTIONS_BOUND),
        KEY("Limits", "HeadMax", conf_parse_size, head_max, "a size from 1K to 64K", .min = 1024,
                .max = REEVE_HTTP_HEAD_BOUND),
        HTTP_SPAN("HeadSec", head_usec),
        HTTP_SPAN("BodySec", body_usec),
        HTTP_SPAN("SendSec", send_usec),
        HTTP_SPAN("IdleSec", idle_usec),
        KEY("Limits", "EventStreams", conf_parse_unsigned, event_streams, "a number from 0 to 4096",
                .max = REEVE_HTTP_CONNECTIONS_BOUND),
        KEY("Limits", "EventBufferMax", conf_parse_size, event_buffer,
                "a size of at least 64K, such as 8M", .min = REEVE_PAYLOAD_INLINE_MAX),
        HTTP_SPAN("EventCommentSec", event_comment_usec),
        KEY("Maintenance", "KeepJobs", kind_parse_span, keep_jobs_usec,
                "a time span of at least 7d", .min = 7 * USEC_PER_DAY),
        KEY("Maintenance", "OrphanSec", kind_parse_span, orphan_usec, "a time span of at least 1s",
                .min = USEC_PER_SEC),
        {},
};

const ConfEntry *settings_entries(void)
{
        return entries;
}

void settings_done(Settings *s)
{
        free(s->database);
        peers_done(&s->peers);
        routes_done(&s->route_rates);
        *s = (Settings){ 0 };
}

static const ConfItem *last_heartbeat(const Conf *c)
{
        for (size_t i = c->n_items; i-- > 0;)
                if (streq(c->items[i].section, "Worker") && streq(c->items[i].key, "HeartbeatSec"))
                        return c->items + i;
        return NULL;
}

int settings_from_conf(Settings *s, const Conf *c, ConfReport report, void *userdata)
{
        const ConfItem *item;
        int r, result = 0;

        *s = (Settings){
                .prepared = -1,
                .lease_usec = 30 * USEC_PER_SEC,
                .heartbeat_usec = 5 * USEC_PER_SEC,
                .sync_timeout_usec = 60 * USEC_PER_SEC,
                .sunset_usec = 30 * USEC_PER_DAY,
                .stale_usec = 5 * USEC_PER_MIN,
                .body_max = REEVE_BODY_MAX,
                .upload_max = REEVE_UPLOAD_MAX,
                .rate = { REEVE_RATE, 60 * USEC_PER_MIN },
                .connections = REEVE_HTTP_CONNECTIONS_MAX,
                .head_max = REEVE_HTTP_HEAD_MAX,
                .head_usec = REEVE_HTTP_HEAD_USEC,
                .body_usec = REEVE_HTTP_BODY_USEC,
                .send_usec = REEVE_HTTP_SEND_USEC,
                .idle_usec = REEVE_HTTP_IDLE_USEC,
                .event_streams = REEVE_EVENT_STREAMS_MAX,
                .event_buffer = REEVE_EVENT_BUFFER_MAX,
                .event_comment_usec = REEVE_EVENT_COMMENT_USEC,
                .keep_jobs_usec = REEVE_KEEP_JOBS_USEC,
                .orphan_usec = REEVE_ORPHAN_USEC,
        };
        r = free_and_strdup(&s->database, SETTINGS_DATABASE_DEFAULT);
        if (r < 0)
                return r;

        r = conf_apply(c, entries, s, report, userdata);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                result = r;
        if (s->client_connections == 0) /* not set: some are left for others */
                s->client_connections = s->connections -
                        (s->connections + REEVE_HTTP_OTHERS - 1) / REEVE_HTTP_OTHERS;
        /* Two lost heartbeats must not cost a lease. */
        if (s->heartbeat_usec > s->lease_usec / 3) {
                item = last_heartbeat(c);
                if (item && report)
                        report(userdata, CONF_WARNING, item->file, item->line,
                                "HeartbeatSec= is more than a third of LeaseSec=: a third is "
                                "taken");
                s->heartbeat_usec = s->lease_usec / 3;
        }
        return result;
}

static const char *skip_space(const char *s)
{
        while (isspace((unsigned char) *s))
                s++;
        return s;
}

/* Reads a value, quotes and backslashes as libpq reads them, into buf (cut to size) and returns
 * what is behind it. */
static const char *read_value(const char *s, char *buf, size_t size)
{
        bool quoted = *s == '\'';
        size_t n = 0;

        for (s += quoted; *s && (quoted ? *s != '\'' : !isspace((unsigned char) *s)); s++) {
                if (*s == '\\' && s[1])
                        s++;
                if (n + 1 < size)
                        buf[n++] = *s;
        }
        buf[n] = '\0';
        return s + (quoted && *s);
}

/* Whether a key=value connection string's host is this. The last host counts. */
static bool host_is(const char *s, const char *host)
{
        char value[256];
        bool result = false;

        for (s = skip_space(s); *s; s = skip_space(s)) {
                const char *name = s;
                size_t n_name;

                while (*s && *s != '=' && !isspace((unsigned char) *s))
                        s++;
                n_name = (size_t) (s - name);
                s = skip_space(s);
                if (*s != '=')
                        return false;
                s = read_value(skip_space(s + 1), value, sizeof(value));
                if (n_name == CONST_STRLEN("host") && strncmp(name, "host", n_name) == 0)
                        result = streq(value, host);
        }
        return result;
}

bool settings_is_embedded(const Settings *s)
{
        if (strncmp(s->database, "postgres://", 11) == 0 ||
                strncmp(s->database, "postgresql://", 13) == 0)
                return false;
        return host_is(s->database, SETTINGS_EMBEDDED_SOCKET_DIR);
}

bool settings_prepared(const Settings *s)
{
        return s->prepared < 0 ? settings_is_embedded(s) : s->prepared > 0;
}

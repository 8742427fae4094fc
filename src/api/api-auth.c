/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-auth.h"

#include <grp.h>
#include <netinet/in.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>

#include "parse-util.h"
#include "sha256.h"
#include "store-key.h"

#define ADMIN_GROUP "reeve-admin"
#define ALL_RIGHTS  ((1U << _API_RIGHT_MAX) - 1)

/* The group's number; (gid_t) -1 if there is none. Its members are not asked for: the kernel knows
 * what groups the peer had when it connected. */
static gid_t admin_gid(void)
{
        static gid_t gid = (gid_t) -1;
        struct group *g;

        if (gid == (gid_t) -1) {
                g = getgrnam(ADMIN_GROUP);
                if (g)
                        gid = g->gr_gid;
        }
        return gid;
}

static bool peer_in_group(int fd, gid_t primary, gid_t gid)
{
        gid_t groups[256];
        socklen_t size = sizeof(groups);
        _cleanup_(freep) gid_t *more = NULL;
        gid_t *list = groups;

        if (gid == (gid_t) -1)
                return false;
        if (primary == gid)
                return true;
        if (getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, groups, &size) < 0) {
                if (errno != ERANGE)
                        return false;
                more = malloc(size);
                if (!more || getsockopt(fd, SOL_SOCKET, SO_PEERGROUPS, more, &size) < 0)
                        return false;
                list = more;
        }
        for (size_t i = 0; i < size / sizeof(gid_t); i++)
                if (list[i] == gid)
                        return true;
        return false;
}

static bool is_user(const char *name, uid_t uid)
{
        uint64_t number;
        struct passwd *p;

        if (parse_u64(name, 0, UINT32_MAX - 1, &number) >= 0)
                return number == uid;
        p = getpwnam(name);
        return p && p->pw_uid == uid;
}

/* The first Allow= that fits. */
static void look_up_peer(const SettingsPeers *peers, uid_t uid, Caller *k)
{
        for (size_t i = 0; i < peers->n_items; i++) {
                char **words = peers->items[i].words;

                if (!is_user(words[0], uid))
                        continue;
                k->rights = role_rights(words[1]);
                if (!streq(words[2], "*"))
                        (void) snprintf(k->tenant, sizeof(k->tenant), "%s", words[2]);
                if (words[3])
                        (void) snprintf(k->subject, sizeof(k->subject), "%s", words[3]);
                k->acts = !words[3];
                return;
        }
}

int peer_identify(Api *a, HttpRequest *r, Caller *ret)
{
        int fd = http_request_get_fd(r);
        struct ucred peer;
        socklen_t size = sizeof(peer);

        if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0)
                return -errno;
        *ret = (Caller){};
        if (peer.uid == 0 || peer_in_group(fd, peer.gid, admin_gid()))
                *ret = (Caller){ .rights = ALL_RIGHTS, .acts = true };
        else
                look_up_peer(&a->settings.peers, peer.uid, ret);
        (void) snprintf(ret->actor, sizeof(ret->actor), "uid:%u", peer.uid);
        return 0;
}

/* ---- keys, over TCP ---- */

#define CACHE_SIZE  256U /* by the hash's first byte; a newer entry takes the place */
#define CACHED_USEC (5 * USEC_PER_SEC) /* a revocation holds at the latest after this */
#define FAILURES_MAX                                                                               \
        10U /* wrong keys of an address in FAILURES_USEC; then nothing is looked up                \
             */
#define FAILURES_USEC  (10 * USEC_PER_SEC)
#define ADDRESSES      256U /* addresses that share a place share the limit */
#define TOKEN_SIZE_MAX 512U

typedef struct CachedKey {
        char hash[SHA256_HEX_MAX];
        bool good;
        usec_t until_usec;
        Caller caller;
} CachedKey;

typedef struct Failures {
        unsigned n;
        usec_t since_usec;
} Failures;

struct Keyring {
        /* Apart, so that who guesses drives no good key out. */
        CachedKey *good[CACHE_SIZE];
        CachedKey *wrong[CACHE_SIZE];
        Failures failures[ADDRESSES];
        StoreRequest *question; /* about the keys of calls */
        usec_t checked_usec;
};

typedef struct Bearer {
        char hash[SHA256_HEX_MAX];
        CallReady ready;
} Bearer;

int keyring_new(Keyring **ret)
{
        *ret = new0(Keyring, 1);
        return *ret ? 0 : -ENOMEM;
}

void keyring_forget(Keyring *k)
{
        for (unsigned i = 0; i < CACHE_SIZE; i++) {
                if (k->good[i])
                        k->good[i]->until_usec = 0; /* see was_good() */
                k->wrong[i] = mfree(k->wrong[i]);
        }
}

Keyring *keyring_free(Keyring *k)
{
        for (unsigned i = 0; k && i < CACHE_SIZE; i++) {
                free(k->good[i]);
                free(k->wrong[i]);
        }
        if (k)
                store_request_cancel(k->question);
        return mfree(k);
}

static const struct {
        const char *role;
        unsigned rights;
} roles[] = {
        { "admin", ALL_RIGHTS },
        { "submit", 1U << API_READ | 1U << API_SUBMIT | 1U << API_EVALUATE },
        { "read", 1U << API_READ | 1U << API_EVALUATE },
        { "metrics", 1U << API_METRICS },
        { "worker", 1U << API_READ | 1U << API_WORK | 1U << API_EVALUATE },
};

void roles_with(ApiRight right, char *ret, size_t size)
{
        size_t n = 0;

        ret[0] = '\0';
        for (unsigned i = 0; i < ELEMENTSOF(roles) && n < size; i++)
                if (roles[i].rights >> right & 1U)
                        n += (size_t) snprintf(
                                ret + n, size - n, "%s%s", n > 0 ? " or " : "", roles[i].role);
}

unsigned role_rights(const char *role)
{
        for (unsigned i = 0; i < ELEMENTSOF(roles); i++)
                if (streq(role, roles[i].role))
                        return roles[i].rights | 1U << API_PUBLIC;
        return 0;
}

static CachedKey **cache_place(CachedKey **cache, const char *hash)
{
        char byte[3] = { hash[0], hash[1], '\0' };

        return cache + strtoul(byte, NULL, 16) % CACHE_SIZE;
}

/* now 0: however old, but not what is forgotten. */
static const CachedKey *cache_find(Keyring *k, const char *hash, usec_t now)
{
        const CachedKey *found[] = { *cache_place(k->good, hash), *cache_place(k->wrong, hash) };

        for (unsigned i = 0; i < ELEMENTSOF(found); i++)
                if (found[i] && streq(found[i]->hash, hash) && now < found[i]->until_usec)
                        return found[i];
        return NULL;
}

/* Whether it was good when it was looked up last: who guesses at the same address keeps it out of
 * nothing. */
static bool was_good(Keyring *k, const char *hash)
{
        const CachedKey *key = *cache_place(k->good, hash);

        return key && streq(key->hash, hash);
}

static Failures *failures_of(Keyring *k, HttpRequest *r)
{
        struct sockaddr_storage peer = {};
        socklen_t size = sizeof(peer);
        unsigned char bytes[8] = { 0 };
        unsigned h = 0;

        (void) getpeername(http_request_get_fd(r), (struct sockaddr *) &peer, &size);
        if (peer.ss_family == AF_INET6) /* who has one address has the whole /64 */
                memcpy(bytes, &((struct sockaddr_in6 *) &peer)->sin6_addr, 8);
        else if (peer.ss_family == AF_INET)
                memcpy(bytes, &((struct sockaddr_in *) &peer)->sin_addr, 4);
        for (size_t i = 0; i < ELEMENTSOF(bytes); i++)
                h = h * 31 + bytes[i];
        return k->failures + h % ADDRESSES;
}

static void refuse(Call *c, const char *detail)
{
        const ProblemReport report = { .problem = PROBLEM_UNAUTHORIZED,
                .detail = detail,
                .instance = http_request_get_path(c->request) };
        _cleanup_(http_response_freep) HttpResponse *response = http_response_new_problem(&report);

        if (response && http_response_add(response, "WWW-Authenticate", "Bearer") < 0)
                response = http_response_free(response);
        call_reply(c, TAKE_PTR(response), 401);
}

static void too_often(Call *c)
{
        const ProblemReport report = { .problem = PROBLEM_TOO_MANY_REQUESTS,
                .detail = "Too many wrong keys came from your address.",
                .instance = http_request_get_path(c->request) };
        _cleanup_(http_response_freep) HttpResponse *response = http_response_new_problem(&report);

        if (response && http_response_add(response, "Retry-After", "10") < 0)
                response = http_response_free(response);
        call_reply(c, TAKE_PTR(response), 429);
}

static bool is_blocked(const Failures *f, usec_t now)
{
        return f->n >= FAILURES_MAX && now - f->since_usec < FAILURES_USEC;
}

static void judge(Call *c, const CachedKey *key, CallReady ready)
{
        Failures *f = failures_of(c->api->keyring, c->request);
        usec_t now = now_usec(CLOCK_MONOTONIC);

        if (key->good) {
                c->caller = key->caller;
                ready(c);
                return;
        }
        if (now - f->since_usec >= FAILURES_USEC)
                *f = (Failures){ .since_usec = now };
        f->n++;
        refuse(c, "This key is not known, has expired or was revoked.");
}

static void fill_caller(Caller *k, const char *const *row)
{
        const char *tenant = row[STORE_KEY_TENANT];
        const char *subject = row[STORE_KEY_SUBJECT];

        *k = (Caller){ .rights = role_rights(row[STORE_KEY_ROLE]) };
        k->key = strtoll(row[STORE_KEY_ID], NULL, 10);
        k->acts = streq_ptr(row[STORE_KEY_ACTS], "true") || caller_may(k, API_ADMIN);
        (void) snprintf(k->actor, sizeof(k->actor), "key:%s", row[STORE_KEY_NAME]);
        (void) snprintf(k->tenant, sizeof(k->tenant), "%s", tenant ? tenant : "");
        (void) snprintf(k->subject, sizeof(k->subject), "%s", subject && !k->acts ? subject : "");
}

static void on_key(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        Bearer b = *(Bearer *) c->data;
        Keyring *ring = c->api->keyring;
        CachedKey **place = cache_place(row ? ring->good : ring->wrong, b.hash);
        CachedKey *key;

        c->pending = NULL;
        c->cleanup(c);
        c->cleanup = NULL;
        c->data = NULL;
        if (call_failed(c, error))
                return;
        if (!row && was_good(ring, b.hash))
                *cache_place(ring->good, b.hash) = mfree(*cache_place(ring->good, b.hash));
        key = *place ? *place : new0(CachedKey, 1);
        if (call_failed(c, key ? 0 : -ENOMEM))
                return;
        *place = key;
        *key = (CachedKey){ .good = row != NULL };
        memcpy(key->hash, b.hash, sizeof(key->hash));
        key->until_usec = now_usec(CLOCK_MONOTONIC) + CACHED_USEC;
        if (row)
                fill_caller(&key->caller, row);
        judge(c, key, b.ready);
}

static void free_bearer(Call *c)
{
        free(c->data);
}

void bearer_identify(Call *c, CallReady ready)
{
        const char *field = http_request_get_header(c->request, "Authorization");
        Keyring *ring = c->api->keyring;
        usec_t now = now_usec(CLOCK_MONOTONIC);
        char hash[SHA256_HEX_MAX];
        char detail[256];
        const CachedKey *key;
        Bearer *b;

        if (!field || strncasecmp(field, "Bearer ", 7) != 0 || strlen(field) > TOKEN_SIZE_MAX) {
                refuse(c, "Send \"Authorization: Bearer KEY\".");
                return;
        }
        field += 7 + strspn(field + 7, " ");
        if (call_failed(c, sha256_hex(field, strlen(field), hash)))
                return;
        key = cache_find(ring, hash, now);
        if (key) {
                judge(c, key, ready);
                return;
        }
        if (!was_good(ring, hash) && is_blocked(failures_of(ring, c->request), now)) {
                too_often(c);
                return;
        }
        if (!api_is_available(c->api, detail, sizeof(detail))) {
                /* Flags outlive the connection, so the keys for them do. */
                key = c->route->auth == API_EVALUATE ? cache_find(ring, hash, 0) : NULL;
                if (key)
                        judge(c, key, ready);
                else
                        call_problem(c, PROBLEM_UNAVAILABLE, "%s", detail);
                return;
        }
        b = new0(Bearer, 1);
        if (call_failed(c, b ? 0 : -ENOMEM))
                return;
        b->ready = ready;
        memcpy(b->hash, hash, sizeof(hash));
        c->data = b;
        c->cleanup = free_bearer;
        (void) call_failed(c, store_get_api_key(c->api->store, hash, on_key, c, &c->pending));
}

/* ---- keys that are revoked, or expire, while a call is being answered ---- */

bool call_lost_key(Call *c)
{
        if (!c->key_gone)
                return false;
        refuse(c, "This key was revoked, or has expired, meanwhile."); /* frees it */
        return true;
}

static bool is_named(const char *const *ids, unsigned n, int64_t key)
{
        for (unsigned i = 0; i < n; i++)
                if (strtoll(ids[i], NULL, 10) == key)
                        return true;
        return false;
}

static void on_good_keys(int error, const char *const *ids, unsigned n, void *userdata)
{
        Api *a = userdata;
        Call *next;

        a->keyring->question = NULL;
        if (error < 0)
                return;
        for (Call *c = a->calls; c; c = next) {
                next = c->next;
                /* One that began meanwhile was not asked for: its key was good a moment ago. */
                if (!c->key_asked || c->key_gone || is_named(ids, n, c->caller.key))
                        continue;
                c->key_gone = true;
                if (c->revoked)
                        c->revoked(c);
        }
}

void keys_check(Api *a)
{
        Keyring *k = a->keyring;
        _cleanup_(freep) int64_t *keys = NULL;
        unsigned n = 0, n_calls = 0;

        k->checked_usec = now_usec(CLOCK_MONOTONIC);
        k->question = store_request_cancel(k->question); /* asked before what is known now */
        for (const Call *c = a->calls; c; c = c->next)
                n_calls++;
        keys = new0(int64_t, n_calls);
        if (!keys || !store_is_connected(a->store))
                return;
        for (Call *c = a->calls; c; c = c->next) {
                unsigned i = 0;

                c->key_asked = c->caller.key != 0;
                while (i < n && keys[i] != c->caller.key)
                        i++;
                if (c->key_asked && i == n)
                        keys[n++] = c->caller.key;
        }
        if (n > 0)
                (void) store_find_good_keys(a->store, keys, n, on_good_keys, a, &k->question);
}

void keys_watch(Api *a, usec_t now)
{
        if (now - a->keyring->checked_usec >= CACHED_USEC)
                keys_check(a);
}

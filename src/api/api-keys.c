/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/random.h>

#include "api-auth.h"
#include "api-jobs.h"
#include "parse-util.h"
#include "sha256.h"
#include "store-key.h"

#define SECRET_BYTES  32UL
#define SECRET_PREFIX "reeve_"
#define SECRET_MAX    (sizeof(SECRET_PREFIX) + 2 * SECRET_BYTES)

typedef struct NewKey {
        char name[REEVE_NAME_MAX + 1];
        char secret[SECRET_MAX];
} NewKey;

static void free_new_key(Call *c)
{
        explicit_bzero(c->data, sizeof(NewKey));
        free(c->data);
}

static int make_secret(char ret[static SECRET_MAX], char hash[static SHA256_HEX_MAX])
{
        unsigned char bytes[SECRET_BYTES];
        size_t n = sizeof(SECRET_PREFIX) - 1;

        if (getrandom(bytes, sizeof(bytes), 0) != sizeof(bytes))
                return -EIO;
        memcpy(ret, SECRET_PREFIX, sizeof(SECRET_PREFIX));
        for (size_t i = 0; i < sizeof(bytes); i++)
                (void) snprintf(ret + n + 2 * i, 3, "%02x", bytes[i]);
        return sha256_hex(ret, strlen(ret), hash);
}

static void on_added(int error, const char *const *row, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;
        const NewKey *k = c->data;

        c->pending = NULL;
        if (error == -EIO && strstr(store_last_error(c->api->store), "SQLSTATE 23505")) {
                call_problem(c, PROBLEM_CONFLICT, "There is a key of this name.");
                return;
        }
        if (call_failed(c, error < 0 ? error : row ? 0 : -EPROTO))
                return;
        json_open_object(&w, NULL);
        json_put_raw(&w, "id", row[0], strlen(row[0]));
        json_put_string(&w, "name", k->name);
        json_put_string(&w, "secret", k->secret);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 201, &b, NULL);
}

/* Returns what is wrong, or NULL. */
static const char *read_key(const JsonValue *v, StoreApiKey *key)
{
        usec_t expires;

        if (json_get_string(v, "name", &key->name, NULL) != JSON_FOUND || !name_is_valid(key->name))
                return "name: expected a name";
        if (json_get_string(v, "role", &key->role, NULL) != JSON_FOUND ||
                role_rights(key->role) == 0)
                return "role: expected admin, submit, read, worker or metrics";
        if (json_get_string(v, "tenant", &key->tenant, NULL) < 0 ||
                (key->tenant && !streq(key->tenant, "*") && !name_is_valid(key->tenant)))
                return "tenant: expected a name, or \"*\" for all";
        if (!key->tenant && !streq(key->role, "admin") && !streq(key->role, "metrics"))
                return "tenant: it is missing (\"*\" is all)";
        if (key->tenant && streq(key->tenant, "*"))
                key->tenant = NULL;
        if (key->tenant && streq(key->role, "admin"))
                return "tenant: an admin's key is for all, since it can make keys for all";
        /* Of an empty one it would be thought that the key is for all. */
        if (json_get_string(v, "subject", &key->subject, NULL) < 0 ||
                (key->subject && (!*key->subject || strlen(key->subject) > REEVE_SUBJECT_MAX)))
                return "subject: expected a string of 1 to 256 bytes";
        if (json_get_bool(v, "act_for_subjects", &key->acts, NULL) < 0)
                return "act_for_subjects: expected true or false";
        if (json_get_string(v, "expires_at", &key->expires, NULL) < 0 ||
                (key->expires && parse_rfc3339(key->expires, &expires) < 0))
                return "expires_at: expected a time such as \"2026-11-21T10:20:30Z\"";
        return NULL;
}

static void key_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        static const char *const known[] = { "name", "role", "tenant", "subject",
                "act_for_subjects", "expires_at", NULL };
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        Call *c = userdata;
        StoreApiKey key = { .actor = c->caller.actor };
        char hash[SHA256_HEX_MAX];
        const char *wrong;
        NewKey *k;

        if (!call_read_json(c, data, size, known, &d))
                return;
        wrong = read_key(json_document_root(d), &key);
        if (wrong) {
                call_problem(c, PROBLEM_INVALID, "%s.", wrong);
                return;
        }
        k = new0(NewKey, 1);
        if (call_failed(c, k ? 0 : -ENOMEM))
                return;
        c->data = k;
        c->cleanup = free_new_key;
        (void) snprintf(k->name, sizeof(k->name), "%s", key.name);
        key.hash = hash;
        if (!call_failed(c, make_secret(k->secret, hash)))
                (void) call_failed(
                        c, store_add_api_key(c->api->store, &key, on_added, c, &c->pending));
}

void handle_add_key(HttpRequest *r, void *userdata)
{
        call_collect(userdata, 16384, key_collected);
}

static void on_keys(int error, const char *const *row, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        strbuf_printf(&b, "{\"keys\":%s}", row[0]);
        call_json_buf(c, 200, &b, NULL);
}

void handle_list_keys(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_list_api_keys(call_reader(c), on_keys, c, &c->pending));
}

static void on_revoked(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        keyring_forget(c->api->keyring);
        keys_check(c->api);
        if (row)
                call_reply(c, http_response_new(204), 204);
        else
                call_problem(
                        c, PROBLEM_NOT_FOUND, "There is no such key, or it was revoked before.");
}

void handle_revoke_key(HttpRequest *r, void *userdata)
{
        Call *c = userdata;
        int64_t id;

        if (parse_i64(http_request_get_param(r, "key"), &id) < 0)
                call_problem(c, PROBLEM_NOT_FOUND, "A key's id is a number.");
        else
                (void) call_failed(c,
                        store_revoke_api_key(
                                c->api->store, id, c->caller.actor, on_revoked, c, &c->pending));
}

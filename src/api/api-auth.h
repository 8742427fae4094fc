/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api-private.h"

/* Who asks by a unix socket. Returns 0 or -errno. */
int peer_identify(Api *a, HttpRequest *r, Caller *ret);
/* Who asks by a key: calls ready, or answers. */
void bearer_identify(Call *c, CallReady ready);
unsigned role_rights(const char *role); /* 0: there is no such role */
#define ROLES_MAX 64
/* "admin or submit": the roles that have the right, for a message; cut at size. */
void roles_with(ApiRight right, char *ret, size_t size);
/* How often each route may be used, of Settings. */
int rates_new(Api *a, SettingsRate **ret);
/* Counts a request of a key by a route with a limit, then calls ready, or answers with 429. */
void rate_check(Call *c, CallReady ready);
typedef struct Keyring Keyring;
int keyring_new(Keyring **ret);
Keyring *keyring_free(Keyring *k);
/* Has each key looked up again. */
void keyring_forget(Keyring *k);
/* Asks whether the keys of the calls that are being answered are still good. Where one is not,
 * key_gone is set and revoked called; every five seconds, and at once where a key is revoked. */
void keys_check(Api *a);
void keys_watch(Api *a, usec_t now);
/* Answers a call whose key was revoked while it was being answered: true. */
bool call_lost_key(Call *c);

/* Whether the caller may see what belongs to them. */
bool caller_sees(const Caller *k, const char *tenant, const char *subject);
bool caller_may(const Caller *k, ApiRight right);

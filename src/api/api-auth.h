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
int keyring_new(Keyring **ret);
Keyring *keyring_free(Keyring *k);
void keyring_forget(Keyring *k);

/* Whether the caller may see what belongs to them. */
bool caller_sees(const Caller *k, const char *tenant, const char *subject);
bool caller_may(const Caller *k, ApiRight right);

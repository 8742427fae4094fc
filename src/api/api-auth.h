/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include "api-private.h"

/* Who asks by a unix socket. Returns 0 or -errno. */
int peer_identify(Api *a, HttpRequest *r, Caller *ret);
/* Who asks by a key: calls ready, or answers. */
void bearer_identify(Call *c, CallReady ready);
unsigned role_rights(const char *role); /* 0: there is no such role */
int keyring_new(Keyring **ret);
Keyring *keyring_free(Keyring *k);
void keyring_forget(Keyring *k);

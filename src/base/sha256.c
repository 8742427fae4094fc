/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "sha256.h"

#include <stdio.h>

#include <openssl/evp.h>

struct Sha256 {
        EVP_MD_CTX *ctx;
};

Sha256 *sha256_free(Sha256 *s)
{
        if (!s)
                return NULL;
        EVP_MD_CTX_free(s->ctx);
        free(s);
        return NULL;
}

int sha256_new(Sha256 **ret)
{
        _cleanup_(sha256_freep) Sha256 *s = NULL;

        s = new0(Sha256, 1);
        if (!s)
                return -ENOMEM;
        s->ctx = EVP_MD_CTX_new();
        if (!s->ctx)
                return -ENOMEM;
        /* Its own words for what failed differ from place to place. */
        errno = 0;
        if (EVP_DigestInit_ex(s->ctx, EVP_sha256(), NULL) != 1)
                return errno == ENOMEM ? -ENOMEM : -EIO;
        *ret = TAKE_PTR(s);
        return 0;
}

int sha256_update(Sha256 *s, const void *data, size_t n)
{
        return EVP_DigestUpdate(s->ctx, data, n) == 1 ? 0 : -EIO;
}

int sha256_final(Sha256 *s, char ret_hex[static SHA256_HEX_MAX])
{
        unsigned char digest[EVP_MAX_MD_SIZE];
        unsigned n = 0;

        if (EVP_DigestFinal_ex(s->ctx, digest, &n) != 1 || n != 32)
                return -EIO;
        for (unsigned i = 0; i < n; i++)
                snprintf(ret_hex + (size_t) i * 2, 3, "%02x", digest[i]);
        return 0;
}

int sha256_hex(const void *data, size_t n, char ret_hex[static SHA256_HEX_MAX])
{
        _cleanup_(sha256_freep) Sha256 *s = NULL;
        int r;

        r = sha256_new(&s);
        if (r < 0)
                return r;
        r = sha256_update(s, data, n);
        if (r < 0)
                return r;
        return sha256_final(s, ret_hex);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fuzz.h"
#include "kind.h"
#include "pool.h"
#include "settings.h"

/* The text of a configuration file, made into each thing that such a text can be. A kind's
 * canonical text must make the same kind again, with nothing to report. */

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        unsigned *n = userdata;

        assert(*text);
        *n += 1;
}

static void check_canonical(const Kind *k)
{
        _cleanup_(kind_freep) Kind *again = NULL;
        _cleanup_(strbuf_done) StrBuf text = {};
        _cleanup_(conf_done) Conf c = {};
        unsigned n_findings = 0;

        kind_format(k, &text);
        assert(strbuf_error(&text) == 0);
        assert(conf_read_text(
                       &c, "canonical", strbuf_str(&text), text.len, on_finding, &n_findings) == 0);
        assert(kind_new_from_conf("fuzz", &c, on_finding, &n_findings, &again) == 0);
        /* What only warned still warns. */
        assert(n_findings <= 2);
        assert(streq(again->hash, k->hash));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(kind_freep) Kind *k = NULL;
        _cleanup_(pool_freep) Pool *p = NULL;
        _cleanup_(settings_done) Settings s = {};
        _cleanup_(conf_done) Conf c = {};
        unsigned n_findings = 0;
        int r;

        if (conf_read_text(&c, "fuzz", (const char *) data, size, on_finding, &n_findings) < 0)
                assert(n_findings > 0);

        n_findings = 0;
        r = kind_new_from_conf("fuzz", &c, on_finding, &n_findings, &k);
        assert(r == 0 || (r == -EINVAL && n_findings > 0 && !k));
        if (r == 0)
                check_canonical(k);
        (void) pool_new_from_conf("fuzz", &c, NULL, NULL, &p);
        if (settings_from_conf(&s, &c, NULL, NULL) == 0)
                (void) settings_is_embedded(&s);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A flag's rules, and behind the first line end the context they are held against. What is taken is
 * within the limits; the answer is the same each time; without a property no rule holds. */
#include "flag-rules.h"
#include "fuzz.h"
#include "reeve-limits.h"

static void check_rules(const FlagRules *rules)
{
        assert(rules->n_items <= REEVE_FLAG_RULES_MAX);
        for (unsigned i = 0; i < rules->n_items; i++) {
                const FlagRule *r = rules->items + i;

                assert(*r->property && strlen(r->property) <= REEVE_NAME_MAX);
                assert(r->n_values > 0 && (r->n_values == 1 || r->op == FLAG_IN));
                assert(flag_op_from_string(flag_op_to_string(r->op)) == r->op);
        }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(flag_rules_done) FlagRules rules = {};
        const char *text = (const char *) data;
        const char *line = size > 0 ? memchr(text, '\n', size) : NULL;
        size_t n = line ? (size_t) (line - text) : size;
        Flag f = { .key = (char *) "k", .enabled = true, .percent = 50000 };
        FlagContext c = {};
        FlagResult a, b;
        JsonError e = {};
        char **allow = NULL;
        int r;

        r = flag_rules_parse(text, n, &rules, &e);
        assert(r == 0 || ((r == -EINVAL || r == -EBADMSG) && e.text[0] && !rules.items));
        check_rules(&rules);
        if (flag_allow_parse(text, n, &allow, NULL) >= 0)
                f.allow = allow;
        f.rules = rules;
        assert(!flag_context_evaluate(&c, &f).on);
        if (line && json_parse(line + 1, size - n - 1, REEVE_JSON_DEPTH_MAX, &d, NULL) >= 0 &&
                flag_context_init(&c, json_document_root(d), NULL) >= 0) {
                a = flag_context_evaluate(&c, &f);
                b = flag_context_evaluate(&c, &f);
                assert(a.on == b.on && a.reason == b.reason);
                f.enabled = false;
                assert(!flag_context_evaluate(&c, &f).on);
        }
        f.rules = (FlagRules){};
        f.key = NULL;
        flag_done(&f);
        return 0;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A flag's rules, and behind the first line end the context they are held against. What is taken is
 * within the limits; the answer is the same each time; without a property no rule holds. */
#include "flag-rules.h"
#include "fuzz.h"
#include "reeve-limits.h"

static void check_rule(const FlagRule *r)
{
        size_t n = strlen(r->property);
        bool has_values = r->op == FLAG_IN ? r->n_values > 0 : r->n_values == 1;

        assert(n > 0);
        assert(n <= REEVE_NAME_MAX);
        assert(has_values);
        assert(flag_op_from_string(flag_op_to_string(r->op)) == r->op);
}

static void check_parsed(int r, const FlagRules *rules, const JsonError *e)
{
        bool refused = r == -EINVAL || r == -EBADMSG;

        assert(r == 0 || refused);
        assert(!refused || (e->text[0] && !rules->items));
        assert(rules->n_items <= REEVE_FLAG_RULES_MAX);
        for (unsigned i = 0; rules->items && i < rules->n_items; i++)
                check_rule(rules->items + i);
}

static void evaluate(Flag *f, const char *text, size_t size)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        FlagContext c;
        FlagResult a, b;

        if (json_parse(text, size, REEVE_JSON_DEPTH_MAX, &d, NULL) < 0 ||
                flag_context_init(&c, json_document_root(d), NULL) < 0)
                return;
        a = flag_context_evaluate(&c, f);
        b = flag_context_evaluate(&c, f);
        assert(a.on == b.on);
        assert(a.reason == b.reason);
        f->enabled = false;
        assert(!flag_context_evaluate(&c, f).on);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        const char *text = (const char *) data;
        const char *line = size > 0 ? memchr(text, '\n', size) : NULL;
        size_t n = line ? (size_t) (line - text) : size;
        Flag f = { .enabled = true, .percent = 50000 };
        FlagContext nobody = {};
        JsonError e = {};
        int r;

        f.key = strdup("k");
        assert(f.key);
        r = flag_rules_parse(text, n, &f.rules, &e);
        check_parsed(r, &f.rules, &e);
        (void) flag_allow_parse(text, n, &f.allow, NULL);
        assert(!flag_context_evaluate(&nobody, &f).on);
        if (line)
                evaluate(&f, line + 1, size - n - 1);
        flag_done(&f);
        return 0;
}

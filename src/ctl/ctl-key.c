/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl.h"
#include "parse-util.h"

/* Keys for those who come by TCP. */

static int list_keys(Ctl *c)
{
        static const char *const heading[] = { "ID", "NAME", "ROLE", "TENANT", "SUBJECT", "CREATED",
                "EXPIRES", "REVOKED" };
        static const char *const texts[] = { "name", "role", "tenant", "subject" };
        static const char *const times[] = { "created_at", "expires_at", "revoked_at" };
        _cleanup_(text_table_done) TextTable t = { .n_columns = ELEMENTSOF(heading), .right = 1 };
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *keys;
        int r = ctl_get(c, "/api/keys", &a);

        if (r != EXIT_STATUS_OK)
                return r;
        keys = ctl_list(&a, "keys");
        if (!keys)
                return EXIT_STATUS_FAILED;
        if (c->json) {
                ctl_print_lines(keys);
                return EXIT_STATUS_OK;
        }
        for (size_t i = 0; i < ELEMENTSOF(heading); i++)
                text_table_add(&t, heading[i]);
        for (const JsonValue *v = json_value_first(keys, NULL); v;
                v = json_value_next(keys, v, NULL)) {
                char at[TEXT_TIME_MAX];

                text_table_add_u64(&t, member_u64(v, "id"));
                for (size_t i = 0; i < ELEMENTSOF(texts); i++)
                        text_table_add(&t, member_text(v, texts[i]));
                for (size_t i = 0; i < ELEMENTSOF(times); i++)
                        text_table_add(&t, text_local_time(at, member_text(v, times[i])));
        }
        return text_table_print(&t, stdout, c->bold) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

static int create_key(Ctl *c, const char *name)
{
        _cleanup_(strbuf_done) StrBuf body = {}, secret = {};
        _cleanup_(answer_done) Answer a = {};
        const char *role = c->values[OPTION_ROLE], *tenant = c->values[OPTION_TENANT];
        JsonWriter w = json_writer(&body);
        HttpPart part;
        int r;

        if (!role)
                return ctl_error(EXIT_STATUS_USAGE,
                        "key create: --role= is missing: admin, submit, read, worker or metrics.");
        if (!tenant && !streq(role, "admin") && !streq(role, "metrics"))
                return ctl_error(EXIT_STATUS_USAGE,
                        "key create: --tenant= is missing: whose jobs the key is for; \"default\" "
                        "where there are no tenants, \"*\" for those of all.");
        json_open_object(&w, NULL);
        json_put_string(&w, "name", name);
        json_put_string(&w, "role", role);
        if (tenant)
                json_put_string(&w, "tenant", tenant);
        if (c->values[OPTION_SUBJECT])
                json_put_string(&w, "subject", c->values[OPTION_SUBJECT]);
        if (c->values[OPTION_ACTS])
                json_put_bool(&w, "act_for_subjects", true);
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return ctl_oom();
        part = (HttpPart){ .data = strbuf_str(&body), .size = body.len };
        r = ctl_ask(c,
                &(HttpAsk){ .method = "POST",
                        .target = "/api/keys",
                        .content_type = "application/json",
                        .parts = &part,
                        .n_parts = 1 },
                &a);
        if (r != EXIT_STATUS_OK)
                return r;
        if (c->json) {
                ctl_print_body(&a);
                return EXIT_STATUS_OK;
        }
        text_clean(&secret, member_text(a.root, "secret"));
        printf("%s\n", strbuf_str(&secret));
        fputs("Keep it: it is shown this once.\n", stderr);
        return EXIT_STATUS_OK;
}

static int revoke_key(Ctl *c, const char *id)
{
        _cleanup_(answer_done) Answer a = {};
        char target[64];
        uint64_t n;

        if (parse_u64(id, 1, INT64_MAX, &n) < 0)
                return ctl_error(EXIT_STATUS_USAGE,
                        "%s is not the id of a key, which is a number. Try: reevectl key list", id);
        (void) snprintf(target, sizeof(target), "/api/keys/%llu", (unsigned long long) n);
        return ctl_ask(c, &(HttpAsk){ .method = "DELETE", .target = target }, &a);
}

int verb_key(Ctl *c)
{
        if (streq(c->args[0], "list") && c->n_args == 1)
                return list_keys(c);
        if (streq(c->args[0], "create") && c->n_args == 2)
                return create_key(c, c->args[1]);
        if (streq(c->args[0], "revoke") && c->n_args == 2)
                return revoke_key(c, c->args[1]);
        return ctl_error(EXIT_STATUS_USAGE,
                "key %s: expected list, create NAME or revoke ID. Try \"reevectl help key\".",
                c->args[0]);
}

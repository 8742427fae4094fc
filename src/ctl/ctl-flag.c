/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>

#include "ctl-bus.h"
#include "fd-util.h"
#include "flag.h"
#include "parse-util.h"
#include "reeve-limits.h"

/* Flags: looked at by the API, changed by the bus. */

#define BIT(id) (UINT64_C(1) << (id))

static void put_target(StrBuf *b, const char *before, const char *key, const char *behind)
{
        strbuf_puts(b, before);
        http_quote(b, key);
        strbuf_puts(b, behind);
}

static const char *state_text(const JsonValue *v)
{
        return member_text(v, "archived_at")[0] ? "archived"
                : member_bool(v, "enabled")     ? "enabled"
                                                : "disabled";
}

/* A member as it is written. buf is returned. */
static const char *json_text(const JsonValue *v, const char *name, StrBuf *buf)
{
        const JsonValue *member = json_value_member(v, name);
        const char *text;
        size_t n;

        strbuf_clear(buf);
        if (member) {
                text = json_value_text(member, &n);
                strbuf_append(buf, text, n);
        }
        return strbuf_str(buf);
}

/* ---- looking ---- */

static int list_flags(Ctl *c)
{
        static const char *const heading[] = { "FLAG", "STATE", "PERCENT", "VERSION", "CHANGED",
                "BY", "DESCRIPTION" };
        _cleanup_(text_table_done)
                TextTable t = { .n_columns = ELEMENTSOF(heading), .right = 1U << 2 | 1U << 3 };
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *flags;
        int r = ctl_get(c, "/api/flags", &a);

        if (r != EXIT_STATUS_OK)
                return r;
        flags = ctl_list(&a, "flags");
        if (!flags)
                return EXIT_STATUS_FAILED;
        if (c->json) {
                ctl_print_lines(flags);
                return EXIT_STATUS_OK;
        }
        for (size_t i = 0; i < ELEMENTSOF(heading); i++)
                text_table_add(&t, heading[i]);
        for (const JsonValue *v = json_value_first(flags, NULL); v;
                v = json_value_next(flags, v, NULL)) {
                char at[TEXT_TIME_MAX];

                text_table_add(&t, member_text(v, "key"));
                text_table_add(&t, state_text(v));
                text_table_add(&t, json_text(v, "percent", &b));
                text_table_add_u64(&t, member_u64(v, "version"));
                text_table_add(&t, text_local_time(at, member_text(v, "updated_at")));
                text_table_add(&t, member_text(v, "updated_by"));
                text_table_add(&t, member_text(v, "description"));
        }
        return text_table_print(&t, stdout, c->bold) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

static void print_field(const char *title, const char *text)
{
        _cleanup_(strbuf_done) StrBuf clean = {};

        if (*text == '\0')
                return;
        text_clean(&clean, text);
        printf("%12s: %s\n", title, strbuf_str(&clean));
}

/* Asks for a flag, or what belongs to it. */
static int get_flag(Ctl *c, const char *suffix, Answer *ret)
{
        _cleanup_(strbuf_done) StrBuf target = {};

        if (!name_is_valid(c->args[1])) /* the API would find fault with the path instead */
                return ctl_error(EXIT_STATUS_NOT_FOUND, "There is no flag \"%s\".", c->args[1]);
        put_target(&target, "/api/flags/", c->args[1], suffix);
        return ctl_get(c, strbuf_str(&target), ret);
}

static int show_flag(Ctl *c)
{
        static const struct {
                const char *title, *name;
        } fields[] = {
                { "Percent", "percent" },
                { "Allow", "allow" },
                { "Rules", "rules" },
                { "Queues", "queues" },
                { "Value on", "value_on" },
                { "Value off", "value_off" },
                { "Version", "version" },
        };
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(answer_done) Answer a = {};
        char at[TEXT_TIME_MAX];
        int r;

        r = get_flag(c, "", &a);
        if (r != EXIT_STATUS_OK)
                return r;
        if (c->json) {
                ctl_print_body(&a);
                return EXIT_STATUS_OK;
        }
        print_field("Flag", member_text(a.root, "key"));
        print_field("Description", member_text(a.root, "description"));
        print_field("State", state_text(a.root));
        for (size_t i = 0; i < ELEMENTSOF(fields); i++)
                print_field(fields[i].title, json_text(a.root, fields[i].name, &b));
        print_field("Bucketing", member_text(a.root, "bucketing"));
        print_field("Seed", member_text(a.root, "seed"));
        print_field("When stale", member_text(a.root, "on_stale"));
        print_field("Changed", text_local_time(at, member_text(a.root, "updated_at")));
        print_field("By", member_text(a.root, "updated_by"));
        return EXIT_STATUS_OK;
}

static int show_history(Ctl *c)
{
        static const char *const heading[] = { "WHEN", "WHAT", "WHO", "WHY", "DETAIL" };
        _cleanup_(text_table_done) TextTable t = { .n_columns = ELEMENTSOF(heading) };
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *entries;
        int r;

        r = get_flag(c, "/history", &a);
        if (r != EXIT_STATUS_OK)
                return r;
        entries = ctl_list(&a, "history");
        if (!entries)
                return EXIT_STATUS_FAILED;
        if (c->json) {
                ctl_print_lines(entries);
                return EXIT_STATUS_OK;
        }
        for (size_t i = 0; i < ELEMENTSOF(heading); i++)
                text_table_add(&t, heading[i]);
        for (const JsonValue *v = json_value_first(entries, NULL); v;
                v = json_value_next(entries, v, NULL)) {
                char at[TEXT_TIME_MAX];

                text_table_add(&t, text_local_time(at, member_text(v, "at")));
                text_table_add(&t, member_text(v, "event"));
                text_table_add(&t, member_text(v, "actor"));
                text_table_add(&t, member_text(v, "reason"));
                text_table_add(&t, json_text(v, "detail", &b));
        }
        return text_table_print(&t, stdout, c->bold) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

/* ---- eval ---- */

/* {"context": {...}} of --context= and --subject=. Returns an ExitStatus, told. */
static int write_context(Ctl *c, StrBuf *body)
{
        const char *text = c->values[OPTION_CONTEXT], *subject = c->values[OPTION_SUBJECT];
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        JsonWriter w = json_writer(body);
        const JsonValue *root = NULL;
        const char *name;
        JsonError e;
        int r = text ? json_parse(text, strlen(text), JSON_WRITER_DEPTH_MAX - 4, &d, &e) : 0;

        if (r == -ENOMEM)
                return ctl_oom();
        if (r < 0)
                return ctl_error(EXIT_STATUS_USAGE, "--context, line %u, column %u: %s.", e.line,
                        e.column, e.text);
        root = d ? json_document_root(d) : NULL;
        if (root && !json_value_is(root, JSON_OBJECT))
                return ctl_error(EXIT_STATUS_USAGE, "--context is not a JSON object.");
        json_open_object(&w, NULL);
        json_open_object(&w, "context");
        for (const JsonValue *v = root ? json_value_first(root, &name) : NULL; v;
                v = json_value_next(root, v, &name)) {
                size_t n;
                const char *value = json_value_text(v, &n);

                if (!subject || !streq(name, "targetingKey"))
                        json_put_raw(&w, name, value, n);
        }
        if (subject)
                json_put_string(&w, "targetingKey", subject);
        json_close(&w);
        json_close(&w);
        return json_writer_end(&w) < 0 ? ctl_oom() : EXIT_STATUS_OK;
}

/* What OFREP says is wrong; others are problems. */
static int tell_refusal(const Answer *a)
{
        const char *details = a->root ? member_text(a->root, "errorDetails") : "";

        if (*details == '\0')
                return ctl_tell_problem(a);
        return ctl_error(a->reply.status == 404 ? EXIT_STATUS_NOT_FOUND : EXIT_STATUS_FAILED,
                "%s (%s)", details, member_text(a->root, "errorCode"));
}

static int evaluate_flag(Ctl *c)
{
        _cleanup_(strbuf_done) StrBuf body = {}, target = {}, b = {};
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *metadata;
        HttpPart part;
        int error, r = write_context(c, &body);

        if (r != EXIT_STATUS_OK)
                return r;
        put_target(&target, "/ofrep/v1/evaluate/flags/", c->args[1], "");
        part = (HttpPart){ .data = strbuf_str(&body), .size = body.len };
        ctl_try(c,
                &(HttpAsk){ .method = "POST",
                        .target = strbuf_str(&target),
                        .content_type = "application/json",
                        .parts = &part,
                        .n_parts = 1 },
                &a, &error);
        if (error < 0)
                return ctl_tell_fault(c, error);
        if (a.reply.status != 200 || !a.root)
                return tell_refusal(&a);
        if (c->json) {
                ctl_print_body(&a);
                return EXIT_STATUS_OK;
        }
        metadata = json_value_member(a.root, "metadata");
        print_field("Variant", member_text(a.root, "variant"));
        print_field("Value", json_text(a.root, "value", &b));
        print_field("Reason", member_text(a.root, "reason"));
        if (metadata) {
                print_field("Error", member_text(metadata, "error"));
                print_field("Version", json_text(metadata, "version", &b));
        }
        return EXIT_STATUS_OK;
}

/* ---- changing ---- */

static const char *reason_of(const Ctl *c)
{
        return c->values[OPTION_REASON] ? c->values[OPTION_REASON] : "";
}

static int read_percent(const char *text, double *ret)
{
        unsigned percent;
        int r = flag_percent_parse(text, &percent);

        if (r < 0)
                return ctl_error(EXIT_STATUS_USAGE,
                        "%s is not a percentage: a number from 0 to 100 with at most three "
                        "decimals.",
                        text);
        *ret = percent / 1000.0;
        return EXIT_STATUS_OK;
}

static int set_enabled(Ctl *c, bool enabled)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = ctl_bus_begin_manager(c, "SetFlagEnabled", &m);

        if (r != EXIT_STATUS_OK)
                return r;
        return ctl_bus_ask(
                m, sd_bus_message_append(m, "sbs", c->args[1], (int) enabled, reason_of(c)));
}

static int enable_flag(Ctl *c)
{
        return set_enabled(c, true);
}

static int disable_flag(Ctl *c)
{
        return set_enabled(c, false);
}

static int set_percent(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        double percent = 0;
        int r = read_percent(c->args[2], &percent);

        if (r == EXIT_STATUS_OK)
                r = ctl_bus_begin_manager(c, "SetFlagPercent", &m);
        if (r != EXIT_STATUS_OK)
                return r;
        return ctl_bus_ask(m, sd_bus_message_append(m, "sds", c->args[1], percent, reason_of(c)));
}

/* A call of the flag's own object. */
static int begin_flag(Ctl *c, const char *member, sd_bus_message **ret)
{
        _cleanup_(freep) char *path = NULL;

        if (sd_bus_path_encode("/org/reeve1/flag", c->args[1], &path) < 0)
                return ctl_oom();
        return ctl_bus_begin(c, path, "org.reeve1.Flag", member, ret);
}

static int print_rules(Ctl *c)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        _cleanup_(answer_done) Answer a = {};
        int r = get_flag(c, "", &a);

        if (r == EXIT_STATUS_OK)
                puts(json_text(a.root, "rules", &b));
        return r;
}

/* From a file, or standard input. */
static int read_rules(const char *path, char **ret)
{
        int r = read_file(AT_FDCWD, path, REEVE_FLAG_RULES_BYTES_MAX, ret, NULL);

        if (r == -EFBIG)
                return ctl_error(EXIT_STATUS_USAGE, "%s: rules have at most %lu bytes.", path,
                        REEVE_FLAG_RULES_BYTES_MAX);
        return r < 0 ? ctl_error(EXIT_STATUS_FAILED, "Cannot read %s: %s.", path, strerror(-r))
                     : EXIT_STATUS_OK;
}

static int set_rules(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        _cleanup_(freep) char *text = NULL;
        const char *path = NULL;
        int r = EXIT_STATUS_OK;

        if (c->n_args == 2)
                return print_rules(c);
        if (streq(c->args[2], "-"))
                path = "/dev/stdin";
        else if (c->args[2][0] == '@')
                path = c->args[2] + 1;
        if (path)
                r = read_rules(path, &text);
        if (r == EXIT_STATUS_OK)
                r = begin_flag(c, "SetRules", &m);
        if (r != EXIT_STATUS_OK)
                return r;
        r = ctl_bus_ask(m, sd_bus_message_append(m, "ss", text ? text : c->args[2], reason_of(c)));
        return r == EXIT_STATUS_USAGE && path ? ctl_error(r, "The rules are those of %s.", path)
                                              : r;
}

static int append_strings(sd_bus_message *m, const char *const *strings, unsigned n)
{
        int r = sd_bus_message_open_container(m, 'a', "s");

        for (unsigned i = 0; i < n && r >= 0; i++)
                r = sd_bus_message_append(m, "s", strings[i]);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int set_allow(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = begin_flag(c, "SetAllow", &m);

        if (r != EXIT_STATUS_OK)
                return r;
        r = append_strings(m, (const char *const *) c->args + 2, (unsigned) c->n_args - 2);
        return ctl_bus_ask(m, r < 0 ? r : sd_bus_message_append(m, "s", reason_of(c)));
}

static int set_queues(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = begin_flag(c, "SetQueues", &m);

        if (r != EXIT_STATUS_OK)
                return r;
        r = append_strings(m, (const char *const *) c->args + 2, (unsigned) c->n_args - 2);
        return ctl_bus_ask(m, r < 0 ? r : sd_bus_message_append(m, "s", reason_of(c)));
}

static int archive_flag(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        int r = begin_flag(c, "Archive", &m);

        return r == EXIT_STATUS_OK ? ctl_bus_ask(m, 0) : r;
}

static int append_text(sd_bus_message *m, const char *name, const char *value)
{
        return value ? sd_bus_message_append(m, "{sv}", name, "s", value) : 0;
}

static int append_allow(const Ctl *c, sd_bus_message *m)
{
        int r;

        if (c->n_again == 0)
                return 0;
        r = sd_bus_message_open_container(m, 'e', "sv");
        if (r >= 0)
                r = sd_bus_message_append(m, "s", "allow");
        if (r >= 0)
                r = sd_bus_message_open_container(m, 'v', "as");
        if (r >= 0)
                r = append_strings(m, c->again, c->n_again);
        for (unsigned i = 0; i < 2 && r >= 0; i++)
                r = sd_bus_message_close_container(m);
        return r;
}

static int append_options(const Ctl *c, sd_bus_message *m, double percent)
{
        static const struct {
                const char *name;
                CtlOptionId option;
        } texts[] = {
                { "bucketing", OPTION_BUCKETING },
                { "seed", OPTION_SEED },
                { "rules", OPTION_RULES },
                { "on_stale", OPTION_ON_STALE },
                { "description", OPTION_DESCRIPTION },
                { "reason", OPTION_REASON },
        };
        int r = sd_bus_message_append(m, "s", c->args[1]);

        if (r >= 0)
                r = sd_bus_message_open_container(m, 'a', "{sv}");
        if (r >= 0 && c->values[OPTION_ENABLED])
                r = sd_bus_message_append(m, "{sv}", "enabled", "b", 1);
        if (r >= 0 && c->values[OPTION_PERCENT])
                r = sd_bus_message_append(m, "{sv}", "percent", "d", percent);
        for (unsigned i = 0; i < ELEMENTSOF(texts) && r >= 0; i++)
                r = append_text(m, texts[i].name, c->values[texts[i].option]);
        if (r >= 0)
                r = append_allow(c, m);
        return r < 0 ? r : sd_bus_message_close_container(m);
}

static int create_flag(Ctl *c)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *m = NULL;
        double percent = 0;
        int r = EXIT_STATUS_OK;

        if (c->values[OPTION_PERCENT])
                r = read_percent(c->values[OPTION_PERCENT], &percent);
        if (r == EXIT_STATUS_OK)
                r = ctl_bus_begin_manager(c, "CreateFlag", &m);
        if (r != EXIT_STATUS_OK)
                return r;
        return ctl_bus_ask(m, append_options(c, m, percent));
}

int verb_flag(Ctl *c)
{
        static const CtlCommand commands[] = {
                { "list", 0, 0, 0, list_flags },
                { "show", 1, 1, 0, show_flag },
                { "create", 1, 1,
                        BIT(OPTION_ENABLED) | BIT(OPTION_PERCENT) | BIT(OPTION_BUCKETING) |
                                BIT(OPTION_SEED) | BIT(OPTION_ALLOW) | BIT(OPTION_RULES) |
                                BIT(OPTION_ON_STALE) | BIT(OPTION_DESCRIPTION) | BIT(OPTION_REASON),
                        create_flag },
                { "enable", 1, 1, BIT(OPTION_REASON), enable_flag },
                { "disable", 1, 1, BIT(OPTION_REASON), disable_flag },
                { "percent", 2, 2, BIT(OPTION_REASON), set_percent },
                { "rules", 1, 2, BIT(OPTION_REASON), set_rules },
                { "allow", 1, -1, BIT(OPTION_REASON), set_allow },
                { "queues", 1, -1, BIT(OPTION_REASON), set_queues },
                { "archive", 1, 1, 0, archive_flag },
                { "history", 1, 1, 0, show_history },
                { "eval", 1, 1, BIT(OPTION_SUBJECT) | BIT(OPTION_CONTEXT), evaluate_flag },
                {},
        };

        return ctl_run_command(c, commands);
}

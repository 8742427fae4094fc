/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <stdarg.h>
#include <sys/random.h>
#include <systemd/sd-bus.h>

#include "ctl.h"

/* selftest: one job through everything, from here to a handler and back. Each step is a line. */

#define KIND      "reeve-selftest"
#define IN_NAME   "selftest.bin"
#define OUT_NAME  "selftest.out"
#define FILE_SIZE (256UL * 1024) /* above what a row holds: it is a blob */
#define TOKEN     33 /* of 16 random bytes */
#define WAIT_SEC  30
#define BUS_USEC  (10 * USEC_PER_SEC)

typedef struct Selftest {
        Ctl *c;
        char token[TOKEN];
        char file[FILE_SIZE];
        char id[64]; /* of the job */
        StrBuf say; /* of the step that runs */
} Selftest;

typedef struct SelftestStep {
        const char *name;
        int (*run)(Selftest *t); /* 0, or -1: t->say says why */
        bool needs_api;
} SelftestStep;

/* What has failed, in t->say. */
static int say_failure(Selftest *t, const char *format, ...) _printf_(2, 3);
static int say_failure(Selftest *t, const char *format, ...)
{
        va_list ap;

        strbuf_clear(&t->say);
        va_start(ap, format);
        strbuf_vprintf(&t->say, format, ap);
        va_end(ap);
        return -1;
}

static int ask(Selftest *t, const HttpAsk *what, unsigned want, Answer *ret)
{
        int error;

        ctl_try(t->c, what, ret, &error);
        if (error < 0)
                return say_failure(t, "%s %s: %s", what->method, what->target,
                        t->c->client.wrong[0] ? t->c->client.wrong : strerror(-error));
        if (ret->reply.status != want || !ret->root)
                return say_failure(t, "%s %s: HTTP %u: %s", what->method, what->target,
                        ret->reply.status,
                        ret->root ? member_text(ret->root, "detail") : "no JSON");
        return 0;
}

static int get(Selftest *t, const char *target, Answer *ret)
{
        return ask(t,
                &(HttpAsk){
                        .method = "GET", .target = target, .usec = (WAIT_SEC + 10) * USEC_PER_SEC },
                200, ret);
}

/* ---- units, and the bus ---- */

static int test_units(Selftest *t)
{
        static const char *const units[] = { "reeve.target", "reeve-api.socket", "reeved.service",
                "reeve-worker@default.service", "reeve-worker@inline.service" };
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        int r = sd_bus_open_system(&bus);

        if (r < 0)
                return say_failure(t, "there is no system bus: %s", strerror(-r));
        (void) sd_bus_set_method_call_timeout(bus, BUS_USEC);
        for (size_t i = 0; i < ELEMENTSOF(units); i++) {
                _cleanup_(freep) char *path = NULL, *state = NULL;

                if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", units[i], &path) < 0)
                        return say_failure(t, "no memory");
                r = sd_bus_get_property_string(bus, "org.freedesktop.systemd1", path,
                        "org.freedesktop.systemd1.Unit", "ActiveState", NULL, &state);
                if (r < 0)
                        return say_failure(t, "%s: %s", units[i], strerror(-r));
                if (!streq(state, "active"))
                        return say_failure(t, "%s is %s", units[i], state);
        }
        strbuf_printf(&t->say, "%zu are active", ELEMENTSOF(units));
        return 0;
}

static int test_bus(Selftest *t)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *state = NULL;
        int r = sd_bus_open_system(&bus);

        if (r < 0)
                return say_failure(t, "there is no system bus: %s", strerror(-r));
        (void) sd_bus_set_method_call_timeout(bus, BUS_USEC);
        r = sd_bus_get_property_string(
                bus, "org.reeve1", "/org/reeve1", "org.reeve1.Manager", "State", &error, &state);
        if (r < 0)
                return say_failure(
                        t, "org.reeve1: %s", error.message ? error.message : strerror(-r));
        if (!streq(state, "running"))
                return say_failure(t, "reeved is %s", state);
        strbuf_printf(&t->say, "reeved is %s", state);
        return 0;
}

/* ---- the API and what is behind it ---- */

static int test_api(Selftest *t)
{
        _cleanup_(answer_done) Answer a = {};

        if (get(t, "/api/health", &a) < 0)
                return -1;
        strbuf_printf(&t->say, "version %s, %s", member_text(a.root, "version"),
                member_text(a.root, "status"));
        return 0;
}

static int test_database(Selftest *t)
{
        _cleanup_(answer_done) Answer a = {};
        uint64_t version;

        if (get(t, "/api/stats", &a) < 0)
                return -1;
        version = member_u64(a.root, "schema_version");
        if (version < REEVE_SCHEMA_VERSION)
                return say_failure(t, "the schema has version %" PRIu64 ", %d is needed", version,
                        REEVE_SCHEMA_VERSION);
        strbuf_printf(&t->say, "schema %" PRIu64, version);
        return 0;
}

static int test_flags(Selftest *t)
{
        static const char body[] = "{\"context\":{\"targetingKey\":\"reevectl-selftest\"}}";
        const HttpPart part = { .data = body, .size = CONST_STRLEN(body) };
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *flags;
        HttpAsk all = { .method = "POST",
                .target = "/ofrep/v1/evaluate/flags",
                .content_type = "application/json",
                .parts = &part,
                .n_parts = 1 };

        if (ask(t, &all, 200, &a) < 0)
                return -1;
        flags = json_value_member(a.root, "flags");
        if (!flags || !json_value_is(flags, JSON_ARRAY))
                return say_failure(t, "the answer has no flags");
        for (const JsonValue *v = json_value_first(flags, NULL); v;
                v = json_value_next(flags, v, NULL))
                if (!*member_text(v, "variant"))
                        return say_failure(t, "flag %s: %s", member_text(v, "key"),
                                member_text(v, "errorDetails"));
        strbuf_printf(&t->say, "%u evaluated", json_value_count(flags));
        return 0;
}

/* ---- the job ---- */

static int test_submit(Selftest *t)
{
        _cleanup_(strbuf_done) StrBuf head = {}, tail = {};
        _cleanup_(answer_done) Answer a = {};
        char type[100];
        HttpPart parts[3];
        HttpAsk create = { .method = "POST",
                .target = "/api/jobs",
                .content_type = type,
                .parts = parts,
                .n_parts = ELEMENTSOF(parts) };

        (void) snprintf(type, sizeof(type), "multipart/form-data; boundary=%s", t->token);
        strbuf_printf(&head,
                "--%s\r\nContent-Disposition: form-data; name=\"job\"\r\n"
                "Content-Type: application/json\r\n\r\n"
                "{\"kind\":\"" KIND "\",\"payload\":{\"token\":\"%s\"}}\r\n"
                "--%s\r\nContent-Disposition: form-data; name=\"file\"; filename=\"" IN_NAME
                "\"\r\nContent-Type: application/octet-stream\r\n\r\n",
                t->token, t->token, t->token);
        strbuf_printf(&tail, "\r\n--%s--\r\n", t->token);
        if (strbuf_error(&head) < 0 || strbuf_error(&tail) < 0)
                return say_failure(t, "no memory");
        parts[0] = (HttpPart){ .data = strbuf_str(&head), .size = head.len };
        parts[1] = (HttpPart){ .data = t->file, .size = sizeof(t->file) };
        parts[2] = (HttpPart){ .data = strbuf_str(&tail), .size = tail.len };
        if (ask(t, &create, 202, &a) < 0)
                return -1;
        (void) snprintf(t->id, sizeof(t->id), "%s", member_text(a.root, "id"));
        strbuf_printf(&t->say, "job %s with a file of %lu bytes", t->id, FILE_SIZE);
        return 0;
}

static int test_run(Selftest *t)
{
        _cleanup_(answer_done) Answer a = {};
        const JsonValue *result;
        char target[128];

        if (!t->id[0])
                return say_failure(t, "there is no job");
        (void) snprintf(target, sizeof(target), "/api/jobs/%s?wait=%ds", t->id, WAIT_SEC);
        if (get(t, target, &a) < 0)
                return -1;
        if (!streq(member_text(a.root, "state"), "succeeded")) {
                strbuf_clear(&t->say);
                strbuf_puts(&t->say, "the job is ");
                ctl_put_job(&t->say, a.root);
                return -1;
        }
        result = json_value_member(a.root, "result");
        if (!result || !streq(member_text(result, "token"), t->token))
                return say_failure(t, "its result is not what was sent");
        strbuf_puts(&t->say, "through queue, worker, launcher and handler, and back");
        return 0;
}

static int test_file(Selftest *t)
{
        _cleanup_(answer_done) Answer a = {};
        char target[128];
        int error;

        if (!t->id[0])
                return say_failure(t, "there is no job");
        (void) snprintf(target, sizeof(target), "/api/jobs/%s/files/" OUT_NAME, t->id);
        ctl_try(t->c, &(HttpAsk){ .method = "GET", .target = target }, &a, &error);
        if (error < 0)
                return say_failure(
                        t, "%s", t->c->client.wrong[0] ? t->c->client.wrong : strerror(-error));
        if (a.reply.status != 200)
                return say_failure(t, "GET %s: HTTP %u", target, a.reply.status);
        if (a.reply.body.len != FILE_SIZE || memcmp(a.reply.body.data, t->file, FILE_SIZE) != 0)
                return say_failure(t, "it is not the file that was sent");
        strbuf_puts(&t->say, "the file is what was sent");
        return 0;
}

/* ---- all steps ---- */

static const SelftestStep steps[] = {
        { "units", test_units, false },
        { "bus", test_bus, false },
        { "api", test_api, false },
        { "database", test_database, true },
        { "flags", test_flags, true },
        { "submit", test_submit, true },
        { "run", test_run, true },
        { "file", test_file, true },
};

static void tell_step(const Selftest *t, const char *name, bool ok, usec_t usec)
{
        _cleanup_(strbuf_done) StrBuf clean = {};

        text_clean(&clean, strbuf_str(&t->say));
        printf("%-6s %-9s %6.3f s  %s\n", ok ? "ok" : "FAILED", name, (double) usec / 1e6,
                strbuf_str(&clean));
        fflush(stdout);
}

static void put_step(const Selftest *t, JsonWriter *w, const char *name, bool ok, usec_t usec)
{
        json_open_object(w, NULL);
        json_put_string(w, "name", name);
        json_put_bool(w, "ok", ok);
        json_put_uint(w, "usec", usec);
        json_put_string(w, "text", strbuf_str(&t->say));
        json_close(w);
}

static int prepare(Selftest *t)
{
        uint8_t random[16];

        if (getrandom(random, sizeof(random), 0) != (ssize_t) sizeof(random))
                return ctl_error(EXIT_STATUS_FAILED, "No random numbers: %s.", strerror(errno));
        for (size_t i = 0; i < sizeof(random); i++)
                (void) snprintf(t->token + 2 * i, 3, "%02x", random[i]);
        /* Each time another file, so that its blob is written and not found. */
        for (size_t i = 0; i < FILE_SIZE; i++)
                t->file[i] = t->token[(i * 7 + i / 256) % (TOKEN - 1)];
        return EXIT_STATUS_OK;
}

static int run_steps(Selftest *t, JsonWriter *w)
{
        bool api = true;
        int r = EXIT_STATUS_OK;

        for (size_t i = 0; i < ELEMENTSOF(steps); i++) {
                usec_t start = now_usec(CLOCK_MONOTONIC), took;
                bool ok;

                if (steps[i].run == test_units && ctl_foreground())
                        continue; /* it has none */
                strbuf_clear(&t->say);
                if (steps[i].needs_api && !api)
                        ok = say_failure(t, "left out: the API does not answer") >= 0;
                else
                        ok = steps[i].run(t) >= 0;
                took = now_usec(CLOCK_MONOTONIC) - start;
                if (steps[i].run == test_api)
                        api = ok;
                r = ok ? r : EXIT_STATUS_FAILED;
                if (t->c->json)
                        put_step(t, w, steps[i].name, ok, took);
                else
                        tell_step(t, steps[i].name, ok, took);
        }
        return r;
}

int verb_selftest(Ctl *c)
{
        _cleanup_(freep) Selftest *t = new0(Selftest, 1);
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        int r;

        if (!t)
                return ctl_oom();
        t->c = c;
        r = prepare(t);
        if (r != EXIT_STATUS_OK)
                return r;
        json_open_object(&w, NULL);
        json_open_array(&w, "steps");
        r = run_steps(t, &w);
        strbuf_done(&t->say);
        json_close(&w);
        json_put_bool(&w, "ok", r == EXIT_STATUS_OK);
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return ctl_oom();
        if (c->json)
                puts(strbuf_str(&b));
        else if (r != EXIT_STATUS_OK)
                (void) ctl_error(0, "Something does not work. What is wrong: reevectl doctor");
        return r;
}

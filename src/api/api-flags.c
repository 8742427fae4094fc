/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-jobs.h"
#include "parse-util.h"
#include "store-control.h"

/* Flags: evaluated in memory by OFREP 0.3.0 (open-feature/protocol), read from the database for
 * those who look after them. */

#define HISTORY_MAX 1000U

/* ---- POST /ofrep/v1/evaluate/flags/{key} ---- */

typedef struct BodyText {
        const char *data;
        size_t size;
} BodyText;

/* An answer of OFREP's, which is no problem+json. key: NULL if no single flag was asked for. */
static void refuse(Call *c, unsigned status, const char *key, const char *code, const char *details)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        if (key)
                json_put_string(&w, "key", key);
        json_put_string(&w, "errorCode", code);
        json_put_string(&w, "errorDetails", details);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, status, &b, NULL);
}

static void refuse_json(Call *c, const char *key, const char *code, const JsonError *e)
{
        _cleanup_(strbuf_done) StrBuf b = {};

        strbuf_printf(&b, "Line %u, column %u: %s.", e->line, e->column, e->text);
        refuse(c, 400, key, code, strbuf_str(&b));
}

static void put_evaluation(JsonWriter *w, const FlagSet *set, const Flag *f, FlagContext *who)
{
        FlagResult result = flag_set_evaluate(set, f, who);
        const char *value = result.on ? f->value_on : f->value_off;

        json_open_object(w, NULL);
        json_put_string(w, "key", f->key);
        json_put_raw(w, "value", value, strlen(value));
        json_put_string(w, "reason", flag_reason_to_string(result.reason));
        json_put_string(w, "variant", result.on ? "on" : "off");
        json_open_object(w, "metadata");
        json_put_int(w, "version", f->version);
        if (flag_set_is_stale(set))
                json_put_bool(w, "stale", true);
        if (result.error)
                json_put_string(w, "error", result.error);
        json_close(w);
        json_close(w);
}

/* Whom the body tells of; the texts are d's. Answers and returns false if it cannot be read. key:
 * in the answer, or NULL. */
static bool read_context(
        Call *c, const char *key, const BodyText *body, JsonDocument **ret, FlagContext *who)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const JsonValue *context = NULL;
        JsonError e = {};
        int k = 0;

        if (body->size > 0) /* no body is an empty context */
                k = json_parse(body->data, body->size, REEVE_JSON_DEPTH_MAX, &d, &e);
        if (k == -ENOMEM) {
                call_fault(c, k);
                return false;
        }
        if (k >= 0 && d && !json_value_is(json_document_root(d), JSON_OBJECT)) {
                json_error_at(&e, json_document_root(d), "expected an object");
                k = -EINVAL;
        }
        if (k < 0) {
                refuse_json(c, key, "PARSE_ERROR", &e);
                return false;
        }
        if (d)
                k = json_get_typed(json_document_root(d), "context", JSON_OBJECT, &context, &e);
        if (k >= 0)
                k = flag_context_init(who, context, &e);
        if (k < 0) {
                refuse_json(c, key, "INVALID_CONTEXT", &e);
                return false;
        }
        *ret = TAKE_PTR(d);
        return true;
}

static void evaluate_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const BodyText body = { .data = data, .size = size };
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;
        const char *key = http_request_get_param(r, "key");
        FlagContext who;
        const Flag *f;

        if (!read_context(c, key, &body, &d, &who))
                return;
        f = flag_set_find(c->api->flags, key);
        if (!f) {
                refuse(c, 404, key, "FLAG_NOT_FOUND", "There is no such flag.");
                return;
        }
        put_evaluation(&w, c->api->flags, f, &who);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 200, &b, NULL);
}

/* Whether there is something to evaluate; answered if not. */
static bool are_loaded(Call *c)
{
        if (flag_set_is_loaded(c->api->flags))
                return true;
        call_problem(c, PROBLEM_UNAVAILABLE,
                "The flags have not been read yet: the database is away, or its schema is too old. "
                "Try again.");
        return false;
}

void handle_evaluate_flag(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        if (are_loaded(c))
                call_collect(c, c->route->body_max, evaluate_collected);
}

/* ---- POST /ofrep/v1/evaluate/flags ---- */

static void evaluate_all_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const BodyText body = { .data = data, .size = size };
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;
        FlagContext who;

        if (!read_context(c, NULL, &body, &d, &who))
                return;
        json_open_object(&w, NULL);
        json_open_array(&w, "flags");
        for (unsigned i = 0; i < flag_set_count(c->api->flags); i++)
                put_evaluation(&w, c->api->flags, flag_set_get(c->api->flags, i), &who);
        json_close(&w);
        json_close(&w);
        /* The tag is of what is said: a change that says the same to this one is none. */
        if (!call_failed(c, json_writer_end(&w)))
                call_tagged(
                        c, &(TaggedText){ .status = 200, .text = strbuf_str(&b), .size = b.len });
}

void handle_evaluate_flags(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        if (are_loaded(c))
                call_collect(c, c->route->body_max, evaluate_all_collected);
}

/* ---- GET /api/flags ---- */

static void put_time(JsonWriter *w, const char *name, usec_t usec)
{
        char text[RFC3339_MAX];

        if (usec != USEC_INFINITY)
                json_put_string(w, name, format_rfc3339(text, usec));
}

static void put_json(JsonWriter *w, const char *name, const char *text)
{
        json_put_raw(w, name, text, strlen(text));
}

static void put_flag(JsonWriter *w, const StoreFlag *f)
{
        char percent[FLAG_PERCENT_MAX];

        json_open_object(w, NULL);
        json_put_string(w, "key", f->key);
        if (f->description)
                json_put_string(w, "description", f->description);
        json_put_bool(w, "enabled", f->enabled);
        put_json(w, "percent", flag_percent_format(percent, (unsigned) f->percent));
        json_put_string(w, "bucketing", f->bucketing);
        if (f->seed)
                json_put_string(w, "seed", f->seed);
        put_json(w, "allow", f->allow);
        put_json(w, "rules", f->rules);
        put_json(w, "queues", f->queues);
        put_json(w, "value_on", f->value_on);
        put_json(w, "value_off", f->value_off);
        json_put_string(w, "on_stale", f->on_stale);
        json_put_int(w, "version", f->version);
        json_put_string(w, "updated_by", f->updated_by);
        put_time(w, "updated_at", f->updated_usec);
        put_time(w, "archived_at", f->archived_usec);
        json_close(w);
}

static void on_flags(int error, const StoreFlag *flags, unsigned n_flags, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        json_open_object(&w, NULL);
        json_open_array(&w, "flags");
        for (unsigned i = 0; i < n_flags; i++)
                put_flag(&w, flags + i);
        json_close(&w);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 200, &b, NULL);
}

void handle_flags(HttpRequest *r, void *userdata)
{
        Call *c = userdata;

        (void) call_failed(c, store_list_flags(call_reader(c), NULL, on_flags, c, &c->pending));
}

static void no_such_flag(Call *c)
{
        call_problem(c, PROBLEM_NOT_FOUND, "There is no flag \"%s\".",
                http_request_get_param(c->request, "key"));
}

static void on_flag(int error, const StoreFlag *flags, unsigned n_flags, void *userdata)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error))
                return;
        if (n_flags == 0) {
                no_such_flag(c);
                return;
        }
        put_flag(&w, flags);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, 200, &b, NULL);
}

void handle_flag(HttpRequest *r, void *userdata)
{
        const char *key = http_request_get_param(r, "key");
        Call *c = userdata;

        (void) call_failed(c, store_list_flags(call_reader(c), key, on_flag, c, &c->pending));
}

static void on_flag_history(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        /* A flag's history begins with its making. */
        if (error >= 0 && row && streq_ptr(row[0], "[]")) {
                c->pending = NULL;
                no_such_flag(c);
                return;
        }
        call_list(c, error, row, "history");
}

void handle_flag_history(HttpRequest *r, void *userdata)
{
        const char *key = http_request_get_param(r, "key");
        Call *c = userdata;

        (void) call_failed(c,
                store_list_flag_history(
                        c->api->store, key, HISTORY_MAX, on_flag_history, c, &c->pending));
}

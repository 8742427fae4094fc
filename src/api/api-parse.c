/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>

#include "api-auth.h"
#include "api-create.h"
#include "parse-util.h"

/* A job's object, as a client writes it, becomes the members that reeve.enqueue_batch() takes. */

static const char *const known_fields[] = { "kind", "payload", "queue", "priority", "tenant",
        "subject", "run_at", "delay", "deadline", "max_attempts", "timeout", "unique_key",
        "unique_for", "concurrency_key", NULL };

int create_note_error(Create *k, const char *format, ...)
{
        va_list ap;
        char *detail = NULL;
        int r;

        if (k->n_errors == CREATE_ERRORS_MAX)
                return 0;
        va_start(ap, format);
        r = vasprintf(&detail, format, ap);
        va_end(ap);
        if (r < 0)
                return -ENOMEM;
        k->errors[k->n_errors++] = (CreateError){ k->n_read, detail };
        return 0;
}

/* Each reader returns 0, or what is wrong; "" is a fault of ours. */
typedef struct JobReader {
        Create *create;
        const JsonValue *object;
        JsonWriter writer;
        char wrong[JSON_ERROR_TEXT_MAX + 64];
} JobReader;

static int wrong(JobReader *j, const char *name, const char *text)
{
        (void) snprintf(j->wrong, sizeof(j->wrong), "%s: %s", name, text);
        return -EINVAL;
}

static int read_text(JobReader *j, const char *name, size_t max, bool is_name)
{
        const char *value = NULL;
        JsonError e;
        char text[64];
        int r = json_get_string(j->object, name, &value, &e);

        if (r < 0)
                return wrong(j, name, "expected a string");
        if (!value)
                return 0;
        if (is_name && !name_is_valid(value))
                return wrong(
                        j, name, "expected a name: letters, digits, '.', '_' and '-', at most 64");
        if (strlen(value) > max || *value == '\0') {
                (void) snprintf(text, sizeof(text), "expected 1 to %zu bytes", max);
                return wrong(j, name, text);
        }
        json_put_string(&j->writer, name, value);
        return 0;
}

static int read_number(JobReader *j, const char *name, int64_t max)
{
        int64_t value;
        char text[64];
        int r = json_get_int64(j->object, name, 1, max, &value, NULL);

        if (r < 0) {
                (void) snprintf(text, sizeof(text), "expected a whole number from 1 to %lld",
                        (long long) max);
                return wrong(j, name, text);
        }
        if (r == JSON_FOUND)
                json_put_int(&j->writer, name, value);
        return 0;
}

static void put_time(JobReader *j, const char *name, usec_t usec)
{
        char text[RFC3339_MAX];

        json_put_string(&j->writer, name, format_rfc3339(text, usec));
}

static int read_time(JobReader *j, const char *name)
{
        const char *value = NULL;
        usec_t usec;

        if (json_get_string(j->object, name, &value, NULL) < 0 ||
                (value && parse_rfc3339(value, &usec) < 0))
                return wrong(j, name, "expected a time such as \"2026-11-21T10:20:30Z\"");
        if (value)
                put_time(j, name, usec);
        return 0;
}

/* A number of seconds or a time span; 1 if it is there. */
static int read_span(JobReader *j, const char *name, usec_t *ret)
{
        const JsonValue *v = json_value_member(j->object, name);
        const char *text = NULL;
        double seconds = 0;

        if (!v || json_value_is(v, JSON_NULL))
                return 0;
        if (json_value_is(v, JSON_NUMBER) && json_value_double(v, &seconds) >= 0 && seconds >= 0 &&
                seconds <= (double) REEVE_SPAN_MAX_USEC / 1e6) {
                *ret = (usec_t) (seconds * 1e6);
                return 1;
        }
        if (json_value_string(v, &text) >= 0 && parse_timespan(text, ret) >= 0 &&
                *ret <= REEVE_SPAN_MAX_USEC)
                return 1;
        return wrong(
                j, name, "expected seconds or a time span such as \"5min\", at most ten years");
}

static int read_times(JobReader *j)
{
        usec_t span = 0;
        int r = read_time(j, "run_at");

        if (r >= 0)
                r = read_time(j, "deadline");
        if (r >= 0)
                r = read_span(j, "delay", &span);
        if (r > 0 && json_value_member(j->object, "run_at"))
                return wrong(j, "delay", "excludes run_at");
        if (r > 0)
                put_time(j, "run_at", now_usec(CLOCK_REALTIME) + span);
        if (r >= 0)
                r = read_span(j, "timeout", &span);
        if (r > 0 && span == 0)
                return wrong(j, "timeout", "must be longer than nothing");
        if (r > 0)
                json_put_uint(&j->writer, "timeout_usec", span);
        if (r >= 0)
                r = read_span(j, "unique_for", &span);
        if (r > 0)
                json_put_uint(&j->writer, "unique_usec", span);
        return r < 0 ? r : 0;
}

const char *create_tenant_of(const Call *c, const JsonValue *v)
{
        const char *tenant = NULL;

        if (json_get_string(v, "tenant", &tenant, NULL) < 0)
                return NULL;
        if (tenant)
                return tenant;
        return c->caller.tenant[0] ? c->caller.tenant : "default";
}

static int read_owner(JobReader *j)
{
        const Caller *caller = &j->create->call->caller;
        const char *tenant = create_tenant_of(j->create->call, j->object);
        const char *subject = NULL;

        if (!tenant || !name_is_valid(tenant))
                return wrong(j, "tenant", "expected a name");
        if (json_get_string(j->object, "subject", &subject, NULL) < 0 ||
                (subject && strlen(subject) > REEVE_SUBJECT_MAX))
                return wrong(j, "subject", "expected a string of at most 256 bytes");
        if (!subject && caller->subject[0])
                subject = caller->subject;
        if (!caller_sees(caller, tenant, caller->subject))
                return wrong(j, "tenant", "it is not yours");
        if (subject && !caller->acts && !streq(subject, caller->subject))
                return wrong(j, "subject", "you may not act for another one");
        json_put_string(&j->writer, "tenant", tenant);
        if (subject)
                json_put_string(&j->writer, "subject", subject);
        return 0;
}

static int store_payload(Create *k, const char *tenant, const char *text, size_t size)
{
        CreateBlob *more = reallocarray(k->blobs, k->n_blobs + 1, sizeof(CreateBlob));
        CreateBlob *b;
        int r;

        if (!more)
                return -ENOMEM;
        k->blobs = more;
        b = k->blobs + k->n_blobs;
        *b = (CreateBlob){ .size = size };
        (void) snprintf(b->tenant, sizeof(b->tenant), "%s", tenant);
        r = call_keep_text(k->call, tenant, text, size, b->digest);
        if (r < 0)
                return r;
        k->n_blobs++;
        return 0;
}

static int read_payload(JobReader *j, const char *tenant)
{
        const JsonValue *v = json_value_member(j->object, "payload");
        const char *text = "null";
        size_t size = 4;
        int r;

        if (v)
                text = json_value_text(v, &size);
        if (size <= REEVE_PAYLOAD_INLINE_MAX) {
                json_put_raw(&j->writer, "payload", text, size);
                return 0;
        }
        r = store_payload(j->create, tenant, text, size);
        if (r >= 0)
                json_put_string(&j->writer, "payload_blob",
                        j->create->blobs[j->create->n_blobs - 1].digest);
        return r;
}

static void put_inputs(JobReader *j)
{
        const Create *k = j->create;

        if (k->n_files == 0)
                return;
        json_open_array(&j->writer, "inputs");
        for (unsigned i = 0; i < k->n_files; i++) {
                json_open_object(&j->writer, NULL);
                json_put_string(&j->writer, "name", k->files[i].name);
                json_put_string(&j->writer, "blob", k->files[i].digest);
                json_put_uint(&j->writer, "size", k->files[i].size);
                if (k->files[i].type)
                        json_put_string(&j->writer, "content_type", k->files[i].type);
                json_close(&j->writer);
        }
        json_close(&j->writer);
}

static void put_key(JobReader *j)
{
        const Create *k = j->create;
        unsigned n = enqueue_order_n_jobs(k->order);
        char text[CREATE_KEY_MAX + 32], hash[SHA256_HEX_MAX];

        if (!k->key)
                return;
        (void) snprintf(text, sizeof(text), n > 0 ? "%s#%u" : "%s", k->key, n);
        /* The column has room for what a client may send, and not for a number behind that. */
        if (strlen(text) > CREATE_KEY_MAX && sha256_hex(k->key, strlen(k->key), hash) >= 0)
                (void) snprintf(text, sizeof(text), "%s#%u", hash, n);
        json_put_string(&j->writer, "idempotency_key", text);
        json_put_string(&j->writer, "request_hash", k->hash);
}

static int read_fields(JobReader *j)
{
        JsonError e;
        int r = json_value_check_fields(j->object, known_fields, &e);

        if (r == -EINVAL) {
                (void) snprintf(j->wrong, sizeof(j->wrong), "%s", e.text);
                return r;
        }
        if (r >= 0 && !json_value_member(j->object, "kind"))
                return wrong(j, "kind", "it is missing");
        if (r >= 0)
                r = read_text(j, "kind", REEVE_NAME_MAX, true);
        if (r >= 0 && !j->create->queue)
                r = read_text(j, "queue", REEVE_NAME_MAX, true);
        else if (r >= 0)
                json_put_string(&j->writer, "queue", j->create->queue);
        if (r >= 0)
                r = read_text(j, "unique_key", CREATE_KEY_MAX, false);
        if (r >= 0)
                r = read_text(j, "concurrency_key", REEVE_SUBJECT_MAX, false);
        if (r >= 0)
                r = read_number(j, "priority", 10);
        if (r >= 0)
                r = read_number(j, "max_attempts", REEVE_ATTEMPTS_MAX);
        if (r >= 0)
                r = read_times(j);
        return r >= 0 ? read_owner(j) : r;
}

int create_add_job(Create *k, const JsonValue *v)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JobReader j = { .create = k, .object = v, .writer = json_writer(&b) };
        int r;

        json_open_object(&j.writer, NULL);
        r = read_fields(&j);
        if (r == -EINVAL)
                return create_note_error(k, "%s", j.wrong);
        if (r >= 0 && k->n_errors > 0)
                return 0; /* nothing will be made */
        if (r >= 0)
                r = create_hold_key(k, create_tenant_of(k->call, v));
        if (r >= 0)
                r = read_payload(&j, create_tenant_of(k->call, v));
        if (r < 0)
                return r;
        put_inputs(&j);
        put_key(&j);
        json_put_string(&j.writer, "created_by", k->call->caller.actor);
        json_close(&j.writer);
        r = json_writer_end(&j.writer);
        if (r < 0)
                return r;
        /* Without the braces: the order puts its own members first. */
        return enqueue_order_add(k->order, strbuf_str(&b) + 1, b.len - 2);
}

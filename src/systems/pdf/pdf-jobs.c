/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "api-auth.h"
#include "pdf-form.h"
#include "pdf-store.h"

/* /api/v1/jobs/{id}: a document's job and its chunks. */

#define CANCEL_USEC (10 * USEC_PER_SEC) /* a run ends within its StopSec= */

bool pdf_job_is_visible(Call *c, int error, const char *const *row)
{
        c->pending = NULL;
        if (call_failed(c, error))
                return false;
        if (row && caller_sees(&c->caller, row[PDF_JOB_TENANT], row[PDF_JOB_SUBJECT]))
                return true;
        call_no_job(c);
        return false;
}

void pdf_job_get(Call *c, StoreRowCallback callback)
{
        (void) call_failed(c, pdf_store_get_job(c->api->store, c->id, callback, c, &c->pending));
}

static void on_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (pdf_job_is_visible(c, error, row))
                call_json(c, 200, row[PDF_JOB_BODY]);
}

void handle_pdf_job(HttpRequest *request, void *userdata)
{
        pdf_job_get(userdata, on_job);
}

/* ---- chunks ---- */

static void on_chunks(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (!call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                call_json(c, 200, row[0]);
}

static void on_chunks_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (pdf_job_is_visible(c, error, row))
                (void) call_failed(
                        c, pdf_store_list_chunks(call_reader(c), c->id, on_chunks, c, &c->pending));
}

void handle_pdf_chunks(HttpRequest *request, void *userdata)
{
        pdf_job_get(userdata, on_chunks_job);
}

/* ---- cancel ---- */

static void reply_act(Call *c, unsigned status, const char *message, const char *job_status)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_put_string(&w, "message", message);
        json_put_string(&w, "job_id", c->id);
        json_put_string(&w, "status", job_status);
        json_close(&w);
        if (!call_failed(c, json_writer_end(&w)))
                call_json_buf(c, status, &b, NULL);
}

static void refuse_cancel(Call *c, const char *status)
{
        call_problem(c, PROBLEM_BAD_REQUEST, "Cannot cancel job with status %s", status);
}

/* A run was told to end: what has become of it. */
static void on_stopped_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        const char *status;

        if (!pdf_job_is_visible(c, error, row))
                return;
        status = row[PDF_JOB_STATUS];
        if (streq(status, "cancelled"))
                reply_act(c, 200, "Job cancelled successfully", status);
        else if (streq(status, "processing"))
                reply_act(c, 202, "The job was told to stop", status);
        else /* it was faster */
                refuse_cancel(c, status);
}

static void look_again(Call *c)
{
        pdf_job_get(c, on_stopped_job);
}

static void on_ended_job(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        if (pdf_job_is_visible(c, error, row))
                refuse_cancel(c, row[PDF_JOB_STATUS]);
}

static void on_cancelled(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;

        c->pending = NULL;
        if (call_failed(c, error < 0 ? error : row && row[0] ? 0 : -EPROTO))
                return;
        if (streq(row[0], "cancelled"))
                reply_act(c, 200, "Job cancelled successfully", "cancelled");
        else if (streq(row[0], "cancelling"))
                (void) call_failed(c,
                        waiters_add(c->api->waiters, c, c->api->stopping ? 0 : CANCEL_USEC,
                                look_again));
        else if (streq(row[0], "finished"))
                pdf_job_get(c, on_ended_job);
        else
                call_no_job(c);
}

static void on_job_to_cancel(int error, const char *const *row, void *userdata)
{
        Call *c = userdata;
        const StoreAct act = call_act(c, NULL);

        /* First whether it is a document's. */
        if (pdf_job_is_visible(c, error, row))
                (void) call_failed(
                        c, store_cancel_job(c->api->store, &act, on_cancelled, c, &c->pending));
}

static void cancel_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        static const char *const known[] = { NULL };
        _cleanup_(json_document_freep) JsonDocument *d = NULL;

        if (call_read_json(userdata, data, size, known, &d))
                pdf_job_get(userdata, on_job_to_cancel);
}

void handle_pdf_cancel(HttpRequest *request, void *userdata)
{
        call_collect(userdata, 4096, cancel_collected);
}

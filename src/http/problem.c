/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "problem.h"

#include "macros.h"
#include "multipart.h"

typedef struct ProblemEntry {
        const char *name;
        const char *title;
        unsigned status;
} ProblemEntry;

/* Names are promises: they may be added to, never changed. */
static const ProblemEntry problems[_PROBLEM_MAX] = {
        [PROBLEM_BAD_REQUEST] = { "bad-request", "The request is malformed", 400 },
        [PROBLEM_BAD_TARGET] = { "bad-target", "The path is malformed", 400 },
        [PROBLEM_BAD_HEADER] = { "bad-header", "A header field is malformed", 400 },
        [PROBLEM_BAD_HOST] = { "bad-host", "The Host header field is wrong", 400 },
        [PROBLEM_BAD_FRAMING] = { "bad-framing", "The length of the body is not certain", 400 },
        [PROBLEM_BAD_QUERY] = { "bad-query", "A query parameter is wrong", 400 },
        [PROBLEM_BAD_JSON] = { "bad-json", "The body is not valid JSON", 400 },
        [PROBLEM_BAD_FORM] = { "bad-form", "The form is malformed", 400 },
        [PROBLEM_INVALID] = { "invalid", "A value is wrong", 400 },
        [PROBLEM_BODY_UNEXPECTED] = { "body-unexpected", "This request takes no body", 400 },
        [PROBLEM_UNAUTHORIZED] = { "unauthorized", "Credentials are needed", 401 },
        [PROBLEM_PAYMENT_REQUIRED] = { "payment-required", "Not enough credits", 402 },
        [PROBLEM_FORBIDDEN] = { "forbidden", "This is not allowed", 403 },
        [PROBLEM_NOT_FOUND] = { "not-found", "There is no such thing", 404 },
        [PROBLEM_METHOD_NOT_ALLOWED] = { "method-not-allowed", "Not with this method", 405 },
        [PROBLEM_NOT_ACCEPTABLE] = { "not-acceptable", "No representation is acceptable", 406 },
        [PROBLEM_REQUEST_TIMEOUT] = { "request-timeout", "The request came too slowly", 408 },
        [PROBLEM_CONFLICT] = { "conflict", "The state does not allow this", 409 },
        [PROBLEM_IN_FLIGHT] = { "in-flight", "The same request is still running", 409 },
        [PROBLEM_GONE] = { "gone", "It was there and is no more", 410 },
        [PROBLEM_LENGTH_REQUIRED] = { "length-required", "A body is needed", 411 },
        [PROBLEM_PRECONDITION] = { "precondition-failed", "A precondition does not hold", 412 },
        [PROBLEM_BODY_TOO_LARGE] = { "body-too-large", "The body is too large", 413 },
        [PROBLEM_URI_TOO_LONG] = { "uri-too-long", "The path is too long", 414 },
        [PROBLEM_MEDIA_TYPE] = { "media-type", "The body is of a wrong type", 415 },
        [PROBLEM_RANGE] = { "range", "The range is outside of the file", 416 },
        [PROBLEM_EXPECTATION] = { "expectation", "The expectation cannot be met", 417 },
        [PROBLEM_UNPROCESSABLE] = { "unprocessable", "The content cannot be processed", 422 },
        [PROBLEM_IDEMPOTENCY] = { "idempotency-mismatch",
                "The Idempotency-Key was used for another request", 422 },
        [PROBLEM_TOO_MANY_REQUESTS] = { "too-many-requests", "Too many requests", 429 },
        [PROBLEM_HEAD_TOO_LARGE] = { "head-too-large", "The header fields are too large", 431 },
        [PROBLEM_INTERNAL] = { "internal", "Something went wrong here", 500 },
        [PROBLEM_NOT_IMPLEMENTED] = { "not-implemented", "This is not known here", 501 },
        [PROBLEM_UNAVAILABLE] = { "unavailable", "Not available at the moment", 503 },
        [PROBLEM_STOPPING] = { "stopping", "The service is being stopped or restarted", 503 },
        [PROBLEM_TIMEOUT] = { "timeout", "The answer took too long", 504 },
        [PROBLEM_HTTP_VERSION] = { "http-version", "This version of HTTP is not spoken", 505 },
        [PROBLEM_NO_SPACE] = { "no-space", "There is no room for this", 507 },
};

/* What is not here is PROBLEM_INTERNAL: a client learns nothing of our insides. */
static const struct {
        int error;
        Problem problem;
} faults[] = {
        { ENOENT, PROBLEM_NOT_FOUND },
        { EACCES, PROBLEM_FORBIDDEN },
        { EPERM, PROBLEM_FORBIDDEN },
        { EEXIST, PROBLEM_CONFLICT },
        { EBUSY, PROBLEM_CONFLICT },
        { EALREADY, PROBLEM_IN_FLIGHT },
        { EINVAL, PROBLEM_INVALID },
        { ERANGE, PROBLEM_INVALID },
        { EBADMSG, PROBLEM_BAD_REQUEST },
        { EILSEQ, PROBLEM_BAD_REQUEST },
        { EFBIG, PROBLEM_BODY_TOO_LARGE },
        { E2BIG, PROBLEM_BODY_TOO_LARGE },
        { EMSGSIZE, PROBLEM_BODY_TOO_LARGE },
        { ENOSPC, PROBLEM_NO_SPACE },
        { EDQUOT, PROBLEM_NO_SPACE },
        { ETIMEDOUT, PROBLEM_TIMEOUT },
        { ETIME, PROBLEM_TIMEOUT },
        { EOPNOTSUPP, PROBLEM_NOT_IMPLEMENTED },
        { ENOMEM, PROBLEM_UNAVAILABLE },
        { EMFILE, PROBLEM_UNAVAILABLE },
        { ENFILE, PROBLEM_UNAVAILABLE },
        { EAGAIN, PROBLEM_UNAVAILABLE },
        { ENOTCONN, PROBLEM_UNAVAILABLE },
        { ECONNREFUSED, PROBLEM_UNAVAILABLE },
        { ECONNRESET, PROBLEM_UNAVAILABLE },
        { EROFS, PROBLEM_UNAVAILABLE },
        { ESHUTDOWN, PROBLEM_STOPPING },
};

static const Problem multipart_problems[_MULTIPART_MAX] = {
        [MULTIPART_DONE] = PROBLEM_NONE,
        [MULTIPART_NOT_MULTIPART] = PROBLEM_MEDIA_TYPE,
        [MULTIPART_BAD_BOUNDARY] = PROBLEM_BAD_FORM,
        [MULTIPART_MALFORMED] = PROBLEM_BAD_FORM,
        [MULTIPART_BAD_DISPOSITION] = PROBLEM_BAD_FORM,
        [MULTIPART_BAD_ENCODING] = PROBLEM_BAD_FORM,
        [MULTIPART_TRUNCATED] = PROBLEM_BAD_FORM,
        [MULTIPART_HEADER_TOO_LARGE] = PROBLEM_BAD_FORM,
        [MULTIPART_TOO_MANY_PARTS] = PROBLEM_BODY_TOO_LARGE,
        [MULTIPART_FIELD_TOO_LARGE] = PROBLEM_BODY_TOO_LARGE,
        [MULTIPART_FILE_TOO_LARGE] = PROBLEM_BODY_TOO_LARGE,
};

static const ProblemEntry *entry_of(Problem problem)
{
        if (problem <= PROBLEM_NONE || problem >= _PROBLEM_MAX)
                return NULL;
        return &problems[problem];
}

const char *problem_to_string(Problem problem)
{
        const ProblemEntry *e = entry_of(problem);

        return e ? e->name : NULL;
}

const char *problem_title(Problem problem)
{
        const ProblemEntry *e = entry_of(problem);

        return e ? e->title : NULL;
}

unsigned problem_status(Problem problem)
{
        const ProblemEntry *e = entry_of(problem);

        return e ? e->status : 0;
}

Problem problem_from_errno(int error)
{
        for (size_t i = 0; i < ELEMENTSOF(faults); i++)
                if (faults[i].error == -error)
                        return faults[i].problem;
        return PROBLEM_INTERNAL;
}

Problem problem_from_multipart(int outcome)
{
        if (outcome < 0)
                return problem_from_errno(outcome);
        if (outcome >= _MULTIPART_MAX)
                return PROBLEM_INTERNAL;
        return multipart_problems[outcome];
}

int problem_write(const ProblemReport *report, StrBuf *out)
{
        const ProblemEntry *e = entry_of(report->problem);
        _cleanup_(strbuf_done) StrBuf type = {};
        JsonWriter w = json_writer(out);

        assert(e);
        strbuf_printf(&type, PROBLEM_TYPE_PREFIX "%s", e->name);
        if (strbuf_error(&type) < 0)
                return strbuf_error(&type);
        json_open_object(&w, NULL);
        json_put_string(&w, "type", strbuf_str(&type));
        json_put_string(&w, "title", e->title);
        json_put_uint(&w, "status", e->status);
        if (report->detail)
                json_put_string(&w, "detail", report->detail);
        if (report->instance)
                json_put_string(&w, "instance", report->instance);
        if (report->extend)
                report->extend(&w, report->userdata);
        json_close(&w);
        return json_writer_end(&w);
}

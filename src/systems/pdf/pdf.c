/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "fd-util.h"
#include "pdf-handler.h"
#include "pdf-merge.h"
#include "pdf-plan.h"

/* The handler of the kind pdf. First phase: looks at the document and asks for a child for each
 * chunk of it. Join: puts together what they read, or asks once more for those that failed. */

#define MAGIC_WITHIN 1024U /* bytes; readers take some rubbish before "%PDF-" */

/* The first of them are by 004: 5 analyse, 10 split, 15 to 75 chunks, 75 merge. */
enum { MARK_ANALYSE = 5, MARK_SPLIT = 10, MARK_CHUNKS = 15, MARK_MERGE = 75 };

static int check_magic(const PdfHandler *h)
{
        _cleanup_(closep) int fd = openat(h->input_fd, h->file, O_RDONLY | O_CLOEXEC);
        char head[MAGIC_WITHIN];
        ssize_t n;

        if (fd < 0)
                return pdf_handler_fault(-errno, h->file);
        n = read_all(fd, head, sizeof(head));
        if (n < 0)
                return pdf_handler_fault((int) n, h->file);
        if (n == 0)
                return pdf_handler_fail("EMPTY", false, "%s is empty", h->file);
        if (!memmem(head, (size_t) n, "%PDF-", CONST_STRLEN("%PDF-")))
                return pdf_handler_fail("NOT_A_PDF", false, "%s is not a PDF", h->file);
        return 0;
}

/* Returns 0, or the exit status. */
static int analyse(const PdfHandler *h, PdfPlan *ret)
{
        char error[PDF_ERROR_MAX];
        unsigned n_pages = 0;
        int r;

        r = check_magic(h);
        if (r != 0)
                return r;
        r = pdf_handler_count_pages(h, &n_pages, error);
        if (r < 0)
                return pdf_handler_fault(r, "pdfinfo");
        if (r == PDF_ENCRYPTED)
                return pdf_handler_fail("ENCRYPTED", false, "%s needs a password", h->file);
        if (r != PDF_OK)
                return pdf_handler_fail(pdf_outcome_to_code((PdfOutcome) r), r == PDF_TIMEOUT,
                        "%s cannot be read%s%s", h->file, error[0] ? ": " : "", error);
        if (n_pages == 0)
                return pdf_handler_fail("NO_PAGES", false, "%s has no pages", h->file);
        if (n_pages > h->pages_max)
                return pdf_handler_fail("TOO_MANY_PAGES", false,
                        "%s has %u pages; at most %u are taken: split it", h->file, n_pages,
                        h->pages_max);
        *ret = pdf_plan(n_pages);
        return 0;
}

static void put_child(JsonWriter *w, const PdfHandler *h, const PdfPlan *p, unsigned chunk)
{
        unsigned first, last;

        pdf_plan_chunk(p, chunk, &first, &last);
        json_open_object(w, NULL);
        json_put_string(w, "kind", "pdf-chunk");
        if (h->is_inline)
                json_put_string(w, "queue", "inline");
        json_open_object(w, "payload");
        json_put_string(w, "file", h->file);
        json_put_uint(w, "chunk", chunk);
        json_put_uint(w, "first", first);
        json_put_uint(w, "last", last);
        json_close(w);
        json_open_array(w, "inputs");
        json_put_string(w, NULL, h->file);
        json_close(w);
        json_close(w);
}

/* Asks for children: for all chunks (merge NULL), or for those that failed. */
static int spawn(const PdfHandler *h, const PdfPlan *p, const PdfMerge *m)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_open_object(&w, "$reeve");
        json_open_array(&w, "spawn");
        for (unsigned i = 0; i < p->n_chunks; i++)
                if (!m || !pdf_merge_has(m, i))
                        put_child(&w, h, p, i);
        json_close(&w);
        json_put_uint(&w, "at_once", p->n_at_once);
        json_open_array(&w, "progress");
        json_put_uint(&w, NULL, m ? MARK_MERGE : MARK_CHUNKS);
        json_put_uint(&w, NULL, MARK_MERGE);
        json_close(&w);
        json_close(&w);
        json_close(&w);
        return json_writer_end(&w) < 0 ? pdf_handler_fault(-ENOMEM, "children")
                                       : pdf_handler_result(&b);
}

static int split(const PdfHandler *h)
{
        char status[80];
        PdfPlan p = {};
        int r;

        pdf_handler_progress(MARK_ANALYSE, "analysing");
        r = analyse(h, &p);
        if (r != 0)
                return r;
        (void) snprintf(status, sizeof(status), "%u pages in %u parts, %u at a time", p.n_pages,
                p.n_chunks, p.n_at_once);
        pdf_handler_progress(MARK_SPLIT, status);
        return spawn(h, &p, NULL);
}

static int finish(const PdfHandler *h, PdfMerge *m)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        const PdfChunkState *first = pdf_merge_get(m, 0);
        int r;

        pdf_handler_progress(MARK_MERGE, "merging");
        r = pdf_merge_write(m, h->output_fd);
        if (r >= 0 && pdf_merge_n_succeeded(m) == 0)
                return pdf_handler_fail(
                        first->code, false, "every part failed; the first: %s", first->message);
        if (r >= 0)
                r = pdf_merge_result(m, &b);
        if (r < 0)
                return pdf_handler_fault(r, "merge");
        pdf_handler_progress(100, "done");
        return pdf_handler_result(&b);
}

static int join(const PdfHandler *h)
{
        _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;
        PdfPlan p = {};
        int r;

        r = analyse(h, &p);
        if (r != 0)
                return r;
        r = pdf_merge_new(&p, h->input_fd, &m);
        if (r < 0)
                return pdf_handler_fault(r, "children.ndjson");
        /* Whoever ends chunks wants the document as it is. */
        if (pdf_merge_n_succeeded(m) * 2 < p.n_chunks && pdf_merge_n_rounds(m) == 1 &&
                pdf_merge_n_cancelled(m) == 0)
                return spawn(h, &p, m);
        return finish(h, m);
}

int main(int argc, char *argv[])
{
        PdfHandler h;
        int status = pdf_handler_start(&h, argc, argv);

        if (status == 0)
                status = h.join ? join(&h) : split(&h);
        pdf_handler_done(&h);
        return status;
}

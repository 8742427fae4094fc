/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "fd-util.h"
#include "memfd-util.h"
#include "pdf-handler.h"
#include "pdf-plan.h"
#include "pdf-text.h"

/* The handler of the kind pdf-chunk: the text of a range of pages. It leaves the file "text", the
 * pages' texts one after the other, and tells their numbers and sizes. All pages come out of one
 * call of pdftotext; where that fails they are read one by one, so that a page that cannot be read
 * costs no other. */

#define STUBBORN_MAX 3U /* pages that fail for want of time or memory before one has succeeded */

typedef struct ChunkPage {
        int outcome; /* PDF_OK: it has a text */
        size_t size;
} ChunkPage;

typedef struct Chunk {
        PdfHandler handler;
        unsigned number, first, last;
        ChunkPage *pages; /* from first to last */
        unsigned n_pages, n_read;
        int text_fd;
        int outcome; /* of the first page that failed */
        char error[PDF_ERROR_MAX]; /* of that page */
} Chunk;

static void note_failure(Chunk *c, unsigned i, int outcome, const char *error)
{
        c->pages[i].outcome = outcome;
        if (c->outcome != PDF_OK)
                return;
        c->outcome = outcome;
        (void) snprintf(c->error, sizeof(c->error), "%s", error);
}

static int read_range(Chunk *c)
{
        const JsonValue *o = c->handler.payload;
        uint64_t number = 0, first, last;
        JsonError e = {};
        int r;

        r = json_get_uint64(o, "chunk", 0, PDF_CHUNKS_MAX, &number, &e);
        if (r >= 0)
                r = json_get_uint64(o, "first", 1, PDF_PAGES_MAX, &first, &e);
        if (r == JSON_FOUND)
                r = json_get_uint64(o, "last", first, PDF_PAGES_MAX, &last, &e);
        if (r != JSON_FOUND)
                return pdf_handler_fail("BAD_PAYLOAD", false, "first and last must be pages%s%s",
                        e.text[0] ? ": " : "", e.text);
        c->number = (unsigned) number;
        c->first = (unsigned) first;
        c->last = (unsigned) last;
        c->n_pages = c->last - c->first + 1;
        c->pages = new0(ChunkPage, c->n_pages);
        return c->pages ? 0 : pdf_handler_fault(-ENOMEM, "pages");
}

/* Returns 0, 1 if the pages must be read one by one, or -errno. */
static int read_together(Chunk *c)
{
        _cleanup_(freep) size_t *sizes = new0(size_t, c->n_pages);
        _cleanup_(closep) int fd = pdf_handler_temporary();
        _cleanup_(freep) char *text = NULL;
        char error[PDF_ERROR_MAX];
        const char *at;
        size_t size = 0;
        int r;

        if (!sizes || fd < 0)
                return sizes ? fd : -ENOMEM;
        r = pdf_handler_read_pages(
                &c->handler, c->first, c->last, c->handler.limits.timeout_usec, fd, error);
        if (r > 0 && c->n_pages == 1)
                note_failure(c, 0, r, error);
        if (r != 0)
                return r < 0 ? r : c->n_pages > 1;
        r = memfd_read(fd, c->handler.limits.output_max, &text, &size);
        if (r < 0)
                return r;
        if (pdf_split_pages(text, size, c->n_pages, sizes) != 0)
                return 1;
        at = text;
        for (unsigned i = 0; i < c->n_pages && r >= 0; i++) {
                c->pages[i].size = sizes[i];
                r = write_all(c->text_fd, at, sizes[i]);
                at += sizes[i] + 1; /* the form feed */
        }
        c->n_read = c->n_pages;
        return r;
}

static int read_page(Chunk *c, unsigned i)
{
        _cleanup_(closep) int fd = pdf_handler_temporary();
        _cleanup_(freep) char *text = NULL;
        ChunkPage *p = c->pages + i;
        char error[PDF_ERROR_MAX];
        size_t size = 0;
        int r;

        if (fd < 0)
                return fd;
        r = pdf_handler_read_pages(
                &c->handler, c->first + i, c->first + i, c->handler.page_usec, fd, error);
        if (r < 0)
                return r;
        if (r != PDF_OK) {
                note_failure(c, i, r, error);
                return 0;
        }
        r = memfd_read(fd, c->handler.limits.output_max, &text, &size);
        if (r < 0)
                return r;
        if (size == 0 ||
                text[size - 1] != '\f') { /* the tool says nothing of a page that is none */
                note_failure(c, i, PDF_DAMAGED, "there is no such page");
                return 0;
        }
        p->size = size - 1;
        c->n_read++;
        return write_all(c->text_fd, text, p->size);
}

static int read_one_by_one(Chunk *c)
{
        int r = 0;

        for (unsigned i = 0; i < c->n_pages && r >= 0; i++)
                if (i < STUBBORN_MAX || c->n_read > 0 || c->outcome == PDF_DAMAGED)
                        r = read_page(c, i);
                else
                        c->pages[i].outcome = c->outcome;
        return r;
}

static void put_pages(JsonWriter *w, const Chunk *c)
{
        json_open_array(w, "pages");
        for (unsigned i = 0; i < c->n_pages; i++)
                if (c->pages[i].outcome == PDF_OK) {
                        json_open_array(w, NULL);
                        json_put_uint(w, NULL, c->first + i);
                        json_put_uint(w, NULL, c->pages[i].size);
                        json_close(w);
                }
        json_close(w);
        json_open_array(w, "failed");
        for (unsigned i = 0; i < c->n_pages; i++)
                if (c->pages[i].outcome != PDF_OK) {
                        json_open_object(w, NULL);
                        json_put_uint(w, "page", c->first + i);
                        json_put_string(
                                w, "code", pdf_outcome_to_code((PdfOutcome) c->pages[i].outcome));
                        json_close(w);
                }
        json_close(w);
}

static int finish(const Chunk *c)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        if (c->n_read == 0)
                return pdf_handler_fail(pdf_outcome_to_code((PdfOutcome) c->outcome), false,
                        "no page of %u to %u could be read%s%s", c->first, c->last,
                        c->error[0] ? ": " : "", c->error);
        json_open_object(&w, NULL);
        json_put_uint(&w, "chunk", c->number);
        json_put_uint(&w, "first", c->first);
        json_put_uint(&w, "last", c->last);
        put_pages(&w, c);
        json_close(&w);
        return json_writer_end(&w) < 0 ? pdf_handler_fault(-ENOMEM, "result")
                                       : pdf_handler_result(&b);
}

static int run(Chunk *c)
{
        int r = read_range(c);

        if (r != 0)
                return r;
        c->text_fd =
                openat(c->handler.output_fd, "text", O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        if (c->text_fd < 0)
                return pdf_handler_fault(-errno, "text");
        r = read_together(c);
        if (r == 1)
                r = read_one_by_one(c);
        return r < 0 ? pdf_handler_fault(r, "pdftotext") : finish(c);
}

int main(int argc, char *argv[])
{
        Chunk c = { .text_fd = -EBADF };
        int status = pdf_handler_start(&c.handler, argc, argv);

        if (status == 0)
                status = run(&c);
        safe_close(c.text_fd);
        free(c.pages);
        pdf_handler_done(&c.handler);
        return status;
}

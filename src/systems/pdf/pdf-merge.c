/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-merge.h"

#include <fcntl.h>
#include <stdio.h>

#include "fd-util.h"
#include "json-reader.h"
#include "json-writer.h"
#include "reeve-limits.h"

#define CHILDREN_TEXT_MAX (16UL * 1024 * 1024)
#define CHUNK_TEXT_MAX                                                                             \
        ((size_t) PDF_PAGES_MAX * 64 * 1024 * 1024) /* pages, each a tool's output                 \
                                                     */
#define LINES_MAX      10U /* first lines of the document in the result */
#define LINE_MAX_BYTES 200U

typedef struct MergePage {
        bool there;
        char head[PDF_HEAD_MAX];
        char code[PDF_CODE_MAX]; /* why it is not there; "" if its chunk failed */
} MergePage;

typedef struct MergeChunk {
        PdfChunkState state;
        JsonDocument *document; /* the line of its child */
        const JsonValue *result;
} MergeChunk;

struct PdfMerge {
        PdfPlan plan;
        int input_fd;
        unsigned n_children, n_cancelled;
        MergeChunk *chunks;
        MergePage *pages;
        uint64_t n_words, n_bytes;
        unsigned n_duplicates, n_differ;
        StrBuf lines; /* the first lines, each ended by NUL */
        unsigned n_lines;
};

PdfMerge *pdf_merge_free(PdfMerge *m)
{
        if (!m)
                return NULL;
        for (unsigned i = 0; m->chunks && i < m->plan.n_chunks; i++)
                json_document_free(m->chunks[i].document);
        free(m->chunks);
        free(m->pages);
        strbuf_done(&m->lines);
        return mfree(m);
}

bool pdf_merge_has(const PdfMerge *m, unsigned chunk)
{
        return m->chunks[chunk].state.child >= 0;
}

unsigned pdf_merge_n_succeeded(const PdfMerge *m)
{
        unsigned n = 0;

        for (unsigned i = 0; i < m->plan.n_chunks; i++)
                n += pdf_merge_has(m, i);
        return n;
}

unsigned pdf_merge_n_cancelled(const PdfMerge *m)
{
        return m->n_cancelled;
}

unsigned pdf_merge_n_rounds(const PdfMerge *m)
{
        return m->n_children > m->plan.n_chunks ? 2 : 1;
}

const PdfChunkState *pdf_merge_get(const PdfMerge *m, unsigned chunk)
{
        return &m->chunks[chunk].state;
}

static void set_failed(PdfMerge *m, unsigned chunk, const char *code, const char *message)
{
        PdfChunkState *s = &m->chunks[chunk].state;

        s->child = -1;
        (void) snprintf(s->code, sizeof(s->code), "%s", code);
        (void) snprintf(
                s->message, sizeof(s->message), "pages %u to %u: %s", s->first, s->last, message);
}

/* ---- children.ndjson ---- */

/* Which chunk a later child read; n_chunks: it is of none, or has failed. */
static unsigned chunk_of(const PdfMerge *m, const JsonValue *result)
{
        uint64_t n;

        return result && json_value_is(result, JSON_OBJECT) &&
                        json_get_uint64(result, "chunk", 0, m->plan.n_chunks - 1, &n, NULL) ==
                                JSON_FOUND
                ? (unsigned) n
                : m->plan.n_chunks;
}

/* One line: what became of a chunk. The first children are the chunks in turn; those behind them
 * were asked for because others had failed, and say what they have read. */
static int take_child(PdfMerge *m, const char *line, size_t size)
{
        unsigned chunk = m->n_children;
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        const char *state = NULL, *code = NULL, *message = NULL;
        const JsonValue *root, *error, *result;
        JsonError e;
        int r;

        r = json_parse(line, size, REEVE_RESULT_DEPTH_MAX, &d, &e);
        if (r < 0)
                return r;
        root = json_document_root(d);
        result = json_value_member(root, "result");
        if (json_get_string(root, "state", &state, &e) != JSON_FOUND)
                return -EBADMSG;
        m->n_cancelled += streq(state, "cancelled");
        if (chunk >= m->plan.n_chunks)
                chunk = chunk_of(m, result);
        if (chunk == m->plan.n_chunks)
                return 0;
        if (streq(state, "succeeded") && result && json_value_is(result, JSON_OBJECT)) {
                json_document_free(m->chunks[chunk].document);
                m->chunks[chunk].state.child = (int) m->n_children;
                m->chunks[chunk].document = TAKE_PTR(d);
                m->chunks[chunk].result = result;
                return 0;
        }
        error = json_value_member(root, "error");
        if (error && json_value_is(error, JSON_OBJECT)) {
                (void) json_get_string(error, "code", &code, NULL);
                (void) json_get_string(error, "message", &message, NULL);
        }
        if (!code)
                code = streq(state, "cancelled") ? "CANCELLED" : "PROCESSING_ERROR";
        if (!message)
                message = streq(state, "cancelled") ? "it was cancelled" : "";
        set_failed(m, chunk, code, message);
        return 0;
}

static int read_children(PdfMerge *m, const char *text, size_t size)
{
        const char *end = text + size;
        int r = 0;

        for (const char *at = text, *next; at < end && r >= 0; at = next + 1, m->n_children++) {
                next = memchr(at, '\n', (size_t) (end - at));
                if (!next)
                        next = end;
                r = take_child(m, at, (size_t) (next - at));
        }
        return r >= 0 && m->n_children < m->plan.n_chunks ? -EBADMSG : r;
}

int pdf_merge_new(const PdfPlan *plan, int input_fd, PdfMerge **ret)
{
        _cleanup_(pdf_merge_freep) PdfMerge *m = new0(PdfMerge, 1);
        _cleanup_(freep) char *text = NULL;
        size_t size = 0;
        int r;

        if (!m)
                return -ENOMEM;
        m->plan = *plan;
        m->input_fd = input_fd;
        m->chunks = new0(MergeChunk, plan->n_chunks);
        m->pages = new0(MergePage, plan->n_pages + 1);
        if (!m->chunks || !m->pages)
                return -ENOMEM;
        for (unsigned i = 0; i < plan->n_chunks; i++) {
                PdfChunkState *s = &m->chunks[i].state;

                pdf_plan_chunk(plan, i, &s->first, &s->last);
                set_failed(m, i, "PROCESSING_ERROR", "it was not read");
        }
        r = read_file(input_fd, "children.ndjson", CHILDREN_TEXT_MAX, &text, &size);
        if (r >= 0)
                r = read_children(m, text, size);
        if (r < 0)
                return r;
        *ret = TAKE_PTR(m);
        return 0;
}

/* ---- the pages ---- */

static int write_page(int output_fd, unsigned page, const char *text, size_t size)
{
        _cleanup_(closep) int fd = -EBADF;
        char name[32];

        (void) snprintf(name, sizeof(name), "page-%04u.txt", page);
        fd = openat(output_fd, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
        return fd < 0 ? -errno : write_all(fd, text, size);
}

static void note_lines(PdfMerge *m, const char *text, size_t size)
{
        const char *at = text, *line;
        size_t n;

        while (m->n_lines < LINES_MAX &&
                (line = pdf_next_line(&at, text + size, LINE_MAX_BYTES, &n))) {
                strbuf_append(&m->lines, line, strnlen(line, n));
                strbuf_putc(&m->lines, '\0');
                m->n_lines++;
        }
}

static int take_page(PdfMerge *m, int output_fd, unsigned page, const char *text, size_t size)
{
        MergePage *p = m->pages + page;
        char head[PDF_HEAD_MAX];
        int r;

        pdf_head(text, size, head);
        if (p->there) {
                m->n_duplicates++;
                m->n_differ += !streq(p->head, head);
                return 0;
        }
        r = write_page(output_fd, page, text, size);
        if (r < 0)
                return r;
        p->there = true;
        memcpy(p->head, head, sizeof(head));
        m->n_words += pdf_count_words(text, size);
        m->n_bytes += size;
        note_lines(m, text, size);
        return 0;
}

/* A pair of page and size. */
static int read_pair(const JsonValue *v, uint64_t *ret_page, uint64_t *ret_size)
{
        const JsonValue *page = json_value_is(v, JSON_ARRAY) ? json_value_first(v, NULL) : NULL;
        const JsonValue *size = page ? json_value_next(v, page, NULL) : NULL;

        return size && json_value_uint64(page, ret_page) >= 0 &&
                        json_value_uint64(size, ret_size) >= 0
                ? 0
                : -EBADMSG;
}

/* Whether what the chunk tells of its pages fits its range and its text. */
static bool is_whole(const MergeChunk *c, size_t size)
{
        const JsonValue *pages = json_value_member(c->result, "pages");
        uint64_t page, page_size, total = 0, before = c->state.first - 1;

        if (!pages || !json_value_is(pages, JSON_ARRAY))
                return false;
        for (const JsonValue *v = json_value_first(pages, NULL); v;
                v = json_value_next(pages, v, NULL)) {
                if (read_pair(v, &page, &page_size) < 0 || page <= before || page > c->state.last ||
                        page_size > size - total)
                        return false;
                before = page;
                total += page_size;
        }
        return total == size;
}

static void note_failed_pages(PdfMerge *m, const MergeChunk *c)
{
        const JsonValue *failed = json_value_member(c->result, "failed");

        if (!failed || !json_value_is(failed, JSON_ARRAY))
                return;
        for (const JsonValue *v = json_value_first(failed, NULL); v;
                v = json_value_next(failed, v, NULL)) {
                const char *code = NULL;
                uint64_t page;

                if (json_get_uint64(v, "page", c->state.first, c->state.last, &page, NULL) ==
                                JSON_FOUND &&
                        json_get_string(v, "code", &code, NULL) == JSON_FOUND)
                        (void) snprintf(
                                m->pages[page].code, sizeof(m->pages[page].code), "%s", code);
        }
}

static int write_chunk(PdfMerge *m, unsigned chunk, int output_fd)
{
        const MergeChunk *c = m->chunks + chunk;
        const JsonValue *pages = json_value_member(c->result, "pages");
        _cleanup_(freep) char *text = NULL;
        char name[64];
        size_t size = 0, at = 0;
        int r;

        (void) snprintf(name, sizeof(name), "children/%d/text", c->state.child);
        r = read_file(m->input_fd, name, CHUNK_TEXT_MAX, &text, &size);
        if (r < 0 && r != -ENOENT)
                return r;
        if (r < 0 || !is_whole(c, size)) {
                set_failed(m, chunk, "PROCESSING_ERROR", "its text is not as it says");
                return 0;
        }
        note_failed_pages(m, c);
        for (const JsonValue *v = json_value_first(pages, NULL); v && r >= 0;
                v = json_value_next(pages, v, NULL)) {
                uint64_t page = 0, page_size = 0;

                (void) read_pair(v, &page, &page_size);
                r = take_page(m, output_fd, (unsigned) page, text + at, (size_t) page_size);
                at += (size_t) page_size;
        }
        return r;
}

int pdf_merge_write(PdfMerge *m, int output_fd)
{
        int r = 0;

        for (unsigned i = 0; i < m->plan.n_chunks && r >= 0; i++)
                if (pdf_merge_has(m, i))
                        r = write_chunk(m, i, output_fd);
        return r;
}

/* ---- the result ---- */

static void put_missing(JsonWriter *w, const PdfMerge *m)
{
        json_open_array(w, "missing");
        for (unsigned i = 1; i <= m->plan.n_pages; i++)
                if (!m->pages[i].there) {
                        json_open_object(w, NULL);
                        json_put_uint(w, "page", i);
                        if (m->pages[i].code[0])
                                json_put_string(w, "code", m->pages[i].code);
                        json_close(w);
                }
        json_close(w);
}

static void put_chunks(JsonWriter *w, const PdfMerge *m)
{
        unsigned n = pdf_merge_n_succeeded(m);

        json_open_object(w, "chunks");
        json_put_uint(w, "total", m->plan.n_chunks);
        json_put_uint(w, "succeeded", n);
        json_put_uint(w, "failed", m->plan.n_chunks - n);
        json_put_uint(w, "pages_each", m->plan.n_each);
        json_put_uint(w, "at_once", m->plan.n_at_once);
        json_put_uint(w, "rounds", pdf_merge_n_rounds(m));
        json_open_array(w, "errors");
        for (unsigned i = 0; i < m->plan.n_chunks; i++)
                if (!pdf_merge_has(m, i)) {
                        const PdfChunkState *s = &m->chunks[i].state;

                        json_open_object(w, NULL);
                        json_put_uint(w, "chunk", i);
                        json_put_uint(w, "first", s->first);
                        json_put_uint(w, "last", s->last);
                        json_put_string(w, "code", s->code);
                        json_put_string(w, "message", s->message);
                        json_close(w);
                }
        json_close(w);
        json_close(w);
}

int pdf_merge_result(const PdfMerge *m, StrBuf *b)
{
        JsonWriter w = json_writer(b);
        const char *line = strbuf_str(&m->lines);
        unsigned n_there = 0;

        if (strbuf_error(&m->lines) < 0)
                return -ENOMEM;
        for (unsigned i = 1; i <= m->plan.n_pages; i++)
                n_there += m->pages[i].there;
        json_open_object(&w, NULL);
        json_put_uint(&w, "pages", m->plan.n_pages);
        json_put_uint(&w, "pages_read", n_there);
        json_put_uint(&w, "words", m->n_words);
        json_put_uint(&w, "bytes", m->n_bytes);
        json_put_uint(&w, "duplicates", m->n_duplicates);
        json_put_uint(&w, "differing", m->n_differ);
        put_missing(&w, m);
        put_chunks(&w, m);
        json_open_array(&w, "lines");
        for (unsigned i = 0; i < m->n_lines; i++, line += strlen(line) + 1)
                json_put_string(&w, NULL, line);
        json_close(&w);
        json_close(&w);
        return json_writer_end(&w);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A join of a document: the first byte is its number of pages, the next how its text is split; then
 * come the lines of children.ndjson, and behind a NUL the text that each child has read. Whatever
 * they say, the result is JSON that counts every page once. */
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd-util.h"
#include "fuzz.h"
#include "json-reader.h"
#include "parse-util.h"
#include "pdf-merge.h"
#include "reeve-limits.h"

#define PAGES_MAX 48U

/* Made once, by an input that comes first; its files are written anew by each. */
static struct {
        char path[64];
        int in, out;
} dir = { .in = -EBADF, .out = -EBADF };

static void remove_dir(void)
{
        char command[96];

        (void) snprintf(command, sizeof(command), "rm -rf %s", dir.path);
        if (system(command) != 0) // NOLINT(cert-env33-c)
                perror(dir.path);
}

static int make_dir(int at, const char *name)
{
        int fd;

        CHECK(mkdirat(at, name, 0755) == 0);
        fd = openat(at, name, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        CHECK(fd >= 0);
        return fd;
}

static void make_dirs(void)
{
        _cleanup_(closep) int top = -EBADF, children = -EBADF;
        bool memory = access("/dev/shm", W_OK) == 0;

        (void) snprintf(
                dir.path, sizeof(dir.path), "%s/fuzz-pdf-XXXXXX", memory ? "/dev/shm" : "/tmp");
        CHECK(mkdtemp(dir.path) && atexit(remove_dir) == 0);
        top = open(dir.path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
        CHECK(top >= 0);
        dir.in = make_dir(top, "in");
        dir.out = make_dir(top, "out");
        children = make_dir(dir.in, "children");
        for (char name[] = "0"; *name < '4'; (*name)++)
                safe_close(make_dir(children, name));
}

static void put_file(const char *name, const char *text, size_t size)
{
        _cleanup_(closep) int fd =
                openat(dir.in, name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);

        CHECK(fd >= 0 && write_all(fd, text, size) == 0);
}

/* Nothing but page-NNNN.txt is there. Returns how many. */
static unsigned take_pages(unsigned n_pages)
{
        unsigned n = 0;
        char name[32];

        for (unsigned i = 0; i <= n_pages + 1; i++) {
                (void) snprintf(name, sizeof(name), "page-%04u.txt", i);
                if (unlinkat(dir.out, name, 0) < 0)
                        continue;
                CHECK(i >= 1 && i <= n_pages);
                n++;
        }
        return n;
}

static void check_result(const PdfMerge *m, const PdfPlan *p)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(strbuf_done) StrBuf b = {};
        const JsonValue *v;
        uint64_t n = 0;

        CHECK(pdf_merge_result(m, &b) == 0);
        CHECK(json_parse(strbuf_str(&b), b.len, REEVE_RESULT_DEPTH_MAX, &d, NULL) == 0);
        v = json_document_root(d);
        CHECK(json_get_uint64(v, "pages_read", 0, p->n_pages, &n, NULL) == JSON_FOUND);
        CHECK(n + json_value_count(json_value_member(v, "missing")) == p->n_pages);
        CHECK(n == take_pages(p->n_pages));
        CHECK(pdf_merge_n_succeeded(m) <= p->n_chunks);
}

static void check_pages(const char *text, size_t size, unsigned n_pages)
{
        size_t sizes[PAGES_MAX], n, total = 0;
        char head[PDF_HEAD_MAX];
        const char *at = text, *line;

        pdf_head(text, size, head);
        CHECK(strlen(head) < sizeof(head));
        CHECK(pdf_count_words(text, size) <= size);
        while ((line = pdf_next_line(&at, text + size, 20, &n)))
                CHECK(line >= text && line + n <= text + size && n > 0 && n <= 20);
        if (pdf_split_pages(text, size, n_pages, sizes) != 0)
                return;
        for (unsigned i = 0; i < n_pages; i++)
                total += sizes[i];
        CHECK(total + n_pages == size);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        _cleanup_(pdf_merge_freep) PdfMerge *m = NULL;
        const char *lines = (const char *) data + 2, *text, *end;
        PdfPlan p;
        size_t piece;
        int r;

        if (size < 3)
                return 0;
        if (dir.in < 0)
                make_dirs();
        end = (const char *) data + size;
        text = memchr(lines, '\0', size - 2);
        p = pdf_plan(data[0] % PAGES_MAX + 1);
        put_file("children.ndjson", lines, (size_t) ((text ? text : end) - lines));
        text = text ? text + 1 : end;
        check_pages(text, (size_t) (end - text), data[0] % PAGES_MAX + 1);
        piece = data[1];
        for (char name[] = "children/0/text"; name[9] < '4'; name[9]++) {
                size_t left = (size_t) (end - text);

                put_file(name, text, left < piece ? left : piece);
                text += left < piece ? left : piece;
        }
        r = pdf_merge_new(&p, dir.in, &m);
        if (r < 0) {
                CHECK(r == -EBADMSG);
                return 0;
        }
        CHECK(pdf_merge_write(m, dir.out) == 0);
        check_result(m, &p);
        return 0;
}

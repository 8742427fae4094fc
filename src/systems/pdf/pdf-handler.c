/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "pdf-handler.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <sysexits.h>
#include <unistd.h>

#include "fd-util.h"
#include "memfd-util.h"
#include "parse-util.h"
#include "pdf-plan.h"
#include "reeve-limits.h"

#define PAYLOAD_MAX (64UL * 1024)

int pdf_handler_fail(const char *code, bool retry, const char *format, ...)
{
        _cleanup_(strbuf_done) StrBuf b = {}, text = {};
        JsonWriter w = json_writer(&b);
        va_list ap;

        va_start(ap, format);
        strbuf_vprintf(&text, format, ap);
        va_end(ap);
        json_open_object(&w, NULL);
        json_open_object(&w, "$reeve");
        json_open_object(&w, "error");
        json_put_string(&w, "code", code);
        json_put_string(&w, "message", strbuf_str(&text));
        json_put_bool(&w, "retry", retry);
        json_close(&w);
        json_close(&w);
        json_close(&w);
        if (json_writer_end(&w) >= 0)
                (void) pdf_handler_result(&b);
        fprintf(stderr, "%s: %s\n", code, strbuf_str(&text));
        return retry ? EX_TEMPFAIL : EX_DATAERR;
}

int pdf_handler_fault(int error, const char *what)
{
        return pdf_handler_fail("FAULT", true, "%s: %s", what,
                strerror(-error)); // NOLINT(concurrency-mt-unsafe)
}

int pdf_handler_result(const StrBuf *json)
{
        return write_all(STDOUT_FILENO, strbuf_str(json), json->len) < 0 ? EX_TEMPFAIL : EX_OK;
}

void pdf_handler_progress(unsigned percent, const char *status)
{
        _cleanup_(strbuf_done) StrBuf b = {};
        JsonWriter w = json_writer(&b);

        json_open_object(&w, NULL);
        json_put_uint(&w, "progress", percent);
        json_put_string(&w, "status", status);
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return;
        strbuf_putc(&b, '\n');
        (void) write_all(3, strbuf_str(&b), b.len); /* nobody listens: that is no reason to fail */
}

int pdf_handler_temporary(void)
{
        const char *tmp = getenv("TMPDIR"); // NOLINT(concurrency-mt-unsafe)
        int fd = open(tmp && tmp[0] == '/' ? tmp : "/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

        return fd < 0 ? -errno : fd;
}

static int tool_path(const PdfHandler *h, const char *tool, char **ret)
{
        if (asprintf(ret, "%s/%s", h->bin, tool) >= 0)
                return 0;
        *ret = NULL;
        return -ENOMEM;
}

/* Never begins with "-": it has the directory before it. */
static int file_path(const PdfHandler *h, char **ret)
{
        if (asprintf(ret, "%s/%s", h->input_dir, h->file) >= 0)
                return 0;
        *ret = NULL;
        return -ENOMEM;
}

int pdf_handler_read_pages(const PdfHandler *h, unsigned first, unsigned last, usec_t usec, int fd,
        char error[static PDF_ERROR_MAX])
{
        _cleanup_(freep) char *tool = NULL, *path = NULL;
        PdfLimits limits = h->limits;
        char from[16], to[16];
        const char *argv[] = { NULL, "-enc", "UTF-8", "-f", from, "-l", to, NULL, "-", NULL };

        if (tool_path(h, "pdftotext", &tool) < 0 || file_path(h, &path) < 0)
                return -ENOMEM;
        (void) snprintf(from, sizeof(from), "%u", first);
        (void) snprintf(to, sizeof(to), "%u", last);
        limits.timeout_usec = usec;
        argv[0] = tool;
        argv[7] = path;
        return pdf_tool_run(argv, fd, &limits, error);
}

int pdf_handler_count_pages(
        const PdfHandler *h, unsigned *ret_pages, char error[static PDF_ERROR_MAX])
{
        _cleanup_(freep) char *tool = NULL, *path = NULL, *text = NULL;
        _cleanup_(closep) int fd = pdf_handler_temporary();
        const char *argv[] = { NULL, NULL, NULL }, *at;
        size_t size;
        int r;

        if (fd < 0)
                return fd;
        if (tool_path(h, "pdfinfo", &tool) < 0 || file_path(h, &path) < 0)
                return -ENOMEM;
        argv[0] = tool;
        argv[1] = path;
        r = pdf_tool_run(argv, fd, &h->limits, error);
        if (r == PDF_FAILED && strstr(error, "the last page (0)")) {
                *ret_pages = 0; /* it wants to show the first */
                return PDF_OK;
        }
        if (r != PDF_OK)
                return r;
        r = memfd_read(fd, PAYLOAD_MAX, &text, &size);
        if (r < 0)
                return r;
        /* The last one: what stands before it is the document's own words, its title and so on. */
        at = NULL;
        for (const char *p = text; (p = strstr(p, "\nPages:")); p++)
                at = p + CONST_STRLEN("\nPages:");
        if (!at)
                return PDF_DAMAGED;
        *ret_pages = (unsigned) strtoul(at, NULL, 10);
        return 0;
}

/* ---- the start ---- */

static int parse_argv(PdfHandler *h, int argc, char *argv[])
{
        enum { ARG_TOOL = 256, ARG_PAGE, ARG_MEMORY, ARG_PAGES, ARG_BIN };
        static const struct option options[] = {
                { "tool-sec", required_argument, NULL, ARG_TOOL },
                { "page-sec", required_argument, NULL, ARG_PAGE },
                { "memory-max", required_argument, NULL, ARG_MEMORY },
                { "pages-max", required_argument, NULL, ARG_PAGES },
                { "bin", required_argument, NULL, ARG_BIN },
                {},
        };
        int c, r = 0;

        while (r >= 0 && (c = getopt_long(argc, argv, "", options, NULL)) >= 0)
                switch (c) {
                case ARG_TOOL:
                        r = parse_timespan(optarg, &h->limits.timeout_usec);
                        break;
                case ARG_PAGE:
                        r = parse_timespan(optarg, &h->page_usec);
                        break;
                case ARG_MEMORY:
                        r = parse_size(optarg, &h->limits.memory_max);
                        break;
                case ARG_PAGES:
                        r = parse_unsigned(optarg, 1, PDF_PAGES_MAX, &h->pages_max);
                        break;
                case ARG_BIN:
                        h->bin = optarg;
                        break;
                default:
                        r = -EINVAL;
                }
        if (r >= 0 && optind == argc && h->limits.timeout_usec <= REEVE_SPAN_MAX_USEC &&
                h->page_usec <= REEVE_SPAN_MAX_USEC)
                return 0;
        return pdf_handler_fail(
                "BAD_OPTION", false, "Start= of the kind: an option that is not of reeve-pdf(7)");
}

/* The PDF: the only file that is not the launcher's. */
static int find_file(PdfHandler *h)
{
        _cleanup_(freep) char *found = NULL;
        unsigned n = 0;
        struct dirent *de;
        DIR *dir = opendir(h->input_dir);

        if (!dir)
                return -errno;
        while ((de = readdir(dir))) { // NOLINT(concurrency-mt-unsafe)
                if (streq(de->d_name, ".") || streq(de->d_name, "..") ||
                        streq(de->d_name, "payload.json") || streq(de->d_name, "children.ndjson") ||
                        streq(de->d_name, "children"))
                        continue;
                n++;
                if (free_and_strdup(&found, de->d_name) < 0)
                        n = 2;
        }
        (void) closedir(dir);
        if (n != 1)
                return -ENOENT;
        h->file = TAKE_PTR(found);
        return 0;
}

static int read_payload(PdfHandler *h)
{
        _cleanup_(freep) char *text = NULL;
        const char *file = NULL;
        size_t size = 0;
        JsonError e;
        int r;

        r = read_file(h->input_fd, "payload.json", PAYLOAD_MAX, &text, &size);
        if (r >= 0)
                r = json_parse(text, size, REEVE_JSON_DEPTH_MAX, &h->document, &e);
        if (r < 0)
                return pdf_handler_fail("BAD_PAYLOAD", false, "the payload cannot be read: %s",
                        strerror(-r)); // NOLINT(concurrency-mt-unsafe)
        h->payload = json_document_root(h->document);
        if (!json_value_is(h->payload, JSON_NULL) &&
                json_get_string(h->payload, "file", &file, &e) < 0)
                return pdf_handler_fail("BAD_PAYLOAD", false, "%s", e.text);
        if (file && (strchr(file, '/') || faccessat(h->input_fd, file, R_OK, 0) < 0))
                return pdf_handler_fail("NO_INPUT", false, "the job has no file \"%s\"", file);
        r = file ? free_and_strdup(&h->file, file) : find_file(h);
        if (r == -ENOENT)
                return pdf_handler_fail("NO_INPUT", false,
                        "the job must have one file, the PDF, or name it in \"file\"");
        return r < 0 ? pdf_handler_fault(r, "input") : 0;
}

int pdf_handler_start(PdfHandler *h, int argc, char *argv[])
{
        const char *phase = getenv("REEVE_PHASE"); // NOLINT(concurrency-mt-unsafe)
        const char *queue = getenv("REEVE_QUEUE"); // NOLINT(concurrency-mt-unsafe)
        int r;

        *h = (PdfHandler){
                .bin = "/usr/bin",
                .limits = { 60 * USEC_PER_SEC, 512ULL << 20, 64ULL << 20 },
                .page_usec = 5 * USEC_PER_SEC,
                .pages_max = PDF_PAGES_MAX,
                .join = streq_ptr(phase, "join"),
                .is_inline = queue && streq(queue, "inline"),
                .input_dir = getenv("REEVE_INPUT_DIR"), // NOLINT(concurrency-mt-unsafe)
                .output_dir = getenv("REEVE_OUTPUT_DIR"), // NOLINT(concurrency-mt-unsafe)
                .input_fd = -EBADF,
                .output_fd = -EBADF,
        };
        r = parse_argv(h, argc, argv);
        if (r != 0)
                return r;
        if (!h->input_dir || !h->output_dir) {
                fputs("This is a handler: reeve-worker starts it. See reeve-pdf(7).\n", stderr);
                return EX_USAGE;
        }
        h->input_fd = open(h->input_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (h->input_fd < 0)
                return pdf_handler_fault(-errno, "REEVE_INPUT_DIR");
        h->output_fd = open(h->output_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (h->output_fd < 0)
                return pdf_handler_fault(-errno, "REEVE_OUTPUT_DIR");
        return read_payload(h);
}

void pdf_handler_done(PdfHandler *h)
{
        json_document_free(h->document);
        free(h->file);
        safe_close(h->input_fd);
        safe_close(h->output_fd);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-log.h"

#include <inttypes.h>
#include <stdio.h>
#include <sys/uio.h>
#include <syslog.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "fd-util.h"
#include "parse-util.h"

#define FIELDS_MAX 7

void exec_log_reset(ExecLog *log, usec_t now)
{
        log->total = 0;
        log->line_size = 0;
        log->line_cut = false;
        log->tokens = EXEC_LOG_LINES_BURST;
        log->tokens_at = now;
        log->left_out = 0;
}

void exec_append_utf8(StrBuf *out, const char *s, size_t n)
{
        size_t done = 0, i = 0;

        while (i < n) {
                size_t len = utf8_sequence(s + i, n - i);

                if (len > 0 && s[i] != '\0') {
                        i += len;
                        continue;
                }
                strbuf_append(out, s + done, i - done);
                strbuf_puts(out, "\xef\xbf\xbd");
                done = ++i;
        }
        strbuf_append(out, s + done, n - done);
}

static int add_field(struct iovec *iov, int n, char **owned, const char *name, const char *value)
{
        if (!value || asprintf(&owned[n], "%s=%s", name, value) < 0)
                return n;
        iov[n] = (struct iovec){ owned[n], strlen(owned[n]) };
        return n + 1;
}

static void send_line(ExecLog *log, const char *text, size_t n, int priority)
{
        struct iovec iov[FIELDS_MAX];
        char *owned[FIELDS_MAX] = { 0 };
        char level[2] = { (char) ('0' + priority), '\0' };
        _cleanup_(strbuf_done) StrBuf message = {};
        int k = 0;

        strbuf_puts(&message, "MESSAGE=");
        strbuf_append(&message, text, n);
        if (strbuf_error(&message) < 0)
                return;
        iov[k++] = (struct iovec){ message.data, message.len };
        k = add_field(iov, k, owned, "PRIORITY", level);
        k = add_field(iov, k, owned, "SYSLOG_IDENTIFIER", log->kind);
        k = add_field(iov, k, owned, "REEVE_JOB_ID", log->job_id);
        k = add_field(iov, k, owned, "REEVE_RUN_ID", log->run_id);
        k = add_field(iov, k, owned, "REEVE_KIND", log->kind);
        k = add_field(iov, k, owned, "REEVE_QUEUE", log->queue);
        (void) sd_journal_sendv(iov, k);
        for (int i = 0; i < k; i++)
                free(owned[i]);
}

static void refill(ExecLog *log, usec_t now)
{
        if (log->tokens == 0 && now > log->tokens_at) {
                usec_t more = (now - log->tokens_at) * EXEC_LOG_LINES_PER_SEC / USEC_PER_SEC;

                if (more > 0) {
                        log->tokens = more > EXEC_LOG_LINES_BURST ? EXEC_LOG_LINES_BURST
                                                                  : (unsigned) more;
                        log->tokens_at = now;
                }
        }
}

static bool take_token(ExecLog *log, usec_t now)
{
        refill(log, now);
        if (log->tokens == 0) {
                log->left_out++;
                return false;
        }
        if (log->tokens-- == EXEC_LOG_LINES_BURST)
                log->tokens_at = now;
        return true;
}

/* "<3>text" is text of priority 3, as sd-daemon(3) has it. */
static void end_line(ExecLog *log, usec_t now)
{
        const char *text = log->line;
        size_t n = log->line_size;
        int priority = LOG_INFO;

        if (n >= 3 && text[0] == '<' && text[1] >= '0' && text[1] <= '7' && text[2] == '>') {
                priority = text[1] - '0';
                text += 3;
                n -= 3;
        }
        if (n > 0 && take_token(log, now))
                send_line(log, text, n, priority);
        log->line_size = 0;
        log->line_cut = false;
}

static void split_lines(ExecLog *log, const char *data, size_t n, usec_t now)
{
        while (n > 0) {
                const char *end = memchr(data, '\n', n);
                size_t part = end ? (size_t) (end - data) : n;
                size_t room = sizeof(log->line) - log->line_size, take = part < room ? part : room;

                if (!log->line_cut) {
                        memcpy(log->line + log->line_size, data, take);
                        log->line_size += take;
                        log->line_cut = take < part;
                }
                if (end) {
                        end_line(log, now);
                        part++;
                }
                data += part;
                n -= part;
        }
}

/* The same when no line may go anyway: a gigabyte of short lines costs a second, not ten. Returns
 * the bytes taken: all up to the last end of a line. */
static size_t skip_lines(ExecLog *log, const char *data, size_t n, usec_t now)
{
        const char *last;
        size_t lines = 0;

        refill(log, now);
        last = log->tokens == 0 ? memrchr(data, '\n', n) : NULL;
        if (!last)
                return 0;
        for (const char *p = data; p <= last; p++)
                lines += *p == '\n';
        log->left_out += lines;
        log->line_size = 0;
        log->line_cut = false;
        return (size_t) (last - data) + 1;
}

static void keep_tail(ExecLog *log, const char *data, size_t n)
{
        if (n > sizeof(log->tail)) {
                log->total += n - sizeof(log->tail);
                data += n - sizeof(log->tail);
                n = sizeof(log->tail);
        }
        while (n > 0) {
                size_t at = log->total % sizeof(log->tail), room = sizeof(log->tail) - at;
                size_t take = n < room ? n : room;

                memcpy(log->tail + at, data, take);
                log->total += take;
                data += take;
                n -= take;
        }
}

void exec_log_feed(ExecLog *log, const char *data, size_t n, usec_t now)
{
        size_t skipped;

        keep_tail(log, data, n);
        if (log->to_journal) {
                skipped = skip_lines(log, data, n, now);
                split_lines(log, data + skipped, n - skipped, now);
        } else
                (void) write_all(STDERR_FILENO, data, n);
}

void exec_log_note(ExecLog *log, usec_t now, const char *format, ...)
{
        char text[1024] = "reeve-exec: ";
        va_list ap;
        int n;

        va_start(ap, format);
        n = vsnprintf(text + 12, sizeof(text) - 13, format, ap);
        va_end(ap);
        if (n < 0)
                return;
        if (log->line_size > 0)
                exec_log_feed(log, "\n", 1, now);
        n = (int) strlen(text);
        text[n] = '\n';
        exec_log_feed(log, text, (size_t) n + 1, now);
}

void exec_log_finish(ExecLog *log)
{
        char text[96];
        int n;

        if (log->line_size > 0)
                end_line(log, log->tokens_at);
        if (log->left_out == 0)
                return;
        n = snprintf(text, sizeof(text), "%" PRIu64 " lines were left out: more than %u a second",
                log->left_out, EXEC_LOG_LINES_PER_SEC);
        send_line(log, text, (size_t) n, LOG_WARNING);
        log->left_out = 0;
}

bool exec_log_tail(const ExecLog *log, StrBuf *out)
{
        bool cut = log->total > sizeof(log->tail);
        char linear[REEVE_LOG_TAIL_MAX];
        const char *text = linear, *newline;
        size_t n = cut ? sizeof(log->tail) : log->total,
               at = cut ? log->total % sizeof(log->tail) : 0;

        memcpy(linear, log->tail + at, n - at);
        memcpy(linear + n - at, log->tail, at);
        newline = cut ? memchr(linear, '\n', n - 1) : NULL;
        if (newline) {
                text = newline + 1;
                n -= (size_t) (text - linear);
        }
        exec_append_utf8(out, text, n);
        return cut;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-progress.h"

#include <stdio.h>

#include "json-reader.h"
#include "parse-util.h"

#define LINE_DEPTH_MAX 8U

void exec_progress_reset(ExecProgress *p)
{
        p->progress = -1;
        p->status[0] = '\0';
        p->changed = p->alive = p->extend = false;
        p->line_size = 0;
        p->line_too_long = false;
        p->n_bad = 0;
        p->bad[0] = '\0';
}

static void set_progress(ExecProgress *p, double percent)
{
        int value = percent < 0 ? 0 : percent > 100 ? 100 : (int) percent;

        p->changed = p->changed || p->progress != value;
        p->progress = value;
}

/* Takes as much of the text as fits, in whole characters; control characters become blanks. */
static void set_status(ExecProgress *p, const char *text)
{
        char status[sizeof(p->status)];
        size_t n = 0, left = strlen(text);

        for (size_t len; left > 0; text += len, left -= len) {
                len = utf8_sequence(text, left);
                if (len == 0) {
                        len = 1;
                        continue;
                }
                if (n + len >= sizeof(status))
                        break;
                memcpy(status + n, text, len);
                if ((unsigned char) status[n] < 0x20)
                        status[n] = ' ';
                n += len;
        }
        status[n] = '\0';

        p->changed = p->changed || !streq(p->status, status);
        memcpy(p->status, status, n + 1);
}

static void complain(ExecProgress *p, const char *why)
{
        p->n_bad++;
        (void) snprintf(p->bad, sizeof(p->bad), "%s", why);
}

static void take_object(ExecProgress *p, int64_t run_id, const JsonValue *o)
{
        JsonError e = { 0 };
        const char *status;
        int64_t id = run_id;
        double percent;
        bool alive;
        int r1, r2, r3;

        if (json_get_int64(o, "run_id", 1, INT64_MAX, &id, &e) < 0) {
                complain(p, e.text);
                return;
        }
        if (run_id > 0 && id != run_id)
                return; /* of a run that has ended */

        r1 = json_get_double(o, "progress", &percent, &e);
        r2 = r1 < 0 ? r1 : json_get_string(o, "status", &status, &e);
        r3 = r2 < 0 ? r2 : json_get_bool(o, "alive", &alive, &e);
        if (r3 < 0) {
                complain(p, e.text);
                return;
        }
        if (r1 == JSON_FOUND)
                set_progress(p, percent);
        if (r2 == JSON_FOUND)
                set_status(p, status);
        p->alive = true;
}

static void take_line(ExecProgress *p, int64_t run_id)
{
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        JsonError e = { 0 };

        if (p->line_too_long)
                complain(p, "a line that is too long");
        else if (p->line_size > 0) {
                int r = json_parse(p->line, p->line_size, LINE_DEPTH_MAX, &d, &e);

                if (r < 0)
                        complain(p, r == -ENOMEM ? "no memory to read it" : e.text);
                else if (!json_value_is(json_document_root(d), JSON_OBJECT))
                        complain(p, "not a JSON object");
                else
                        take_object(p, run_id, json_document_root(d));
        }
        p->line_size = 0;
        p->line_too_long = false;
}

void exec_progress_feed(ExecProgress *p, int64_t run_id, const char *data, size_t n)
{
        while (n > 0) {
                const char *end = memchr(data, '\n', n);
                size_t part = end ? (size_t) (end - data) : n;

                if (part > sizeof(p->line) - p->line_size)
                        p->line_too_long = true;
                else if (!p->line_too_long) {
                        memcpy(p->line + p->line_size, data, part);
                        p->line_size += part;
                }
                if (end) {
                        take_line(p, run_id);
                        part++;
                }
                data += part;
                n -= part;
        }
}

static void take_assignment(ExecProgress *p, const char *line)
{
        uint64_t v;

        if (strncmp(line, "X_REEVE_PROGRESS=", 17) == 0) {
                if (parse_u64(line + 17, 0, 100, &v) == 0)
                        set_progress(p, (double) v);
                else
                        complain(p, "X_REEVE_PROGRESS= is not 0 to 100");
        } else if (strncmp(line, "STATUS=", 7) == 0)
                set_status(p, line + 7);
        else if (strncmp(line, "EXTEND_TIMEOUT_USEC=", 20) == 0) {
                if (parse_u64(line + 20, 0, USEC_PER_DAY * 365, &v) < 0) {
                        complain(p, "EXTEND_TIMEOUT_USEC= is not a number of microseconds");
                        return;
                }
                p->extend = true;
                p->extend_usec = v;
        } else if (!streq(line, "WATCHDOG=1"))
                return; /* READY=1, BARRIER=1, MAINPID= and whatever comes are no signs of life */
        p->alive = true;
}

void exec_progress_notify(ExecProgress *p, char *text)
{
        char *line, *saved = NULL;

        for (line = strtok_r(text, "\n", &saved); line; line = strtok_r(NULL, "\n", &saved))
                take_assignment(p, line);
}

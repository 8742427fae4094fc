/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "event-cursor.h"

#include <inttypes.h>
#include <stdio.h>

static const Uuid no_job;

static int compare(const EventPlace *a, uint64_t xid, const Uuid *job)
{
        if (a->xid != xid)
                return a->xid < xid ? -1 : 1;
        return memcmp(a->job.bytes, job->bytes, sizeof(job->bytes));
}

/* Reads a decimal number without sign or leading zeros. Returns what is behind it, or NULL. */
static const char *read_number(const char *s, uint64_t *ret)
{
        uint64_t v = 0;

        if (*s < '1' || *s > '9')
                return NULL;
        for (; *s >= '0' && *s <= '9'; s++)
                if (__builtin_mul_overflow(v, 10, &v) ||
                        __builtin_add_overflow(v, (uint64_t) (*s - '0'), &v))
                        return NULL;
        *ret = v;
        return s;
}

static const char *read_place(const char *s, EventPlace *ret)
{
        char text[UUID_TEXT_SIZE];

        *ret = (EventPlace){ 0 };
        s = read_number(s, &ret->xid);
        if (!s || *s != '.')
                return s;
        (void) snprintf(text, sizeof(text), "%.36s", s + 1);
        if (uuid_parse(text, &ret->job) < 0)
                return NULL;
        return s + 1 + 36;
}

int event_cursor_parse(const char *text, EventCursor *ret)
{
        EventCursor c = { 0 };
        const char *s = read_place(text, &c.next);

        for (; s && *s == ','; c.n_open++) {
                if (c.n_open >= REEVE_EVENT_OPEN_MAX)
                        return -EINVAL;
                s = read_place(s + 1, &c.open[c.n_open]);
                if (s &&
                        (c.open[c.n_open].xid >= c.next.xid ||
                                (c.n_open > 0 && c.open[c.n_open].xid <= c.open[c.n_open - 1].xid)))
                        return -EINVAL;
        }
        if (!s || *s)
                return -EINVAL;
        *ret = c;
        return 0;
}

int event_snapshot_parse(const char *text, EventSnapshot *ret)
{
        EventSnapshot n = { 0 };
        uint64_t xmin, xid;
        const char *s = read_number(text, &xmin);

        if (s)
                s = *s == ':' ? read_number(s + 1, &n.xmax) : NULL;
        if (!s || *s != ':' || xmin > n.xmax)
                return -EINVAL;
        for (s++; *s; n.open[n.n_open++] = xid) {
                s = read_number(s, &xid);
                if (!s || xid < xmin || xid >= n.xmax ||
                        (n.n_open > 0 && xid <= n.open[n.n_open - 1]) ||
                        (*s && (*s != ',' || !s[1])))
                        return -EINVAL;
                s += *s == ',';
                if (n.n_open == REEVE_EVENT_OPEN_MAX) {
                        n.xmax = xid;
                        break;
                }
        }
        *ret = n;
        return 0;
}

static void format_place(const EventPlace *p, StrBuf *b)
{
        char job[UUID_TEXT_SIZE];

        strbuf_printf(b, "%" PRIu64, p->xid);
        if (memcmp(&p->job, &no_job, sizeof(no_job)) != 0)
                strbuf_printf(b, ".%s", uuid_format(&p->job, job));
}

void event_cursor_format(const EventCursor *c, StrBuf *b)
{
        format_place(&c->next, b);
        for (unsigned i = 0; i < c->n_open; i++) {
                strbuf_putc(b, ',');
                format_place(&c->open[i], b);
        }
}

bool event_cursor_has(const EventCursor *c, uint64_t xid, const Uuid *job)
{
        if (compare(&c->next, xid, job) < 0)
                return false;
        for (unsigned i = 0; i < c->n_open; i++)
                if (c->open[i].xid == xid)
                        return compare(&c->open[i], xid, job) >= 0;
        return true;
}

static bool is_open(const EventSnapshot *s, uint64_t xid)
{
        for (unsigned i = 0; i < s->n_open; i++)
                if (s->open[i] == xid)
                        return true;
        return xid >= s->xmax;
}

/* The open places that stay so: those still open, and, of those that have ended meanwhile, the one
 * being told and what comes after it. */
static void close_open(EventCursor *c, const EventSnapshot *s, uint64_t xid)
{
        unsigned n = 0;

        for (unsigned i = 0; i < c->n_open; i++)
                if (c->open[i].xid >= xid || is_open(s, c->open[i].xid))
                        c->open[n++] = c->open[i];
        c->n_open = n;
}

void event_cursor_take(EventCursor *c, const EventSnapshot *s, uint64_t xid, const Uuid *job)
{
        uint64_t old = c->next.xid;

        if (xid < old) {
                close_open(c, s, xid);
                for (unsigned i = 0; i < c->n_open; i++)
                        if (c->open[i].xid == xid)
                                c->open[i].job = *job;
                return;
        }
        close_open(c, s, UINT64_MAX);
        for (unsigned i = 0; i < s->n_open && c->n_open < REEVE_EVENT_OPEN_MAX; i++)
                if (s->open[i] >= old && s->open[i] < xid)
                        c->open[c->n_open++] = (EventPlace){ .xid = s->open[i] };
        c->next = (EventPlace){ .xid = xid, .job = *job };
}

void event_cursor_finish(EventCursor *c, const EventSnapshot *s)
{
        *c = (EventCursor){ .next.xid = s->xmax, .n_open = s->n_open };
        for (unsigned i = 0; i < s->n_open; i++)
                c->open[i].xid = s->open[i];
}

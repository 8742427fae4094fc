/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "fd-util.h"
#include "log.h"
#include "worker-private.h"

/* For systemd to start the unit and for the launcher to say hello. Starting a unit takes 30 ms when
 * the host is idle. */
#define HELLO_USEC (30 * USEC_PER_SEC)

void slot_close(Slot *s)
{
        s->io = sd_event_source_disable_unref(s->io);
        s->fd = safe_close(s->fd);
        s->launcher = spawn_forget(s->launcher); /* it ends by itself, its connection is gone */
        run_packet_done(&s->packet);
        s->unit = mfree(s->unit);
        s->kind = NULL;
        s->run = NULL;
        s->state = SLOT_EMPTY;
}

unsigned worker_n_busy(const Worker *w)
{
        unsigned n = 0;

        for (unsigned i = 0; i < w->n_slots; i++)
                n += w->slots[i].run != NULL;
        return n;
}

Slot *worker_find_slot(Worker *w, const Kind *kind)
{
        Slot *empty = NULL, *other = NULL;

        for (unsigned i = 0; i < w->n_slots; i++) {
                Slot *s = w->slots + i;

                if (s->run || s->state == SLOT_SETTLING || s->state == SLOT_CONNECTING)
                        continue;
                if (s->state == SLOT_READY && s->kind == kind)
                        return s;
                if (s->state == SLOT_EMPTY)
                        empty = empty ? empty : s;
                else
                        other = other ? other : s;
        }
        if (!empty && other) {
                slot_close(other); /* another kind's launcher, idle: it ends by itself */
                empty = other;
        }
        return empty;
}

/* The launcher did not even say hello: nothing of the job has gone to it. */
static void tell_no_unit(Run *r, const char *why)
{
        char text[400];

        (void) snprintf(text, sizeof(text),
                "a unit of reeve-run-%s@.service does not start (%s): journalctl -u "
                "'reeve-run-%s@*'",
                r->kind->name, why, r->kind->name);
        run_no_handler(r, "launcher-died", "UNIT_NOT_STARTED", text);
}

void slot_lost(Slot *s, const char *why)
{
        Worker *w = s->worker;
        Run *run = s->run;
        bool unit_started = s->unit;

        if (run && unit_started) {
                log_warning("Run %lld (%s) lost its launcher %s: %s", (long long) run->run_id,
                        run->kind->name, s->unit, why);
        }
        if (run)
                run->slot = NULL;
        slot_close(s);
        if (run && unit_started)
                run_interrupted(run, "launcher-died");
        else if (run)
                tell_no_unit(run, why);
        worker_start_queued(w);
        worker_claim(w);
}

static void on_hello(Slot *s, const RunFrame *f)
{
        if (f->hello.version != RUN_PROTOCOL_VERSION) {
                slot_lost(s, "it speaks another version of the protocol");
                return;
        }
        s->unit = strdup(f->hello.unit);
        if (!s->unit) {
                slot_lost(s, "out of memory");
                return;
        }
        s->state = s->run ? SLOT_BUSY : SLOT_READY;
        if (s->run)
                run_send(s->run);
}

static void on_end(Slot *s, const RunFrame *f, int fd)
{
        Worker *w = s->worker;
        Run *run = s->run;
        int r;

        s->run = NULL;
        s->state = SLOT_SETTLING;
        s->since_usec = now_usec(CLOCK_MONOTONIC);
        run->slot = NULL;
        r = run_take_end(run, f, fd);
        if (r < 0) {
                log_error_errno(
                        r, "Failed to take the end of run %lld: %m", (long long) run->run_id);
                run_interrupted(run, "worker-error");
        }
        worker_claim(w);
}

static void on_run_frame(Slot *s, const RunFrame *f)
{
        Run *run = s->run;
        int r;

        switch (f->type) {
        case RUN_FRAME_STARTED:
                run->started = true;
                worker_kind_runs(s->worker, run->kind);
                run->started_usec = now_usec(CLOCK_MONOTONIC);
                break;
        case RUN_FRAME_PROGRESS:
                if (f->progress.progress >= 0)
                        run->progress = f->progress.progress;
                if (f->progress.status && free_and_strdup(&run->status, f->progress.status) < 0)
                        log_oom();
                break;
        case RUN_FRAME_ALIVE:
                break;
        case RUN_FRAME_EXTEND:
                run_extend_deadline(run, f->extend.usec);
                break;
        case RUN_FRAME_FILE:
                r = run_add_file(run, f->file.name, f->file.size, TAKE_FD(s->packet.fds[0]));
                if (r < 0)
                        slot_lost(s, "it sent files that cannot be taken");
                break;
        case RUN_FRAME_END:
                on_end(s, f, s->packet.n_fds > 0 ? s->packet.fds[0] : -EBADF);
                break;
        default:
                slot_lost(s, "it sent a frame that is not a launcher's");
        }
}

static void on_frame(Slot *s, const RunFrame *f)
{
        if (f->type == RUN_FRAME_HELLO) {
                if (s->unit)
                        slot_lost(s, "it said hello twice");
                else
                        on_hello(s, f);
                return;
        }
        if (f->type == RUN_FRAME_READY) {
                if (s->run) {
                        slot_lost(s, "it said ready in the middle of a run");
                        return;
                }
                s->state = SLOT_READY;
                worker_start_queued(s->worker);
                return;
        }
        if (!s->run || s->run->run_id != f->run_id) {
                slot_lost(s, "it speaks of a run that is not its own");
                return;
        }
        on_run_frame(s, f);
}

static int on_slot_io(sd_event_source *source, int fd, uint32_t revents, void *userdata)
{
        Slot *s = userdata;
        int r;

        /* A bounded number at a time: other slots want to be heard, too. */
        for (unsigned i = 0; i < 32 && s->fd == fd; i++) {
                _cleanup_(run_frame_done) RunFrame f = {};
                JsonError e;

                r = run_packet_receive(fd, &s->packet);
                if (r == -EAGAIN)
                        return 0;
                if (r != RUN_PACKET_RECEIVED) {
                        Run *run = s->run;

                        if (run && r == -EMFILE) { /* what it sent is gone: it must do it again */
                                run->slot = NULL;
                                slot_close(s);
                                run_no_resources(run, r);
                                worker_start_queued(s->worker);
                        } else if (!run) {
                                slot_close(s); /* it had its runs, as it should */
                                worker_start_queued(s->worker);
                        } else
                                slot_lost(s,
                                        r == RUN_PACKET_CLOSED ? "the connection was closed"
                                                               : strerror(-r));
                        return 0;
                }
                r = run_frame_decode(s->packet.data, s->packet.size, s->packet.n_fds, &f, &e);
                if (r < 0) {
                        slot_lost(s, r == -EBADMSG ? e.text : strerror(-r));
                        return 0;
                }
                on_frame(s, &f);
        }
        return 0;
}

static int connect_socket(Slot *s, const Kind *kind)
{
        union {
                struct sockaddr sa;
                struct sockaddr_un un;
        } address = { .un.sun_family = AF_UNIX };

        if (snprintf(address.un.sun_path, sizeof(address.un.sun_path), "%s/%s.sock",
                    s->worker->run_directory, kind->name) >= (int) sizeof(address.un.sun_path))
                return -ENAMETOOLONG;
        s->fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
        if (s->fd < 0)
                return -errno;
        return connect(s->fd, &address.sa, sizeof(address.un)) < 0 ? -errno : 0;
}

int slot_connect(Slot *s, const Kind *kind)
{
        int r;

        r = s->worker->launcher ? spawn_launcher(s->worker, kind, &s->launcher, &s->fd)
                                : connect_socket(s, kind);
        if (r >= 0)
                r = sd_event_add_io(s->worker->event, &s->io, s->fd, EPOLLIN, on_slot_io, s);
        if (r < 0) {
                s->fd = safe_close(s->fd);
                s->launcher = spawn_forget(s->launcher);
                return r;
        }
        (void) sd_event_source_set_description(s->io, "launcher");
        s->kind = kind;
        s->state = SLOT_CONNECTING;
        s->since_usec = now_usec(CLOCK_MONOTONIC);
        return 0;
}

void slot_stop_run(Slot *s, RunCause reason)
{
        RunFrame f = { .type = RUN_FRAME_STOP, .run_id = s->run->run_id, .stop.reason = reason };
        Run *run = s->run;

        if (run->stopping)
                return;
        run->stopping = true;
        run->stop_reason = reason;
        run->deadline_usec = now_usec(CLOCK_MONOTONIC) + run->kind->stop_usec + 5 * USEC_PER_SEC;
        if (!s->unit) {
                /* Not even started: nothing has to be asked to end. */
                run->slot = NULL;
                slot_close(s);
                run_stopped_early(run, reason);
                return;
        }
        if (run_frame_send(s->fd, &f, NULL, 0) < 0)
                slot_lost(s, "it does not take the word to stop");
}

void worker_check_slots(Worker *w)
{
        usec_t now = now_usec(CLOCK_MONOTONIC);

        for (unsigned i = 0; i < w->n_slots; i++) {
                Slot *s = w->slots + i;

                if ((s->state == SLOT_CONNECTING || s->state == SLOT_SETTLING) &&
                        now > s->since_usec + HELLO_USEC)
                        slot_lost(s, "it did not answer in time");
                else if (s->run && s->run->deadline_usec && now > s->run->deadline_usec) {
                        if (s->launcher)
                                spawn_kill(s->launcher);
                        else
                                worker_stop_unit(w, s->unit);
                        slot_lost(s, "it does not end its run in time");
                }
        }
}

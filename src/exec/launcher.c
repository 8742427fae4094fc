/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "launcher.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "exec-confine.h"
#include "exec-oom.h"
#include "exec-spawn.h"
#include "fd-util.h"
#include "log.h"

struct Outgoing {
        Outgoing *next;
        StrBuf text;
        int fd; /* a copy, or -EBADF */
};

static Outgoing *outgoing_free(Outgoing *o)
{
        if (!o)
                return NULL;
        strbuf_done(&o->text);
        safe_close(o->fd);
        free(o);
        return NULL;
}
DEFINE_CLEANUP(Outgoing, outgoing_free)

usec_t launcher_now(const Launcher *l)
{
        usec_t now = 0;

        (void) sd_event_now(l->event, CLOCK_MONOTONIC, &now);
        return now;
}

bool launcher_is_congested(const Launcher *l)
{
        return l->queue != NULL;
}

static void watch_socket(Launcher *l)
{
        uint32_t events = EPOLLIN | (l->queue_full ? (uint32_t) EPOLLOUT : 0);

        if (l->sock_source)
                (void) sd_event_source_set_io_events(l->sock_source, events);
}

/* No further frame can come or go. Whoever is in the middle of sending goes on; on_socket() is
 * called next, for a socket that is shut down is always ready, and ends the run and the slot. */
static void disconnect(Launcher *l)
{
        l->connected = false;
        l->closing = true;
        (void) shutdown(l->sock, SHUT_RDWR);
        while (l->queue) {
                Outgoing *o = l->queue;

                l->queue = o->next;
                outgoing_free(o);
        }
        l->queue_last = NULL;
        l->queue_full = false;
}

static int send_now(Launcher *l, const Outgoing *o)
{
        int r;

        r = run_packet_send(l->sock, o->text.data, o->text.len, &o->fd, o->fd >= 0 ? 1 : 0);
        l->queue_full = r == -EAGAIN;
        return r;
}

/* ETOOMANYREFS: the user's launchers have too many descriptors under way; they will be taken. */
static bool is_congestion(int r)
{
        return r == -EAGAIN || r == -ETOOMANYREFS || r == -ENOBUFS;
}

void launcher_send(Launcher *l, const RunFrame *f, int fd)
{
        _cleanup_(outgoing_freep) Outgoing *o = new0(Outgoing, 1);
        int r;

        if (!l->connected)
                return;
        r = o ? run_frame_encode(f, &o->text) : -ENOMEM;
        if (r < 0) {
                log_error_errno(r, "Cannot encode a frame: %m");
                disconnect(l);
                return;
        }

        o->fd = fd;
        r = l->queue ? -EAGAIN : send_now(l, o);
        o->fd = -EBADF; /* the caller's */
        if (is_congestion(r)) {
                if (fd >= 0) {
                        o->fd = fcntl(fd, F_DUPFD_CLOEXEC, EXEC_HANDLER_FD + 1);
                        if (o->fd < 0) {
                                log_error_errno(-errno, "Cannot keep a file to be sent: %m");
                                disconnect(l);
                                return;
                        }
                }
                if (l->queue)
                        l->queue_last->next = o;
                else
                        l->queue = o;
                l->queue_last = TAKE_PTR(o);
                watch_socket(l);
                launcher_arm(l);
        } else if (r < 0)
                disconnect(l);
}

static void flush_queue(Launcher *l)
{
        while (l->queue) {
                Outgoing *o = l->queue;
                int r = send_now(l, o);

                if (is_congestion(r))
                        break;
                if (r < 0) {
                        disconnect(l);
                        return;
                }
                l->queue = o->next;
                outgoing_free(o);
        }
        if (!l->queue)
                l->queue_last = NULL;
        watch_socket(l);
        launcher_arm(l);
}

static int receive_frame(Launcher *l)
{
        _cleanup_(run_frame_done) RunFrame f = {};
        JsonError e = { 0 };
        int r;

        r = run_packet_receive(l->sock, &l->packet);
        if (r != RUN_PACKET_RECEIVED)
                return r == RUN_PACKET_CLOSED ? -ECONNRESET : r;
        r = run_frame_decode(l->packet.data, l->packet.size, l->packet.n_fds, &f, &e);
        if (r < 0) {
                log_error_errno(r, "The worker sent a frame that is none: %u:%u: %s", e.line,
                        e.column, e.text);
                return r;
        }
        r = slot_on_frame(l, &f);
        run_packet_close_fds(&l->packet);
        return r;
}

static int on_socket(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
        Launcher *l = userdata;
        int r;

        if (events & EPOLLOUT)
                flush_queue(l);
        if (l->connected && events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
                r = receive_frame(l);
                if (r < 0 && r != -EAGAIN)
                        disconnect(l);
        }
        if (!l->connected) {
                l->sock_source = sd_event_source_unref(l->sock_source);
                slot_stop(l, RUN_DRAINED);
        }
        slot_advance(l);
        return 0;
}

static int on_child_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        slot_advance(userdata);
        return 0;
}

/* systemd stops the unit: the run was interrupted, which is not the handler's fault. */
static int on_term_signal(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Launcher *l = userdata;

        l->closing = true;
        slot_stop(l, RUN_DRAINED);
        slot_advance(l);
        return 0;
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Launcher *l = userdata;

        if (l->queue)
                flush_queue(l);
        slot_on_timer(l, launcher_now(l));
        slot_advance(l);
        launcher_arm(l);
        return 0;
}

void launcher_arm(Launcher *l)
{
        usec_t at = USEC_INFINITY, due;

        if (l->state == RUN_STATE_RUNNING) {
                at = l->timeout_at < l->watchdog_at ? l->timeout_at : l->watchdog_at;
                /* While the worker is behind, its socket wakes us. */
                if ((l->progress.changed || l->progress.alive || l->extended_to > 0) &&
                        !launcher_is_congested(l))
                        at = at < l->progress_at ? at : l->progress_at;
        } else if (l->state == RUN_STATE_STOPPING || l->state == RUN_STATE_KILLING)
                at = l->kill_at;
        if (l->queue && !l->queue_full) { /* ETOOMANYREFS: nobody wakes us when they have arrived */
                due = launcher_now(l) + 10 * USEC_PER_MSEC;
                at = at < due ? at : due;
        }

        if (at == USEC_INFINITY) {
                (void) sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
                return;
        }
        (void) sd_event_source_set_time(l->timer, at);
        (void) sd_event_source_set_enabled(l->timer, SD_EVENT_ONESHOT);
}

/* Before all else: a handler is waiting in the middle of a call. */
static int on_ask(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
        Launcher *l = userdata;

        if (!(events & EPOLLIN) || exec_confine_answer(fd, l->child.ended ? 0 : l->child.pid) < 0) {
                l->listener.source = sd_event_source_unref(l->listener.source);
                l->listener.fd = safe_close(l->listener.fd); /* what would be asked is refused */
        }
        return 0;
}

static int watch_listener(Launcher *l)
{
        int r;

        if (l->listener.fd < 0)
                return 0;
        r = sd_event_add_io(l->event, &l->listener.source, l->listener.fd, EPOLLIN, on_ask, l);
        return r < 0
                ? r
                : sd_event_source_set_priority(l->listener.source, SD_EVENT_PRIORITY_IMPORTANT - 1);
}

static int add_sources(Launcher *l)
{
        static const int terms[] = { SIGTERM, SIGINT };
        int r;

        r = sd_event_add_io(l->event, &l->sock_source, l->sock, EPOLLIN, on_socket, l);
        if (r < 0)
                return r;
        /* The worker's word before a handler's chatter. */
        (void) sd_event_source_set_priority(l->sock_source, SD_EVENT_PRIORITY_IMPORTANT);
        r = watch_listener(l);
        if (r < 0)
                return r;
        r = sd_event_add_signal(l->event, NULL, SIGCHLD, on_child_signal, l);
        for (size_t i = 0; i < ELEMENTSOF(terms) && r >= 0; i++)
                r = sd_event_add_signal(l->event, NULL, terms[i], on_term_signal, l);
        if (r < 0)
                return r;
        r = sd_event_add_time(l->event, &l->timer, CLOCK_MONOTONIC, USEC_INFINITY, 1, on_timer, l);
        return r < 0 ? r : sd_event_source_set_enabled(l->timer, SD_EVENT_OFF);
}

static void init_fields(Launcher *l, const ExecOptions *options, int sock, int listener)
{
        l->options = options;
        l->sock = sock;
        l->listener.fd = listener;
        l->payload = l->result_fd = l->oom_fd = l->child.in.fd = -EBADF;
        l->child.out.fd = l->child.err.fd = l->child.progress.fd = l->child.notify.fd = -EBADF;
        l->dirs.base_fd = l->dirs.input_fd = l->dirs.output_fd = -EBADF;
        l->connected = true;
        slot_clear(l);
        l->log.to_journal = getenv("JOURNAL_STREAM") != NULL;
}

int launcher_new(const ExecOptions *options, int sock, int listener, Launcher **ret)
{
        _cleanup_(launcher_freep) Launcher *l = new0(Launcher, 1);
        int r;

        if (!l)
                return -ENOMEM;
        init_fields(l, options, sock, listener);

        if (prctl(PR_SET_CHILD_SUBREAPER, 1) < 0)
                return -errno;
        r = exec_limit_descriptors(&l->descriptors);
        if (r < 0)
                return r;
        l->env = exec_env_base();
        if (!l->env)
                return -ENOMEM;
        r = fd_nonblock(sock, true);
        if (r < 0)
                return r;
        r = exec_dirs_make(&l->dirs);
        if (r < 0)
                return log_error_errno(r, "Cannot make the slot's directories in %s: %m",
                        getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
        l->oom_fd = exec_oom_open();
        r = sd_event_default(&l->event);
        if (r < 0)
                return r;
        r = add_sources(l);
        if (r < 0)
                return r;

        *ret = TAKE_PTR(l);
        return 0;
}

int launcher_run(Launcher *l)
{
        RunFrame hello = { .type = RUN_FRAME_HELLO,
                .hello = { RUN_PROTOCOL_VERSION, l->options->unit, getpid() } };

        launcher_send(l, &hello, -EBADF);
        return sd_event_loop(l->event);
}

/* What the worker sent last is read, so that closing does not look to it like a reset. */
static void close_socket(Launcher *l)
{
        if (l->connected) {
                (void) shutdown(l->sock, SHUT_RD);
                while (run_packet_receive(l->sock, &l->packet) == RUN_PACKET_RECEIVED)
                        ;
        }
        l->sock = safe_close(l->sock);
}

Launcher *launcher_free(Launcher *l)
{
        if (!l)
                return NULL;
        close_socket(l);
        disconnect(l);
        child_done(l);
        run_packet_done(&l->packet);
        run_frame_done(&l->run);
        strbuf_done(&l->child.request);
        exec_outputs_done(&l->outputs);
        strbuf_done(&l->out);
        strbuf_done(&l->end_log);
        strbuf_done(&l->end_error);
        safe_close(l->payload);
        safe_close(l->result_fd);
        safe_close(l->oom_fd);
        exec_dirs_done(&l->dirs);
        exec_env_free(l->env);
        sd_event_source_unref(l->sock_source);
        sd_event_source_unref(l->listener.source);
        safe_close(l->listener.fd);
        sd_event_source_unref(l->timer);
        sd_event_unref(l->event);
        free(l);
        return NULL;
}

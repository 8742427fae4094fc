/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec-confine.h"
#include "exec-spawn.h"
#include "fd-util.h"
#include "launcher.h"
#include "log.h"

#define READ_MAX             (64UL * 1024) /* bytes of a pipe taken at a time */
#define DRAIN_MAX            (256UL * 1024) /* what a pipe can hold, and more, behind its last writer */
#define NOTIFY_MAX           4096 /* bytes of a datagram; a longer one is dropped */
#define NOTIFY_QUEUE_MAX     1024U /* more than net.unix.max_dgram_qlen ever is */
#define PROGRESS_PERIOD_USEC (250 * USEC_PER_MSEC)

static void pipe_close(Pipe *p)
{
        p->source = sd_event_source_unref(p->source);
        p->fd = safe_close(p->fd);
}

/* Keeps at most one byte more than a result may have: enough to know that it is too large. */
static void take_output(Launcher *l, const char *data, size_t n)
{
        size_t room = REEVE_RESULT_MAX + 1 - l->out.len;

        if (l->options->persistent)
                strbuf_append(&l->out, data, n); /* bounded by persistent_on_output() */
        else
                strbuf_append(&l->out, data, n < room ? n : room);
}

static void take_progress(Launcher *l, const char *data, size_t n)
{
        exec_progress_feed(&l->progress, l->options->persistent ? l->run.run_id : 0, data, n);
}

static void take_error(Launcher *l, const char *data, size_t n)
{
        exec_log_feed(&l->log, data, n, launcher_now(l));
}

typedef void (*Taker)(Launcher *l, const char *data, size_t n);

/* Reads once. Returns the bytes, 0 at the end, or -errno; an ended pipe is closed. */
static ssize_t pipe_read(Launcher *l, Pipe *p, Taker take)
{
        static char buf[READ_MAX];
        ssize_t n;

        if (p->fd < 0)
                return 0;
        n = read(p->fd, buf, sizeof(buf));
        if (n < 0)
                return -errno;
        if (n == 0)
                pipe_close(p);
        else
                take(l, buf, (size_t) n);
        return n;
}

static int on_out(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
        Launcher *l = userdata;

        if (pipe_read(l, &l->child.out, take_output) > 0 && l->options->persistent)
                persistent_on_output(l);
        return 0;
}

static int on_err(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
        Launcher *l = userdata;

        (void) pipe_read(l, &l->child.err, take_error);
        return 0;
}

static int on_progress(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
        Launcher *l = userdata;

        (void) pipe_read(l, &l->child.progress, take_progress);
        child_report(l, false);
        return 0;
}

/* Takes one datagram; descriptors that came with it (of BARRIER=1, say) are closed at once: the
 * sender waits for just that. Returns false when there is none. */
static bool take_notification(Launcher *l)
{
        union {
                char buf[CMSG_SPACE(sizeof(int) * 253)]; /* SCM_MAX_FD */
                struct cmsghdr align;
        } control;
        static char text[NOTIFY_MAX + 1];
        struct iovec iov = { text, NOTIFY_MAX };
        struct msghdr mh = { .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = &control,
                .msg_controllen = sizeof(control) };
        ssize_t n;

        n = recvmsg(l->child.notify.fd, &mh, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
        if (n < 0)
                return false;
        for (struct cmsghdr *c = CMSG_FIRSTHDR(&mh); c; c = CMSG_NXTHDR(&mh, c))
                if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS)
                        for (size_t i = 0; i < (c->cmsg_len - CMSG_LEN(0)) / sizeof(int); i++) {
                                int fd;

                                memcpy(&fd, CMSG_DATA(c) + i * sizeof(int), sizeof(int));
                                safe_close(fd);
                        }
        if (mh.msg_flags & MSG_TRUNC)
                return true;
        text[n] = '\0';
        exec_progress_notify(&l->progress, text);
        return true;
}

static int on_notify(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
        Launcher *l = userdata;

        for (int i = 0; i < 16 && take_notification(l); i++)
                ;
        child_report(l, false);
        return 0;
}

/* Sends on what has changed, at most four times a second and not while the worker is behind, and
 * begins the silence anew that the watchdog measures. */
void child_report(Launcher *l, bool last)
{
        ExecProgress *p = &l->progress;
        RunFrame f = { .run_id = l->run.run_id };
        usec_t now = launcher_now(l);
        bool open;

        if (l->run.run_id == 0)
                return;
        if (p->n_bad > 0) {
                exec_log_note(&l->log, now, "progress was not understood (%u times): %s", p->n_bad,
                        p->bad);
                p->n_bad = 0;
        }
        if (p->alive && l->options->watchdog_usec != USEC_INFINITY)
                l->watchdog_at = now + l->options->watchdog_usec;
        if (p->extend) {
                p->extend = false;
                if (l->timeout_at < now + p->extend_usec)
                        l->timeout_at = l->extended_to = now + p->extend_usec;
        }
        open = last || (now >= l->progress_at && !launcher_is_congested(l));
        if (open && l->extended_to > now) {
                f.type = RUN_FRAME_EXTEND;
                f.extend.usec = l->extended_to - now;
                l->extended_to = 0;
                l->progress_at = now + PROGRESS_PERIOD_USEC;
                launcher_send(l, &f, -EBADF);
        }
        if (open && (p->changed || (p->alive && !last))) {
                f.type = p->changed ? RUN_FRAME_PROGRESS : RUN_FRAME_ALIVE;
                if (p->changed) {
                        f.progress.progress = p->progress;
                        f.progress.status = p->status[0] ? p->status : NULL;
                }
                p->changed = p->alive = false;
                l->progress_at = now + PROGRESS_PERIOD_USEC;
                launcher_send(l, &f, -EBADF);
        }
        launcher_arm(l);
}

static int pipe_watch(Launcher *l, Pipe *p, sd_event_io_handler_t handler, unsigned limit)
{
        int r;

        r = sd_event_add_io(l->event, &p->source, p->fd, EPOLLIN, handler, l);
        if (r < 0)
                return r;
        (void) sd_event_source_set_priority(p->source, SD_EVENT_PRIORITY_IDLE);
        /* The rest waits in the pipe, and the handler with it. */
        return limit > 0 ? sd_event_source_set_ratelimit(p->source, 100 * USEC_PER_MSEC, limit) : 0;
}

/* A pipe whose read end is watched; the write end is returned. */
static int make_pipe(Launcher *l, Pipe *p, sd_event_io_handler_t handler, unsigned limit)
{
        int ends[2], r;

        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        p->fd = ends[0];
        r = fd_nonblock(ends[0], true);
        if (r >= 0)
                r = pipe_watch(l, p, handler, limit);
        if (r < 0) {
                safe_close(ends[1]);
                return r;
        }
        return ends[1];
}

/* A view of the payload at its start that nobody can write through; the payload itself if there is
 * no /proc. */
static int open_payload(Launcher *l)
{
        char path[32];
        int fd;

        (void) snprintf(path, sizeof(path), "/proc/self/fd/%d", l->payload);
        fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd >= 0)
                return fd;
        if (lseek(l->payload, 0, SEEK_SET) < 0)
                return -errno;
        fd = fcntl(l->payload, F_DUPFD_CLOEXEC, EXEC_HANDLER_FD + 1);
        return fd < 0 ? -errno : fd;
}

/* A persistent handler can take more of its request. */
static int on_in(sd_event_source *s, int fd, uint32_t events, void *userdata)
{
        Launcher *l = userdata;
        StrBuf *request = &l->child.request;
        ssize_t n;

        n = write(fd, strbuf_str(request), request->len);
        if (n > 0)
                strbuf_consume(request, (size_t) n);
        else if (n < 0 && errno != EAGAIN)
                strbuf_clear(request); /* it has closed its standard input: its end, or the clock,
                                          will tell */
        if (request->len == 0)
                (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return 0;
}

static int open_input(Launcher *l)
{
        int ends[2], r;

        if (!l->options->persistent)
                return open_payload(l);
        if (pipe2(ends, O_CLOEXEC) < 0)
                return -errno;
        l->child.in.fd = ends[1];
        r = fd_nonblock(ends[1], true);
        if (r >= 0)
                r = sd_event_add_io(l->event, &l->child.in.source, ends[1], EPOLLOUT, on_in, l);
        if (r >= 0)
                r = sd_event_source_set_enabled(l->child.in.source, SD_EVENT_OFF);
        if (r < 0) {
                safe_close(ends[0]);
                return r;
        }
        return ends[0];
}

static int make_fds(Launcher *l, int fds[4])
{
        int r;

        fds[0] = open_input(l);
        if (fds[0] < 0)
                return fds[0];
        fds[1] = make_pipe(l, &l->child.out, on_out, 0);
        if (fds[1] < 0)
                return fds[1];
        fds[2] = make_pipe(l, &l->child.err, on_err, 0);
        if (fds[2] < 0)
                return fds[2];
        fds[3] = make_pipe(l, &l->child.progress, on_progress, 50);
        if (fds[3] < 0)
                return fds[3];
        if (l->child.notify.fd >= 0 && exec_dirs_notify_is_bound(&l->dirs))
                return 0;
        pipe_close(&l->child.notify);
        r = exec_dirs_bind_notify(&l->dirs);
        if (r < 0)
                return r;
        l->child.notify.fd = r;
        r = pipe_watch(l, &l->child.notify, on_notify, 50);
        return r < 0 ? r : 0;
}

int child_start(Launcher *l)
{
        const ExecOptions *o = l->options;
        _cleanup_(exec_env_freep) char **env = NULL;
        int fds[4] = { -EBADF, -EBADF, -EBADF, -EBADF };
        int r;

        env = exec_env_make(l->env, &l->dirs, o->persistent ? NULL : &l->run);
        if (!env)
                return -ENOMEM;
        r = make_fds(l, fds);
        if (r >= 0)
                r = exec_spawn(
                        l->run.run.join && o->join[0] && !o->persistent ? o->join : o->program, env,
                        fds, &l->descriptors);
        for (size_t i = 0; i < ELEMENTSOF(fds); i++)
                safe_close(fds[i]);
        if (r < 0) {
                child_drain(l);
                return r;
        }

        l->child.pid = r;
        l->child.ended = false;
        l->child.cpu_usec = 0;
        l->child.max_rss = 0;
        return 0;
}

static usec_t usec_of(const struct timeval *tv)
{
        return (usec_t) tv->tv_sec * USEC_PER_SEC + (usec_t) tv->tv_usec;
}

bool child_reap(Launcher *l)
{
        Child *c = &l->child;

        for (;;) {
                struct rusage usage;
                int status;
                pid_t pid = wait4(-1, &status, WNOHANG, &usage);

                if (pid < 0 && errno == EINTR)
                        continue;
                if (pid <= 0)
                        return pid == 0;
                c->cpu_usec += usec_of(&usage.ru_utime) + usec_of(&usage.ru_stime);
                if ((uint64_t) usage.ru_maxrss * 1024 > c->max_rss)
                        c->max_rss = (uint64_t) usage.ru_maxrss * 1024;
                if (pid == c->pid) {
                        c->ended = true;
                        c->status = status;
                }
        }
}

/* As much as is there, but not for ever: the writer lives. */
static void pipe_catch_up(Launcher *l, Pipe *p, Taker take)
{
        for (size_t total = 0; p->fd >= 0 && total < DRAIN_MAX;) {
                ssize_t n = pipe_read(l, p, take);

                if (n <= 0)
                        break;
                total += (size_t) n;
        }
}

/* A writer may live on outside our tree (the descriptor was sent to somebody): never wait for the
 * end. */
static void pipe_drain(Launcher *l, Pipe *p, Taker take)
{
        pipe_catch_up(l, p, take);
        pipe_close(p);
}

/* All that wait: none may be taken for the next run's. */
static void take_notifications(Launcher *l)
{
        for (unsigned i = 0; i < NOTIFY_QUEUE_MAX && l->child.notify.fd >= 0; i++)
                if (!take_notification(l))
                        break;
}

void child_catch_up(Launcher *l)
{
        pipe_catch_up(l, &l->child.err, take_error);
        pipe_catch_up(l, &l->child.progress, take_progress);
        take_notifications(l);
}

void child_drain(Launcher *l)
{
        Child *c = &l->child;

        pipe_drain(l, &c->out, take_output);
        pipe_drain(l, &c->err, take_error);
        pipe_drain(l, &c->progress, take_progress);
        take_notifications(l);
        pipe_close(&c->in);
}

void child_terminate(Launcher *l)
{
        pipe_close(&l->child.in);
        if (l->child.pid > 0 && !l->child.ended)
                (void) exec_confine_kill(-l->child.pid, SIGTERM);
}

void child_done(Launcher *l)
{
        child_drain(l);
        pipe_close(&l->child.notify);
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "exec-oom.h"
#include "exec-spawn.h"
#include "exec-tree.h"
#include "fd-util.h"
#include "launcher.h"
#include "log.h"
#include "memfd-util.h"
#include "run-shortage.h"

#define KILL_RETRY_USEC    (10 * USEC_PER_MSEC)
#define KILL_PATIENCE_USEC (5 * USEC_PER_SEC) /* then systemd has to do it: we end */

#define PAYLOAD_NAME "payload.json"

/* Gives up the rest of the slot: what is left in the cgroup is systemd's. */
static void leave(Launcher *l)
{
        (void) sd_event_exit(l->event, 0);
}

void slot_clear(Launcher *l)
{
        run_frame_done(&l->run);
        exec_outputs_done(&l->outputs);
        strbuf_clear(&l->out);
        strbuf_clear(&l->end_log);
        strbuf_clear(&l->end_error);
        l->payload = safe_close(l->payload);
        l->result_fd = safe_close(l->result_fd);
        l->more_inputs = l->input_failed = false;
        l->n_inputs = l->n_outputs_sent = 0;
        l->started_at = 0;
        l->timeout_at = l->watchdog_at = l->kill_at = l->give_up_at = USEC_INFINITY;
        l->progress_at = l->extended_to = 0;
        l->end = (RunFrame){ .type = RUN_FRAME_END, .end = { .exit = -1 } };
        l->log.job_id = l->log.run_id = l->log.kind = l->log.queue = NULL;
}

/* The run is over, for this cause; nothing was started, or it was and is gone. */
static void begin_sending(Launcher *l)
{
        l->state = RUN_STATE_SENDING;
}

/* The run cannot begin, and that is neither its own fault nor its handler's: it says so by an error
 * with this cause. */
static void blame_host(Launcher *l, int r, const char *what)
{
        const char *code = run_shortage_code(r);

        if (!code || l->end.end.error_code)
                return;
        strbuf_clear(&l->end_error);
        strbuf_printf(&l->end_error, "%s: %s", what,
                strerror(-r)); // NOLINT(concurrency-mt-unsafe)
        if (strbuf_error(&l->end_error) < 0)
                return;
        l->end.end.error_code = code;
        l->end.end.error_message = l->end_error.data;
        l->end.end.error_retry = true;
}

static void fail_input(Launcher *l, const char *name, int64_t r)
{
        l->input_failed = true;
        blame_host(l, (int) r, "an input cannot be put into TMPDIR");
        if (r == -EEXIST)
                exec_log_note(&l->log, launcher_now(l), "two inputs are called %s", name);
        else
                exec_log_note(&l->log, launcher_now(l), "input %s: %s", name,
                        strerror((int) -r)); // NOLINT(concurrency-mt-unsafe)
}

static void put_inputs(Launcher *l, const RunFrame *f, const int *fds)
{
        for (unsigned i = 0; i < f->n_inputs && !l->input_failed; i++) {
                const char *name = f->inputs[i].name;
                int64_t r;

                if (!run_input_name_is_valid(name))
                        r = -EINVAL;
                else if (++l->n_inputs > RUN_INPUTS_MAX)
                        r = -E2BIG;
                else
                        r = exec_dirs_put_input(&l->dirs, name, fds[i]);
                if (r < 0)
                        fail_input(l, name, r);
                else if ((uint64_t) r != f->inputs[i].size)
                        fail_input(l, name, -ESTALE);
        }
        l->more_inputs = f->more;
}

static void start(Launcher *l)
{
        RunFrame started = { .type = RUN_FRAME_STARTED, .run_id = l->run.run_id };
        const ExecOptions *o = l->options;
        const char *program =
                l->run.run.join && o->join[0] && !o->persistent ? o->join[0] : o->program[0];
        usec_t timeout, now;
        int r;

        r = exec_dirs_seal_inputs(&l->dirs);
        if (r < 0)
                fail_input(l, ".", r);
        if (l->input_failed) {
                l->end.end.cause = RUN_INPUT_ERROR;
                begin_sending(l);
                return;
        }

        if (l->child.pid == 0) {
                r = child_start(l);
                if (r < 0) {
                        exec_log_note(&l->log, launcher_now(l), "cannot start %s: %s", program,
                                strerror(-r)); // NOLINT(concurrency-mt-unsafe)
                        l->end.end.cause = r == -ENOENT || r == -ENOTDIR ? RUN_MISSING
                                : r == -EACCES || r == -ENOEXEC || r == -ELIBBAD
                                ? RUN_NOT_EXECUTABLE
                                : RUN_INPUT_ERROR;
                        if (l->end.end.cause == RUN_INPUT_ERROR)
                                blame_host(l, r, "the handler cannot be started");
                        begin_sending(l);
                        return;
                }
        }
        if (o->persistent && persistent_ask(l) < 0)
                exec_log_note(
                        &l->log, launcher_now(l), "the handler does not read its standard input");

        (void) sd_event_now(l->event, CLOCK_MONOTONIC, &now);
        l->started_at = now_usec(CLOCK_MONOTONIC);
        timeout = l->run.run.timeout_usec > 0 ? l->run.run.timeout_usec : o->timeout_usec;
        if (timeout < USEC_INFINITY - now)
                l->timeout_at = now + timeout;
        if (o->watchdog_usec < USEC_INFINITY - now)
                l->watchdog_at = now + o->watchdog_usec;
        l->state = RUN_STATE_RUNNING;
        started.started.pid = l->child.pid;
        launcher_send(l, &started, -EBADF);
        launcher_arm(l);
}

static int begin_run(Launcher *l, RunFrame *f)
{
        int64_t r;

        if (l->state != RUN_STATE_NONE || l->closing)
                return l->closing
                        ? -ECONNRESET
                        : log_error_errno(-EBADMSG, "The worker sent a run while there is one.");

        l->run = STEAL(*f);
        l->end.run_id = l->run.run_id;
        l->payload = TAKE_FD(l->packet.fds[0]);
        (void) memfd_seal(
                l->payload); /* if it is one and is not sealed yet: a handler could open it anew */
        l->oom_count = exec_oom_count(l->oom_fd);
        (void) snprintf(l->run_id_text, sizeof(l->run_id_text), "%" PRIi64, l->run.run_id);
        exec_log_reset(&l->log, launcher_now(l));
        l->log.job_id = l->run.run.job_id;
        l->log.run_id = l->run_id_text;
        l->log.kind = l->run.run.kind;
        l->log.queue = l->run.run.queue;
        exec_progress_reset(&l->progress);
        l->state = RUN_STATE_PREPARING;

        r = exec_dirs_put_input(&l->dirs, PAYLOAD_NAME, l->payload);
        if (r < 0)
                fail_input(l, PAYLOAD_NAME, r);
        put_inputs(l, &l->run, l->packet.fds + 1);
        if (!l->more_inputs)
                start(l);
        return 0;
}

int slot_on_frame(Launcher *l, RunFrame *f)
{
        switch (f->type) {
        case RUN_FRAME_RUN:
                return begin_run(l, f);
        case RUN_FRAME_INPUTS:
                if (l->state != RUN_STATE_PREPARING || f->run_id != l->run.run_id)
                        return f->run_id == l->run.run_id ? -EBADMSG : 0;
                put_inputs(l, f, l->packet.fds);
                if (!l->more_inputs)
                        start(l);
                return 0;
        case RUN_FRAME_STOP:
                if (f->run_id == l->run.run_id) /* else it crossed with the end of that run */
                        slot_stop(l, f->stop.reason);
                return 0;
        default:
                return log_error_errno(
                        -EBADMSG, "The worker sent a frame that only launchers send.");
        }
}

void slot_stop(Launcher *l, RunCause cause)
{
        usec_t now = launcher_now(l);

        if (l->state == RUN_STATE_PREPARING) {
                l->end.end.cause = cause;
                begin_sending(l);
                return;
        }
        if (l->state == RUN_STATE_NONE && l->child.pid == 0)
                return;
        if (l->state != RUN_STATE_RUNNING && l->state != RUN_STATE_NONE)
                return; /* on its way out already */

        l->end.end.cause = cause;
        l->state = RUN_STATE_STOPPING;
        l->kill_at = l->options->stop_usec < USEC_INFINITY - now ? now + l->options->stop_usec
                                                                 : USEC_INFINITY;
        child_terminate(l);
        launcher_arm(l);
}

void slot_on_timer(Launcher *l, usec_t now)
{
        if (l->state == RUN_STATE_RUNNING) {
                child_report(l, false);
                if (now >= l->timeout_at)
                        slot_stop(l, RUN_TIMEOUT);
                else if (now >= l->watchdog_at)
                        slot_stop(l, RUN_WATCHDOG);
        } else if (l->state == RUN_STATE_STOPPING && now >= l->kill_at) {
                l->state = RUN_STATE_KILLING;
                l->give_up_at = now + KILL_PATIENCE_USEC;
        }
}

/* A cause that was forced stays; else the handler's own end and the kernel's counter tell. */
static void judge(Launcher *l, bool forced)
{
        int status = l->child.status;

        if (!l->child.ended)
                ; /* it cannot even be killed */
        else if (WIFEXITED(status))
                l->end.end.exit = WEXITSTATUS(status);
        else if (WIFSIGNALED(status)) {
                l->end.end.signal = WTERMSIG(status);
                l->end.end.core = WCOREDUMP(status);
        }
        if (forced)
                return;
        l->end.end.cause = l->end.end.signal ? RUN_SIGNAL : RUN_EXIT;
        if (l->end.end.exit != 0 && exec_oom_count(l->oom_fd) > l->oom_count)
                l->end.end.cause = RUN_OOM_KILL;
}

static bool is_blank(const char *s, size_t n)
{
        for (size_t i = 0; i < n; i++)
                if (s[i] != ' ' && s[i] != '\t' && s[i] != '\r' && s[i] != '\n')
                        return false;
        return true;
}

static void set_result(Launcher *l, RunResult result, const char *text, size_t n)
{
        int fd;

        fd = memfd_new_sealed("reeve-result", text, n);
        if (fd < 0) {
                exec_log_note(&l->log, launcher_now(l), "cannot keep the result: %s",
                        strerror(-fd)); // NOLINT(concurrency-mt-unsafe)
                l->end.end.result = RUN_RESULT_TOO_LARGE;
                return;
        }
        l->result_fd = fd;
        l->end.end.result = result;
        l->end.end.result_size = n;
}

/* What the handler of mode exec has written. */
static void take_result(Launcher *l)
{
        const char *text = strbuf_str(&l->out);
        _cleanup_(strbuf_done) StrBuf clean = {};
        size_t n = l->out.len;
        JsonError e = { 0 };

        if (n > REEVE_RESULT_MAX || strbuf_error(&l->out) < 0)
                l->end.end.result = RUN_RESULT_TOO_LARGE;
        else if (l->options->text && n > 0) {
                exec_append_utf8(&clean, text, n);
                if (strbuf_error(&clean) < 0 || clean.len > REEVE_RESULT_MAX)
                        l->end.end.result = RUN_RESULT_TOO_LARGE;
                else
                        set_result(l, RUN_RESULT_TEXT, clean.data, clean.len);
        } else if (is_blank(text, n))
                l->end.end.result = RUN_RESULT_NONE;
        else if (json_check(text, n, REEVE_RESULT_DEPTH_MAX, &e) < 0) {
                l->end.end.result = RUN_RESULT_NOT_JSON;
                exec_log_note(&l->log, launcher_now(l),
                        "standard output is not JSON: line %u, column %u: %s", e.line, e.column,
                        e.text);
        } else
                set_result(l, RUN_RESULT_OK, text, n);
}

/* The whole tree is gone, or nothing more can be done about it. */
static void tree_is_gone(Launcher *l, bool forced)
{
        child_drain(l);
        if (l->run.run_id == 0) { /* an idle persistent handler */
                l->child.pid = 0;
                l->state = RUN_STATE_NONE;
                return;
        }
        judge(l, forced);
        l->end.end.cpu_usec = l->child.cpu_usec - l->child.cpu_before;
        l->end.end.max_rss = l->child.max_rss;
        if (l->options->persistent) {
                l->closing = true; /* the next one starts in a slot of its own */
                if (!forced)
                        persistent_last_words(l);
        } else
                take_result(l);
        l->child.pid = 0;
        begin_sending(l);
}

/* A persistent handler has answered; it lives on. */
void slot_on_answer(Launcher *l)
{
        if (l->state != RUN_STATE_RUNNING)
                return;
        persistent_usage(l);
        child_catch_up(l);
        begin_sending(l);
        slot_advance(l);
}

static void finish_facts(Launcher *l)
{
        child_report(l, true);
        exec_log_finish(&l->log);
        if (l->started_at > 0)
                l->end.end.wall_usec = now_usec(CLOCK_MONOTONIC) - l->started_at;
        if (l->started_at > 0 && exec_outputs_list(&l->dirs, &l->outputs) < 0)
                l->outputs.error = "out of memory";
        l->end.end.log_truncated = exec_log_tail(&l->log, &l->end_log);
        l->end.end.log = strbuf_str(&l->end_log);
}

/* Sends output files while the worker takes them. Returns whether all are sent. */
static bool send_outputs(Launcher *l)
{
        while (l->n_outputs_sent < l->outputs.n && l->connected) {
                const char *name = l->outputs.names[l->n_outputs_sent];
                RunFrame f = {
                        .type = RUN_FRAME_FILE, .run_id = l->run.run_id, .file = { .name = name }
                };
                int fd;

                if (launcher_is_congested(l))
                        return false;
                fd = exec_outputs_open(&l->dirs, name, &f.file.size);
                if (fd >= 0)
                        launcher_send(l, &f, fd);
                else if (!l->outputs.error)
                        l->outputs.error = "a file that cannot be read";
                safe_close(fd);
                l->n_outputs_sent++;
        }
        return true;
}

/* Escapes can make the log six times as long: then its beginning goes. */
static void send_end(Launcher *l)
{
        _cleanup_(strbuf_done) StrBuf buf = {};

        l->end.end.output_error = l->outputs.error;
        while (run_frame_encode(&l->end, &buf) == -EMSGSIZE && *l->end.end.log) {
                const char *log = l->end.end.log + (strlen(l->end.end.log) + 1) / 2;

                while ((*log & 0xc0) == 0x80)
                        log++;
                l->end.end.log = log;
                l->end.end.log_truncated = true;
        }
        launcher_send(l, &l->end, l->result_fd);
}

/* The slot is made free: nothing of this run may be there for the next. */
static void finish_run(Launcher *l)
{
        RunFrame ready = { .type = RUN_FRAME_READY };
        int r;

        slot_clear(l);
        l->n_runs++;
        l->state = RUN_STATE_NONE;
        if (l->options->max_runs > 0 && l->n_runs >= l->options->max_runs)
                l->closing = true;
        if (l->closing)
                return;

        r = exec_dirs_clean(&l->dirs);
        if (r < 0) {
                log_error_errno(r, "Cannot remove all that the run has left, ending this slot: %m");
                l->closing = true;
                return;
        }
        launcher_send(l, &ready, -EBADF);
}

/* One step; returns whether another may be possible. */
static bool step(Launcher *l, bool any_left)
{
        bool forced = l->state != RUN_STATE_RUNNING;

        switch (l->state) {
        case RUN_STATE_RUNNING:
        case RUN_STATE_STOPPING:
                if (!l->child.ended)
                        return false;
                if (any_left) {
                        /* It may have closed and cleared what it wants: it is below us. */
                        l->give_up_at = launcher_now(l) + KILL_PATIENCE_USEC;
                        l->state = RUN_STATE_KILLING;
                        if (!forced)
                                l->end.end.cause = _RUN_CAUSE_MAX;
                        return true;
                }
                tree_is_gone(l, forced);
                return true;
        case RUN_STATE_KILLING:
                if (any_left) {
                        (void) exec_tree_kill();
                        any_left = child_reap(l);
                }
                if (any_left && launcher_now(l) < l->give_up_at) {
                        l->kill_at = launcher_now(l) + KILL_RETRY_USEC;
                        return false;
                }
                if (any_left) {
                        log_warning("Processes of the run cannot be killed, ending this slot.");
                        l->closing = true;
                }
                tree_is_gone(l, l->end.end.cause != _RUN_CAUSE_MAX);
                return true;
        case RUN_STATE_SENDING:
                if (!l->end.end.log)
                        finish_facts(l);
                if (!send_outputs(l))
                        return false;
                send_end(l);
                finish_run(l);
                return true;
        default:
                return false;
        }
}

/* An idle persistent handler that has ended, or is to end. */
static void advance_idle(Launcher *l)
{
        if (l->child.pid > 0 && l->child.ended)
                l->closing = true;
        if (!l->closing || l->queue)
                return;
        if (l->child.pid == 0)
                leave(l);
        else {
                slot_stop(l, RUN_DRAINED);
                if (l->child.ended)
                        slot_advance(l);
        }
}

void slot_advance(Launcher *l)
{
        bool any_left = child_reap(l);

        while (step(l, any_left))
                any_left = child_reap(l);
        if (l->state == RUN_STATE_NONE)
                advance_idle(l);
        launcher_arm(l);
}

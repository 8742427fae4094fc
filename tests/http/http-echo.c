/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The server of tests/http: replies at once and later, never, from files; bodies collected,
 * streamed to an unlinked file, parsed as a form, refused in the middle. Sockets come by socket
 * activation. */
#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include "fd-util.h"
#include "http-field.h"
#include "http.h"
#include "log.h"
#include "multipart.h"
#include "parse-util.h"

typedef struct Echo {
        sd_event *event;
        HttpServer *server;
        unsigned cancelled;
        usec_t grace_usec;
} Echo;

/* What a handler keeps while it waits or reads. */
typedef struct Work {
        Echo *echo;
        HttpRequest *request;
        sd_event_source *timer;
        void (*then)(struct Work *w);
        Multipart *form;
        StrBuf out;
        JsonWriter json;
        int fd;
        uint64_t size;
        uint64_t sum;
} Work;

static Work *work_free(Work *w)
{
        if (!w)
                return NULL;
        sd_event_source_disable_unref(w->timer);
        multipart_free(w->form);
        strbuf_done(&w->out);
        safe_close(w->fd);
        free(w);
        return NULL;
}

static void on_cancel(HttpRequest *r, void *userdata)
{
        Work *w = userdata;

        w->echo->cancelled++;
        work_free(w);
}

static Work *work_new(HttpRequest *r, Echo *echo)
{
        Work *w = new0(Work, 1);

        if (!w)
                abort();
        w->echo = echo;
        w->request = r;
        w->fd = -EBADF;
        http_request_on_cancel(r, on_cancel, w);
        return w;
}

static void reply_text(HttpRequest *r, const char *type, const void *data, size_t size)
{
        HttpResponse *response = http_response_new(200);

        if (!response || http_response_set_body(response, type, data, size) < 0)
                response = http_response_free(response);
        http_request_reply(r, response);
}

static void handle_now(HttpRequest *r, void *userdata)
{
        reply_text(r, "text/plain", "now\n", 4);
}

static int on_timer(sd_event_source *s, uint64_t usec, void *userdata)
{
        Work *w = userdata;

        w->then(w);
        return 0;
}

/* Calls then after ?ms=. */
static void wait_for(HttpRequest *r, Echo *echo, void (*then)(Work *w))
{
        const char *text = http_request_get_query(r, "ms");
        Work *w = work_new(r, echo);
        unsigned ms = 0;

        if (text)
                (void) parse_unsigned(text, 0, 1000000, &ms);
        w->then = then;
        if (sd_event_add_time_relative(echo->event, &w->timer, CLOCK_MONOTONIC, ms * USEC_PER_MSEC,
                    1, on_timer, w) < 0)
                abort();
}

static void then_reply(Work *w)
{
        HttpRequest *r = w->request;

        work_free(w);
        reply_text(r, "text/plain", "later\n", 6);
}

static void handle_later(HttpRequest *r, void *userdata)
{
        wait_for(r, userdata, then_reply);
}

static void handle_never(HttpRequest *r, void *userdata)
{
        (void) work_new(r, userdata);
}

static void on_collected(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        reply_text(r, "application/octet-stream", data, size);
}

static void handle_echo(HttpRequest *r, void *userdata)
{
        http_request_collect(r, on_collected, userdata);
}

static void on_collected_later(HttpRequest *r, const char *data, size_t size, void *userdata)
{
        work_free(userdata);
        reply_text(r, "application/octet-stream", data, size);
}

/* As an API does that asks its database who the caller is before it reads the body. */
static void then_decide(Work *w)
{
        HttpRequest *r = w->request;

        if (!http_request_get_query(r, "deny")) {
                http_request_collect(r, on_collected_later, w);
                return;
        }
        work_free(w);
        http_request_problem(r, PROBLEM_UNAUTHORIZED, "No key.");
}

static void handle_decide(HttpRequest *r, void *userdata)
{
        wait_for(r, userdata, then_decide);
}

static int sink_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        const unsigned char *bytes = data;
        Work *w = userdata;

        for (size_t i = 0; i < size; i++)
                w->sum += bytes[i];
        w->size += size;
        return write_all(w->fd, data, size);
}

static void sink_done(HttpRequest *r, void *userdata)
{
        Work *w = userdata;
        char text[96];
        int n = snprintf(text, sizeof(text), "{\"size\":%llu,\"sum\":%llu}",
                (unsigned long long) w->size, (unsigned long long) w->sum);

        work_free(w);
        reply_text(r, "application/json", text, (size_t) n);
}

static void handle_upload(HttpRequest *r, void *userdata)
{
        static const HttpSink sink = { sink_write, sink_done };
        Work *w = work_new(r, userdata);

        w->fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        if (w->fd < 0)
                abort();
        http_request_stream(r, &sink, w);
}

static int full_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Work *w = userdata;

        w->size += size;
        return w->size > 100000 ? -ENOSPC : 0;
}

static void handle_full(HttpRequest *r, void *userdata)
{
        static const HttpSink sink = { full_write, sink_done };

        http_request_stream(r, &sink, work_new(r, userdata));
}

static int form_part(const MultipartPart *p, void *userdata)
{
        Work *w = userdata;

        json_open_object(&w->json, NULL);
        json_put_string(&w->json, "name", p->name);
        json_put_string(&w->json, "filename", p->filename);
        json_put_string(&w->json, "type", p->content_type);
        w->size = 0;
        w->sum = 0;
        return 0;
}

static int form_data(const void *data, size_t size, void *userdata)
{
        const unsigned char *bytes = data;
        Work *w = userdata;

        for (size_t i = 0; i < size; i++)
                w->sum += bytes[i];
        w->size += size;
        return 0;
}

static int form_end(void *userdata)
{
        Work *w = userdata;

        json_put_uint(&w->json, "size", w->size);
        json_put_uint(&w->json, "sum", w->sum);
        json_close(&w->json);
        return 0;
}

static void form_failed(Work *w, int k)
{
        HttpRequest *r = w->request;

        work_free(w);
        http_request_problem(r, problem_from_multipart(k), "%s", multipart_to_string(k));
}

static int form_write(HttpRequest *r, const void *data, size_t size, void *userdata)
{
        Work *w = userdata;
        int k = multipart_feed(w->form, data, size);

        if (k > 0)
                form_failed(w, k);
        return k < 0 ? k : 0;
}

static void form_done(HttpRequest *r, void *userdata)
{
        Work *w = userdata;
        HttpResponse *response;
        int k = multipart_finish(w->form);

        if (k > 0) {
                form_failed(w, k);
                return;
        }
        json_close(&w->json);
        if (json_writer_end(&w->json) < 0)
                abort();
        response = http_response_new(200);
        if (!response || http_response_take_body(response, "application/json", &w->out) < 0)
                abort();
        work_free(w);
        http_request_reply(r, response);
}

static void handle_form(HttpRequest *r, void *userdata)
{
        static const MultipartOps ops = { form_part, form_data, form_end };
        static const MultipartLimits limits = { 8, 1000, 1UL << 20 };
        static const HttpSink sink = { form_write, form_done };
        Work *w = work_new(r, userdata);
        int k = multipart_new(
                http_request_get_header(r, "Content-Type"), &limits, &ops, w, &w->form);

        if (k > 0) {
                form_failed(w, k);
                return;
        }
        w->json = json_writer(&w->out);
        json_open_array(&w->json, NULL);
        http_request_stream(r, &sink, w);
}

/* A file of ?size= bytes, each its offset modulo 251, with a single range. */
static void handle_file(HttpRequest *r, void *userdata)
{
        const char *text = http_request_get_query(r, "size");
        uint64_t size = 1000;
        uint64_t first = 0;
        uint64_t length;
        int fd = open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
        HttpResponse *response;
        unsigned char block[251 * 64];
        char range[96];
        int k;

        if (text && parse_u64(text, 0, 1UL << 30, &size) < 0) {
                safe_close(fd);
                http_request_problem(r, PROBLEM_BAD_QUERY, "size is a number.");
                return;
        }
        for (unsigned i = 0; i < sizeof(block); i++)
                block[i] = (unsigned char) (i % 251);
        for (uint64_t i = 0; i < size; i += sizeof(block))
                if (write_all(fd, block, size - i < sizeof(block) ? size - i : sizeof(block)) < 0)
                        abort();
        if (http_etag_matches(http_request_get_header(r, "If-None-Match"), "\"e1\"")) {
                safe_close(fd);
                http_request_reply(r, http_response_new(304));
                return;
        }
        length = size;
        k = http_range_parse(http_request_get_header(r, "Range"), size, &first, &length);
        if (k == RANGE_OUTSIDE) {
                safe_close(fd);
                http_request_problem(
                        r, PROBLEM_RANGE, "The file has %llu bytes.", (unsigned long long) size);
                return;
        }
        response = http_response_new(k == RANGE_PART ? 206 : 200);
        (void) snprintf(range, sizeof(range), "bytes %llu-%llu/%llu", (unsigned long long) first,
                (unsigned long long) (first + length - 1), (unsigned long long) size);
        if (!response || http_response_set_file(response, "text/plain", fd, first, length) < 0 ||
                http_response_add(response, "ETag", "\"e1\"") < 0 ||
                (k == RANGE_PART && http_response_add(response, "Content-Range", range) < 0))
                abort();
        http_request_reply(r, response);
}

static void handle_param(HttpRequest *r, void *userdata)
{
        const char *id = http_request_get_param(r, "id");

        reply_text(r, "text/plain", id, strlen(id));
}

static void handle_stats(HttpRequest *r, void *userdata)
{
        Echo *echo = userdata;
        HttpLoopStats stats;
        char text[512];
        int n;

        http_loop_get_stats(http_server_get_loop(echo->server), &stats);
        n = snprintf(text, sizeof(text),
                "{\"connections\":%u,\"waiting\":%u,\"accepted\":%llu,\"requests\":%llu,"
                "\"expired\":%llu,\"accept_errors\":%llu,\"displaced\":%llu,\"refused\":%llu,"
                "\"cancelled\":%u,\"listener\":%u,\"pid\":%"
                "d}",
                stats.connections, stats.waiting, (unsigned long long) stats.accepted,
                (unsigned long long) stats.requests, (unsigned long long) stats.expired,
                (unsigned long long) stats.accept_errors, (unsigned long long) stats.displaced,
                (unsigned long long) stats.refused, echo->cancelled, http_request_get_listener(r),
                getpid());
        reply_text(r, "application/json", text, (size_t) n);
}

static const HttpRoute routes[] = {
        { HTTP_GET, "/now", handle_now },
        { HTTP_GET, "/later", handle_later },
        { HTTP_GET, "/never", handle_never },
        { HTTP_POST, "/echo", handle_echo, 0, HTTP_BODY_ANY | HTTP_BODY_OPTIONAL, 1000000 },
        { HTTP_POST, "/json", handle_echo, 0, HTTP_BODY_JSON, 1000 },
        { HTTP_POST, "/decide", handle_decide, 0, HTTP_BODY_ANY | HTTP_BODY_OPTIONAL, 1000000 },
        { HTTP_POST, "/upload", handle_upload, 0, HTTP_BODY_BYTES, 1UL << 30 },
        { HTTP_POST, "/full", handle_full, 0, HTTP_BODY_ANY, 1UL << 30 },
        { HTTP_POST, "/form", handle_form, 0, HTTP_BODY_MULTIPART, 1UL << 24 },
        { HTTP_GET, "/file", handle_file },
        { HTTP_GET, "/item/{id}", handle_param },
        { HTTP_GET, "/stats", handle_stats },
        {},
};

static void on_stopped(void *userdata)
{
        Echo *echo = userdata;

        (void) sd_event_exit(echo->event, 0);
}

static int on_sigterm(sd_event_source *s, const struct signalfd_siginfo *si, void *userdata)
{
        Echo *echo = userdata;

        (void) sd_event_source_set_enabled(s, SD_EVENT_OFF);
        return http_loop_stop(
                http_server_get_loop(echo->server), echo->grace_usec, on_stopped, echo);
}

static int parse_arguments(int argc, char **argv, HttpLimits *limits, Echo *echo)
{
        static const struct option options[] = { { "connections", required_argument, NULL, 'c' },
                { "per-client", required_argument, NULL, 'p' },
                { "head-max", required_argument, NULL, 'm' },
                { "head", required_argument, NULL, 'h' }, { "body", required_argument, NULL, 'b' },
                { "wait", required_argument, NULL, 'w' }, { "send", required_argument, NULL, 's' },
                { "idle", required_argument, NULL, 'i' }, { "grace", required_argument, NULL, 'g' },
                {} };
        usec_t *const spans[] = { ['h'] = &limits->head_usec,
                ['b'] = &limits->body_usec,
                ['w'] = &limits->wait_usec,
                ['s'] = &limits->send_usec,
                ['i'] = &limits->idle_usec,
                ['g'] = &echo->grace_usec };
        uint64_t bytes;
        int c;

        while ((c = getopt_long(argc, argv, "", options, NULL)) >= 0) {
                int r = -EINVAL;

                if (c == 'c')
                        r = parse_unsigned(optarg, 1, 100000, &limits->connections);
                else if (c == 'p')
                        r = parse_unsigned(optarg, 1, 100000, &limits->per_client);
                else if (c == 'm') {
                        r = parse_size(optarg, &bytes);
                        limits->head = r < 0 ? 0 : bytes;
                } else if (c < (int) ELEMENTSOF(spans) && spans[c])
                        r = parse_timespan(optarg, spans[c]);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int run(Echo *echo, const HttpLimits *limits, const Router *router)
{
        const HttpServerConfig config = { .limits = limits, .router = router, .userdata = echo };
        int n = sd_listen_fds(1);
        sigset_t mask;
        int r;

        sigemptyset(&mask);
        sigaddset(&mask, SIGTERM);
        sigprocmask(SIG_BLOCK, &mask, NULL);
        r = sd_event_default(&echo->event);
        if (r >= 0)
                r = sd_event_add_signal(echo->event, NULL, SIGTERM, on_sigterm, echo);
        if (r >= 0)
                r = http_server_new(echo->event, &config, &echo->server);
        for (int i = 0; r >= 0 && i < n; i++)
                r = http_loop_listen(http_server_get_loop(echo->server), SD_LISTEN_FDS_START + i);
        if (r >= 0)
                r = sd_event_loop(echo->event);
        echo->server = http_server_free(echo->server);
        echo->event = sd_event_unref(echo->event);
        return r;
}

int main(int argc, char **argv)
{
        _cleanup_(router_freep) Router *router = NULL;
        HttpLimits limits = http_limits_default;
        Echo echo = { .grace_usec = USEC_PER_SEC };
        int r;

        log_setup("http-echo");
        r = parse_arguments(argc, argv, &limits, &echo);
        if (r >= 0)
                r = router_new(&router);
        if (r >= 0)
                r = router_add(router, routes);
        if (r >= 0)
                r = run(&echo, &limits, router);
        if (r < 0)
                log_error_errno(r, "http-echo failed: %m");
        return r < 0;
}

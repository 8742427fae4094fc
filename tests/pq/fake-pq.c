/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake-pq.h"

#include <stdio.h>
#include <sys/socket.h>
#include <systemd/sd-event.h>
#include <unistd.h>

#include "test.h"

struct pg_conn {
        int sockets[2]; /* its own and the server's end */
        bool broken;
};

struct pg_result {
        ExecStatusType status;
        const FakeCall *call;
};

static const FakeCall *script;
static unsigned n_script, position, n_connections, n_results;
static PGconn *current;
static char settings[8][2][128];

usec_t fake_pause_usec;
usec_t fake_pauses[32];
unsigned fake_n_pauses;
unsigned fake_fail_after;

static const char *const step_names[] = {
        [FAKE_END] = "the end",
        [FAKE_CONNECT] = "PQconnectStartParams",
        [FAKE_POLL] = "PQconnectPoll",
        [FAKE_NONBLOCKING] = "PQsetnonblocking",
        [FAKE_PIPELINE] = "PQenterPipelineMode",
        [FAKE_PREPARE] = "PQsendPrepare",
        [FAKE_EXECUTE] = "PQsendQueryPrepared",
        [FAKE_QUERY] = "PQsendQueryParams",
        [FAKE_SYNC] = "PQpipelineSync",
        [FAKE_FLUSH] = "PQflush",
        [FAKE_CONSUME] = "PQconsumeInput",
        [FAKE_RESULT] = "PQgetResult",
        [FAKE_NOTIFY] = "PQnotifies",
};

void *__real_calloc(size_t n, size_t size);

/* The fake's own memory is not counted by fake_fail_after. */
#define fake_new(type, n) ((type *) __real_calloc((n), sizeof(type)))

static FakeStep next_step(void)
{
        return position < n_script ? script[position].step : FAKE_END;
}

static void open_socket(PGconn *c)
{
        assert_int_equal(
                socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, c->sockets), 0);
}

static void close_socket(PGconn *c)
{
        close(c->sockets[0]);
        close(c->sockets[1]);
}

static const FakeCall *expect(FakeStep step, const char *text)
{
        const FakeCall *call;

        if (next_step() != step)
                fail_msg("call %u: %s (%s) came, %s was expected", position, step_names[step],
                        text ? text : "", step_names[next_step()]);
        call = &script[position++];
        if (text && call->text && !streq(text, call->text))
                fail_msg("call %u: %s of '%s', expected '%s'", position - 1, step_names[step], text,
                        call->text);
        if (call->new_socket) {
                close_socket(current);
                open_socket(current);
        }
        return call;
}

void fake_pq_begin(const FakeCall *calls, unsigned n)
{
        script = calls;
        n_script = n;
        position = n_connections = n_results = 0; /* a test that failed left some */
        current = NULL;
        fake_pause_usec = USEC_PER_HOUR;
        fake_n_pauses = 0;
        fake_fail_after = 0;
        memset(settings, 0, sizeof(settings));
}

void fake_pq_end(void)
{
        if (position != n_script)
                fail_msg("%s was expected as call %u", step_names[next_step()], position);
        assert_int_equal(n_connections, 0);
        assert_int_equal(n_results, 0);
}

unsigned fake_pq_n_left(void)
{
        return n_script - position;
}

void fake_pq_readable(void)
{
        assert_non_null(current);
        assert_int_equal(write(current->sockets[1], "x", 1), 1);
}

const char *fake_pq_setting(const char *keyword)
{
        for (size_t i = 0; i < ELEMENTSOF(settings); i++)
                if (streq(settings[i][0], keyword))
                        return settings[i][1];
        return NULL;
}

/* ---- connecting ---- */

PGconn *PQconnectStartParams(const char *const *keywords, const char *const *values, int expand)
{
        const FakeCall *call = expect(FAKE_CONNECT, NULL);

        assert_null(current);
        memset(settings, 0, sizeof(settings));
        for (unsigned i = 0; keywords[i]; i++) {
                assert_true(i < ELEMENTSOF(settings));
                snprintf(settings[i][0], sizeof(settings[i][0]), "%s", keywords[i]);
                snprintf(settings[i][1], sizeof(settings[i][1]), "%s", values[i] ? values[i] : "");
        }
        if (call->r == -2)
                return NULL;
        current = fake_new(PGconn, 1);
        n_connections++;
        current->broken = call->r < 0;
        open_socket(current);
        return current;
}

PostgresPollingStatusType PQconnectPoll(PGconn *c)
{
        return (PostgresPollingStatusType) expect(FAKE_POLL, NULL)->r;
}

ConnStatusType PQstatus(const PGconn *c)
{
        return c->broken ? CONNECTION_BAD : CONNECTION_OK;
}

int PQsocket(const PGconn *c)
{
        return c->sockets[0];
}

char *PQerrorMessage(const PGconn *c)
{
        static char text[] = "server closed\n the connection\n";

        return c->broken ? text : text + CONST_STRLEN(text);
}

int PQsetnonblocking(PGconn *c, int on)
{
        assert_int_equal(on, 1);
        return expect(FAKE_NONBLOCKING, NULL)->r;
}

int PQenterPipelineMode(PGconn *c)
{
        return expect(FAKE_PIPELINE, NULL)->r == 0;
}

void PQfinish(PGconn *c)
{
        if (!c)
                return;
        assert_ptr_equal(c, current);
        close_socket(c);
        free(c);
        current = NULL;
        n_connections--;
}

PQnoticeReceiver PQsetNoticeReceiver(PGconn *c, PQnoticeReceiver receiver, void *arg)
{
        assert_non_null(receiver);
        return NULL;
}

/* One option: whether the string has a user. */
PQconninfoOption *PQconninfoParse(const char *conninfo, char **ret_error)
{
        PQconninfoOption *o = fake_new(PQconninfoOption, 2);
        static char user[] = "user", value[] = "somebody";

        o[0].keyword = user;
        o[0].val = strstr(conninfo, "user=") ? value : NULL;
        return o;
}

void PQconninfoFree(PQconninfoOption *options)
{
        free(options);
}

/* ---- sending ---- */

static char sent_values[2][64];
static bool sent_null[2];

static void keep_values(int n, const char *const *values)
{
        for (int i = 0; i < (int) ELEMENTSOF(sent_values); i++) {
                sent_null[i] = i >= n || !values || !values[i];
                snprintf(sent_values[i], sizeof(sent_values[i]), "%s",
                        sent_null[i] ? "" : values[i]);
        }
}

const char *fake_pq_value(unsigned n)
{
        return sent_null[n] ? NULL : sent_values[n];
}

int PQsendQueryParams(PGconn *c, const char *sql, int n, const Oid *types,
        const char *const *values, const int *lengths, const int *formats, int result_format)
{
        assert_int_equal(result_format, 0);
        keep_values(n, values);
        return !expect(FAKE_QUERY, sql)->fails;
}

int PQsendPrepare(PGconn *c, const char *name, const char *sql, int n, const Oid *types)
{
        return !expect(FAKE_PREPARE, name)->fails;
}

int PQsendQueryPrepared(PGconn *c, const char *name, int n, const char *const *values,
        const int *lengths, const int *formats, int result_format)
{
        return !expect(FAKE_EXECUTE, name)->fails;
}

int PQpipelineSync(PGconn *c)
{
        return !expect(FAKE_SYNC, NULL)->fails;
}

int PQflush(PGconn *c)
{
        return expect(FAKE_FLUSH, NULL)->r;
}

char *PQescapeIdentifier(PGconn *c, const char *s, size_t n)
{
        char *quoted = malloc(n + 3);

        if (quoted)
                snprintf(quoted, n + 3, "\"%s\"", s);
        return quoted;
}

void PQfreemem(void *p)
{
        free(p);
}

/* ---- results ---- */

int PQconsumeInput(PGconn *c)
{
        char byte;

        if (expect(FAKE_CONSUME, NULL)->r < 0)
                c->broken = true;
        (void) !read(c->sockets[0], &byte, 1);
        return !c->broken;
}

int PQisBusy(PGconn *c)
{
        return !c->broken && next_step() != FAKE_RESULT;
}

PGresult *PQgetResult(PGconn *c)
{
        const FakeCall *call;
        PGresult *result;

        if (c->broken && next_step() != FAKE_RESULT)
                return NULL;
        if (PQisBusy(c))
                fail_msg("call %u: PQgetResult would block", position);
        call = expect(FAKE_RESULT, NULL);
        if (call->r == FAKE_NULL)
                return NULL;
        result = fake_new(PGresult, 1);
        *result = (PGresult){ .status = (ExecStatusType) call->r, .call = call };
        n_results++;
        return result;
}

ExecStatusType PQresultStatus(const PGresult *result)
{
        return result ? result->status : PGRES_FATAL_ERROR;
}

char *PQresultErrorMessage(const PGresult *result)
{
        static char text[64];

        snprintf(text, sizeof(text), "%s",
                !result                      ? ""
                        : result->call->text ? result->call->text
                                             : "server closed the connection");
        return text;
}

char *PQresultErrorField(const PGresult *result, int field)
{
        const char *value = NULL;

        if (!result || !result->call->text) /* libpq's own error has no fields */
                return NULL;
        if (field == PG_DIAG_SQLSTATE)
                value = result->call->text;
        else if (field == PG_DIAG_SEVERITY_NONLOCALIZED)
                value = result->call->severity ? result->call->severity : "ERROR";
        else if (field == PG_DIAG_SOURCE_FUNCTION)
                value = result->call->function;
        return (char *) value;
}

void PQclear(PGresult *result)
{
        if (!result)
                return;
        n_results--;
        free(result);
}

PGnotify *PQnotifies(PGconn *c)
{
        if (next_step() != FAKE_NOTIFY)
                return NULL;
        position++;
        return fake_new(PGnotify, 1);
}

/* ---- the loop's and libc's calls, linked with --wrap ---- */

static bool fail_now(void)
{
        return fake_fail_after > 0 && --fake_fail_after == 0;
}

void *__wrap_calloc(size_t n, size_t size);
void *__wrap_calloc(size_t n, size_t size)
{
        return fail_now() ? NULL : __real_calloc(n, size);
}

char *__real_strdup(const char *s);
char *__wrap_strdup(const char *s);
char *__wrap_strdup(const char *s)
{
        return fail_now() ? NULL : __real_strdup(s);
}

int __real_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock,
        uint64_t usec, uint64_t accuracy, sd_event_time_handler_t handler, void *userdata);
int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock,
        uint64_t usec, uint64_t accuracy, sd_event_time_handler_t handler, void *userdata);
int __wrap_sd_event_add_time_relative(sd_event *e, sd_event_source **ret, clockid_t clock,
        uint64_t usec, uint64_t accuracy, sd_event_time_handler_t handler, void *userdata)
{
        if (fail_now())
                return -ENOMEM;
        if (usec > 0 && usec <= 3 * USEC_PER_SEC) {
                assert_true(fake_n_pauses < ELEMENTSOF(fake_pauses));
                fake_pauses[fake_n_pauses++] = usec;
                usec = fake_pause_usec;
        }
        return __real_sd_event_add_time_relative(e, ret, clock, usec, accuracy, handler, userdata);
}

int __real_sd_event_add_io(sd_event *e, sd_event_source **ret, int fd, uint32_t events,
        sd_event_io_handler_t handler, void *userdata);
int __wrap_sd_event_add_io(sd_event *e, sd_event_source **ret, int fd, uint32_t events,
        sd_event_io_handler_t handler, void *userdata);
int __wrap_sd_event_add_io(sd_event *e, sd_event_source **ret, int fd, uint32_t events,
        sd_event_io_handler_t handler, void *userdata)
{
        return fail_now() ? -ENOMEM : __real_sd_event_add_io(e, ret, fd, events, handler, userdata);
}

int __real_sd_event_add_defer(
        sd_event *e, sd_event_source **ret, sd_event_handler_t handler, void *userdata);
int __wrap_sd_event_add_defer(
        sd_event *e, sd_event_source **ret, sd_event_handler_t handler, void *userdata);
int __wrap_sd_event_add_defer(
        sd_event *e, sd_event_source **ret, sd_event_handler_t handler, void *userdata)
{
        return fail_now() ? -ENOMEM : __real_sd_event_add_defer(e, ret, handler, userdata);
}

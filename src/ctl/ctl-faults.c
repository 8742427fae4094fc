/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-faults.h"

#include <stdarg.h>
#include <systemd/sd-bus.h>
#include <unistd.h>

static const char *const level_names[_FAULT_LEVEL_MAX] = {
        [FAULT_ERROR] = "error",
        [FAULT_WARNING] = "warning",
        [FAULT_NOTE] = "note",
};

void faults_done(Faults *f)
{
        strbuf_done(&f->json);
        for (unsigned i = 0; i < _FAULT_LEVEL_MAX; i++)
                strbuf_done(&f->texts[i]);
}

int faults_error(const Faults *f)
{
        for (unsigned i = 0; i < _FAULT_LEVEL_MAX; i++)
                if (strbuf_error(&f->texts[i]) < 0)
                        return strbuf_error(&f->texts[i]);
        return strbuf_error(&f->json);
}

/* What there is to say. NOLINTNEXTLINE(readability-function-size) */
void faults_add(
        Faults *f, FaultLevel level, const char *code, const char *remedy, const char *format, ...)
{
        _cleanup_(strbuf_done) StrBuf what = {}, one = {};
        JsonWriter w = json_writer(&one);
        StrBuf *text = &f->texts[level];
        va_list ap;

        remedy = ctl_remedy(remedy);
        va_start(ap, format);
        strbuf_vprintf(&what, format, ap);
        va_end(ap);
        json_open_object(&w, NULL);
        json_put_string(&w, "level", level_names[level]);
        json_put_string(&w, "code", code);
        if (f->where)
                json_put_string(&w, "where", f->where);
        json_put_string(&w, "what", strbuf_str(&what));
        json_put_string(&w, "remedy", remedy);
        json_close(&w);
        if (json_writer_end(&w) >= 0 && strbuf_error(&what) >= 0)
                strbuf_printf(&f->json, "%s%s", f->json.len > 0 ? "," : "", strbuf_str(&one));
        else
                f->json.error = -ENOMEM; /* or one would be missing, and nobody told */
        strbuf_puts(text, "  - ");
        text_clean(text, strbuf_str(&what));
        strbuf_puts(text, "\n    ");
        text_clean(text, remedy);
        strbuf_putc(text, '\n');
        f->n += level != FAULT_NOTE;
        f->n_unseen += streq(code, FAULT_NOT_LOOKED_AT);
        f->counts[level]++;
}

/* ---- this host ---- */

#define UNIT_PREFIX "reeve-run-"
#define UNIT_SUFFIX ".socket"
#define BUS_USEC    (5 * USEC_PER_SEC)

static bool is_this_host(const JsonValue *worker)
{
        char host[256] = "";

        return gethostname(host, sizeof(host) - 1) >= 0 && streq(member_text(worker, "host"), host);
}

static void judge_program(Faults *f, const Kind *k, const char *key, char **words)
{
        char path[4096];
        int r = words ? kind_check_program("", words[0], path, sizeof(path)) : 0;

        if (r == -ENOENT)
                faults_add(f, FAULT_ERROR, "KIND_PROGRAM",
                        "put it there, or change the kind: reevectl kinds check",
                        "Kind %s: its program %s=%s is missing.", k->name, key, words[0]);
        else if (r == -ELIBACC)
                faults_add(f, FAULT_ERROR, "KIND_PROGRAM",
                        "put the interpreter there, or change the script's first line",
                        "Kind %s: its program %s=%s names the interpreter %.*s, which cannot be "
                        "executed%s.",
                        k->name, key, words[0], (int) strcspn(path, "\r"), path,
                        strchr(path, '\r') ? " with the carriage return of a Windows line end"
                                           : "");
        else if (r < 0)
                faults_add(f, FAULT_ERROR, "KIND_PROGRAM",
                        "chmod a+x it, or change the kind: reevectl kinds check",
                        "Kind %s: its program %s=%s cannot be executed (%s).", k->name, key,
                        words[0], strerror(-r));
}

/* The state of each kind's socket, as far as systemd knows it: "active", "failed", ... Returns 0,
 * or -errno: systemd cannot be asked. */
static int read_sockets(const KindSet *set, const char **states, sd_bus_message **ret)
{
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        const char *name, *load, *active;
        int r = sd_bus_open_system(&bus);

        if (r < 0)
                return r;
        (void) sd_bus_set_method_call_timeout(bus, BUS_USEC);
        r = sd_bus_call_method(bus, "org.freedesktop.systemd1", "/org/freedesktop/systemd1",
                "org.freedesktop.systemd1.Manager", "ListUnitsByPatterns", NULL, ret, "asas", 0, 1,
                UNIT_PREFIX "*" UNIT_SUFFIX);
        if (r >= 0)
                r = sd_bus_message_enter_container(*ret, 'a', "(ssssssouso)");
        while (r >= 0 &&
                (r = sd_bus_message_read(*ret, "(ssssssouso)", &name, NULL, &load, &active, NULL,
                         NULL, NULL, NULL, NULL, NULL)) > 0)
                for (size_t i = 0; i < set->n_kinds; i++) {
                        size_t n = strlen(set->kinds[i]->name);

                        if (strncmp(name + CONST_STRLEN(UNIT_PREFIX), set->kinds[i]->name, n) ==
                                        0 &&
                                streq(name + CONST_STRLEN(UNIT_PREFIX) + n, UNIT_SUFFIX) &&
                                streq(load, "loaded"))
                                states[i] = active;
                }
        return r;
}

/* Whether some worker has read it. */
static bool is_published(const JsonValue *kinds, const Kind *kind)
{
        for (const JsonValue *v = json_value_first(kinds, NULL); v;
                v = json_value_next(kinds, v, NULL))
                if (streq(member_text(v, "name"), kind->name))
                        return true;
        return false;
}

static void judge_sockets(Faults *f, const KindSet *set, const JsonValue *kinds)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
        _cleanup_(freep) const char **states = (const char **) new0(char *, set->n_kinds);

        if (!states || read_sockets(set, states, &answer) < 0)
                return;
        for (size_t i = 0; i < set->n_kinds; i++) {
                const char *name = set->kinds[i]->name;
                char remedy[256];

                if (set->kinds[i]->type != KIND_EXEC || streq_ptr(states[i], "active") ||
                        !is_published(kinds, set->kinds[i])) /* the worker's start listens */
                        continue;
                (void) snprintf(remedy, sizeof(remedy),
                        "systemctl daemon-reload; systemctl start " UNIT_PREFIX "%s" UNIT_SUFFIX,
                        name);
                if (!states[i])
                        faults_add(f, FAULT_ERROR, "KIND_SOCKET", remedy,
                                "Kind %s has no socket: systemd has not loaded " UNIT_PREFIX
                                "%s" UNIT_SUFFIX ".",
                                name, name);
                else
                        faults_add(f, FAULT_ERROR, "KIND_SOCKET", remedy,
                                "Kind %s: " UNIT_PREFIX "%s" UNIT_SUFFIX " is %s.", name, name,
                                states[i]);
        }
}

KindSet *judge_host(Faults *f, const JsonValue *workers, const JsonValue *kinds)
{
        _cleanup_(kind_set_freep) KindSet *set = NULL;
        char root[PATH_MAX];
        bool here = false;
        int r;

        for (const JsonValue *v = json_value_first(workers, NULL); v;
                v = json_value_next(workers, v, NULL))
                here = here || is_this_host(v);
        if (!here)
                return NULL;
        r = kinds_load(ctl_root(root), NULL, NULL, &set);
        if (r == -ENOMEM)
                f->json.error = r;
        if (r < 0)
                return NULL;
        for (size_t i = 0; i < set->n_refused; i++)
                faults_add(f, FAULT_ERROR, "KIND_KEPT_OUT",
                        "reevectl kinds check; then systemctl daemon-reload and systemctl restart "
                        "'reeve-worker@*'",
                        "Kind %s is kept out: %s.", set->refused[i].name, set->refused[i].why);
        for (size_t i = 0; i < set->n_kinds; i++) {
                judge_program(f, set->kinds[i], "Start", set->kinds[i]->exec.start);
                judge_program(f, set->kinds[i], "Join", set->kinds[i]->exec.join);
                if (set->kinds[i]->type != KIND_HTTP && !is_published(kinds, set->kinds[i]))
                        faults_add(f, FAULT_ERROR, "KIND_UNREAD", KINDS_REREAD,
                                "Kind %s: %s is here, and no worker has read it yet.",
                                set->kinds[i]->name, set->kinds[i]->file);
        }
        judge_sockets(f, set, kinds);
        return TAKE_PTR(set);
}

/* ---- what workers say ---- */

static bool is_refused(const KindSet *set, const char *name)
{
        for (size_t i = 0; set && i < set->n_refused; i++)
                if (streq(set->refused[i].name, name))
                        return true;
        return false;
}

/* Whether an earlier worker of the same host has said the same. */
static bool is_said(const JsonValue *workers, const JsonValue *worker, const JsonValue *fault)
{
        for (const JsonValue *v = json_value_first(workers, NULL); v && v != worker;
                v = json_value_next(workers, v, NULL)) {
                const JsonValue *faults = json_value_member(v, "faults");

                if (!faults || !streq(member_text(v, "host"), member_text(worker, "host")))
                        continue;
                for (const JsonValue *k = json_value_first(faults, NULL); k;
                        k = json_value_next(faults, k, NULL))
                        if (streq(member_text(k, "kind"), member_text(fault, "kind")) &&
                                streq(member_text(k, "code"), member_text(fault, "code")))
                                return true;
        }
        return false;
}

static void add_worker_fault(Faults *f, const JsonValue *worker, const JsonValue *fault)
{
        const char *kind = member_text(fault, "kind"), *code = member_text(fault, "code");
        _cleanup_(strbuf_done) StrBuf remedy = {};
        char since[TEXT_TIME_MAX] = "";

        if (streq(code, "NO_SOCKET"))
                strbuf_printf(&remedy,
                        "systemctl daemon-reload; systemctl restart reeve-run-%s.socket", kind);
        else if (streq(code, "UNIT_NOT_STARTED"))
                strbuf_printf(&remedy, "journalctl -u 'reeve-run-%s@*'", kind);
        else if (streq(code, "NO_SPACE"))
                strbuf_puts(&remedy, "make room on that host: df -h /tmp /var/lib/reeve/blobs");
        else if (streq(code, "NO_RESOURCES"))
                strbuf_puts(&remedy,
                        "see LimitNOFILE= and TasksMax= of that host's units, and its memory");
        else if (streq(code, "KIND_KEPT_OUT"))
                strbuf_puts(&remedy,
                        "reevectl kinds check; then systemctl daemon-reload and systemctl restart "
                        "'reeve-worker@*'");
        else
                strbuf_puts(&remedy, "reevectl kinds check; see reeve.kind(5)");
        if (*member_text(fault, "since"))
                (void) text_local_time(since, member_text(fault, "since"));
        faults_add(f, FAULT_ERROR, "KIND_CANNOT_RUN", strbuf_str(&remedy),
                "Kind %s cannot be run on %s%s%s: %s: %s.", kind, member_text(worker, "host"),
                *since ? " since " : "", since, code, member_text(fault, "message"));
}

void judge_worker_faults(Faults *f, const JsonValue *workers, const KindSet *here)
{
        for (const JsonValue *v = json_value_first(workers, NULL); v;
                v = json_value_next(workers, v, NULL)) {
                const JsonValue *faults = json_value_member(v, "faults");

                if (!faults || !json_value_is(faults, JSON_ARRAY))
                        continue;
                for (const JsonValue *k = json_value_first(faults, NULL); k;
                        k = json_value_next(faults, k, NULL))
                        if (!is_said(workers, v, k) &&
                                !(streq(member_text(k, "code"), "KIND_KEPT_OUT") &&
                                        is_this_host(v) &&
                                        is_refused(here, member_text(k, "kind"))))
                                add_worker_fault(f, v, k);
        }
}

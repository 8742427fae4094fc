/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-doctor.h"

#include <inttypes.h>
#include <unistd.h>

#define FACTS_MAX   (1UL << 20)
#define FACTS_DEPTH 8U

/* How long a job may be ready while somebody could take it, and while all are busy. */
#define IDLE_USEC  (60 * USEC_PER_SEC)
#define STUCK_USEC (10 * USEC_PER_MIN)

/* ---- the API ---- */

static void count_slots(
        const JsonValue *workers, const char *queue, bool *ret_served, bool *ret_free)
{
        *ret_served = *ret_free = false;
        for (const JsonValue *v = json_value_first(workers, NULL); v;
                v = json_value_next(workers, v, NULL)) {
                if (!worker_serves(v, queue))
                        continue;
                *ret_served = true;
                *ret_free = *ret_free || member_u64(v, "busy") < member_u64(v, "slots");
        }
}

void doctor_judge_waiting(Faults *f, const JsonValue *queues, const JsonValue *workers, usec_t now)
{
        for (const JsonValue *v = json_value_first(queues, NULL); v;
                v = json_value_next(queues, v, NULL)) {
                const char *name = member_text(v, "name");
                char span[TIMESPAN_MAX];
                bool served, idle;
                usec_t since;

                if (member_bool(v, "paused") ||
                        parse_rfc3339(member_text(v, "oldest_at"), &since) < 0 || now < since)
                        continue;
                count_slots(workers, name, &served, &idle);
                (void) format_timespan(span, (now - since) / USEC_PER_SEC * USEC_PER_SEC);
                if (served && idle && now - since >= IDLE_USEC)
                        faults_add(f, FAULT_ERROR, "WORKERS_IDLE",
                                "reevectl list --state=ready; reevectl status; journalctl -u "
                                "'reeve-worker@*'",
                                "Queue %s has a job that has been ready for %s, and a worker that "
                                "serves the queue has free slots: its kind cannot be run there.",
                                name, span);
                else if (served && !idle && now - since >= STUCK_USEC)
                        faults_add(f, FAULT_WARNING, "PENDING_STUCK",
                                "reevectl list --state=running; then more Slots= in "
                                "/etc/reeve/pools/POOL.conf, or another worker: systemctl start "
                                "reeve-worker@POOL:2.service",
                                "Queue %s has a job that has been ready for %s: all slots of its "
                                "workers are busy.",
                                name, span);
        }
}

/* Whether we may ask for more than the health. */
static bool may_look(Ctl *c)
{
        _cleanup_(answer_done) Answer a = {};
        int error;

        ctl_try(c, &(HttpAsk){ .method = "GET", .target = "/api/stats" }, &a, &error);
        return error >= 0 && a.reply.status != 401 && a.reply.status != 403;
}

static void judge_api(Ctl *c, Overview *o)
{
        Faults *f = &o->faults;
        int error;

        ctl_try(c, &(HttpAsk){ .method = "GET", .target = "/api/health" }, &o->health, &error);
        if (error < 0) {
                faults_add(f, FAULT_ERROR, "API_AWAY",
                        "systemctl start reeve.target; systemctl status reeve-api.socket "
                        "reeve-api.service",
                        "The API cannot be asked (%s); workers, queues and kinds were not looked "
                        "at.",
                        c->client.wrong[0] ? c->client.wrong : strerror(-error));
                return;
        }
        if (!o->health.root || !*member_text(o->health.root, "version")) {
                faults_add(f, FAULT_ERROR, "API_STRANGE", "journalctl -u reeve-api",
                        "What answers as the API is none (HTTP %u).", o->health.reply.status);
                return;
        }
        judge_health(f, o->health.root);
        if (o->health.reply.status != 200)
                return;
        if (!may_look(c)) {
                faults_add(f, FAULT_NOTE, FAULT_NOT_LOOKED_AT, "sudo reevectl doctor",
                        "Workers, queues and kinds were not looked at: you are neither root nor a "
                        "member of group reeve-admin.");
                return;
        }
        if (overview_ask(c, o) == EXIT_STATUS_OK && c->client.socket_path)
                doctor_judge_waiting(f, o->queue_list, o->worker_list, now_usec(CLOCK_REALTIME));
}

/* ---- the database ---- */

static void judge_database(Faults *f)
{
        char path[PATH_MAX];
        const char *const argv[] = { ctl_program(path, REEVE_LIBEXECDIR, "reeve-doctor"), NULL };
        _cleanup_(json_document_freep) JsonDocument *d = NULL;
        _cleanup_(strbuf_done) StrBuf out = {};
        int r = run_and_read(argv, false, FACTS_MAX, &out);

        if (r == 0 && json_parse(strbuf_str(&out), out.len, FACTS_DEPTH, &d, NULL) >= 0)
                doctor_judge_database(f, json_document_root(d), geteuid() == 0);
        else
                faults_add(f, FAULT_ERROR, "DOCTOR_BROKEN",
                        "ls -l " REEVE_LIBEXECDIR "/reeve-doctor; apt-get install --reinstall "
                        "reeve",
                        "The database was not looked at: %s failed (%s).", path,
                        r < 0 ? strerror(-r) : "what it printed is above");
}

/* ---- all of it ---- */

static int print_json(const Faults *f)
{
        _cleanup_(strbuf_done) StrBuf b = {}, findings = {};
        JsonWriter w = json_writer(&b);

        strbuf_printf(&findings, "[%s]", strbuf_str(&f->json));
        json_open_object(&w, NULL);
        json_put_uint(&w, "errors", f->counts[FAULT_ERROR]);
        json_put_uint(&w, "warnings", f->counts[FAULT_WARNING]);
        json_put_uint(&w, "notes", f->counts[FAULT_NOTE]);
        json_put_raw(&w, "findings", strbuf_str(&findings), findings.len);
        json_close(&w);
        if (json_writer_end(&w) < 0)
                return ctl_oom();
        puts(strbuf_str(&b));
        return EXIT_STATUS_OK;
}

static void print_text(const Ctl *c, const Faults *f)
{
        static const char *const titles[_FAULT_LEVEL_MAX] = {
                [FAULT_ERROR] = "Errors",
                [FAULT_WARNING] = "Warnings",
                [FAULT_NOTE] = "Notes",
        };

        for (unsigned i = 0; i < _FAULT_LEVEL_MAX; i++)
                if (f->counts[i] > 0)
                        printf("%s%s:%s\n%s\n", c->bold ? "\033[1m" : "", titles[i],
                                c->bold ? "\033[0m" : "", strbuf_str(&f->texts[i]));
        if (f->n == 0)
                puts(f->n_unseen > 0 ? "Nothing is wrong with what was looked at; not all was: see "
                                       "the notes."
                                     : "Nothing is wrong.");
}

int verb_doctor(Ctl *c)
{
        _cleanup_(overview_done) Overview o = {};
        _cleanup_(sd_bus_flush_close_unrefp) sd_bus *bus = NULL;
        Faults *f = &o.faults;
        int r;

        if (c->values[OPTION_URL])
                return ctl_error(EXIT_STATUS_USAGE,
                        "doctor looks at this host. Try: ssh HOST reevectl doctor");
        f->where = "api";
        judge_api(c, &o);
        f->where = "database";
        judge_database(f);
        f->where = ctl_foreground() ? "bus" : "systemd";
        r = sd_bus_open_system(&bus);
        doctor_judge_units(f, r < 0 ? NULL : bus, r);
        f->where = "host";
        if (ctl_foreground())
                doctor_judge_foreground(f, ctl_foreground());
        else
                doctor_judge_host(f);
        if (faults_error(f) < 0)
                return ctl_oom();
        if (!c->json)
                print_text(c, f);
        else if ((r = print_json(f)) != EXIT_STATUS_OK)
                return r;
        return f->counts[FAULT_ERROR] > 0      ? DOCTOR_ERRORS
                : f->counts[FAULT_WARNING] > 0 ? DOCTOR_WARNINGS
                                               : EXIT_STATUS_OK;
}

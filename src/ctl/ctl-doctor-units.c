/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-doctor.h"

#include <inttypes.h>

/* What systemd and the bus say. All of it can be asked by anybody. */

#define SYSTEMD      "org.freedesktop.systemd1"
#define UNIT         SYSTEMD ".Unit"
#define SERVICE      SYSTEMD ".Service"
#define BUS_USEC     (10 * USEC_PER_SEC)
#define RESTARTS_MAX 5U /* by Restart=, since it was started by hand or at boot */
#define MEMORY_SHARE 90U /* percent of MemoryMax= */

/* ---- properties ---- */

static bool get_text(
        sd_bus *bus, const char *unit, const char *interface, const char *name, char **ret)
{
        _cleanup_(freep) char *path = NULL;

        return sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) >= 0 &&
                sd_bus_get_property_string(bus, SYSTEMD, path, interface, name, NULL, ret) >= 0;
}

static bool has_text(
        sd_bus *bus, const char *unit, const char *interface, const char *name, const char *value)
{
        _cleanup_(freep) char *text = NULL;

        return get_text(bus, unit, interface, name, &text) && streq(text, value);
}

static bool get_u64(sd_bus *bus, const char *unit, const char *name, uint64_t *ret)
{
        _cleanup_(freep) char *path = NULL;

        return sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) >= 0 &&
                sd_bus_get_property_trivial(bus, SYSTEMD, path, SERVICE, name, NULL, 't', ret) >= 0;
}

/* -1: it cannot be told. */
static int get_bool(sd_bus *bus, const char *unit, const char *interface, const char *name)
{
        _cleanup_(freep) char *path = NULL;
        int value;

        if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) < 0 ||
                sd_bus_get_property_trivial(
                        bus, SYSTEMD, path, interface, name, NULL, 'b', &value) < 0)
                return -1;
        return value;
}

/* ---- a service that runs ---- */

static void judge_hardening(Faults *f, sd_bus *bus, const char *unit)
{
        static const char *const wanted[] = { "NoNewPrivileges", "MemoryDenyWriteExecute",
                "RestrictSUIDSGID", "PrivateDevices", "PrivateTmp", "ProtectKernelTunables",
                "ProtectKernelModules", "ProtectControlGroups", "LockPersonality" };
        _cleanup_(strbuf_done) StrBuf off = {};
        char remedy[400];

        for (size_t i = 0; i < ELEMENTSOF(wanted); i++)
                if (get_bool(bus, unit, SERVICE, wanted[i]) == 0)
                        strbuf_printf(&off, "%s%s=", off.len > 0 ? ", " : "", wanted[i]);
        if (!has_text(bus, unit, SERVICE, "ProtectSystem", "strict"))
                strbuf_printf(&off, "%sProtectSystem=", off.len > 0 ? ", " : "");
        if (has_text(bus, unit, SERVICE, "ProtectHome", "no"))
                strbuf_printf(&off, "%sProtectHome=", off.len > 0 ? ", " : "");
        if (off.len == 0)
                return;
        (void) snprintf(remedy, sizeof(remedy),
                "systemctl cat %s; systemctl revert %s; systemctl restart %s", unit, unit, unit);
        faults_add(f, FAULT_WARNING, "HARDENING_OFF", remedy,
                "%s runs without what keeps it apart from the host: %s is switched off, by a "
                "drop-in or a unit of its own.",
                unit, strbuf_str(&off));
}

static void judge_memory(Faults *f, sd_bus *bus, const char *unit)
{
        char used[TEXT_TIME_MAX], most[TEXT_TIME_MAX], remedy[400];
        uint64_t now = UINT64_MAX, max = UINT64_MAX;

        if (!get_u64(bus, unit, "MemoryCurrent", &now) || !get_u64(bus, unit, "MemoryMax", &max) ||
                now == UINT64_MAX || max == UINT64_MAX || now / MEMORY_SHARE < max / 100)
                return;
        (void) snprintf(remedy, sizeof(remedy),
                "systemctl status %s; systemctl set-property %s MemoryMax=...", unit, unit);
        faults_add(f, FAULT_WARNING, "MEMORY_HIGH", remedy,
                "%s uses %s of memory of the %s that it may: at the limit it is killed.", unit,
                text_bytes(used, now), text_bytes(most, max));
}

/* reeve-worker(8), TWO OF ONE NAME. */
static void judge_worker(Faults *f, sd_bus *bus, const char *unit)
{
        _cleanup_(freep) char *status = NULL;
        char remedy[400];

        if (!get_text(bus, unit, SERVICE, "StatusText", &status) ||
                strncmp(status, "waiting: ", 9) != 0)
                return;
        (void) snprintf(remedy, sizeof(remedy), "systemctl status %s; see reeve-worker(8)", unit);
        faults_add(f, FAULT_ERROR, "WORKER_NAMESAKE", remedy, "%s does not serve: %s.", unit,
                status + 9);
}

static void judge_service(Faults *f, sd_bus *bus, const char *unit)
{
        _cleanup_(freep) char *path = NULL;
        char remedy[400];
        uint64_t watchdog;
        uint32_t restarts = 0;

        if (get_u64(bus, unit, "WatchdogUSec", &watchdog) &&
                (watchdog == 0 || watchdog == UINT64_MAX)) {
                (void) snprintf(remedy, sizeof(remedy),
                        "systemctl cat %s; systemctl revert %s; systemctl restart %s", unit, unit,
                        unit);
                faults_add(f, FAULT_WARNING, "WATCHDOG_OFF", remedy,
                        "%s has no watchdog: nobody restarts it when it hangs. WatchdogSec= was "
                        "taken from it.",
                        unit);
        }
        judge_hardening(f, bus, unit);
        judge_memory(f, bus, unit);
        if (strncmp(unit, "reeve-worker@", 13) == 0)
                judge_worker(f, bus, unit);
        if (sd_bus_path_encode("/org/freedesktop/systemd1/unit", unit, &path) < 0 ||
                sd_bus_get_property_trivial(
                        bus, SYSTEMD, path, SERVICE, "NRestarts", NULL, 'u', &restarts) < 0 ||
                restarts < RESTARTS_MAX)
                return;
        (void) snprintf(remedy, sizeof(remedy),
                "journalctl -u %s; systemctl reset-failed %s, when that is understood", unit, unit);
        faults_add(f, FAULT_WARNING, "UNIT_RESTARTS", remedy,
                "%s has had to be restarted %" PRIu32 " times.", unit, restarts);
}

static bool is_daemon(const char *unit)
{
        const char *dot = strrchr(unit, '.');

        return dot && streq(dot, ".service") &&
                (streq(unit, "reeved.service") || streq(unit, "reeve-api.service") ||
                        strncmp(unit, "reeve-worker@", 13) == 0);
}

static void judge_unit(Faults *f, sd_bus *bus, const char *unit, const char *active)
{
        char remedy[400];

        if (streq(active, "failed")) {
                (void) snprintf(remedy, sizeof(remedy), "journalctl -u %s; systemctl restart %s",
                        unit, unit);
                faults_add(f, FAULT_ERROR, "UNIT_FAILED", remedy, "%s has failed.", unit);
        }
        if (strncmp(unit, "reeve-run-", 10) != 0 &&
                get_bool(bus, unit, UNIT, "NeedDaemonReload") == 1)
                faults_add(f, FAULT_WARNING, "NEEDS_RELOAD", "systemctl daemon-reload",
                        "The file of %s, or a drop-in, was changed and not read since.", unit);
        if (streq(active, "active") && is_daemon(unit))
                judge_service(f, bus, unit);
}

static void judge_loaded_units(Faults *f, sd_bus *bus)
{
        _cleanup_(sd_bus_message_unrefp) sd_bus_message *answer = NULL;
        const char *name, *active;
        int r = sd_bus_call_method(bus, SYSTEMD, "/org/freedesktop/systemd1", SYSTEMD ".Manager",
                "ListUnitsByPatterns", NULL, &answer, "asas", 0, 1, "reeve*");

        if (r >= 0)
                r = sd_bus_message_enter_container(answer, 'a', "(ssssssouso)");
        while (r >= 0 &&
                (r = sd_bus_message_read(answer, "(ssssssouso)", &name, NULL, NULL, &active, NULL,
                         NULL, NULL, NULL, NULL, NULL)) > 0)
                judge_unit(f, bus, name, active);
        if (r < 0)
                faults_add(f, FAULT_ERROR, "SYSTEMD_AWAY", "systemctl status",
                        "systemd cannot be asked for its units: %s.", strerror(-r));
}

/* ---- units that have to be there ---- */

static void judge_named(Faults *f, sd_bus *bus, const char *unit, bool running)
{
        _cleanup_(freep) char *load = NULL;
        char remedy[256];

        if (!get_text(bus, unit, UNIT, "LoadState", &load))
                return;
        if (streq(load, "masked")) {
                (void) snprintf(remedy, sizeof(remedy), "systemctl unmask %s; systemctl start %s",
                        unit, unit);
                faults_add(f, FAULT_ERROR, "UNIT_MASKED", remedy, "%s is masked.", unit);
        } else if (!streq(load, "loaded")) {
                (void) snprintf(remedy, sizeof(remedy),
                        "systemctl status %s; apt-get install --reinstall reeve", unit);
                faults_add(f, FAULT_ERROR, "UNIT_MISSING", remedy, "%s cannot be loaded: %s.", unit,
                        load);
        } else if (running && has_text(bus, unit, UNIT, "ActiveState", "inactive")) {
                (void) snprintf(remedy, sizeof(remedy), "systemctl start %s", unit);
                faults_add(f, FAULT_WARNING, "UNIT_INACTIVE", remedy,
                        "reeve.target is active, and %s is not.", unit);
        }
}

static void judge_named_units(Faults *f, sd_bus *bus)
{
        static const char *const units[] = { "reeve-api.socket", "reeved.service",
                "reeve-worker@default.service", "reeve-worker@inline.service",
                "reeve-maintenance.timer" };
        bool running = has_text(bus, "reeve.target", UNIT, "ActiveState", "active");

        judge_named(f, bus, "reeve.target", false);
        if (!running)
                faults_add(f, FAULT_ERROR, "TARGET_INACTIVE", "systemctl enable --now reeve.target",
                        "Reeve is not started on this host.");
        else if (has_text(bus, "reeve.target", UNIT, "UnitFileState", "disabled"))
                faults_add(f, FAULT_NOTE, "TARGET_DISABLED", "systemctl enable reeve.target",
                        "Reeve will not be started when this host boots.");
        for (size_t i = 0; i < ELEMENTSOF(units); i++)
                judge_named(f, bus, units[i], running);
}

/* ---- the bus ---- */

static void judge_polkit(Faults *f, sd_bus *bus)
{
        _cleanup_(freep) char *name = NULL;
        int r = sd_bus_get_property_string(bus, "org.freedesktop.PolicyKit1",
                "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority",
                "BackendName", NULL, &name);

        if (r < 0)
                faults_add(f, FAULT_ERROR, "POLKIT_AWAY",
                        "apt-get install polkitd; systemctl unmask polkit.service; systemctl "
                        "restart polkit.service",
                        "polkit cannot be asked (%s): every change is refused, and workers cannot "
                        "stop a unit that hangs.",
                        strerror(-r));
}

static void judge_manager(Faults *f, sd_bus *bus)
{
        _cleanup_(sd_bus_error_free) sd_bus_error error = SD_BUS_ERROR_NULL;
        _cleanup_(freep) char *state = NULL, *database = NULL;
        int r = sd_bus_get_property_string(
                bus, "org.reeve1", "/org/reeve1", "org.reeve1.Manager", "State", &error, &state);

        if (r < 0) {
                faults_add(f, FAULT_ERROR, "MANAGER_AWAY",
                        "systemctl restart reeved.service; journalctl -u reeved",
                        "reeved does not answer on the bus (%s): flags cannot be changed.",
                        error.message ? error.message : strerror(-r));
                return;
        }
        if (!streq(state, "degraded"))
                return;
        (void) sd_bus_get_property_string(bus, "org.reeve1", "/org/reeve1", "org.reeve1.Manager",
                "DatabaseState", NULL, &database);
        faults_add(f, FAULT_ERROR, "MANAGER_DEGRADED",
                "systemctl status reeved.service reeve-postgres.service",
                "reeved is degraded: for it the database is %s.", database ? database : "unknown");
}

void doctor_judge_units(Faults *f, sd_bus *bus, int r)
{
        if (!bus) {
                faults_add(f, FAULT_ERROR, "BUS_AWAY",
                        "systemctl start dbus.socket dbus.service; apt-get install dbus",
                        "There is no %s bus (%s): %snothing can be changed.",
                        ctl_foreground() ? "private" : "system", strerror(-r),
                        ctl_foreground() ? "" : "units were not looked at, and ");
                return;
        }
        (void) sd_bus_set_method_call_timeout(bus, BUS_USEC);
        if (!ctl_foreground()) {
                judge_named_units(f, bus);
                judge_loaded_units(f, bus);
                judge_polkit(f, bus);
        }
        judge_manager(f, bus);
}

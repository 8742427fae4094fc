/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "unit-text.h"

#include "calendar.h"
#include "reeve-limits.h"
#include "view-path.h"
#include "words.h"

/* What a handler may not do unless its kind says so. Measured by systemd-analyze security; what
 * each line is for is in reeve.kind(5).
 *
 * /dev/shm and /tmp are the run's own, because all runs have the same user.
 * SystemCallFilter= lists what is refused: the list of what is allowed (@system-service) takes 10
 * ms of CPU time to build at each start, this one takes 1. No MemoryDenyWriteExecute=: V8, the JVM
 * and other compilers at run time need it off. No ProcSubset=pid: it takes /proc/cpuinfo and
 * /proc/meminfo from programs that ask them. No RemoveIPC=: the end of one run would remove what
 * another one of the same user is using. */
static const char sandbox[] =
        "CapabilityBoundingSet=\n"
        "KeyringMode=private\n"
        "LockPersonality=yes\n"
        "NoNewPrivileges=yes\n"
        "PrivateIPC=yes\n"
        "PrivateMounts=yes\n"
        "PrivateNetwork=yes\n"
        "PrivateTmp=yes\n"
        "PrivateUsers=yes\n"
        "ProtectClock=yes\n"
        "ProtectSystem=strict\n"
        "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6\n"
        "RestrictNamespaces=yes\n"
        "RestrictRealtime=yes\n"
        "RestrictSUIDSGID=yes\n"
        "SystemCallArchitectures=native\n"
        "SystemCallErrorNumber=EPERM\n"
        "SystemCallFilter=~@clock @cpu-emulation @debug @keyring @module @mount @obsolete "
        "@privileged "
        "@raw-io @reboot @swap io_uring_setup io_uring_enter io_uring_register syslog userfaultfd\n"
        "UMask=0077\n";

/* What a run sees of the host's files.
 *
 * Most take the view that is made once for all (reeve-view(8)): homes, settings, blobs and kernel
 * modules are hidden in it, /sys is read-only, /proc shows a run its own processes, and /dev has
 * pseudo devices only. Each of these lines would cost each start 1 to 6 ms, all of them a third of
 * it: that is why the lines that say the same for a unit (files_of_host) are not here, and why
 * systemd-analyze security says 2.0 instead of 1.3. What they refuse by system call or capability
 * is refused by the lines above. /run is here because systemd 252 makes that of a root directory
 * writable for all. */
static const char files_of_view[] = "DevicePolicy=closed\n"
                                    "MountAPIVFS=no\n"
                                    "RootDirectory=" REEVE_VIEW "\n"
                                    "TemporaryFileSystem=/run:ro /dev/shm:mode=1777\n"
                                    "BindReadOnlyPaths=-/run/systemd/journal\n";

/* A kind that changes what is seen has it put together for each of its runs, so that its lines mean
 * what they mean in any unit. /run is an empty one of its own, so that no socket of any service is
 * there: not the database's, the API's, the bus's, nor another program's. The journal's socket is
 * (the launcher writes there), and the files that /etc/resolv.conf may point to. */
static const char files_of_host[] =
        "InaccessiblePaths=-" REEVE_SYSCONFDIR " -/var/lib/reeve/blobs -/var/lib/reeve/postgres\n"
        "PrivateDevices=yes\n"
        "ProtectControlGroups=yes\n"
        "ProtectHome=yes\n"
        "ProtectHostname=yes\n"
        "ProtectKernelLogs=yes\n"
        "ProtectKernelModules=yes\n"
        "ProtectProc=invisible\n"
        "TemporaryFileSystem=/run:ro /dev/shm:mode=1777\n"
        "BindReadOnlyPaths=-/run/systemd/journal -/run/systemd/resolve/resolv.conf "
        "-/run/systemd/resolve/stub-resolv.conf -/run/NetworkManager/resolv.conf "
        "-/run/resolvconf/resolv.conf\n";

/* /proc/sys and /sys are root's: the user reeve-run cannot write there, and mounting them read-only
 * for every run takes a fifth of what its start costs. A kind that changes who it runs as gets it
 * all the same. */
static const char sandbox_of_users[] = "ProtectKernelTunables=yes\n";

/* Lines of [Service] that change neither what a run sees nor who it is; those ending in "*" stand
 * for all that begin so. Any other makes files_of_host. */
static const char *const without_files[] = { "AllowedCPUs", "AllowedMemoryNodes", "BlockIO*",
        "CPU*", "Environment", "IO*", "Limit*", "LogRateLimit*", "ManagedOOM*", "Memory*", "NUMA*",
        "Nice", "OOMPolicy", "OOMScoreAdjust", "PassEnvironment", "SyslogIdentifier", "SyslogLevel",
        "TasksMax", "TimerSlackNSec", "UMask", "UnsetEnvironment" };

static bool is_among(const char *key, const char *const *patterns, size_t n_patterns)
{
        for (size_t i = 0; i < n_patterns; i++) {
                size_t n = strlen(patterns[i]);

                if (patterns[i][n - 1] == '*' ? strncmp(key, patterns[i], n - 1) == 0
                                              : streq(key, patterns[i]))
                        return true;
        }
        return false;
}

bool unit_text_takes_view(const Kind *k)
{
        for (size_t i = 0; i < k->n_service; i++)
                if (!is_among(k->service[i].key, without_files, ELEMENTSOF(without_files)))
                        return false;
        return true;
}

/* A value in which systemd would look for specifiers. */
static void put_value(StrBuf *b, const char *key, const char *value)
{
        strbuf_printf(b, "%s=", key);
        for (; *value; value++) {
                if (*value == '%')
                        strbuf_putc(b, '%');
                strbuf_putc(b, *value);
        }
        strbuf_putc(b, '\n');
}

static void put_head(StrBuf *b, const Kind *k, const char *what, const char *source)
{
        strbuf_puts(b, "# Made by reeve-generator(8): change the kind's file instead.\n\n[Unit]\n");
        strbuf_printf(b, "Description=Reeve %s of kind %s\n", what, k->name);
        strbuf_puts(b, "Documentation=man:reeve.kind(5)\n");
        if (*source)
                put_value(b, "SourcePath", source);
}

void unit_text_socket(StrBuf *b, const Kind *k, const char *source, bool view)
{
        put_head(b, k, "socket", source);
        /* Only workers can connect, so nobody is there whom a trigger limit would hold back; it
         * would only stop a fast kind. */
        strbuf_printf(b,
                "PartOf=reeve.target\n%s\n"
                "[Socket]\n"
                "ListenSequentialPacket=/run/reeve/run/%s.sock\n"
                "Accept=yes\n"
                "MaxConnections=%u\n"
                "SocketUser=root\n"
                "SocketGroup=reeve-worker\n"
                "SocketMode=0660\n"
                "RemoveOnStop=yes\n"
                "TriggerLimitIntervalSec=0\n",
                view ? "Requires=reeve-view.service\nAfter=reeve-view.service\n" : "", k->name,
                REEVE_SLOTS_MAX);
}

/* systemd takes 0 for no limit at all. */
static void put_stop_limit(StrBuf *b, const Kind *k)
{
        usec_t usec = k->stop_usec > 0 ? k->stop_usec : 1;

        strbuf_printf(b, "TimeoutStopSec=%lluus\n", (unsigned long long) usec);
}

/* The colon: no variables are replaced, so that a $ reaches the program. The dash: a launcher that
 * fails has told the worker, a failed unit beside that would be noise. */
static void put_exec_start(StrBuf *b, const Kind *k)
{
        strbuf_puts(b, "ExecStart=:-" REEVE_LIBEXECDIR "/reeve-exec --unit=%n");
        kind_put_launcher_words(b, k, WORD_UNIT);
        strbuf_putc(b, '\n');
}

void unit_text_service(StrBuf *b, const Kind *k, const char *source, bool view)
{
        put_head(b, k, "run", source);
        /* Before the workers' slice: when the system goes down, runs are ended after the workers
         * have stopped, which have waited for them. */
        strbuf_puts(b,
                "CollectMode=inactive-or-failed\n"
                "Before=reeve-worker.slice\n\n"
                "[Service]\n"
                "Type=exec\n"
                "User=reeve-run\n"
                "Slice=reeve-run.slice\n"
                "StandardInput=socket\n"
                "StandardOutput=journal\n"
                "StandardError=journal\n");
        strbuf_printf(b, "SyslogIdentifier=%s\n", k->name);
        put_exec_start(b, k);
        strbuf_puts(b, "KillMode=control-group\n");
        put_stop_limit(b, k);
        strbuf_puts(b,
                "OOMPolicy=continue\n"
                "MemoryMax=1G\n"
                "TasksMax=256\n");
        strbuf_puts(b, sandbox);
        strbuf_puts(b, view ? files_of_view : files_of_host);
        if (kind_service_get(k, "User") || kind_service_get(k, "PrivateUsers") ||
                kind_service_get(k, "CapabilityBoundingSet"))
                strbuf_puts(b, sandbox_of_users);
        if (k->n_service > 0)
                strbuf_puts(b, "\n# [Service] of the kind, as it stands there\n");
        for (size_t i = 0; i < k->n_service; i++)
                strbuf_printf(b, "%s=%s\n", k->service[i].key, k->service[i].value);
}

void unit_text_timer(StrBuf *b, const Kind *k, const char *source)
{
        put_head(b, k, "timer", source);
        strbuf_puts(b, "PartOf=reeve.target\n\n[Timer]\n");
        strbuf_printf(b, "OnCalendar=%s%s\n", k->on_calendar,
                calendar_has_zone(k->on_calendar) ? "" : " UTC");
        /* The job is made for the nominal instant, by whichever host comes first. */
        strbuf_printf(b, "AccuracySec=100ms\nPersistent=%s\n",
                k->missed == KIND_MISSED_ONE ? "yes" : "no");
}

void unit_text_worker(StrBuf *b, const Kind *const *kinds, size_t n_kinds)
{
        strbuf_puts(b,
                "# Made by reeve-generator(8): a worker needs the sockets of its "
                "runs.\n\n[Unit]\n");
        for (size_t i = 0; i < n_kinds; i++) {
                if (kinds[i]->type == KIND_EXEC)
                        strbuf_printf(b,
                                "Wants=" UNIT_PREFIX "%s.socket\nAfter=" UNIT_PREFIX "%s.socket\n",
                                kinds[i]->name, kinds[i]->name);
                if (kinds[i]->on_calendar)
                        strbuf_printf(b, "Wants=" TIMER_PREFIX "%s.timer\n", kinds[i]->name);
        }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "ctl-doctor.h"

#include <glob.h>
#include <grp.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "config-load.h"

static void add_unseen(Faults *f, const char *path)
{
        faults_add(f, FAULT_NOTE, FAULT_NOT_LOOKED_AT, "sudo reevectl doctor",
                "%s was not looked at: only root may.", path);
}

/* Whether somebody else could tell more. */
static bool is_unseen(int error)
{
        return error == EACCES && geteuid() != 0;
}

/* ---- users, groups, files ---- */

static const char *const service_users[] = { "reeve", "reeve-api", "reeve-worker", "reeve-run",
        "reeve-postgres" };

static void judge_users(Faults *f)
{
        static const char *const groups[] = { "reeve-admin", "reeve-blob" };
        const struct group *admin;

        for (size_t i = 0; i < ELEMENTSOF(service_users); i++)
                if (!getpwnam(service_users[i]))
                        faults_add(f, FAULT_ERROR, "USER_MISSING", "systemd-sysusers reeve.conf",
                                "There is no user %s.", service_users[i]);
        for (size_t i = 0; i < ELEMENTSOF(groups); i++)
                if (!getgrnam(groups[i]))
                        faults_add(f, FAULT_ERROR, "GROUP_MISSING", "systemd-sysusers reeve.conf",
                                "There is no group %s.", groups[i]);
        admin = getgrnam("reeve-admin");
        for (char **m = admin ? admin->gr_mem : NULL; m && *m; m++)
                for (size_t i = 0; i < ELEMENTSOF(service_users); i++) {
                        char remedy[160];

                        if (!streq(*m, service_users[i]))
                                continue;
                        (void) snprintf(remedy, sizeof(remedy),
                                "gpasswd -d %s reeve-admin; systemctl restart reeve.target", *m);
                        faults_add(f, FAULT_ERROR, "SERVICE_IS_OPERATOR", remedy,
                                "The service user %s is a member of group reeve-admin: what runs "
                                "as it may steer Reeve.",
                                *m);
                }
}

/* As units/tmpfiles.conf and units/reeve-api.socket make them. */
static void judge_files(Faults *f)
{
        static const struct {
                const char *path, *group;
                mode_t mode;
                const char *remedy;
        } files[] = {
                { "/var/lib/reeve", "root", 0755, "systemd-tmpfiles --create reeve.conf" },
                { "/var/lib/reeve/blobs", "reeve-blob", 02770,
                        "systemd-tmpfiles --create reeve.conf" },
                { "/run/reeve", "root", 0755, "systemd-tmpfiles --create reeve.conf" },
                { "/run/reeve/run", "reeve-worker", 0750, "systemd-tmpfiles --create reeve.conf" },
                { "/run/reeve/api.sock", "root", 0666, "systemctl restart reeve-api.socket" },
        };

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                const struct group *g = getgrnam(files[i].group);
                struct stat st;
                int error = stat(files[i].path, &st) < 0 ? errno : 0;

                if (is_unseen(error))
                        add_unseen(f, files[i].path);
                else if (error != 0)
                        faults_add(f, FAULT_ERROR, "FILE_MISSING", files[i].remedy, "%s: %s.",
                                files[i].path, strerror(error));
                else if (st.st_uid != 0 || (g && st.st_gid != g->gr_gid) ||
                        (st.st_mode & 07777) != files[i].mode)
                        faults_add(f, FAULT_ERROR, "FILE_RIGHTS", files[i].remedy,
                                "%s is of user %u, group %u, with mode %04o; it should be of root, "
                                "group %s, with mode %04o.",
                                files[i].path, (unsigned) st.st_uid, (unsigned) st.st_gid,
                                (unsigned) st.st_mode & 07777, files[i].group,
                                (unsigned) files[i].mode);
        }
}

static void judge_package(Faults *f)
{
        static const char *const files[] = { "/usr/share/polkit-1/actions/org.reeve1.policy",
                "/usr/share/polkit-1/rules.d/50-reeve.rules",
                "/usr/share/polkit-1/rules.d/50-reeve-worker.rules",
                "/usr/share/dbus-1/system.d/org.reeve1.conf",
                "/usr/share/dbus-1/system-services/org.reeve1.service" };

        for (size_t i = 0; i < ELEMENTSOF(files); i++) {
                if (access(files[i], F_OK) >= 0)
                        continue;
                if (is_unseen(errno))
                        add_unseen(f, files[i]);
                else
                        faults_add(f, FAULT_ERROR, "PACKAGE_FILE",
                                "apt-get install --reinstall reeve", "%s is missing: %s.", files[i],
                                strerror(errno));
        }
}

/* ---- space ---- */

#define GIB (UINT64_C(1) << 30)
#define MIB (UINT64_C(1) << 20)

static void judge_disk(Faults *f, const char *place, const struct statvfs *fs)
{
        uint64_t n = (uint64_t) fs->f_bavail * fs->f_frsize;
        uint64_t all = (uint64_t) fs->f_blocks * fs->f_frsize;
        char is_free[TEXT_TIME_MAX], remedy[160];
        FaultLevel level;

        if (fs->f_blocks == 0)
                return;
        (void) snprintf(remedy, sizeof(remedy),
                "df -h %s; df -i %s; systemctl start reeve-maintenance.service", place, place);
        if (fs->f_files > 0 && fs->f_favail * 50 < fs->f_files)
                faults_add(f, FAULT_WARNING, "INODES_LOW", remedy,
                        "%s has %" PRIu64 " of %" PRIu64 " inodes left.", place,
                        (uint64_t) fs->f_favail, (uint64_t) fs->f_files);
        if (n < 16 * MIB || (n < all / 100 && n < GIB))
                level = FAULT_ERROR;
        else if (n < 100 * MIB || (n < all / 20 && n < 5 * GIB))
                level = FAULT_WARNING;
        else
                return;
        faults_add(f, level, "DISK_LOW", remedy, "%s has %s left.", place, text_bytes(is_free, n));
}

static void judge_disks(Faults *f)
{
        static const char *const places[] = { "/var/lib/reeve/blobs", "/var/lib/reeve/postgres",
                "/var/log/journal", "/run" };

        for (size_t i = 0; i < ELEMENTSOF(places); i++) {
                struct statvfs fs;

                if (statvfs(places[i], &fs) >= 0)
                        judge_disk(f, places[i], &fs);
                else if (is_unseen(errno))
                        add_unseen(f, places[i]);
        }
}

/* ---- kernel ---- */

static void judge_kernel(Faults *f)
{
        struct statfs fs;

        if (statfs("/sys/fs/cgroup", &fs) >= 0 && fs.f_type != CGROUP2_SUPER_MAGIC)
                faults_add(f, FAULT_NOTE, "CGROUPS_OLD",
                        "boot with systemd.unified_cgroup_hierarchy=1",
                        "This host has control groups of version 1: IPAddressDeny= and MemoryHigh= "
                        "of kinds do nothing.");
        if (access("/usr/share/zoneinfo/Europe/Berlin", F_OK) < 0)
                faults_add(f, FAULT_WARNING, "TZDATA_MISSING", "apt-get install tzdata",
                        "There are no time zones in /usr/share/zoneinfo: OnCalendar= of kinds "
                        "knows UTC only.");
}

/* ---- configuration ---- */

static void on_finding(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text)
{
        if (is_unseen(EACCES) && strstr(text, strerror(EACCES))) {
                add_unseen(userdata, file);
                return;
        }
        faults_add(userdata, level == CONF_ERROR ? FAULT_ERROR : FAULT_WARNING, "CONFIGURATION",
                "editor FILE; systemctl restart reeve-api.service reeved.service "
                "'reeve-worker@*'; see reeve.conf(5)",
                "%s:%u: %s.", file, line, text);
}

static void judge_configuration(Faults *f)
{
        _cleanup_(settings_done) Settings settings = {};
        static const char *const pools[] = { "default", "inline" };
        char root[PATH_MAX];
        glob_t kinds = {};

        (void) settings_load(ctl_root(root), on_finding, f, &settings);
        for (size_t i = 0; i < ELEMENTSOF(pools); i++) {
                _cleanup_(pool_freep) Pool *pool = NULL;

                (void) pool_load(ctl_root(root), pools[i], on_finding, f, &pool);
        }
        if (!ctl_foreground() && glob("/etc/reeve/kinds/*.kind", 0, NULL, &kinds) == 0)
                for (size_t i = 0; i < kinds.gl_pathc; i++) {
                        char remedy[4200];
                        struct stat st;

                        if (stat(kinds.gl_pathv[i], &st) < 0 ||
                                (S_ISREG(st.st_mode) && st.st_size > 0))
                                continue;
                        (void) snprintf(remedy, sizeof(remedy),
                                "rm %s; systemctl daemon-reload; systemctl restart "
                                "'reeve-worker@*'",
                                kinds.gl_pathv[i]);
                        faults_add(f, FAULT_NOTE, "KIND_MASKED", remedy,
                                "%s masks its kind: this host does not run it.", kinds.gl_pathv[i]);
                }
        globfree(&kinds);
}

void doctor_judge_host(Faults *f)
{
        judge_users(f);
        judge_files(f);
        judge_package(f);
        judge_disks(f);
        judge_kernel(f);
        judge_configuration(f);
}

void doctor_judge_foreground(Faults *f, const char *directory)
{
        struct statvfs fs;

        if (statvfs(directory, &fs) >= 0)
                judge_disk(f, directory, &fs);
        judge_configuration(f);
        faults_add(f, FAULT_NOTE, "FOREGROUND",
                "tools/quickstart as root, or the package: Reeve with systemd",
                "These are the programs of tools/quickstart --foreground in %s: there are no "
                "units, "
                "no sandbox, no watchdogs, no polkit and no users of Reeve's to look at.",
                directory);
}

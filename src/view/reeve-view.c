/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* reeve-view: shows the host's files as runs see them, once for all runs. systemd looks through the
 * whole table of mounts for each path of a unit's sandbox: done here, this is paid once. */
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd-util.h"
#include "log.h"
#include "view-path.h"

/* Replaced by what is made for the view, /run by systemd for each run. */
static const char *const left_out[] = { "/proc", "/dev", "/run" };

/* What no run may look into, whatever its permissions say. */
static const char *const hidden[] = { "/home", "/root", REEVE_SYSCONFDIR, "/var/lib/reeve/blobs",
        "/var/lib/reeve/postgres", "/usr/lib/modules" };

/* The unit has mounts of its own, as all of ours; the view is the host's, where process 1 finds it.
 */
static int join_host(void)
{
        _cleanup_(closep) int fd = open("/proc/1/ns/mnt", O_RDONLY | O_CLOEXEC);

        if (fd < 0 || setns(fd, CLONE_NEWNS) < 0)
                return log_error_errno(-errno, "Cannot join the host's mounts: %m");
        return 0;
}

/* The devices that systemd gives a unit with PrivateDevices= (null, zero, random, tty, …), which
 * are those of this process: as the unit has them, so has the view. Not attached yet. Refused where
 * they are the host's, since with them runs would see its disks. */
static int copy_devices(void)
{
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID |
                        MOUNT_ATTR_NOEXEC,
                .propagation = MS_PRIVATE };
        _cleanup_(closep) int fd = -EBADF;
        struct stat own, host;

        if (stat("/dev", &own) < 0 || stat("/proc/1/root/dev", &host) < 0)
                return log_error_errno(-errno, "Cannot look at /dev: %m");
        if (own.st_dev == host.st_dev)
                return log_error_errno(-EPERM,
                        "These are the host's devices, which runs must not see: start "
                        "reeve-view.service, which has PrivateDevices=yes.");
        fd = open_tree(AT_FDCWD, "/dev", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC);
        if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH, &attr, sizeof(attr)) < 0)
                return log_error_errno(-errno, "Cannot copy the unit's devices: %m");
        return TAKE_FD(fd);
}

/* A mount with all below it; none, and none that may be stacked below it, is left. Who is in it
 * stays there. */
static int take_away(const char *path)
{
        while (umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW) == 0)
                ;
        return errno == EINVAL || errno == ENOENT ? 0 : -errno;
}

/* A read-only copy of the tree of mounts, not attached yet. It must follow the host's (a disk that
 * is mounted or unmounted later is so in the view), and never the other way round: what is taken
 * out of the view must not vanish from the host. */
static int copy_tree(void)
{
        struct mount_attr attr = { .attr_set = MOUNT_ATTR_RDONLY, .propagation = MS_SLAVE };
        _cleanup_(closep) int fd = -EBADF;

        fd = open_tree(AT_FDCWD, "/", OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE);
        if (fd < 0 || mount_setattr(fd, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof(attr)) < 0)
                return log_error_errno(-errno, "Cannot copy the host's mounts: %m");
        return TAKE_FD(fd);
}

static int attach(int tree)
{
        if (mkdir(REEVE_VIEW_DIR, 0700) < 0 && errno != EEXIST)
                return log_error_errno(-errno, "Cannot make " REEVE_VIEW_DIR ": %m");
        if (mkdir(REEVE_VIEW, 0700) < 0 && errno != EEXIST)
                return log_error_errno(-errno, "Cannot make " REEVE_VIEW ": %m");
        if (move_mount(tree, "", AT_FDCWD, REEVE_VIEW, MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return log_error_errno(-errno, "Cannot mount " REEVE_VIEW ": %m");
        return 0;
}

static int leave_out(void)
{
        char path[64];
        int r;

        for (size_t i = 0; i < ELEMENTSOF(left_out); i++) {
                (void) snprintf(path, sizeof(path), REEVE_VIEW "%s", left_out[i]);
                r = take_away(path);
                if (r < 0)
                        return log_error_errno(r, "Cannot leave %s out: %m", left_out[i]);
        }
        return 0;
}

/* Covers what is hidden and there by an empty directory that nobody can enter. */
static int hide(void)
{
        for (size_t i = 0; i < ELEMENTSOF(hidden); i++)
                if (mount("reeve-view", hidden[i], "tmpfs",
                            MS_RDONLY | MS_NOSUID | MS_NODEV | MS_NOEXEC,
                            "mode=000,size=4k,nr_inodes=2") < 0 &&
                        errno != ENOENT && errno != ENOTDIR)
                        return log_error_errno(-errno, "Cannot hide %s: %m", hidden[i]);
        return 0;
}

/* What systemd would mount for each run: the processes, of which a run sees its own only, and
 * terminals that are those of runs alone. These all runs see, and all have the same user: nobody
 * may open one by its name, nor (read-only) change its mode; who made it has it by its
 * descriptor. A /proc of its own, so that the host's does not change. */
static int mount_interfaces(int devices)
{
        if (move_mount(devices, "", AT_FDCWD, "/dev", MOVE_MOUNT_F_EMPTY_PATH) < 0)
                return log_error_errno(-errno, "Cannot mount /dev: %m");
        if (mount("devpts", "/dev/pts", "devpts", MS_RDONLY | MS_NOSUID | MS_NOEXEC,
                    "newinstance,mode=0000,gid=5,ptmxmode=0666") < 0)
                return log_error_errno(-errno, "Cannot mount /dev/pts: %m");
        if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=invisible") <
                0)
                return log_error_errno(-errno, "Cannot mount /proc: %m");
        return 0;
}

/* From inside, so that links lead where they will lead runs. */
static int furnish(int devices)
{
        _cleanup_(closep) int root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
        int r;

        if (root < 0 || chroot(REEVE_VIEW) < 0 || chdir("/") < 0)
                return log_error_errno(-errno, "Cannot enter " REEVE_VIEW ": %m");
        r = mount_interfaces(devices);
        if (r >= 0)
                r = hide();
        if (fchdir(root) < 0 || chroot(".") < 0)
                return log_error_errno(-errno, "Cannot come back from " REEVE_VIEW ": %m");
        return r;
}

static int take_down(void)
{
        int r = take_away(REEVE_VIEW);

        if (r < 0)
                return log_error_errno(r, "Cannot unmount " REEVE_VIEW ": %m");
        if (rmdir(REEVE_VIEW) == 0 || errno == ENOENT)
                (void) rmdir(REEVE_VIEW_DIR); /* the package leaves nothing behind */
        return 0;
}

static int up(void)
{
        _cleanup_(closep) int tree = -EBADF, devices = -EBADF;
        int r;

        devices = copy_devices();
        if (devices < 0)
                return devices;
        r = join_host();
        if (r >= 0)
                r = take_down(); /* of one that was killed */
        if (r < 0)
                return r;
        tree = copy_tree();
        if (tree < 0)
                return tree;
        r = attach(tree);
        if (r >= 0)
                r = leave_out();
        if (r >= 0)
                r = furnish(devices);
        if (r < 0)
                (void) take_away(REEVE_VIEW); /* none rather than one that shows too much */
        return r;
}

static int down(void)
{
        int r = join_host();

        return r < 0 ? r : take_down();
}

static int usage(FILE *f)
{
        return fprintf(f,
                       "reeve-view up|down\n\n"
                       "Mounts the host's files at " REEVE_VIEW
                       " as runs see them, or unmounts that.\n"
                       "Started by reeve-view.service, see reeve-view(8).\n") < 0;
}

int main(int argc, char **argv)
{
        int r;

        log_setup("reeve-view");
        if (argc == 2 && (streq(argv[1], "--help") || streq(argv[1], "-h")))
                return usage(stdout) ? EXIT_FAILURE : EXIT_SUCCESS;
        if (argc == 2 && streq(argv[1], "--version")) {
                puts("reeve-view " REEVE_VERSION);
                return EXIT_SUCCESS;
        }
        if (argc != 2 || (!streq(argv[1], "up") && !streq(argv[1], "down"))) {
                (void) usage(stderr);
                return 2;
        }
        r = streq(argv[1], "up") ? up() : down();
        return r < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
}

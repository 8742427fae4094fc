/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-confine.h"

#include <asm/ioctls.h>
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/ioprio.h>
#include <linux/seccomp.h>
#include <linux/sockios.h>
#include <signal.h>
#include <stdio.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "exec-tree.h"
#include "fd-util.h"
#include "macros.h"

#define ASK       SECCOMP_RET_USER_NOTIF
#define LET       SECCOMP_RET_ALLOW
#define REFUSE    (SECCOMP_RET_ERRNO | EPERM)
#define NOT_THERE (SECCOMP_RET_ERRNO | ENOSYS)

/* What stands in place of an argument's number. */
#define ANY    (-1) /* the rule fits always */
#define SECRET (-2) /* arguments value and value + 1 are what only the launcher knows */
#define MYSELF (-3) /* argument 0 is the launcher's number */

/* The first that fits decides; what fits none is let through. Those of one call stand together. */
typedef struct Rule {
        int nr;
        int arg; /* that must be value */
        uint32_t value;
        uint32_t action;
} Rule;

static const Rule rules[] = {
        { SYS_kill, 0, 0, LET },
        { SYS_kill, SECRET, 2, LET },
        { SYS_kill, 0, UINT32_MAX, REFUSE },
        { SYS_kill, ANY, 0, ASK },
        { SYS_tgkill, MYSELF, 0, LET }, /* abort(): it cannot ask itself */
        { SYS_tgkill, ANY, 0, ASK },
        { SYS_tkill, ANY, 0, ASK },
        { SYS_rt_sigqueueinfo, ANY, 0, ASK },
        { SYS_rt_tgsigqueueinfo, ANY, 0, ASK },
        { SYS_pidfd_send_signal, ANY, 0, NOT_THERE },
        /* SIGIO, or what F_SETSIG says, goes to a descriptor's owner. */
        { SYS_fcntl, 1, F_SETOWN, ASK },
        { SYS_fcntl, 1, F_SETOWN_EX, REFUSE },
        { SYS_ioctl, 1, FIOSETOWN, REFUSE },
        { SYS_ioctl, 1, SIOCSPGRP, REFUSE },
        /* A limit on CPU time or memory can end a process as well. */
        { SYS_prlimit64, 0, 0, LET },
        { SYS_prlimit64, SECRET, 4, LET },
        { SYS_prlimit64, ANY, 0, ASK },
        { SYS_setpriority, 0, PRIO_USER, REFUSE },
        { SYS_setpriority, 1, 0, LET },
        { SYS_setpriority, ANY, 0, ASK },
        { SYS_ioprio_set, 0, IOPRIO_WHO_USER, REFUSE },
        { SYS_ioprio_set, 1, 0, LET },
        { SYS_ioprio_set, ANY, 0, ASK },
        { SYS_sched_setaffinity, 0, 0, LET },
        { SYS_sched_setaffinity, ANY, 0, ASK },
        { SYS_sched_setscheduler, 0, 0, LET },
        { SYS_sched_setscheduler, ANY, 0, ASK },
        { SYS_sched_setparam, 0, 0, LET },
        { SYS_sched_setparam, ANY, 0, ASK },
        { SYS_sched_setattr, 0, 0, LET },
        { SYS_sched_setattr, ANY, 0, ASK },
};

static unsigned long secret[2]; /* in the launcher's memory, where no handler can look */

typedef struct Filter {
        struct sock_filter code[256];
        unsigned short n;
} Filter;

static void put(Filter *f, uint16_t code, uint32_t k)
{
        assert(f->n < ELEMENTSOF(f->code));
        f->code[f->n++] = (struct sock_filter) BPF_STMT(code, k);
}

/* If the word at offset is not value, what follows until end_test() is jumped over. */
static unsigned test(Filter *f, size_t offset, uint32_t value)
{
        put(f, BPF_LD | BPF_W | BPF_ABS, (uint32_t) offset);
        put(f, BPF_JMP | BPF_JEQ | BPF_K, value);
        return f->n - 1U;
}

static void end_test(Filter *f, unsigned at)
{
        f->code[at].jf = (uint8_t) (f->n - at - 1);
}

/* Where the low or the high half of an argument stands. The low one is the int that the kernel
 * takes. */
static size_t half_of(int arg, bool high)
{
        size_t offset = offsetof(struct seccomp_data, args) + (size_t) arg * sizeof(uint64_t);

        return offset + (high == (__BYTE_ORDER == __LITTLE_ENDIAN) ? sizeof(uint32_t) : 0);
}

static void put_rule(Filter *f, const Rule *r, uint32_t action)
{
        unsigned tests[4], n = 0;

        if (r->arg == SECRET)
                for (int i = 0; i < 4; i++)
                        tests[n++] = test(f, half_of((int) r->value + i / 2, i % 2),
                                (uint32_t) ((uint64_t) secret[i / 2] >> (i % 2 ? 32 : 0)));
        else if (r->arg == MYSELF)
                tests[n++] = test(f, half_of(0, false), (uint32_t) getpid());
        else if (r->arg != ANY)
                tests[n++] = test(f, half_of(r->arg, false), r->value);
        put(f, BPF_RET | BPF_K, action);
        while (n > 0)
                end_test(f, tests[--n]);
}

/* The architecture is not looked at: SystemCallArchitectures=native leaves one. */
static void make_filter(Filter *f, uint32_t ask)
{
        f->n = 0;
        for (size_t i = 0; i < ELEMENTSOF(rules);) {
                int nr = rules[i].nr;
                unsigned at = test(f, offsetof(struct seccomp_data, nr), (uint32_t) nr);

                for (; i < ELEMENTSOF(rules) && rules[i].nr == nr; i++)
                        put_rule(f, &rules[i], rules[i].action == ASK ? ask : rules[i].action);
                put(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
                end_test(f, at);
        }
        put(f, BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
}

static int install(uint32_t ask, unsigned flags)
{
        struct sock_fprog program;
        Filter f;
        long r;

        make_filter(&f, ask);
        program = (struct sock_fprog){ .len = f.n, .filter = f.code };
        r = syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, flags, &program);
        return r < 0 ? -errno : (int) r;
}

int exec_confine(void)
{
        unsigned flags = SECCOMP_FILTER_FLAG_NEW_LISTENER;
        int r;

        if (getrandom(secret, sizeof(secret), 0) != (ssize_t) sizeof(secret))
                return -errno;
        if (prctl(PR_SET_DUMPABLE, 0) < 0)
                return -errno;
        r = install(ASK, flags | SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV);
        if (r == -EINVAL) /* before Linux 5.19 */
                r = install(ASK, flags);
        if (r < 0)
                (void) install(LET, 0);
        return r;
}

int exec_confine_kill(pid_t pid, int signal)
{
        return (int) syscall(SYS_kill, pid, signal, secret[0], secret[1]);
}

int exec_confine_limit(pid_t pid, int resource, const struct rlimit *limit)
{
        return (int) syscall(SYS_prlimit64, pid, resource, limit, NULL, secret[0], secret[1]);
}

/* ---- the answers ---- */

/* The process that a call names; a group is negative, 0 is the caller. */
static pid_t target_of(const struct seccomp_data *d)
{
        pid_t which = (pid_t) d->args[0];
        pid_t who = (pid_t) d->args[1];

        switch (d->nr) {
        case SYS_fcntl:
                return (pid_t) d->args[2];
        case SYS_setpriority:
                return which == PRIO_PGRP ? -who : who;
        case SYS_ioprio_set:
                return which == IOPRIO_WHO_PGRP ? -who : who;
        default:
                return which;
        }
}

/* A kind may allow namespaces: in another one of processes, numbers do not name ours. */
static bool is_elsewhere(pid_t caller)
{
        _cleanup_(freep) char *text = NULL;
        char path[32];
        const char *p;
        unsigned depth = 0;

        (void) snprintf(path, sizeof(path), "/proc/%d/status", (int) caller);
        if (read_file(AT_FDCWD, path, 64UL * 1024, &text, NULL) < 0)
                return false;
        p = strstr(text, "\nNSpid:");
        for (p = p ? p + 1 : ""; *p && *p != '\n'; p++)
                depth += *p == '\t';
        return depth > 1;
}

/* Returns 0 to let it through, or -errno for the caller. */
static int judge(const struct seccomp_notif *n, pid_t child)
{
        pid_t target = target_of(&n->data);

        if (target == 0)
                return 0;
        /* Sessions are made by setsid() only: whoever is in the handler's is below it. A group is
         * in one session. */
        if (child > 0 && target != INT32_MIN && getsid(target < 0 ? -target : target) == child)
                return 0;
        if (target != INT32_MIN && exec_tree_has(target) > 0)
                return 0;
        if (is_elsewhere((pid_t) n->pid))
                return 0;
        return exec_confine_kill(target, 0) < 0 && errno == ESRCH ? -ESRCH : -EPERM;
}

int exec_confine_answer(int listener, pid_t child)
{
        struct seccomp_notif n = {};
        struct seccomp_notif_resp answer = {};

        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_RECV, &n) < 0)
                return errno == ENOENT || errno == EINTR || errno == EAGAIN ? 0 : -errno;
        answer.id = n.id;
        answer.error = judge(&n, child);
        if (answer.error == 0)
                answer.flags = SECCOMP_USER_NOTIF_FLAG_CONTINUE;
        /* ENOENT: the caller was interrupted or killed meanwhile. */
        if (ioctl(listener, SECCOMP_IOCTL_NOTIF_SEND, &answer) < 0 && errno != ENOENT)
                return -errno;
        return 0;
}

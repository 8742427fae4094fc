/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "exec-confine.h"

#include <endian.h>
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "macros.h"

/* Where the int of kill()'s first argument stands in its 64 bits. */
#if __BYTE_ORDER == __LITTLE_ENDIAN
#define FIRST_ARGUMENT offsetof(struct seccomp_data, args[0])
#else
#define FIRST_ARGUMENT (offsetof(struct seccomp_data, args[0]) + sizeof(uint32_t))
#endif

/* The architecture is not looked at: SystemCallArchitectures=native leaves one, and elsewhere the
 * worst is that a call of that number with that argument is refused. */
int exec_confine_signals(void)
{
        struct sock_filter filter[] = {
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_kill, 0, 3),
                BPF_STMT(BPF_LD | BPF_W | BPF_ABS, FIRST_ARGUMENT),
                BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, UINT32_MAX, 0, 1),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
                BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
        };
        const struct sock_fprog program = { .len = ELEMENTSOF(filter), .filter = filter };

        return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program) < 0 ? -errno : 0;
}

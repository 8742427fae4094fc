/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Preloaded into a program, steps its CLOCK_REALTIME by as many microseconds as stand (8 bytes) in
 * the file that STEP_CLOCK= names. All other clocks, and timers, stay as they are: so does a step
 * of a host's clock. (libfaketime moves absolute timers of CLOCK_MONOTONIC, too.) */
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define EXPORT __attribute__((visibility("default")))

static const volatile int64_t *offset_usec;

__attribute__((constructor)) static void open_clock(void)
{
        const char *path = getenv("STEP_CLOCK");
        int fd = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        void *p = fd >= 0 ? mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, fd, 0) : MAP_FAILED;

        if (fd >= 0)
                close(fd);
        if (p != MAP_FAILED)
                offset_usec = p;
}

EXPORT int clock_gettime(clockid_t id, struct timespec *ts)
{
        int r = (int) syscall(SYS_clock_gettime, id, ts);
        int64_t nsec;

        if (r < 0 || !offset_usec || (id != CLOCK_REALTIME && id != CLOCK_REALTIME_COARSE))
                return r;
        nsec = (int64_t) ts->tv_sec * 1000000000 + ts->tv_nsec + *offset_usec * 1000;
        ts->tv_sec = nsec / 1000000000;
        ts->tv_nsec = nsec % 1000000000;
        return 0;
}

EXPORT int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
        struct timespec ts;

        if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
                return -1;
        tv->tv_sec = ts.tv_sec;
        tv->tv_usec = ts.tv_nsec / 1000;
        return 0;
}

EXPORT time_t time(time_t *ret)
{
        struct timespec ts;

        if (clock_gettime(CLOCK_REALTIME, &ts) < 0)
                return -1;
        if (ret)
                *ret = ts.tv_sec;
        return ts.tv_sec;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#undef _FORTIFY_SOURCE /* it would make others of the functions that are defined here */
#include "torture.h"

#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <malloc.h>
#include <stdio.h>
#include <unistd.h>
#include <unwind.h>

/* What malloc() and its family are made of: clang's ASan has them under these names for programs
 * that put their own in between (compiler-rt, "interception.h"), and so has glibc. */
#ifndef __has_feature
#define __has_feature(x) 0
#endif
#if __has_feature(address_sanitizer)
#define REAL(name) __interceptor_##name
#else
#define REAL(name) __libc_##name
#endif
#define PUBLIC __attribute__((visibility("default")))

void *REAL(malloc)(size_t size);
void *REAL(calloc)(size_t n, size_t size);
void *REAL(realloc)(void *p, size_t size);
void *REAL(memalign)(size_t alignment, size_t size);
void REAL(free)(void *p);

#define LIVE_MAX   (1U << 16)
#define FRAMES_MAX 24
#define FDS_MAX    256

/* A block that the call has allocated and not freed; found by its address. */
typedef struct Block {
        void *p; /* NULL: free; GONE: was used, the search goes on behind it */
        void *from; /* who asked for it */
} Block;

#define GONE ((void *) 1)

static struct {
        bool on; /* a call is under way */
        bool held;
        bool whole; /* nothing fails */
        bool from_then_on;
        unsigned n, fail_at; /* from 1 */
        unsigned n_failed;
        unsigned n_live;
        Block live[LIVE_MAX];
        void *frames[FRAMES_MAX]; /* of the first that failed */
        int n_frames;
} t;

static unsigned slot_of(const void *p)
{
        return (unsigned) (((uintptr_t) p >> 4) * 2654435761U) % LIVE_MAX;
}

static void *remember(void *p, void *from)
{
        unsigned i = slot_of(p);

        if (!p || !t.on)
                return p;
        while (t.live[i].p && t.live[i].p != GONE)
                i = (i + 1) % LIVE_MAX;
        t.live[i] = (Block){ p, from };
        t.n_live++;
        if (t.n_live > LIVE_MAX / 2)
                abort(); /* the table is too small for this call */
        return p;
}

static void forget(const void *p)
{
        if (!p || !t.on)
                return;
        for (unsigned i = slot_of(p); t.live[i].p; i = (i + 1) % LIVE_MAX)
                if (t.live[i].p == p) {
                        t.live[i].p = GONE;
                        t.n_live--;
                        return;
                }
}

static _Unwind_Reason_Code take_frame(struct _Unwind_Context *context, void *userdata)
{
        if (t.n_frames == FRAMES_MAX)
                return _URC_END_OF_STACK;
        t.frames[t.n_frames++] = (void *) _Unwind_GetIP(context);
        return _URC_NO_REASON;
}

static bool must_fail(void)
{
        if (!t.on || t.held)
                return false;
        t.n++;
        if (t.whole || (t.from_then_on ? t.n < t.fail_at : t.n != t.fail_at))
                return false;
        if (t.n_failed++ == 0) {
                t.held = true;
                (void) _Unwind_Backtrace(take_frame, NULL);
                t.held = false;
        }
        errno = ENOMEM;
        return true;
}

#define FROM __builtin_return_address(0)

PUBLIC void *malloc(size_t size)
{
        return must_fail() ? NULL : remember(REAL(malloc)(size), FROM);
}

PUBLIC void *calloc(size_t n, size_t size)
{
        return must_fail() ? NULL : remember(REAL(calloc)(n, size), FROM);
}

static void *resize(void *p, size_t size, void *from)
{
        void *q;

        if (must_fail())
                return NULL;
        forget(p);
        q = REAL(realloc)(p, size);
        if (!q && size > 0)
                return remember(p, from), NULL;
        return remember(q, from);
}

PUBLIC void *realloc(void *p, size_t size)
{
        return resize(p, size, FROM);
}

PUBLIC void *reallocarray(void *p, size_t n, size_t size)
{
        size_t total;

        if (__builtin_mul_overflow(n, size, &total)) {
                errno = ENOMEM;
                return NULL;
        }
        return resize(p, total, FROM);
}

PUBLIC void *memalign(size_t alignment, size_t size)
{
        return must_fail() ? NULL : remember(REAL(memalign)(alignment, size), FROM);
}

PUBLIC void *aligned_alloc(size_t alignment, size_t size)
{
        return must_fail() ? NULL : remember(REAL(memalign)(alignment, size), FROM);
}

PUBLIC int posix_memalign(void **ret, size_t alignment, size_t size)
{
        void *p = must_fail() ? NULL : remember(REAL(memalign)(alignment, size), FROM);

        if (!p)
                return ENOMEM;
        *ret = p;
        return 0;
}

PUBLIC char *strndup(const char *s, size_t n)
{
        size_t size = strnlen(s, n);
        char *p = must_fail() ? NULL : remember(REAL(malloc)(size + 1), FROM);

        if (!p)
                return NULL;
        memcpy(p, s, size);
        p[size] = '\0';
        return p;
}

PUBLIC char *strdup(const char *s)
{
        size_t size = strlen(s) + 1;
        char *p = must_fail() ? NULL : remember(REAL(malloc)(size), FROM);

        return p ? memcpy(p, s, size) : NULL;
}

/* As one allocation: libc's own makes do with another size if it cannot have the right one. */
PUBLIC int vasprintf(char **ret, const char *format, va_list ap)
{
        va_list copy;
        char *p;
        int n;

        va_copy(copy, ap);
        n = vsnprintf(NULL, 0, format, copy);
        va_end(copy);
        p = n < 0 || must_fail() ? NULL : remember(REAL(malloc)((size_t) n + 1), FROM);
        if (!p)
                return -1;
        *ret = p;
        return vsnprintf(p, (size_t) n + 1, format, ap);
}

PUBLIC int asprintf(char **ret, const char *format, ...)
{
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(ret, format, ap);
        va_end(ap);
        return n;
}

/* What they are called with _FORTIFY_SOURCE. */
int __vasprintf_chk(char **ret, int flag, const char *format, va_list ap) _printf_(3, 0);
PUBLIC int __vasprintf_chk(char **ret, int flag, const char *format, va_list ap)
{
        return vasprintf(ret, format, ap);
}

int __asprintf_chk(char **ret, int flag, const char *format, ...) _printf_(3, 4);
PUBLIC int __asprintf_chk(char **ret, int flag, const char *format, ...)
{
        va_list ap;
        int n;

        va_start(ap, format);
        n = vasprintf(ret, format, ap);
        va_end(ap);
        return n;
}

PUBLIC void free(void *p)
{
        forget(p);
        REAL(free)(p);
}

/* ---- the runs ---- */

void torture_hold(void)
{
        t.held = true;
}

void torture_release(void)
{
        t.held = false;
}

static unsigned n_descriptors(void)
{
        unsigned n = 0;

        for (int fd = 0; fd < FDS_MAX; fd++)
                n += fcntl(fd, F_GETFD) >= 0;
        return n;
}

static void print_frames(void *const *frames, int n)
{
        (void) fflush(stderr);
        backtrace_symbols_fd(frames, n, STDERR_FILENO);
}

static void complain(const TortureCase *c, const char *what, int r)
{
        (void) fprintf(stderr, "%s: allocation %u%s failed: %s (%d); it was asked for by\n",
                c->name, t.fail_at, t.from_then_on ? " and all behind it" : "", what, r);
        print_frames(t.frames, t.n_frames);
        for (unsigned i = 0, n = 0; i < LIVE_MAX && n < 8; i++)
                if (t.live[i].p && t.live[i].p != GONE) {
                        (void) fprintf(stderr, "left behind: a block from\n");
                        print_frames(&t.live[i].from, 1);
                        n++;
                }
        fail_msg("%s: %s", c->name, what);
}

static bool is_of_libcrypto(const void *at)
{
        Dl_info info;

        return dladdr(at, &info) && strstr(info.dli_fname, "/libcrypto.");
}

/* Where an allocation of libcrypto's fails, it tries another way, and loses what it had begun. That
 * is not ours; what fails and what is lost elsewhere is. */
static bool failed_in_libcrypto(void)
{
        for (int i = 0; i < t.n_frames && i < 4; i++)
                if (is_of_libcrypto(t.frames[i]))
                        return true;
        return false;
}

static unsigned n_left(void)
{
        unsigned n = t.n_live;

        if (n > 0 && failed_in_libcrypto())
                for (unsigned i = 0; i < LIVE_MAX; i++)
                        n -= t.live[i].p && t.live[i].p != GONE && is_of_libcrypto(t.live[i].from);
        return n;
}

static int run_call(const TortureCase *c, bool from_then_on, unsigned fail_at)
{
        int r;

        memset(t.live, 0, sizeof(t.live));
        t.n = t.n_failed = t.n_live = 0;
        t.n_frames = 0;
        t.fail_at = fail_at;
        t.whole = fail_at == 0;
        t.from_then_on = from_then_on;
        t.held = false;
        t.on = true;
        r = c->call(c->userdata);
        t.on = false;
        return r;
}

static void run_once(const TortureCase *c, bool from_then_on, unsigned fail_at)
{
        unsigned n_fds = n_descriptors();
        int r = run_call(c, from_then_on, fail_at);

        if (t.n_failed == 0 ? r != 0
                            : r != -ENOMEM && !(r == 0 && (c->copes || failed_in_libcrypto())))
                complain(c, "a wrong result", r);
        if (n_descriptors() != n_fds)
                complain(c, "a descriptor is left behind", r);
        /* What a library makes once and keeps for good is not made again. */
        if (n_left() > 0)
                r = run_call(c, from_then_on, fail_at);
        if (n_left() > 0)
                complain(c, "memory is left behind", r);
}

unsigned torture(const TortureCase *c)
{
        unsigned n;

        (void) run_call(c, false, 0);
        run_once(c, false, 0);
        n = t.n;
        for (unsigned i = 1; i <= n; i++) {
                run_once(c, false, i);
                run_once(c, true, i);
        }
        return n;
}

void torture_all(const TortureCase *cases)
{
        for (; cases->name; cases++) {
                unsigned n = torture(cases);

                (void) printf("%s: %u allocations\n", cases->name, n);
                if (n == 0)
                        fail_msg("%s allocates nothing", cases->name);
        }
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <assert.h>
#include <errno.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* The few compiler extensions of the dialect (CODING.md): cleanup, typeof, statement expressions in
 * three macros. */

#define _cleanup_(f)    __attribute__((cleanup(f)))
#define _printf_(a, b)  __attribute__((format(printf, a, b)))
#define _unused_        __attribute__((unused))
#define _warn_unused_   __attribute__((warn_unused_result))
#define _noreturn_      __attribute__((noreturn))
#define ELEMENTSOF(a)   (sizeof(a) / sizeof((a)[0]))
#define CONST_STRLEN(s) (sizeof(s) - 1) /* of a literal or a char array */

/* Takes the pointer out of a variable and leaves NULL, so that a cleanup attribute there does
 * nothing. */
#define TAKE_PTR(p)                                                                                \
        ({                                                                                         \
                typeof(p) _taken = (p);                                                            \
                (p) = NULL;                                                                        \
                _taken;                                                                            \
        })

/* The same for a file descriptor, which becomes -EBADF. */
#define TAKE_FD(fd)                                                                                \
        ({                                                                                         \
                int _taken = (fd);                                                                 \
                (fd) = -EBADF;                                                                     \
                _taken;                                                                            \
        })

/* Evaluates to the value of any variable and leaves its type's zero. */
#define STEAL(v)                                                                                   \
        ({                                                                                         \
                typeof(v) _stolen = (v);                                                           \
                (v) = (typeof(v)){ 0 };                                                            \
                _stolen;                                                                           \
        })

/* Defines x_freep() for a type whose x_free() takes NULL and returns NULL. */
#define DEFINE_CLEANUP(type, free_func)                                                            \
        static inline void free_func##p(type **p)                                                  \
        {                                                                                          \
                if (*p)                                                                            \
                        *p = free_func(*p);                                                        \
        }

#define CONTAINER_OF(ptr, type, member) ((type *) ((char *) (ptr) -offsetof(type, member)))

static inline void freep(void *p)
{
        free(*(void **) p);
}

static inline void *mfree(void *p)
{
        free(p);
        return NULL;
}

#define new0(type, n) ((type *) calloc((n) ? (n) : 1, sizeof(type)))

static inline bool streq(const char *a, const char *b)
{
        return strcmp(a, b) == 0;
}

static inline bool streq_ptr(const char *a, const char *b)
{
        return a == b || (a && b && strcmp(a, b) == 0);
}

/* Replaces *p by a copy of s (s may be NULL). Returns 0 or -ENOMEM; *p is untouched on failure. */
static inline int free_and_strdup(char **p, const char *s)
{
        char *c = NULL;

        if (s) {
                c = strdup(s);
                if (!c)
                        return -ENOMEM;
        }

        free(*p);
        *p = c;
        return 0;
}

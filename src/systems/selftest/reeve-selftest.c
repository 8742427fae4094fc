/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "fd-util.h"
#include "strbuf.h"

/* The handler of the kind reeve-selftest: the payload is the result, the input file is the output
 * file. It knows the contract of reeve-handler(7) only. */

#define IN_NAME  "selftest.bin"
#define OUT_NAME "selftest.out"

static int fail(const char *what, int error)
{
        fprintf(stderr, "%s: %s\n", what, strerror(-error));
        return 75; /* to be tried again */
}

static int open_in(const char *variable, const char *name, int flags)
{
        _cleanup_(strbuf_done) StrBuf path = {};
        const char *dir = getenv(variable);
        int fd;

        if (!dir)
                return -ENOENT;
        strbuf_printf(&path, "%s/%s", dir, name);
        fd = open(strbuf_str(&path), flags | O_CLOEXEC, 0644);
        return fd < 0 ? -errno : fd;
}

static int copy(int from, int to)
{
        char buf[65536];
        ssize_t n;

        while ((n = read_all(from, buf, sizeof(buf))) > 0) {
                int r = write_all(to, buf, (size_t) n);

                if (r < 0)
                        return r;
        }
        return (int) n;
}

int main(void)
{
        _cleanup_(closep) int in = open_in("REEVE_INPUT_DIR", IN_NAME, O_RDONLY), out = -EBADF;
        int r;

        if (in < 0)
                return fail("input " IN_NAME, in);
        out = open_in("REEVE_OUTPUT_DIR", OUT_NAME, O_WRONLY | O_CREAT | O_EXCL);
        if (out < 0)
                return fail("output " OUT_NAME, out);
        r = copy(in, out);
        if (r < 0)
                return fail("copying " IN_NAME, r);
        r = copy(STDIN_FILENO, STDOUT_FILENO);
        return r < 0 ? fail("the payload", r) : EXIT_SUCCESS;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <locale.h>
#include <poll.h>
#include <signal.h>
#include <unistd.h>

#include "ctl.h"
#include "fd-util.h"

#define DEFAULT_SOCKET "/run/reeve/api.sock"
#define KEY_MAX        4096U

static void ctl_done(Ctl *c)
{
        http_client_done(&c->client);
        free(c->again);
        c->again = NULL;
        c->key = mfree(c->key);
}

static int read_key(Ctl *c, const char *path)
{
        int r = read_file(AT_FDCWD, path, KEY_MAX, &c->key, NULL);
        size_t n;

        if (r < 0)
                return ctl_error(
                        EXIT_STATUS_FAILED, "Cannot read the key in %s: %s.", path, strerror(-r));
        n = strcspn(c->key, "\r\n");
        if (n == 0 || strspn(c->key + n, "\r\n \t") != strlen(c->key + n))
                return ctl_error(EXIT_STATUS_FAILED, "%s does not hold one line with a key.", path);
        c->key[n] = '\0';
        for (const char *p = c->key; *p; p++)
                if (*p <= ' ' || *p >= 0x7f)
                        return ctl_error(
                                EXIT_STATUS_FAILED, "%s holds a character that no key has.", path);
        c->client.key = c->key;
        return EXIT_STATUS_OK;
}

static int choose_target(Ctl *c)
{
        const char *socket = c->values[OPTION_SOCKET], *url = c->values[OPTION_URL];
        int r;

        c->client.socket_path = socket ? socket : DEFAULT_SOCKET;
        if (socket && url)
                return ctl_error(EXIT_STATUS_USAGE, "--socket and --url exclude each other.");
        if (url) {
                r = http_client_set_url(&c->client, url);
                if (r < 0)
                        return r == -ENOMEM ? ctl_oom()
                                            : ctl_error(EXIT_STATUS_USAGE, "%s.", c->client.wrong);
        }
        if (c->values[OPTION_KEY_FILE])
                return read_key(c, c->values[OPTION_KEY_FILE]);
        return EXIT_STATUS_OK;
}

static int run(Ctl *c, int argc, char *argv[])
{
        int r = ctl_read_command_line(c, argc, argv);

        if (r != EXIT_STATUS_OK)
                return r;
        if (c->values[OPTION_VERSION]) {
                puts("reevectl " REEVE_VERSION);
                return EXIT_STATUS_OK;
        }
        if (c->values[OPTION_HELP]) {
                ctl_print_help(stdout, c->verb);
                return EXIT_STATUS_OK;
        }
        if (!c->verb) {
                ctl_print_help(stderr, NULL);
                return EXIT_STATUS_USAGE;
        }
        r = choose_target(c);
        return r == EXIT_STATUS_OK ? c->verb->run(c) : r;
}

/* "reevectl list | head": who read has seen enough. */
static bool is_reader_gone(void)
{
        struct pollfd p = { .fd = STDOUT_FILENO, .events = POLLOUT };

        return poll(&p, 1, 0) > 0 && (p.revents & POLLERR);
}

int main(int argc, char *argv[])
{
        _cleanup_(ctl_done) Ctl c = {};
        const char *no_colour = getenv("NO_COLOR");
        int r;

        /* How wide characters are. Numbers stay as C writes them. */
        (void) setlocale(LC_CTYPE, "");
        c.bold = isatty(STDOUT_FILENO) && !(no_colour && *no_colour) &&
                !streq_ptr(getenv("TERM"), "dumb");
        r = run(&c, argc, argv);
        /* A full disk is a failure too, not only a bad answer. */
        if ((fflush(stdout) != 0 || ferror(stdout)) && r == EXIT_STATUS_OK)
                r = is_reader_gone()
                        ? EXIT_STATUS_FAILED
                        : ctl_error(EXIT_STATUS_FAILED, "Cannot write to standard output: %s.",
                                  strerror(errno));
        return r;
}

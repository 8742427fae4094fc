/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "log.h"

#include <stdarg.h>
#include <stdio.h>
#include <strings.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <systemd/sd-journal.h>
#include <unistd.h>

#include "parse-util.h"

#define LOG_LINE_MAX   4096
#define LOG_FIELDS_MAX 16

static const char *log_name = "reeve";
static int log_max_level = LOG_INFO;
static bool log_to_journal;

static const char *const level_names[] = { "emerg", "alert", "crit", "err", "warning", "notice",
        "info", "debug" };

int log_level_from_string(const char *s, int *ret)
{
        unsigned v;

        for (size_t i = 0; i < ELEMENTSOF(level_names); i++)
                if (strcasecmp(s, level_names[i]) == 0) {
                        *ret = (int) i;
                        return 0;
                }
        if (parse_unsigned(s, LOG_EMERG, LOG_DEBUG, &v) < 0)
                return -EINVAL;
        *ret = (int) v;
        return 0;
}

const char *log_level_to_string(int level)
{
        return level >= 0 && level < (int) ELEMENTSOF(level_names) ? level_names[level] : "?";
}

/* systemd names the journal's stream by device and inode; only then is stderr really the journal.
 */
static bool stderr_is_journal(void)
{
        const char *e = getenv("JOURNAL_STREAM");
        unsigned long long dev, ino;
        struct stat st;
        char *end;

        if (!e)
                return false;
        errno = 0;
        dev = strtoull(e, &end, 10);
        if (errno || *end != ':')
                return false;
        ino = strtoull(end + 1, &end, 10);
        return errno == 0 && *end == '\0' && fstat(STDERR_FILENO, &st) == 0 && st.st_dev == dev &&
                st.st_ino == ino;
}

void log_setup(const char *name)
{
        const char *level = getenv("REEVE_LOG_LEVEL");

        log_name = name;
        log_to_journal = stderr_is_journal();
        if (level)
                (void) log_level_from_string(level, &log_max_level);
}

void log_set_max_level(int level)
{
        log_max_level = level;
}

int log_get_max_level(void)
{
        return log_max_level;
}

const char *log_get_target(void)
{
        return log_to_journal ? "journal" : "console";
}

static void write_journal(int level, const char *text, const char *const *fields)
{
        struct iovec iov[LOG_FIELDS_MAX + 3];
        char *owned[LOG_FIELDS_MAX + 3];
        int n = 0;

        if (asprintf(&owned[n], "MESSAGE=%s", text) >= 0)
                n++;
        if (asprintf(&owned[n], "PRIORITY=%d", level) >= 0)
                n++;
        if (asprintf(&owned[n], "SYSLOG_IDENTIFIER=%s", log_name) >= 0)
                n++;
        for (; fields && fields[0] && n < (int) ELEMENTSOF(iov); fields += 2)
                if (fields[1] && asprintf(&owned[n], "%s=%s", fields[0], fields[1]) >= 0)
                        n++;

        for (int i = 0; i < n; i++)
                iov[i] = (struct iovec){ owned[i], strlen(owned[i]) };
        (void) sd_journal_sendv(iov, n);
        for (int i = 0; i < n; i++)
                free(owned[i]);
}

_printf_(4, 0) static int log_write(
        int level, int error, const char *const *fields, const char *format, va_list ap)
{
        int saved = errno, priority = level & LOG_PRIMASK;
        char text[LOG_LINE_MAX];

        if (priority <= log_max_level) {
                errno = error < 0 ? -error : error; /* for %m */
                (void) vsnprintf(text, sizeof(text), format, ap);
                if (log_to_journal)
                        write_journal(priority, text, fields);
                else
                        (void) dprintf(STDERR_FILENO, "%s: %s\n", log_name, text);
        }

        errno = saved;
        return error;
}

int log_full(int level, int error, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        error = log_write(level, error, NULL, format, ap);
        va_end(ap);
        return error;
}

int log_fields(int level, int error, const char *const *fields, const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        error = log_write(level, error, fields, format, ap);
        va_end(ap);
        return error;
}

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "migration-files.h"

#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "conf.h"
#include "fd-util.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "strbuf.h"

void migration_files_done(MigrationFiles *f)
{
        for (size_t i = 0; i < f->n; i++) {
                free(f->files[i].name);
                free(f->files[i].label);
                free(f->files[i].path);
                free(f->files[i].up);
                free(f->files[i].down);
        }
        free(f->files);
        *f = (MigrationFiles){ 0 };
}

static int _printf_(3, 4) complain(char **ret_text, int error, const char *format, ...)
{
        StrBuf b = {};
        va_list ap;
        char *text;

        va_start(ap, format);
        strbuf_vprintf(&b, format, ap);
        va_end(ap);
        text = strbuf_steal(&b);
        if (!text)
                return -ENOMEM;
        *ret_text = text;
        return error;
}

/* NNNN_name.up.sql: 4 to 6 digits, then a name of letters, digits, '_' and '-'. Returns the length
 * of the label, 0 if it is no such name. */
static size_t parse_name(const char *file, const char *suffix, unsigned *ret_version)
{
        size_t digits = strspn(file, "0123456789");
        size_t length = strlen(file) - strlen(suffix);
        char number[8];

        if (digits < 4 || digits > 6 || file[digits] != '_' || length <= digits + 1)
                return 0;
        for (size_t i = digits + 1; i < length; i++)
                if (!isalnum((unsigned char) file[i]) && !strchr("_-", file[i]))
                        return 0;
        memcpy(number, file, digits);
        number[digits] = '\0';
        *ret_version = (unsigned) strtoul(number, NULL, 10);
        return *ret_version > 0 ? length : 0;
}

static int read_script(const char *path, char **ret, char **ret_text)
{
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r;

        r = read_file(AT_FDCWD, path, REEVE_MIGRATION_MAX, &text, &size);
        if (r == -ENOMEM)
                return r;
        if (r == -EFBIG)
                return complain(ret_text, -EINVAL, "%s is larger than %lu bytes", path,
                        REEVE_MIGRATION_MAX);
        if (r < 0)
                return complain(ret_text, -EINVAL, "Cannot read %s: %s", path, strerror(-r));
        if (strlen(text) != size || !utf8_is_valid(text, size))
                return complain(ret_text, -EINVAL, "%s is not a text in UTF-8", path);
        *ret = TAKE_PTR(text);
        return 0;
}

static char *join_path(const char *directory, const char *name, size_t length, const char *suffix)
{
        StrBuf b = {};

        strbuf_printf(&b, "%s/%.*s%s", directory, (int) length, name, suffix);
        return strbuf_steal(&b);
}

/* file is NNNN_name.up.sql; the next version is f->n + 1. */
static int add_file(MigrationFiles *f, const char *directory, const char *file, char **ret_text)
{
        MigrationFile *m = &f->files[f->n];
        _cleanup_(freep) char *down_path = NULL;
        unsigned version;
        size_t length;
        int r;

        length = parse_name(file, ".up.sql", &version);
        if (length == 0)
                return complain(ret_text, -EINVAL,
                        "%s/%s is not named NNNN_name.up.sql (four digits, letters, - and _)",
                        directory, file);
        if (version <= f->n)
                return complain(ret_text, -EINVAL, "%s/%s has the same number as %s", directory,
                        file, f->files[version - 1].path);
        if (version != f->n + 1)
                return complain(ret_text, -EINVAL, "%s has no migration number %04zu, but %s",
                        directory, f->n + 1, file);

        f->n++;
        m->version = version;
        m->label = strndup(file, length);
        m->name = strndup(strchr(file, '_') + 1, length - 1 - strspn(file, "0123456789"));
        m->path = join_path(directory, file, length, ".up.sql");
        down_path = join_path(directory, file, length, ".down.sql");
        if (!m->label || !m->name || !m->path || !down_path)
                return -ENOMEM;
        r = read_script(m->path, &m->up, ret_text);
        if (r == 0 && access(down_path, F_OK) == 0)
                r = read_script(down_path, &m->down, ret_text);
        return r;
}

/* A down script alone is a mistake: somebody believes that there is a way back. */
static int check_downs(
        const MigrationFiles *f, const char *directory, char *const *names, char **ret_text)
{
        for (; names && *names; names++) {
                unsigned version = 0;
                size_t length = parse_name(*names, ".down.sql", &version);
                const char *label =
                        length > 0 && version <= f->n ? f->files[version - 1].label : NULL;

                if (label && strlen(label) == length && strncmp(label, *names, length) == 0)
                        continue;
                return complain(
                        ret_text, -EINVAL, "%s/%s has no up script beside it", directory, *names);
        }
        return 0;
}

int migration_files_read(const char *directory, MigrationFiles *ret, char **ret_text)
{
        const char *dirs[] = { directory, NULL };
        _cleanup_(conf_names_freep) char **ups = NULL, **downs = NULL;
        _cleanup_(migration_files_done) MigrationFiles f = {};
        size_t n = 0;
        int r;

        r = conf_list_names(dirs, ".up.sql", &ups);
        if (r == 0)
                r = conf_list_names(dirs, ".down.sql", &downs);
        if (r == -ENOMEM)
                return r;
        if (r < 0)
                return complain(ret_text, -EINVAL, "Cannot read %s: %s", directory, strerror(-r));
        while (ups && ups[n])
                n++;
        if (n == 0)
                return complain(ret_text, -EINVAL, "There are no migrations in %s", directory);
        f.files = new0(MigrationFile, n);
        if (!f.files)
                return -ENOMEM;
        for (size_t i = 0; i < n; i++) {
                r = add_file(&f, directory, ups[i], ret_text);
                if (r < 0)
                        return r;
        }
        r = check_downs(&f, directory, downs, ret_text);
        if (r < 0)
                return r;
        *ret = STEAL(f);
        return 0;
}

int migration_destroys(const char *down, char **ret)
{
        static const char word[] = "Destructive:";

        for (; down[0] == '-' && down[1] == '-'; down += *down == '\n') {
                size_t length;
                char *text;

                down += 2;
                down += strspn(down, " \t");
                length = strcspn(down, "\r\n");
                if (strncmp(down, word, CONST_STRLEN(word)) != 0) {
                        down += strcspn(down, "\n");
                        continue;
                }
                down += CONST_STRLEN(word);
                length -= CONST_STRLEN(word);
                for (; length > 0 && strchr(" \t", *down); length--)
                        down++;
                text = strndup(down, length);
                if (!text)
                        return -ENOMEM;
                *ret = text;
                return 0;
        }
        *ret = NULL;
        return 0;
}

static bool equal_without_space(const char *a, const char *b)
{
        for (;;) {
                a += strspn(a, " \t\r\n");
                b += strspn(b, " \t\r\n");
                if (*a != *b)
                        return false;
                if (!*a)
                        return true;
                a++;
                b++;
        }
}

/* The line at *p, which moves to the next; -1 at the end of the text. */
static int next_line(const char **p, const char **ret)
{
        int length;

        *ret = *p;
        if (!**p)
                return -1;
        length = (int) strcspn(*p, "\n");
        *p += length + ((*p)[length] == '\n');
        return length;
}

bool migration_difference(const char *a, const char *b, MigrationDifference *ret)
{
        MigrationDifference d = { .only_space = equal_without_space(a, b) };
        const char *start = a;

        if (streq(a, b))
                return false;
        for (unsigned line = 1; *a || *b; line++) {
                const char *x, *y;
                int nx = next_line(&a, &x), ny = next_line(&b, &y);

                if (nx == ny && (nx < 0 || memcmp(x, y, (size_t) nx) == 0))
                        continue;
                if (d.n_lines++ > 0)
                        continue;
                d.line = line;
                d.a = x;
                d.b = y;
                d.a_length = nx;
                d.b_length = ny;
        }
        if (d.n_lines == 0) { /* only the newline at the very end */
                d.line = d.n_lines = 1;
                for (const char *p = start; *p; p++)
                        d.line += *p == '\n' && p[1];
                d.a = d.b = "(the end of the line)";
                d.a_length = d.b_length = (int) strlen(d.a);
        }
        *ret = d;
        return true;
}

unsigned migration_line(const char *script, unsigned position)
{
        unsigned line = 1;

        for (; *script && position > 1; script++) {
                line += *script == '\n';
                position -= (script[1] & 0xC0) != 0x80;
        }
        return line;
}

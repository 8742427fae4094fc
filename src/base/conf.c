/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "conf.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fd-util.h"
#include "parse-util.h"
#include "reeve-limits.h"
#include "strbuf.h"
#include "time-util.h"

/* One text while it is read. */
typedef struct Reader {
        Conf *conf;
        const char *file;
        char *section; /* owned; NULL before the first */
        unsigned section_line; /* of its head */
        unsigned line; /* of the logical line's first physical line */
        ConfReport report;
        void *userdata;
        bool bad;
} Reader;

void conf_done(Conf *c)
{
        for (size_t i = 0; i < c->n_items; i++) {
                free(c->items[i].section);
                free(c->items[i].key);
                free(c->items[i].value);
                free(c->items[i].file);
        }
        free(c->items);
        *c = (Conf){ 0 };
}

static void reader_error(Reader *r, const char *text)
{
        r->bad = true;
        if (r->report)
                r->report(r->userdata, CONF_ERROR, r->file, r->line, text);
}

static char *trim(char *s)
{
        char *end;

        while (*s == ' ' || *s == '\t' || *s == '\r')
                s++;
        for (end = s + strlen(s); end > s && strchr(" \t\r", end[-1]);)
                end--;
        *end = '\0';
        return s;
}

static int conf_add(Reader *r, const char *key, const char *value)
{
        ConfItem item = { .line = r->line, .section_line = r->section_line };
        Conf *c = r->conf;

        if (c->n_items == c->n_allocated) {
                size_t n = c->n_allocated ? c->n_allocated * 2 : 16;
                ConfItem *p = realloc(c->items, n * sizeof(ConfItem));

                if (!p)
                        return -ENOMEM;
                c->items = p;
                c->n_allocated = n;
        }

        item.section = strdup(r->section ? r->section : "");
        item.key = strdup(key);
        item.value = strdup(value);
        item.file = strdup(r->file);
        if (!item.section || !item.key || !item.value || !item.file) {
                free(item.section);
                free(item.key);
                free(item.value);
                free(item.file);
                return -ENOMEM;
        }

        c->items[c->n_items++] = item;
        return 0;
}

/* At the end of the n bytes. */
static size_t n_backslashes(const char *line, size_t n)
{
        size_t i = n;

        while (i > 0 && line[i - 1] == '\\')
                i--;
        return n - i;
}

static int read_logical_line(Reader *r, char *line)
{
        char *s = trim(line), *eq;

        if (!*s || *s == '#' || *s == ';')
                return 0;

        if (*s == '[') {
                size_t n = strlen(s);

                if (n < 3 || s[n - 1] != ']') {
                        reader_error(r, "a section must be written [Name]");
                        return 0;
                }
                s[n - 1] = '\0';
                r->section_line = r->line;
                return free_and_strdup(&r->section, s + 1);
        }

        eq = strchr(s, '=');
        if (!eq || eq == s) {
                reader_error(r, "expected Key=Value or [Section]");
                return 0;
        }
        *eq = '\0';
        s = trim(s);
        eq = trim(eq + 1);
        /* Its author means it to be continued. Written into a unit it would be. */
        if (n_backslashes(eq, strlen(eq)) % 2 > 0) {
                reader_error(r, "there is white space behind the backslash at the end of the line");
                return 0;
        }
        return conf_add(r, s, eq);
}

static bool is_comment(const char *line, size_t n)
{
        while (n > 0 && (*line == ' ' || *line == '\t')) {
                line++;
                n--;
        }
        return n > 0 && (*line == '#' || *line == ';');
}

/* Whether the physical line is continued by the next one: not by a backslash that is escaped. */
static bool is_continued(const char *line, size_t n)
{
        return n_backslashes(line, n) % 2 > 0;
}

static int reader_run(Reader *rd, const char *text, size_t size)
{
        _cleanup_(strbuf_done) StrBuf line = {};
        unsigned n_line = 0;
        size_t pos = 0;
        int r;

        while (pos < size) {
                const char *start = text + pos, *nl = memchr(start, '\n', size - pos);
                size_t n = nl ? (size_t) (nl - start) : size - pos;
                bool continued;

                pos += n + 1;
                n_line++;
                while (n > 0 && start[n - 1] == '\r')
                        n--;
                continued = is_continued(start, n);
                /* As in systemd: a comment is not continued, and does not end a line that is. */
                if (is_comment(start, n))
                        continue;
                if (line.len == 0)
                        rd->line = n_line;
                if (continued) {
                        strbuf_append(&line, start, n - 1);
                        strbuf_putc(&line, ' ');
                } else
                        strbuf_append(&line, start, n);
                if (strbuf_error(&line) < 0)
                        return -ENOMEM;
                if (line.len > REEVE_CONF_LINE_MAX) {
                        reader_error(rd, "line too long");
                        return 0;
                }
                if (continued)
                        continue;

                r = read_logical_line(rd, line.data);
                if (r < 0)
                        return r;
                strbuf_clear(&line);
        }

        /* The text ended in a continuation. */
        return line.len > 0 ? read_logical_line(rd, line.data) : 0;
}

int conf_read_text(
        Conf *c, const char *file, const char *text, size_t size, ConfReport report, void *userdata)
{
        Reader rd = { .conf = c, .file = file, .line = 1, .report = report, .userdata = userdata };
        int r;

        if (memchr(text, '\0', size) || !utf8_is_valid(text, size)) {
                reader_error(&rd, "not a text file in UTF-8");
                return -EILSEQ;
        }

        r = reader_run(&rd, text, size);
        free(rd.section);
        if (r < 0)
                return r;
        return rd.bad ? -EBADMSG : 0;
}

/* Whether the open file masks: empty, or /dev/null itself. Other devices, FIFOs and directories are
 * refused. */
static int check_file(int fd)
{
        struct stat st;

        if (fstat(fd, &st) < 0)
                return -errno;
        if (S_ISCHR(st.st_mode))
                return CONF_MASKED;
        if (!S_ISREG(st.st_mode))
                return -EISDIR;
        return st.st_size == 0 ? CONF_MASKED : CONF_DONE;
}

static int read_path(Conf *c, const char *path, ConfReport report, void *userdata)
{
        _cleanup_(closep) int fd = -EBADF;
        _cleanup_(freep) char *text = NULL;
        size_t size;
        int r;

        /* Non-blocking, so that a FIFO put there cannot hold the program up. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        if (fd < 0)
                return errno == ENOENT || errno == ENOTDIR ? CONF_NOT_FOUND : -errno;
        r = check_file(fd);
        if (r != CONF_DONE)
                return r;

        r = read_file(AT_FDCWD, path, REEVE_CONF_FILE_MAX, &text, &size);
        if (r == -EFBIG) {
                if (report)
                        report(userdata, CONF_ERROR, path, 1, "file too large");
                return r;
        }
        if (r < 0)
                return r;
        return conf_read_text(c, path, text, size, report, userdata);
}

static bool has_suffix(const char *name, const char *suffix)
{
        size_t n = strlen(name), k = strlen(suffix);

        return n > k && name[0] != '.' && streq(name + n - k, suffix);
}

static int compare_names(const void *a, const void *b)
{
        return strcmp(*(char *const *) a, *(char *const *) b);
}

static int names_add(char ***names, size_t *n, const char *name)
{
        char **p, *copy;

        for (size_t i = 0; i < *n; i++)
                if (streq((*names)[i], name))
                        return 0;

        copy = strdup(name);
        if (!copy)
                return -ENOMEM;
        p = realloc(*names, (*n + 2) * sizeof(char *));
        if (!p) {
                free(copy);
                return -ENOMEM;
        }
        p[(*n)++] = copy;
        p[*n] = NULL;
        *names = p;
        return 0;
}

char **conf_names_free(char **names)
{
        for (char **p = names; p && *p; p++)
                free(*p);
        free(names);
        return NULL;
}

static int scan_dir(const char *dir, const char *suffix, char ***names, size_t *n)
{
        struct dirent *de;
        int r = 0;
        DIR *d;

        d = opendir(dir);
        if (!d)
                return errno == ENOENT || errno == ENOTDIR ? 0 : -errno;
        while (r >= 0 && (de = readdir(d)))
                if (has_suffix(de->d_name, suffix))
                        r = names_add(names, n, de->d_name);
        (void) closedir(d);
        return r;
}

int conf_list_names(const char *const *dirs, const char *suffix, char ***ret_names)
{
        _cleanup_(conf_names_freep) char **names = NULL;
        size_t n = 0;
        int r;

        names = new0(char *, 1);
        if (!names)
                return -ENOMEM;
        for (; *dirs; dirs++) {
                r = scan_dir(*dirs, suffix, &names, &n);
                if (r < 0)
                        return r;
        }

        qsort(names, n, sizeof(char *), compare_names);
        *ret_names = TAKE_PTR(names);
        return 0;
}

/* Reads dir/name of the first directory that has it. */
static int read_first(
        Conf *c, const char *const *dirs, const char *name, ConfReport report, void *userdata)
{
        char path[4096];
        int r;

        for (; *dirs; dirs++) {
                if (snprintf(path, sizeof(path), "%s/%s", *dirs, name) >= (int) sizeof(path))
                        return -ENAMETOOLONG;
                r = read_path(c, path, report, userdata);
                if (r != CONF_NOT_FOUND)
                        return r;
        }
        return CONF_NOT_FOUND;
}

static int read_dropins(
        Conf *c, const char *const *dirs, const char *name, ConfReport report, void *userdata)
{
        _cleanup_(conf_names_freep) char **names = NULL;
        size_t n = 0;
        char path[4096];
        int r, result = 0;

        for (const char *const *d = dirs; *d; d++) {
                if (snprintf(path, sizeof(path), "%s/%s.d", *d, name) >= (int) sizeof(path))
                        return -ENAMETOOLONG;
                r = scan_dir(path, ".conf", &names, &n);
                if (r < 0)
                        return r;
        }
        if (n > 0)
                qsort(names, n, sizeof(char *), compare_names);

        for (size_t i = 0; i < n; i++) {
                if (snprintf(path, sizeof(path), "%s.d/%s", name, names[i]) >= (int) sizeof(path))
                        return -ENAMETOOLONG;
                r = read_first(c, dirs, path, report, userdata);
                if (r == -EBADMSG)
                        result = r;
                else if (r < 0)
                        return r;
        }
        return result;
}

int conf_read_dirs(
        Conf *c, const char *const *dirs, const char *name, ConfReport report, void *userdata)
{
        int r, q;

        r = read_first(c, dirs, name, report, userdata);
        if (r < 0 && r != -EBADMSG)
                return r;
        if (r == CONF_MASKED)
                return r;

        q = read_dropins(c, dirs, name, report, userdata);
        return q < 0 ? q : r;
}

static const ConfEntry *find_entry(const ConfEntry *table, const ConfItem *item)
{
        for (; table->key; table++)
                if (streq(table->section, item->section) && streq(table->key, item->key))
                        return table;
        return NULL;
}

/* Whether an item before this one has told of the same head of an unknown section. */
static bool section_is_told(const Conf *c, const ConfItem *item)
{
        for (const ConfItem *before = item; before-- > c->items;)
                if (streq(before->section, item->section) &&
                        before->section_line == item->section_line &&
                        streq(before->file, item->file))
                        return true;
        return false;
}

static void tell_unknown(const Conf *c, const ConfEntry *table, const ConfItem *item,
        ConfReport report, void *userdata)
{
        bool known = !*item->section;
        char text[512];

        if (!report)
                return;
        for (; table->key && !known; table++)
                known = streq(table->section, item->section);
        if (!*item->section)
                snprintf(text, sizeof(text), "key %s= before any [Section], ignored", item->key);
        else if (known)
                snprintf(text, sizeof(text), "unknown key %s= in section [%s], ignored", item->key,
                        item->section);
        else
                snprintf(text, sizeof(text), "unknown section [%s], ignored", item->section);
        if (known || !section_is_told(c, item))
                report(userdata, CONF_WARNING, item->file, known ? item->line : item->section_line,
                        text);
}

int conf_apply(
        const Conf *c, const ConfEntry *table, void *target, ConfReport report, void *userdata)
{
        char text[512];
        int r, result = 0;

        for (size_t i = 0; i < c->n_items; i++) {
                const ConfItem *item = c->items + i;
                const ConfEntry *entry = find_entry(table, item);

                if (!entry) {
                        tell_unknown(c, table, item, report, userdata);
                        continue;
                }

                r = entry->parse(entry, item->value, (char *) target + entry->offset);
                if (r == -ENOMEM)
                        return r;
                if (r < 0) {
                        result = -EINVAL;
                        snprintf(text, sizeof(text), "%s=%.100s: expected %s", item->key,
                                item->value, entry->hint);
                        if (report)
                                report(userdata, CONF_ERROR, item->file, item->line, text);
                }
        }

        return result;
}

const char *conf_get(const Conf *c, const char *section, const char *key)
{
        const char *value = NULL;

        for (size_t i = 0; i < c->n_items; i++)
                if (streq(c->items[i].section, section) && streq(c->items[i].key, key))
                        value = c->items[i].value;
        return value;
}

int conf_parse_bool(const ConfEntry *entry, const char *value, void *target)
{
        return parse_bool(value, target);
}

int conf_parse_unsigned(const ConfEntry *entry, const char *value, void *target)
{
        return parse_unsigned(value, (unsigned) entry->min,
                entry->max ? (unsigned) entry->max : UINT32_MAX, target);
}

int conf_parse_size(const ConfEntry *entry, const char *value, void *target)
{
        uint64_t v;
        int r;

        r = parse_size(value, &v);
        if (r < 0)
                return r;
        if (v < entry->min || (entry->max && v > entry->max))
                return -ERANGE;
        *(uint64_t *) target = v;
        return 0;
}

int conf_parse_usec(const ConfEntry *entry, const char *value, void *target)
{
        usec_t v;
        int r;

        r = parse_timespan(value, &v);
        if (r < 0)
                return r;
        if (v < entry->min || (entry->max && v > entry->max))
                return -ERANGE;
        *(usec_t *) target = v;
        return 0;
}

int conf_parse_string(const ConfEntry *entry, const char *value, void *target)
{
        return free_and_strdup(target, *value ? value : NULL);
}

int conf_parse_name(const ConfEntry *entry, const char *value, void *target)
{
        if (!name_is_valid(value))
                return -EINVAL;
        return free_and_strdup(target, value);
}

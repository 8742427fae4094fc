/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <fcntl.h>
#include <stdio.h>

#include "fd-util.h"
#include "kind.h"
#include "pool.h"
#include "settings.h"
#include "test.h"

/* The man pages and the tables of keys say the same. Keys are headed "*Key=*" at the start of a
 * line, several apart by ", ". The first argument is the directory of the pages. */

#define LETTERS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"

static const char *man_dir;

static char *read_page(const char *name)
{
        char path[4096], *text = NULL;

        snprintf(path, sizeof(path), "%s/%s", man_dir, name);
        assert_int_equal(read_file(AT_FDCWD, path, 1UL << 20, &text, NULL), 0);
        return text;
}

static bool table_has(const ConfEntry *table, const char *key, size_t n)
{
        for (; table->key; table++)
                if (strlen(table->key) == n && strncmp(table->key, key, n) == 0)
                        return true;
        return false;
}

/* Whether any table has each key that heads a paragraph. Returns how many there are. */
static unsigned check_headings(const char *text, const ConfEntry *const *tables)
{
        unsigned n = 0;

        for (const char *line = text; line; line = strchr(line, '\n')) {
                line += *line == '\n';
                for (const char *p = line, *end; *p == '*'; p = end + 2 + 2 * (end[2] == ',')) {
                        bool known = false;

                        end = strstr(p, "=*");
                        /* Another kind of line in bold. */
                        if (!end || end != p + 1 + strspn(p + 1, LETTERS))
                                break;
                        for (const ConfEntry *const *t = tables; *t; t++)
                                known = known || table_has(*t, p + 1, (size_t) (end - p - 1));
                        if (!known)
                                fail_msg("no such key: %.*s", (int) (end - p - 1), p + 1);
                        n++;
                }
        }
        return n;
}

static unsigned check_entries(const char *text, const ConfEntry *table)
{
        unsigned n = 0;
        char want[100];

        for (; table->key; table++, n++) {
                bool found = false;

                snprintf(want, sizeof(want), "*%s=*", table->key);
                for (const char *p = text; (p = strstr(p, want)) && !found; p++) {
                        const char *line = p;

                        while (line > text && line[-1] != '\n')
                                line--;
                        found = *line == '*';
                }
                if (!found)
                        fail_msg("the page says nothing about %s", want);
        }
        return n;
}

static void test_kind_page_has_every_key(void **state)
{
        _cleanup_(freep) char *text = read_page("reeve.kind.5.scd");
        const ConfEntry *const tables[] = { kind_entries(), NULL };

        assert_int_equal(check_headings(text, tables), check_entries(text, kind_entries()));
}

static void test_conf_page_has_every_key(void **state)
{
        _cleanup_(freep) char *text = read_page("reeve.conf.5.scd");
        const ConfEntry *const tables[] = { settings_entries(), pool_entries(), NULL };

        assert_int_equal(check_headings(text, tables),
                check_entries(text, settings_entries()) + check_entries(text, pool_entries()));
}

int main(int argc, char *argv[])
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_kind_page_has_every_key),
                cmocka_unit_test(test_conf_page_has_every_key),
        };

        man_dir = argc > 1 ? argv[1] : "man";
        return cmocka_run_group_tests(tests, NULL, NULL);
}

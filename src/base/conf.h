/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "macros.h"

/* Configuration files in systemd's dialect: [Section], Key=Value, comments with # or ;, a backslash
 * at the end of a line continues it, NAME.d/ drop-ins, an empty file or a link to /dev/null masks.
 * No value ends in a backslash that is not escaped: put into a unit's file it takes in no other
 * line.
 *
 * GLOSSARY
 * item     one assignment, with the file and line where it stands, in the order of reading
 * entry    one known key of a program: section, key, parser, where the value goes
 * masked   a file that is empty or a link to /dev/null: treated as not there, on purpose
 * report   how a file's author is told: once for each finding, by file and line
 */

typedef struct ConfItem {
        char *section; /* "" before the first section */
        char *key;
        char *value; /* trimmed; "" for "Key=" */
        char *file;
        unsigned line;
        unsigned section_line; /* of the section's head; 0 before the first */
} ConfItem;

typedef struct Conf {
        ConfItem *items;
        size_t n_items;
        size_t n_allocated;
} Conf;

typedef enum ConfLevel {
        CONF_WARNING, /* ignored: an unknown key */
        CONF_ERROR, /* the file cannot be taken as it stands */
} ConfLevel;

/* Called in the middle of a conf_ call for each finding; text needs no file or line. */
typedef void (*ConfReport)(
        void *userdata, ConfLevel level, const char *file, unsigned line, const char *text);

enum {
        CONF_DONE = 0,
        CONF_NOT_FOUND = 1, /* no such file in any directory */
        CONF_MASKED = 2, /* there, but empty or a link to /dev/null */
};

/* Frees the items. Leaves an empty, usable Conf. */
void conf_done(Conf *c);

/* Appends the items of one text. Findings go to report (may be NULL). Returns 0, -EBADMSG (a syntax
 * error was reported; what could be read is kept), -EILSEQ (reported: it is no text) or -ENOMEM. */
int conf_read_text(Conf *c, const char *file, const char *text, size_t size, ConfReport report,
        void *userdata);

/* Reads the first NAME found in dirs (highest precedence first, NULL-terminated), then NAME.d/
 * *.conf of all dirs in the order of their file names, where a name in an earlier dir hides the
 * same name in a later one. Drop-ins are read even if there is no main file. Returns a CONF_ value,
 * -EBADMSG (reported; what could be read is kept), -EILSEQ or -EFBIG (reported; nothing more was
 * read), or another -errno. */
int conf_read_dirs(
        Conf *c, const char *const *dirs, const char *name, ConfReport report, void *userdata);

/* Reads *.conf style names (with suffix, for instance ".kind") of all dirs into a sorted,
 * NULL-terminated array of bare file names without duplicates, masked ones included. The caller
 * frees it with conf_names_free(). */
int conf_list_names(const char *const *dirs, const char *suffix, char ***ret_names);
char **conf_names_free(char **names);
DEFINE_CLEANUP(char *, conf_names_free)

typedef struct ConfEntry ConfEntry;

/* Parses value into *target. Returns 0, -EINVAL or -ERANGE (reported with the entry's hint), or
 * -ENOMEM. */
typedef int (*ConfParser)(const ConfEntry *entry, const char *value, void *target);

struct ConfEntry {
        const char *section;
        const char *key;
        ConfParser parse;
        size_t offset; /* of the target in the structure that conf_apply() is given */
        const char *hint; /* what the value should be, for the error message: "a time span such as
                             5min" */
        uint64_t min, max; /* for numbers and sizes; max 0 means the type's own */
};

/* Gives each item to its entry (table ends with an entry whose key is NULL). Unknown keys are a
 * warning, wrong values an error. Returns 0, -EINVAL if any error was reported, or -ENOMEM. */
int conf_apply(
        const Conf *c, const ConfEntry *table, void *target, ConfReport report, void *userdata);

/* The last value of a key, NULL if it is not set. Owned by c. */
const char *conf_get(const Conf *c, const char *section, const char *key);

/* Parsers. Targets: bool, unsigned, uint64_t (size), usec_t, char * (freed and replaced; "" gives
 * NULL). */
int conf_parse_bool(const ConfEntry *entry, const char *value, void *target);
int conf_parse_unsigned(const ConfEntry *entry, const char *value, void *target);
int conf_parse_size(const ConfEntry *entry, const char *value, void *target);
int conf_parse_usec(const ConfEntry *entry, const char *value, void *target);
int conf_parse_string(const ConfEntry *entry, const char *value, void *target);
/* A name as name_is_valid() has it. */
int conf_parse_name(const ConfEntry *entry, const char *value, void *target);

/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

#include <stddef.h>

#include "macros.h"

/* A directory of migrations: NNNN_name.up.sql and NNNN_name.down.sql, numbered from 1 without gaps.
 * Other files are left alone. */

typedef struct MigrationFile {
        unsigned version;
        char *name; /* without number and ending */
        char *label; /* NNNN_name */
        char *path; /* of the up script */
        char *up;
        char *down; /* NULL: there is no down script */
} MigrationFile;

typedef struct MigrationFiles {
        MigrationFile *files; /* by version, ascending: files[v - 1] is version v */
        size_t n;
} MigrationFiles;

void migration_files_done(MigrationFiles *f);

/* Reads all of a directory. Returns 0, -EINVAL (a file is not as it should be; *ret_text says
 * which and why, the caller frees it) or -ENOMEM. */
int migration_files_read(const char *directory, MigrationFiles *ret, char **ret_text);

/* What a down script destroys: the rest of the line "-- Destructive: ..." of its first comment.
 * NULL: nothing. The caller frees it. Returns 0 or -ENOMEM. */
int migration_destroys(const char *down, char **ret);

/* Where two texts differ first: their lines from 1 and what stands there (the callers' texts, not
 * copied, up to lengths). */
typedef struct MigrationDifference {
        unsigned line;
        const char *a, *b;
        int a_length, b_length; /* without the line's end; -1: the text has no such line */
        unsigned n_lines; /* that differ, compared one by one */
        bool only_space; /* no difference but in white space */
} MigrationDifference;

/* Returns false if the texts are equal. */
bool migration_difference(const char *a, const char *b, MigrationDifference *ret);

/* The line (from 1) of a position in characters (from 1). */
unsigned migration_line(const char *script, unsigned position);

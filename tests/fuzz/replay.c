/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Runs a fuzzer over files, or over the files of directories, so that every corpus is a test with
 * any compiler. Exit 1 if there was nothing to run. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

#include "fd-util.h"
#include "fuzz.h"

static unsigned n_run;

static int run_file(const char *path)
{
        _cleanup_(freep) char *data = NULL;
        _cleanup_(freep) uint8_t *exact = NULL;
        size_t size;
        int r;

        r = read_file(AT_FDCWD, path, 16UL * 1024 * 1024, &data, &size);
        if (r < 0) {
                (void) fprintf(stderr, "%s: %s\n", path, strerror(-r));
                return r;
        }
        exact = malloc(size ? size : 1); /* so that the sanitizer sees a read behind the end */
        if (!exact)
                return -ENOMEM;
        memcpy(exact, data, size);
        (void) LLVMFuzzerTestOneInput(exact, size);
        n_run++;
        return 0;
}

static int run_dir(const char *path)
{
        DIR *dir = opendir(path);
        struct dirent *de;
        int r = 0;

        if (!dir)
                return -errno;
        while (r >= 0 && (de = readdir(dir))) { // NOLINT(concurrency-mt-unsafe)
                _cleanup_(freep) char *file = NULL;

                if (de->d_name[0] == '.')
                        continue;
                r = asprintf(&file, "%s/%s", path, de->d_name) < 0 ? -ENOMEM : run_file(file);
        }
        (void) closedir(dir);
        return r;
}

int main(int argc, char **argv)
{
        for (int i = 1; i < argc; i++) {
                struct stat st;

                if (stat(argv[i], &st) < 0 ||
                        (S_ISDIR(st.st_mode) ? run_dir(argv[i]) : run_file(argv[i])) < 0) {
                        (void) fprintf(stderr, "%s: cannot be run\n", argv[i]);
                        return EXIT_FAILURE;
                }
        }
        (void) printf("%u inputs\n", n_run);
        return n_run > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

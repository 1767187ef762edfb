/* folder.h - a temporary folder for one test. */
#ifndef SLIPWAY_TESTS_SUPPORT_FOLDER_H
#define SLIPWAY_TESTS_SUPPORT_FOLDER_H

#include <assert.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>

enum { FOLDER_MAX = 256 };

/* Its path; below TMPDIR, or /tmp. */
static inline void folder_new(char out[FOLDER_MAX])
{
    const char *below = getenv("TMPDIR");

    snprintf(out, FOLDER_MAX, "%s/slipway-test-XXXXXX", below == NULL ? "/tmp" : below);
    const char *made = mkdtemp(out);
    assert(made != NULL);
    (void)made;
}

static inline int folder_remove_one(const char *path, const struct stat *file, int kind,
                                    struct FTW *place)
{
    (void)file;
    (void)kind;
    (void)place;
    return remove(path);
}

static inline void folder_remove(const char *path)
{
    nftw(path, folder_remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

#endif

/* replay.c - runs a fuzz target over files and folders of inputs, without libFuzzer.
 * Touches  the files named as arguments.
 * Never    stops quietly: a target that fails aborts. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "registry/core/bytes.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void replay_file(const char *path)
{
    OWNED(buffer_drop) struct buffer bytes = BUFFER_NONE;
    FILE *file = fopen(path, "rb");
    char piece[4096];
    size_t got;

    if (file == NULL) {
        perror(path);
        exit(1);
    }
    while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(&bytes, piece, got);
    fclose(file);
    /* An own allocation of the exact size, so that the sanitizer sees a read past its end. */
    uint8_t *data = memory_new(bytes.size);
    for (size_t i = 0; i < bytes.size; i++)
        data[i] = (uint8_t)bytes.at[i];
    LLVMFuzzerTestOneInput(data, bytes.size);
    free(data);
}

static size_t replay(const char *path)
{
    struct stat status;
    struct dirent **entries;
    size_t files = 0;

    if (stat(path, &status) == 0 && !S_ISDIR(status.st_mode)) {
        replay_file(path);
        return 1;
    }
    int count = scandir(path, &entries, NULL, alphasort);
    for (int i = 0; i < count; i++) {
        OWNED(buffer_drop) struct buffer below = BUFFER_NONE;
        buffer_print(&below, "%s/%s", path, entries[i]->d_name);
        if (entries[i]->d_name[0] != '.')
            files += replay(below.at);
        free(entries[i]);
    }
    if (count >= 0)
        free(entries);
    return files;
}

int main(int count, char **arguments)
{
    size_t files = 0;

    for (int i = 1; i < count; i++)
        files += replay(arguments[i]);
    printf("%zu inputs\n", files);
    return files > 0 ? 0 : 1;
}

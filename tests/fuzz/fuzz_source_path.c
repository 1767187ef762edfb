/* fuzz_source_path.c - any bytes as a path of an archive or a tree, a context folder, a text to be
 * shown: what is taken stays below its folder and away from Git's own; what is shown is harmless.
 */
#include <string.h>

#include "s2i/source/entries.h"
#include "s2i/source/text.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_path(struct slice path)
{
    struct slice rest = path, name;

    assert(path.size > 0 && path.at[0] != '/' && memchr(path.at, '\0', path.size) == NULL);
    while (rest.at != NULL) {
        slice_split(rest, '/', &name, &rest);
        assert(name.size > 0 && !slice_equal(name, SLICE("..")) && !slice_equal(name, SLICE(".")));
        assert(!slice_equal_ignore_case(name, ".git") && !slice_equal_ignore_case(name, "git~1"));
    }
}

static void check_shown(struct slice text)
{
    OWNED(buffer_drop) struct buffer shown = BUFFER_NONE;

    source_text_clean(text, 1000, &shown);
    assert(shown.size <= 4000);
    for (size_t i = 0; i < shown.size; i++)
        assert((uint8_t)shown.at[i] >= ' ' && shown.at[i] != 0x7f);
}

/* Each line a path; the order and the folders must come out whole. */
static void check_entries(struct slice text)
{
    struct entries entries = {.count_max = 200, .bytes_max = 100000, .blob_max = 1000};
    struct error err = {0};
    struct slice line;

    while (text.at != NULL) {
        slice_split(text, '\n', &line, &text);
        enum entry_kind kind = line.size % 3 == 0 ? ENTRY_FOLDER : ENTRY_FILE;
        if (source_entries_add(&entries, line, kind, 1, &err) != NULL)
            check_path(line);
    }
    error_clear(&err);
    if (source_entries_settle(&entries, false, &err) == 0)
        for (size_t i = 1; i < entries.count; i++)
            assert(strcmp(entries.items[i - 1].path, entries.items[i].path) < 0);
    source_entries_drop(&entries);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    OWNED(buffer_drop) struct buffer clean = BUFFER_NONE;

    if (source_folder_clean(text, &clean) && clean.size > 0)
        check_path(buffer_slice(&clean));
    check_shown(text);
    check_entries(text);
    return 0;
}

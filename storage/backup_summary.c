/* backup_summary.c - what a snapshot says of itself: lines of a word and its value.
 * Touches  nothing (pure).
 * Never    believes a name that could lead out of the snapshot.
 *
 *     slipway-backup 1
 *     created_at 2026-11-21T14:26:15.123Z
 *     blobs 12
 *     file sha256:... 4096 meta.db
 *     end */
#include <stdlib.h>
#include <string.h>

#include "registry/core/timestamp.h"
#include "storage/backup_internal.h"

static const char HEAD[] = "slipway-backup 1";
static const char END[] = "end";

/* The words with a number, and where it goes. */
static const struct {
    const char *word;
    size_t offset;
} numbers[] = {
    {"repositories", offsetof(struct summary, repositories)},
    {"manifests", offsetof(struct summary, manifests)},
    {"blobs", offsetof(struct summary, blobs)},
    {"bytes", offsetof(struct summary, bytes)},
    {"copied_bytes", offsetof(struct summary, copied_bytes)},
    {"damaged", offsetof(struct summary, damaged)},
};

enum { NUMBERS = sizeof(numbers) / sizeof(numbers[0]) };

static uint64_t *number_of(struct summary *summary, size_t which)
{
    return (uint64_t *)(void *)((char *)summary + numbers[which].offset);
}

void summary_drop(struct summary *summary)
{
    free(summary->files);
    *summary = (struct summary){0};
}

void summary_add(struct summary *summary, const struct summary_file *file)
{
    summary->files =
        memory_resize(summary->files, (summary->file_count + 1) * sizeof(*summary->files));
    summary->files[summary->file_count++] = *file;
}

void summary_print(const struct summary *summary, struct buffer *out)
{
    char time[TIMESTAMP_MAX], digest[DIGEST_TEXT_MAX];
    struct summary copy = *summary;

    buffer_print(out, "%s\ncreated_at %s\n", HEAD, timestamp_print(summary->created_at, time));
    for (size_t i = 0; i < NUMBERS; i++)
        buffer_print(out, "%s %llu\n", numbers[i].word, (unsigned long long)*number_of(&copy, i));
    for (size_t i = 0; i < summary->file_count; i++) {
        const struct summary_file *file = &summary->files[i];
        buffer_print(out, "file %s %llu %s\n", digest_text(&file->digest, digest),
                     (unsigned long long)file->size, file->name);
    }
    buffer_print(out, "%s\n", END);
}

/* --- parsing --- */

bool summary_key_valid(const char *name)
{
    static const char allowed[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.";
    size_t size = strlen(name);

    return size > 0 && name[0] != '.' && strspn(name, allowed) == size &&
           size + sizeof(BACKUP_KEYS) < SUMMARY_NAME_MAX;
}

static bool file_name_valid(const struct summary_file *file, bool first)
{
    const size_t folder = strlen(BACKUP_KEYS "/");

    if (first)
        return strcmp(file->name, BACKUP_META) == 0;
    return strncmp(file->name, BACKUP_KEYS "/", folder) == 0 &&
           summary_key_valid(file->name + folder);
}

static bool parse_file(struct slice value, struct summary *out)
{
    struct slice digest, size, name;
    struct summary_file file;
    struct error ignored = {0};

    if (!slice_split(value, ' ', &digest, &value) || !slice_split(value, ' ', &size, &name) ||
        digest_parse(digest, &file.digest, &ignored) < 0 || !slice_to_u64(size, &file.size) ||
        !slice_to_text(name, file.name, sizeof(file.name)) ||
        !file_name_valid(&file, out->file_count == 0) || out->file_count == SUMMARY_FILES_MAX)
        return false;
    summary_add(out, &file);
    return true;
}

static bool parse_line(struct slice word, struct slice value, struct summary *out)
{
    if (slice_equal_text(word, "created_at"))
        return timestamp_parse(value, &out->created_at);
    if (slice_equal_text(word, "file"))
        return parse_file(value, out);
    for (size_t i = 0; i < NUMBERS; i++)
        if (slice_equal_text(word, numbers[i].word))
            return slice_to_u64(value, number_of(out, i));
    return false;
}

bool summary_parse(struct slice text, struct summary *out)
{
    struct slice line, word, value;

    *out = (struct summary){0};
    if (!slice_split(text, '\n', &line, &text) || !slice_equal_text(line, HEAD))
        return false;
    while (slice_split(text, '\n', &line, &text)) {
        if (slice_equal_text(line, END))
            return text.size == 0 && out->file_count > 0;
        if (!slice_split(line, ' ', &word, &value) || !parse_line(word, value, out))
            return false;
    }
    return false;
}

/* archive.c - reads an uploaded tar, tar.gz or zip; see reading.h.
 * Touches  the archive, and a nameless file that its contents wait in until their order is known.
 * Never    extracts anything to a name; follows a link.
 *
 * Paths begin at the archive's root: a folder that holds all the rest is not taken away,
 * context_dir names it. "./" is cut; a later entry of a path replaces an earlier one; ".git" is
 * left out (4.7). Modes become Git's two. */
#include <archive.h>
#include <archive_entry.h>
#include <errno.h>
#include <locale.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/source/reading.h"
#include "s2i/source/text.h"

enum { BLOCK_SIZE = 64 * 1024, SLOTS_FIRST = 1024 };

struct spool {
    struct reading *reading;
    uint64_t size;
    uint64_t passed; /* bytes of what is no part of the source */
    int64_t newest;
    bool context_seen;
    /* Places of entries by their path, plus 1: for hard links. At most half are taken. */
    size_t *slots;
    size_t capacity, taken;
    uint64_t seed;
};

static void spool_drop(struct spool *spool)
{
    free(spool->slots);
}

/* The slot that the path has, or would have. */
static size_t *slot_of(const struct spool *spool, struct slice path)
{
    const struct entry *items = spool->reading->entries.items;
    size_t at = (size_t)bytes_hash(spool->seed, path.at, path.size) & (spool->capacity - 1);

    while (spool->slots[at] != 0 && !slice_equal_text(path, items[spool->slots[at] - 1].path))
        at = (at + 1) & (spool->capacity - 1);
    return &spool->slots[at];
}

static void slots_grow(struct spool *spool)
{
    const struct entry *items = spool->reading->entries.items;
    size_t *old = spool->slots, count = spool->capacity;

    spool->capacity = count == 0 ? SLOTS_FIRST : 2 * count;
    spool->slots = memory_new(spool->capacity * sizeof(size_t));
    for (size_t i = 0; i < count; i++)
        if (old[i] != 0)
            *slot_of(spool, slice_of(items[old[i] - 1].path)) = old[i];
    free(old);
}

/* The newest entry is found by its path from now on. */
static void remember(struct spool *spool)
{
    const struct entries *entries = &spool->reading->entries;

    if (2 * spool->taken >= spool->capacity)
        slots_grow(spool);
    size_t *slot = slot_of(spool, slice_of(entries->items[entries->count - 1].path));
    spool->taken += *slot == 0;
    *slot = entries->count;
}

static void archive_drop(struct archive **archive)
{
    archive_read_free(*archive);
}

static int damaged(struct archive *archive, struct error *err)
{
    const char *why = archive_error_string(archive);

    error_set(err, ERROR_INVALID, "the archive is damaged, or is no tar, tar.gz or zip");
    return error_set_cause(err, "%s", why == NULL ? "" : why);
}

/* Without leading "./" and slashes at the end; empty: the root itself. */
static struct slice trimmed(struct slice path)
{
    while (slice_starts(path, "./")) {
        path = slice_from(path, 2);
        while (slice_starts(path, "/"))
            path = slice_from(path, 1);
    }
    while (path.size > 0 && path.at[path.size - 1] == '/')
        path.size--;
    return slice_equal(path, SLICE(".")) ? SLICE("") : path;
}

static bool has_git(struct slice path)
{
    struct slice name;

    while (path.at != NULL) {
        slice_split(path, '/', &name, &path);
        if (slice_equal(name, SLICE(".git")))
            return true;
    }
    return false;
}

/* What is below the context folder, relative to it; SLICE_NONE for the rest. */
static struct slice in_context(struct spool *spool, struct slice path, bool folder)
{
    struct slice context = slice_of(spool->reading->orders->context_dir);

    if (context.size == 0)
        return path;
    if (!slice_starts(path, context.at) ||
        (path.size > context.size && path.at[context.size] != '/'))
        return SLICE_NONE;
    if (path.size == context.size) {
        spool->context_seen = folder;
        return SLICE_NONE;
    }
    spool->context_seen = true;
    return slice_from(path, context.size + 1);
}

static int put_bytes(struct spool *spool, struct slice bytes, struct error *err)
{
    if (fd_write(spool->reading->orders->spool_fd, bytes) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be written down");
    spool->size += bytes.size;
    return 0;
}

/* Copies the current entry's content; it ends where its size says. */
static int put_content(struct spool *spool, struct archive *archive, uint64_t size,
                       struct error *err)
{
    OWNED(memory_drop) char *block = memory_new(BLOCK_SIZE);
    uint64_t all = 0;

    for (;;) {
        ssize_t got = archive_read_data(archive, block, BLOCK_SIZE);
        if (got == ARCHIVE_RETRY)
            continue;
        if (got < 0)
            return damaged(archive, err);
        if (got == 0)
            break;
        all += (uint64_t)got;
        if (all > size)
            return error_set(err, ERROR_INVALID, "a file of the archive is larger than it said");
        if (put_bytes(spool, (struct slice){block, (size_t)got}, err) < 0)
            return -1;
    }
    return all == size ? 0 : error_set(err, ERROR_INVALID, "the archive is cut off");
}

/* Zip tells sizes late: of such entries only what comes counts. */
static int measure(struct spool *spool, struct archive *archive, uint64_t most, uint64_t *size,
                   struct error *err)
{
    OWNED(memory_drop) char *block = memory_new(BLOCK_SIZE);

    for (*size = 0;;) {
        ssize_t got = archive_read_data(archive, block, BLOCK_SIZE);
        if (got == ARCHIVE_RETRY)
            continue;
        if (got < 0)
            return damaged(archive, err);
        if (got == 0)
            return 0;
        *size += (uint64_t)got;
        if (*size > most)
            return error_set(err, ERROR_INVALID, "a file of the archive is larger than it may be");
        if (put_bytes(spool, (struct slice){block, (size_t)got}, err) < 0)
            return -1;
    }
}

static int add_file(struct spool *spool, struct archive *archive, struct archive_entry *header,
                    struct slice path, struct error *err)
{
    struct entries *entries = &spool->reading->entries;
    bool program = (archive_entry_perm(header) & S_IXUSR) != 0, known;
    uint64_t offset = spool->size, size = 0, most = entries->bytes_max - entries->bytes;

    known = archive_entry_size_is_set(header);
    if (known)
        size = (uint64_t)archive_entry_size(header);
    else if (measure(spool, archive, most < entries->blob_max ? most : entries->blob_max, &size,
                     err) < 0)
        return -1;
    struct entry *entry =
        source_entries_add(entries, path, program ? ENTRY_PROGRAM : ENTRY_FILE, size, err);
    if (entry == NULL)
        return -1;
    entry->offset = offset;
    return known ? put_content(spool, archive, size, err) : 0;
}

static int add_link(struct spool *spool, struct archive_entry *header, struct slice path,
                    struct error *err)
{
    struct slice target = slice_of(archive_entry_symlink(header));
    uint64_t offset = spool->size;
    struct entry *entry =
        source_entries_add(&spool->reading->entries, path, ENTRY_LINK, target.size, err);

    if (entry == NULL)
        return -1;
    entry->offset = offset;
    return put_bytes(spool, target, err);
}

/* The content of the file it links to, which came before. */
static int add_hard_link(struct spool *spool, struct slice target, struct slice path,
                         struct error *err)
{
    struct entries *entries = &spool->reading->entries;
    struct slice inside = in_context(spool, trimmed(target), false);
    size_t place = inside.size == 0 || spool->capacity == 0 ? 0 : *slot_of(spool, inside);

    if (place == 0 || entries->items[place - 1].kind == ENTRY_FOLDER)
        return source_entry_refuse(err, path, "is a hard link to what is not in the source");
    struct entry from = entries->items[place - 1];
    struct entry *entry = source_entries_add(entries, path, from.kind, from.size, err);
    if (entry == NULL)
        return -1;
    entry->offset = from.offset;
    return 0;
}

static int add(struct spool *spool, struct archive *archive, struct archive_entry *header,
               struct slice path, struct error *err)
{
    const char *target = archive_entry_hardlink(header);
    int64_t time = archive_entry_mtime(header);

    if (time > spool->newest)
        spool->newest = time;
    if (target != NULL)
        return add_hard_link(spool, slice_of(target), path, err);
    switch (archive_entry_filetype(header)) {
    case AE_IFREG:
        return add_file(spool, archive, header, path, err);
    case AE_IFLNK:
        return add_link(spool, header, path, err);
    case AE_IFDIR:
        return source_entries_add(&spool->reading->entries, path, ENTRY_FOLDER, 0, err) == NULL ? -1
                                                                                                : 0;
    default:
        return source_entry_refuse(err, path, "is neither file, folder nor symbolic link");
    }
}

/* It is unpacked to get beyond it: a little gzip may hold a great deal that is left out. */
static int pass_over(struct spool *spool, struct archive_entry *header, struct error *err)
{
    int64_t size = archive_entry_size(header);
    uint64_t most = spool->reading->entries.bytes_max;

    if (size < 0 || (uint64_t)size > most - spool->passed)
        return error_set(err, ERROR_INVALID,
                         "what the archive holds beside the source exceeds the limit of %llu bytes",
                         (unsigned long long)most);
    spool->passed += (uint64_t)size;
    return 0;
}

static int take(struct spool *spool, struct archive *archive, struct archive_entry *header,
                struct error *err)
{
    const char *name = archive_entry_pathname(header);
    struct slice path;

    if (name == NULL)
        return error_set(err, ERROR_INVALID, "the archive holds a name that cannot be read");
    path = trimmed(slice_of(name));
    if (path.size == 0 || has_git(path))
        return pass_over(spool, header, err);
    if (!source_path_valid(path))
        return source_entry_refuse(err, path, "is a name that a source must not have");
    path = in_context(spool, path, archive_entry_filetype(header) == AE_IFDIR);
    if (path.at == NULL || source_exclude_matches_within(&spool->reading->exclude, path))
        return pass_over(spool, header, err);
    if (add(spool, archive, header, path, err) < 0)
        return -1;
    remember(spool);
    return 0;
}

static struct archive *open_archive(int fd)
{
    struct archive *archive = archive_read_new();

    archive_read_support_filter_gzip(archive);
    archive_read_support_format_tar(archive);
    archive_read_support_format_zip(archive);
    if (lseek(fd, 0, SEEK_SET) < 0 || archive_read_open_fd(archive, fd, BLOCK_SIZE) != ARCHIVE_OK) {
        archive_read_free(archive);
        return NULL;
    }
    return archive;
}

static int read_all(struct spool *spool, struct error *err)
{
    OWNED(archive_drop) struct archive *archive = open_archive(spool->reading->orders->archive_fd);
    struct archive_entry *header;

    if (archive == NULL)
        return error_set(err, ERROR_INVALID, "the archive is no tar, tar.gz or zip");
    for (;;) {
        int found = archive_read_next_header(archive, &header);
        if (found == ARCHIVE_EOF)
            return 0;
        if (found == ARCHIVE_RETRY)
            continue;
        if (found < ARCHIVE_WARN)
            return damaged(archive, err);
        if (take(spool, archive, header, err) < 0)
            return -1;
    }
}

static int content(void *arg, const struct entry *entry, reading_sink *sink, void *sink_arg,
                   struct error *err)
{
    struct spool *spool = arg;
    OWNED(memory_drop) char *block = memory_new(BLOCK_SIZE);
    uint64_t done = 0;

    while (done < entry->size) {
        size_t want = entry->size - done < BLOCK_SIZE ? (size_t)(entry->size - done) : BLOCK_SIZE;
        ssize_t got =
            pread(spool->reading->orders->spool_fd, block, want, (off_t)(entry->offset + done));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return error_set_errno(err, ERROR_INTERNAL, errno, "the source cannot be read back");
        if (sink(sink_arg, (struct slice){block, (size_t)got}, err) < 0)
            return -1;
        done += (uint64_t)got;
    }
    return 0;
}

int reading_archive(struct reading *reading, struct error *err)
{
    OWNED(spool_drop) struct spool spool = {.reading = reading};

    random_bytes(&spool.seed, sizeof(spool.seed));
    /* Names of zip and pax are Unicode; libarchive gives them in the locale's form. */
    setlocale(LC_CTYPE, "C.UTF-8");
    if (read_all(&spool, err) < 0)
        return -1;
    if (reading->orders->context_dir[0] != '\0' && !spool.context_seen) {
        reading->reason = "InvalidContextDirectory";
        return source_entry_refuse(err, slice_of(reading->orders->context_dir),
                                   "is no folder of the source");
    }
    reading->facts.time = spool.newest > READING_TIME_MAX ? READING_TIME_MAX : spool.newest;
    if (source_entries_settle(&reading->entries, false, err) < 0)
        return -1;
    return reading_write(reading, content, &spool, err);
}

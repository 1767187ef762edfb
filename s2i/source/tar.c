/* tar.c - writes a source's tar, and what is learnt while its bytes go by; see reading.h.
 * Touches  the descriptor of the tar.
 * Never    seeks: every byte is hashed on its way out.
 *
 * The same entries, contents and time give the same bytes: owner 0:0, modes of Git, one time, the
 * order of the paths' bytes. Spec: s2i 4.8, 4.12, 17.1, 17.5. */
#include <errno.h>
#include <string.h>

#include "registry/core/fd.h"
#include "registry/core/glob.h"
#include "s2i/layer/layer.h"
#include "s2i/source/reading.h"
#include "s2i/source/text.h"

enum {
    PENDING_MAX = 256 * 1024,
    CONF_MAX = 64 * 1024,
    POINTER_MAX = 1024, /* Git LFS: pointer files are smaller */
};

static const char conf_path[] = ".s2i/s2i.conf";
static const char pointer_start[] = "version https://git-lfs.github.com/spec/v1\n";

struct tar {
    int fd;
    struct buffer pending;
    struct hasher hash;
};

/* One content on its way. */
struct passing {
    struct tar *tar; /* NULL: it is only kept */
    struct buffer *kept;
    uint64_t size, most;
};

static void tar_drop(struct tar *tar)
{
    buffer_drop(&tar->pending);
}

static int tar_flush(struct tar *tar, struct error *err)
{
    hasher_update(&tar->hash, tar->pending.at, tar->pending.size);
    if (fd_write(tar->fd, buffer_slice(&tar->pending)) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the source cannot be written down");
    tar->pending.size = 0;
    return 0;
}

static int tar_bytes(struct tar *tar, struct slice bytes, struct error *err)
{
    buffer_append_slice(&tar->pending, bytes);
    return tar->pending.size < PENDING_MAX ? 0 : tar_flush(tar, err);
}

static int pass(void *arg, struct slice bytes, struct error *err)
{
    struct passing *passing = arg;

    passing->size += bytes.size;
    if (passing->size > passing->most)
        return error_set(err, ERROR_INVALID, "a file of the source is larger than it said");
    if (passing->kept != NULL)
        buffer_append_slice(passing->kept, bytes);
    return passing->tar == NULL ? 0 : tar_bytes(passing->tar, bytes, err);
}

static bool is_file(const struct entry *entry)
{
    return entry->kind == ENTRY_FILE || entry->kind == ENTRY_PROGRAM;
}

static bool is_conf(const struct entry *entry)
{
    return is_file(entry) && strcmp(entry->path, conf_path) == 0;
}

/* The whole content, in a buffer or in the tar or in both. */
static int move_content(const struct entry *entry, struct tar *tar, struct buffer *kept,
                        reading_content *content, void *arg, struct error *err)
{
    struct passing passing = {tar, kept, 0, entry->size};

    if (content(arg, entry, pass, &passing, err) < 0)
        return -1;
    if (passing.size != entry->size)
        return source_entry_refuse(err, (struct slice){entry->path, entry->path_size},
                                   "is shorter than it said");
    return 0;
}

static int read_conf(struct reading *reading, struct slice text, struct error *err)
{
    struct error why = {0};
    json_t *conf = NULL;

    if (s2i_conf_parse(text, &conf, &why) < 0)
        return source_entry_refuse(err, slice_of(conf_path), why.message);
    reading->facts.conf = json_dumps(conf, JSON_COMPACT);
    json_decref(conf);
    return 0;
}

static int write_file(struct reading *reading, struct tar *tar, const struct entry *entry,
                      reading_content *content, void *arg, struct error *err)
{
    static const char zeros[512];
    OWNED(buffer_drop) struct buffer kept = BUFFER_NONE;
    bool keep = entry->size < POINTER_MAX || (is_conf(entry) && entry->size <= CONF_MAX);

    if (is_conf(entry) && !keep)
        return source_entry_refuse(err, slice_of(conf_path), "is too long");
    if (move_content(entry, tar, keep ? &kept : NULL, content, arg, err) < 0 ||
        tar_bytes(tar, (struct slice){zeros, tar_padding(entry->size)}, err) < 0)
        return -1;
    reading->facts.bytes += entry->size;
    reading->facts.lfs_pointers += slice_starts(buffer_slice(&kept), pointer_start);
    return is_conf(entry) ? read_conf(reading, buffer_slice(&kept), err) : 0;
}

static int write_entry(struct reading *reading, struct tar *tar, const struct entry *entry,
                       reading_content *content, void *arg, struct error *err)
{
    static const char types[] = {
        [ENTRY_FOLDER] = '5', [ENTRY_FILE] = '0', [ENTRY_PROGRAM] = '0', [ENTRY_LINK] = '2'};
    static const uint32_t modes[] = {
        [ENTRY_FOLDER] = 0755, [ENTRY_FILE] = 0644, [ENTRY_PROGRAM] = 0755, [ENTRY_LINK] = 0777};
    OWNED(buffer_drop) struct buffer target = BUFFER_NONE;
    struct tar_entry header = {.path = {entry->path, entry->path_size},
                               .type = types[entry->kind],
                               .mode = modes[entry->kind],
                               .mtime = reading->facts.time};

    if (entry->kind == ENTRY_LINK) {
        if (move_content(entry, NULL, &target, content, arg, err) < 0)
            return -1;
        if (memchr(target.at, '\0', target.size) != NULL)
            return source_entry_refuse(err, header.path,
                                       "is a symbolic link without a usable target");
        header.link = buffer_slice(&target);
    }
    header.size = is_file(entry) ? entry->size : 0;
    tar_write_header(&tar->pending, &header);
    reading->facts.files += entry->kind != ENTRY_FOLDER;
    return is_file(entry) ? write_file(reading, tar, entry, content, arg, err) : 0;
}

/* As many components, and each matches. */
static bool path_matches(struct slice pattern, struct slice path)
{
    struct slice wanted, found;

    while (pattern.at != NULL && path.at != NULL) {
        slice_split(pattern, '/', &wanted, &pattern);
        slice_split(path, '/', &found, &path);
        if (!glob_matches(wanted, found))
            return false;
    }
    return pattern.at == NULL && path.at == NULL;
}

static bool has_match(const struct entries *entries, struct slice pattern)
{
    for (size_t i = 0; i < entries->count; i++) {
        const struct entry *entry = &entries->items[i];
        if (entry->kind != ENTRY_FOLDER &&
            path_matches(pattern, (struct slice){entry->path, entry->path_size}))
            return true;
    }
    return false;
}

/* 15.7 */
static void detect(struct reading *reading)
{
    const struct s2i_list *table = &reading->orders->detect;

    for (size_t i = 0; i < table->count; i++) {
        struct slice pattern, builder;
        slice_split(slice_of(table->items[i]), '=', &pattern, &builder);
        if (has_match(&reading->entries, pattern))
            s2i_list_add(&reading->facts.detected, pattern);
    }
}

int reading_write(struct reading *reading, reading_content *content, void *arg, struct error *err)
{
    OWNED(tar_drop) struct tar tar = {.fd = reading->orders->tar_fd};
    const struct entries *entries = &reading->entries;

    hasher_start(&tar.hash, DIGEST_SHA256);
    for (size_t i = 0; i < entries->count; i++)
        if (write_entry(reading, &tar, &entries->items[i], content, arg, err) < 0)
            return -1;
    tar_write_end(&tar.pending);
    if (tar_flush(&tar, err) < 0)
        return -1;
    hasher_digest(&tar.hash, &reading->facts.content);
    detect(reading);
    return 0;
}

/* kept.c - what a failed build wrote stays on its builder for a while, for somebody who looks.
 * Touches  the folder kept of the builder: a folder a build, made while it runs.
 * Never    keeps a secret that was given; the layers of an image a second time.
 *
 *   <build>.new --it failed--> <build> --time, count, disk--> <build>.gone --> (none)
 *
 *   about       what a container of it is made of: struct kept, as JSON
 *   disk        the file system it wrote to; or, of one in memory,
 *   upper-<N>   its changes, packed as layers are, the uppermost first
 *   layers/     empty files of the names of the layers below: they are not evicted meanwhile
 *   lock        its time is that of the end; locked by who looks, and by who removes it
 *
 * Spec: s2i 11 (keep_failed). */
#include "s2i/builder/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/folder.h"
#include "registry/core/json.h"
#include "registry/core/timestamp.h"

enum {
    NAME_SIZE = 48,
    PACK_MS = 20 * 1000,
    ABOUT_MAX = 8 << 20,
};

/* --- what it was --- */

void kept_drop(struct kept *kept)
{
    worker_setup_drop(&kept->setup);
    s2i_list_drop(&kept->environment);
    s2i_list_drop(&kept->layers);
    s2i_list_drop(&kept->uppers);
    s2i_list_drop(&kept->packed);
    free(kept->folder);
    *kept = (struct kept){.folder = NULL};
}

static json_t *texts(const struct s2i_list *list)
{
    json_t *array = json_array();

    for (size_t i = 0; i < list->count; i++)
        json_array_append_new(array, s2i_json_text(slice_of(list->items[i])));
    return array;
}

static void read_texts(struct s2i_list *out, const json_t *array)
{
    const json_t *item;
    size_t i;

    json_array_foreach(array, i, item)
        if (json_is_string(item))
            s2i_list_add(out, slice_of(json_string_value(item)));
}

static json_t *groups_of(const struct container_user *user)
{
    json_t *groups = json_array();

    for (size_t i = 0; i < user->group_count; i++)
        json_array_append_new(groups, json_integer(user->groups[i]));
    return groups;
}

static char *about_write(const struct kept *kept)
{
    OWNED(memory_drop) char *setup = worker_setup_write(&kept->setup);
    const struct s2i_limits *limits = &kept->limits;
    OWNED(json_drop)
    json_t *object =
        json_pack("{s:s, s:o, s:o, s:o, s:o, s:s, s:I, s:I, s:o, s:I, s:I, s:I, s:I}", "setup",
                  setup, "environment", texts(&kept->environment), "layers", texts(&kept->layers),
                  "uppers", texts(&kept->uppers), "packed", texts(&kept->packed), "folder",
                  kept->folder, "uid", (json_int_t)kept->user.uid, "gid",
                  (json_int_t)kept->user.gid, "groups", groups_of(&kept->user), "memory",
                  (json_int_t)limits->memory, "disk", (json_int_t)limits->disk, "processes",
                  (json_int_t)limits->processes, "cpu_percent", (json_int_t)limits->cpu_percent);

    return object == NULL ? NULL : json_dumps(object, JSON_COMPACT);
}

static uint64_t number(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value < 0 ? 0 : (uint64_t)value;
}

int kept_read(int folder, struct kept *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(fd_drop) int fd = openat(folder, "about", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    const json_t *group;
    size_t i;

    if (fd < 0 || fd_read(fd, ABOUT_MAX, &text) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "what is kept cannot be read");
    OWNED(json_drop)
    json_t *object = json_loadb(text.at == NULL ? "" : text.at, text.size, 0, NULL);
    const char *setup = json_string_value(json_object_get(object, "setup"));
    const char *path = json_string_value(json_object_get(object, "folder"));
    if (worker_setup_read(&out->setup, setup, err) < 0 || path == NULL)
        return error_set(err, ERROR_INTERNAL, "what is kept cannot be read");
    out->folder = memory_text(slice_of(path));
    read_texts(&out->environment, json_object_get(object, "environment"));
    read_texts(&out->layers, json_object_get(object, "layers"));
    read_texts(&out->uppers, json_object_get(object, "uppers"));
    read_texts(&out->packed, json_object_get(object, "packed"));
    out->user.uid = (uint32_t)number(object, "uid");
    out->user.gid = (uint32_t)number(object, "gid");
    json_array_foreach(json_object_get(object, "groups"), i, group)
        if (out->user.group_count < sizeof(out->user.groups) / sizeof(out->user.groups[0]))
            out->user.groups[out->user.group_count++] = (uint32_t)json_integer_value(group);
    out->limits = (struct s2i_limits){.memory = number(object, "memory"),
                                      .disk = number(object, "disk"),
                                      .processes = number(object, "processes"),
                                      .cpu_percent = number(object, "cpu_percent")};
    return 0;
}

/* --- while the build runs --- */

static bool wanted(const struct work *work)
{
    return work->spec.options.keep_failed_ms > 0 && work->spec.mode == S2I_BUILD &&
           work->spec.build > 0;
}

static void name_of(const struct work *work, const char *suffix, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, "%lld%s", (long long)work->spec.build, suffix);
}

static int open_kept(const struct work *work)
{
    return openat(work->folder, "kept", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Names whose values are nobody's but the build's; a proxy's may hold a password. */
static bool is_secret(const struct work *work, struct slice name)
{
    return s2i_list_value(&work->spec.options.secret_env, name) != NULL ||
           slice_ends(name, "_proxy") || slice_ends(name, "_PROXY");
}

static void note_root(const struct root *root, struct kept *out)
{
    char name[LAYER_NAME_MAX];

    s2i_list_add(&out->uppers, slice_of(root->name));
    if (root->below[0] != 0)
        s2i_list_add(&out->uppers, slice_of(root->below));
    for (size_t i = 0; i < root->stack.count; i++) {
        layer_folder_name(&root->stack.keys[i], name);
        s2i_list_add(&out->layers, slice_of(name));
    }
}

static int write_about(int folder, const struct kept *kept)
{
    OWNED(memory_drop) char *text = about_write(kept);
    OWNED(fd_drop)
    int fd = openat(folder, "about", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    return text == NULL || fd < 0 ? -1 : fd_write(fd, slice_of(text));
}

static int mark_layers(int folder, const struct kept *kept)
{
    if (mkdirat(folder, "layers", 0700) < 0 && errno != EEXIST)
        return -1;
    OWNED(fd_drop) int layers = openat(folder, "layers", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (size_t i = 0; i < kept->layers.count; i++) {
        OWNED(fd_drop) int fd = openat(layers, kept->layers.items[i], O_WRONLY | O_CREAT, 0600);
        if (fd < 0)
            return -1;
    }
    return layers < 0 ? -1 : 0;
}

void kept_note(struct work *work, const struct run *run)
{
    OWNED(kept_drop) struct kept kept = {.folder = NULL};
    OWNED(memory_drop) char *setup = NULL;
    struct error ignored = {0};
    char name[NAME_SIZE];

    if (!wanted(work))
        return;
    OWNED(fd_drop) int all = open_kept(work);
    name_of(work, ".new", name);
    if (all < 0 || (mkdirat(all, name, 0700) < 0 && errno != EEXIST))
        return;
    OWNED(fd_drop) int folder = openat(all, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    setup = worker_setup_write(&work->setup);
    if (folder < 0 || worker_setup_read(&kept.setup, setup, &ignored) < 0)
        return;
    for (size_t i = 0; i < run->environment->count; i++) {
        struct slice item = slice_of(run->environment->items[i]), variable, value;
        slice_split(item, '=', &variable, &value);
        if (!is_secret(work, variable))
            s2i_list_add(&kept.environment, item);
    }
    note_root(run->root, &kept);
    kept.folder = memory_text(slice_of(run->folder));
    kept.user = run->user;
    kept.limits = work->spec.limits;
    work->noted = mark_layers(folder, &kept) == 0 && write_about(folder, &kept) == 0;
}

/* --- when it ended --- */

struct packing {
    int out;
    uint64_t end_ms;
};

static int write_packed(void *arg, struct slice bytes, struct error *err)
{
    const struct packing *packing = arg;

    if (fd_write(packing->out, bytes) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "it cannot be written");
    return 0;
}

/* The build's own time may be over; this has its own. */
static int in_time(void *arg, struct error *err)
{
    const struct packing *packing = arg;

    if (clock_monotonic_ms() < packing->end_ms)
        return 0;
    return error_set(err, ERROR_UNAVAILABLE, "packing it takes too long");
}

/* What is below an upper folder: whiteouts are kept where they hide something. */
struct lowers {
    int *items;
    size_t count;
};

static void lowers_drop(struct lowers *lowers)
{
    for (size_t i = 0; i < lowers->count; i++)
        close(lowers->items[i]);
    free(lowers->items);
}

static int open_upper(const struct kept *kept, size_t index)
{
    char path[64];

    snprintf(path, sizeof(path), DESK "/s/%s/u", kept->uppers.items[index]);
    return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Their names stand among those that are not evicted. */
static int lowers_open(struct work *work, const struct kept *kept, size_t above, struct lowers *out,
                       struct error *err)
{
    OWNED(fd_drop) int layers = layers_open(work, err);
    size_t most = kept->uppers.count + kept->layers.count;

    if (layers < 0)
        return -1;
    out->items = memory_new((most + 1) * sizeof(int));
    for (size_t i = above + 1; i < most; i++) {
        size_t layer = i - kept->uppers.count;
        int fd = i < kept->uppers.count ? open_upper(kept, i)
                                        : openat(layers, kept->layers.items[layer],
                                                 O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
        if (fd < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "a layer below it is gone");
        out->items[out->count++] = fd;
    }
    return 0;
}

/* Of a file system in memory. */
static int pack(struct work *work, struct kept *kept, int folder, size_t index, struct error *err)
{
    static const char *const nothing[] = {NULL};
    OWNED(lowers_drop) struct lowers lowers = {.items = NULL};
    struct packing packing = {.end_ms = clock_monotonic_ms() + PACK_MS};
    struct s2i_layer layer = {0};
    char name[32], digest[DIGEST_TEXT_MAX];
    uint64_t entries;

    if (lowers_open(work, kept, index, &lowers, err) < 0)
        return -1;
    OWNED(fd_drop) int upper = open_upper(kept, index);
    snprintf(name, sizeof(name), "upper-%zu", index);
    OWNED(fd_drop) int out = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (upper < 0 || out < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "it cannot be written");
    packing.out = out;
    const struct layer_make make = {.upper = upper,
                                    .lowers = lowers.items,
                                    .lower_count = lowers.count,
                                    .ids = work->ids,
                                    .uid = kept->user.uid,
                                    .gid = kept->user.gid,
                                    .epoch = INT64_MAX, /* times stay */
                                    .left_out = nothing,
                                    .compression = "zstd",
                                    .bytes_max = work->spec.limits.disk,
                                    .go_on = in_time,
                                    .go_on_arg = &packing,
                                    .sink = write_packed,
                                    .arg = &packing};
    if (layer_make(&make, &layer, &entries, err) < 0)
        return -1;
    free(layer.media_type);
    s2i_list_add(&kept->packed, slice_of(digest_text(&layer.diff_id, digest)));
    return 0;
}

static int keep_upper(struct work *work, struct kept *kept, int folder, struct error *err)
{
    char path[64];

    if (work->disk >= 0) {
        if (scratch_close() < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "its disk is still in use");
        snprintf(path, sizeof(path), "/proc/self/fd/%d", work->disk);
        if (linkat(AT_FDCWD, path, folder, "disk", AT_SYMLINK_FOLLOW) < 0)
            return error_set_errno(err, ERROR_UNAVAILABLE, errno, "its disk cannot be kept");
        return 0;
    }
    for (size_t i = 0; i < kept->uppers.count; i++)
        if (pack(work, kept, folder, i, err) < 0)
            return -1;
    if (write_about(folder, kept) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "it cannot be written");
    return 0;
}

static int set_end(int folder, int64_t until)
{
    const struct timespec times[2] = {{.tv_sec = until}, {.tv_sec = until}};
    OWNED(fd_drop) int lock = openat(folder, "lock", O_RDWR | O_CREAT | O_CLOEXEC, 0600);

    return lock < 0 ? -1 : futimens(lock, times);
}

static int keep(struct work *work, int all, struct error *err)
{
    OWNED(kept_drop) struct kept kept = {.folder = NULL};
    int64_t until = clock_now_us() / US_PER_S + (int64_t)work->spec.options.keep_failed_ms / 1000;
    char fresh[NAME_SIZE], name[NAME_SIZE], text[TIMESTAMP_MAX];

    name_of(work, ".new", fresh);
    name_of(work, "", name);
    OWNED(fd_drop) int folder = openat(all, fresh, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (folder < 0 || kept_read(folder, &kept, err) < 0 || keep_upper(work, &kept, folder, err) < 0)
        return -1;
    if (set_end(folder, until) < 0 || renameat(all, fresh, all, name) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "it cannot be kept");
    work->result.kept_until = until;
    work_step(work, "What it wrote is kept until %s: slipway builder shell %s",
              timestamp_print(until * US_PER_S, text), name);
    return 0;
}

void kept_end(struct work *work, bool failed)
{
    char fresh[NAME_SIZE];
    struct error err = {0};

    if (!wanted(work))
        return;
    OWNED(fd_drop) int all = open_kept(work);
    if (failed && work->noted && work->cancel[0] == 0 && !work->gone && all >= 0 &&
        keep(work, all, &err) < 0)
        work_warn(work, "what the build wrote is not kept: %s", err.message);
    name_of(work, ".new", fresh);
    if (all >= 0 && folder_erase(all, fresh) < 0)
        errno = 0; /* the next sweep */
    if (all >= 0)
        kept_sweep(all, work->setup.cache_max, false, true);
}

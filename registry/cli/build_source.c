/* build_source.c - options and sources of builds, as a command line names them. */
#include "registry/cli/build_source.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "s2i/layer/layer.h"

/* --- options --- */

const struct cli_option build_options[] = {
    {"--git", "URL", "where the source is, instead of what is configured", 0},
    {"--ref", "REF", "branch, tag or commit of it", 0},
    {"--context-dir", "DIR", "the folder of the source that is built", 0},
    {"--builder", "IMAGE", "the builder image here: repository[:tag][@digest]", 'b'},
    {"--env", "NAME=VALUE...", "a variable, stored in the image", 'e'},
    {"--build-env", "NAME=VALUE...", "a variable of the build only", 0},
    {"--secret-env", "NAME...", "the same, of this environment; never shown", 0},
    {"--label", "NAME=VALUE...", "a label of the image", 0},
    {"--tag", "TAG...", "a tag of the image, instead of what the refs' table says", 't'},
    {"--option", "NAME=VALUE...",
     "any other option of builds, as OPERATING.md lists them; NAME= unsets it", 'o'},
    {0},
};

static const struct {
    const char *option, *member;
    bool list;
} names[] = {
    {"--git", "url", false},
    {"--ref", "ref", false},
    {"--context-dir", "context_dir", false},
    {"--builder", "builder", false},
    {"--env", "env", true},
    {"--build-env", "build_env", true},
    {"--label", "labels", true},
    {"--tag", "tags", true},
};

/* Of --option: which names are lists, and which take a number, true or false as they stand. */
static const char *const lists[] = {
    "runtime_artifact", "copy_from", "env",    "build_env", "secret_env",
    "inject",           "cache",     "slices", "detect",    "post_commit",
    "labels",           "tags",      "allow",  "branches",  "protected_branches",
};
static const char *const literals[] = {
    "ignore_submodules",
    "incremental",
    "oci",
    "clamp_all",
    "allow_push_env",
    "allow_webhook_env",
    "rebuild",
    "timeout_ms",
    "silence_ms",
    "memory",
    "disk",
    "processes",
    "keep_failed_ms",
    "queue_timeout_ms",
};

static bool is_one(const char *const *table, size_t count, struct slice name)
{
    for (size_t i = 0; i < count; i++)
        if (slice_equal_text(name, table[i]))
            return true;
    return false;
}

#define IS_ONE(table, name) is_one((table), sizeof(table) / sizeof((table)[0]), (name))

static json_t *text_of(struct slice text)
{
    return json_stringn(text.at, text.size);
}

static void list_add(json_t *options, const char *member, json_t *item)
{
    json_t *list = json_object_get(options, member);

    if (list == NULL) {
        list = json_array();
        json_object_set_new(options, member, list);
    }
    json_array_append_new(list, item);
}

/* "memory=1073741824", "branches=main=latest", "builder=". */
static int other_read(const struct cli_call *call, const char *text, json_t *options)
{
    OWNED(memory_drop) char *member = NULL;
    struct slice name, value;

    if (!slice_split(slice_of(text), '=', &name, &value) || name.size == 0)
        return cli_usage(call, "--option is NAME=VALUE");
    member = memory_text(name);
    if (IS_ONE(lists, name) && value.size > 0)
        list_add(options, member, text_of(value));
    else if (value.size == 0)
        json_object_set_new(options, member, json_null());
    else if (slice_equal(name, SLICE("image_trigger")) &&
             (slice_equal(value, SLICE("true")) || slice_equal(value, SLICE("false"))))
        json_object_set_new(options, member, json_boolean(slice_equal(value, SLICE("true"))));
    else if (IS_ONE(literals, name)) {
        json_t *literal = json_loadb(value.at, value.size, JSON_DECODE_ANY, NULL);
        if (literal == NULL)
            return cli_usage(call, "%s takes a number, true or false", member);
        json_object_set_new(options, member, literal);
    } else {
        json_object_set_new(options, member, text_of(value));
    }
    return CLI_DONE;
}

static const char *environment_value(const struct cli_call *call, const char *name)
{
    size_t size = strlen(name);

    for (char *const *at = call->environment; at != NULL && *at != NULL; at++)
        if (strncmp(*at, name, size) == 0 && (*at)[size] == '=')
            return *at + size + 1;
    return NULL;
}

static int secrets_read(const struct cli_call *call, json_t *options)
{
    OWNED(memory_drop) const char **values = NULL;
    size_t count = cli_values(call, "--secret-env", &values);

    for (size_t i = 0; i < count; i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        const char *value = environment_value(call, values[i]);
        if (value == NULL)
            return cli_usage(call, "there is no variable %s in this environment", values[i]);
        buffer_print(&text, "%s=%s", values[i], value);
        list_add(options, "secret_env", text_of(buffer_slice(&text)));
    }
    return CLI_DONE;
}

int build_options_read(const struct cli_call *call, json_t *options)
{
    OWNED(memory_drop) const char **others = NULL;

    for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
        OWNED(memory_drop) const char **values = NULL;
        size_t count = names[i].list ? cli_values(call, names[i].option, &values) : 0;
        const char *value = names[i].list ? NULL : cli_value(call, names[i].option);
        if (value != NULL)
            json_object_set_new(options, names[i].member, json_string(value));
        for (size_t n = 0; n < count; n++)
            list_add(options, names[i].member, json_string(values[n]));
    }
    size_t count = cli_values(call, "--option", &others);
    for (size_t i = 0; i < count; i++) {
        int status = other_read(call, others[i], options);
        if (status != CLI_DONE)
            return status;
    }
    return secrets_read(call, options);
}

/* --- a folder as an archive --- */

enum { PIECE = 64 * 1024, DEPTH_MAX = 256 };

struct packing {
    const struct cli_call *call;
    int out;
    struct buffer path; /* of what is packed now, relative */
    size_t depth;
};

static int failed(const struct packing *packing, const char *what)
{
    const char *why = strerror(errno);

    return cli_fail(packing->call, CLI_FAILED, "%.*s cannot be %s: %s",
                    SLICE_ARG(buffer_slice(&packing->path)), what, why);
}

static int put(const struct packing *packing, struct slice bytes)
{
    return fd_write(packing->out, bytes) < 0 ? failed(packing, "packed") : CLI_DONE;
}

static int put_header(const struct packing *packing, const struct stat *status, char type,
                      struct slice link)
{
    OWNED(buffer_drop) struct buffer header = BUFFER_NONE;
    const struct tar_entry entry = {
        .path = buffer_slice(&packing->path),
        .link = link,
        .type = type,
        .mode = status->st_mode & 0777,
        .size = type == '0' ? (uint64_t)status->st_size : 0,
        .mtime = status->st_mtime,
    };

    tar_write_header(&header, &entry);
    return put(packing, buffer_slice(&header));
}

/* As many bytes as the header says, whatever happens to the file meanwhile. */
static int put_content(const struct packing *packing, int fd, uint64_t size)
{
    OWNED(memory_drop) char *piece = memory_new(PIECE);
    uint64_t left = size;
    int outcome = CLI_DONE;

    while (outcome == CLI_DONE && left > 0) {
        ssize_t got = read(fd, piece, left < PIECE ? (size_t)left : PIECE);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return failed(packing, "read");
        if (got == 0)
            return cli_fail(packing->call, CLI_FAILED, "%.*s changed while it was read",
                            SLICE_ARG(buffer_slice(&packing->path)));
        outcome = put(packing, (struct slice){piece, (size_t)got});
        left -= (uint64_t)got;
    }
    memset(piece, 0, PIECE);
    return outcome == CLI_DONE ? put(packing, (struct slice){piece, tar_padding(size)}) : outcome;
}

static int pack_file(const struct packing *packing, int folder, const char *name)
{
    OWNED(fd_drop) int fd = openat(folder, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        return failed(packing, "opened");
    int outcome = put_header(packing, &status, '0', SLICE_NONE);
    return outcome == CLI_DONE ? put_content(packing, fd, (uint64_t)status.st_size) : outcome;
}

static int pack_link(const struct packing *packing, int folder, const char *name,
                     const struct stat *status)
{
    char text[4096];
    ssize_t size = readlinkat(folder, name, text, sizeof(text));

    if (size < 0 || size == sizeof(text))
        return failed(packing, "read");
    return put_header(packing, status, '2', (struct slice){text, (size_t)size});
}

static int pack_folder(struct packing *packing, int folder);

static int pack_one(struct packing *packing, int folder, const char *name)
{
    struct stat status;

    if (fstatat(folder, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return failed(packing, "read");
    if (S_ISREG(status.st_mode))
        return pack_file(packing, folder, name);
    if (S_ISLNK(status.st_mode))
        return pack_link(packing, folder, name, &status);
    if (!S_ISDIR(status.st_mode)) {
        fprintf(stderr, "left out, neither file nor folder: %.*s\n",
                SLICE_ARG(buffer_slice(&packing->path)));
        return CLI_DONE;
    }
    OWNED(fd_drop)
    int below = openat(folder, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (below < 0)
        return failed(packing, "opened");
    int outcome = put_header(packing, &status, '5', SLICE_NONE);
    return outcome == CLI_DONE ? pack_folder(packing, below) : outcome;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int is_packed(const struct dirent *entry)
{
    return strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0 &&
           strcmp(entry->d_name, ".git") != 0;
}

/* In bytewise order: the same folder gives the same archive. */
static int pack_folder(struct packing *packing, int folder)
{
    struct dirent **entries = NULL;
    size_t before = packing->path.size;
    int outcome = CLI_DONE;

    if (++packing->depth > DEPTH_MAX)
        return cli_fail(packing->call, CLI_FAILED, "%.*s is too deep",
                        SLICE_ARG(buffer_slice(&packing->path)));
    int count = scandirat(folder, ".", &entries, is_packed, by_name);
    if (count < 0)
        return failed(packing, "read");
    for (int i = 0; i < count; i++) {
        if (before > 0)
            buffer_append_text(&packing->path, "/");
        buffer_append_text(&packing->path, entries[i]->d_name);
        if (outcome == CLI_DONE)
            outcome = pack_one(packing, folder, entries[i]->d_name);
        packing->path.size = before;
        free(entries[i]);
    }
    free(entries);
    packing->depth--;
    return outcome;
}

static int scratch_open(const struct cli_call *call, int *fd)
{
    const char *folder = environment_value(call, "TMPDIR");

    *fd = open(folder == NULL ? "/tmp" : folder, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
    if (*fd >= 0)
        return CLI_DONE;
    return cli_fail(call, CLI_FAILED, "no temporary file in %s: %s",
                    folder == NULL ? "/tmp" : folder, strerror(errno));
}

static void packing_drop(struct packing *packing)
{
    buffer_drop(&packing->path);
}

int build_folder_pack(const struct cli_call *call, const char *folder, int *fd, uint64_t *size)
{
    OWNED(packing_drop) struct packing packing = {.call = call};
    OWNED(fd_drop) int out = -1;
    OWNED(buffer_drop) struct buffer end = BUFFER_NONE;
    OWNED(fd_drop) int top = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (top < 0)
        return cli_fail(call, CLI_FAILED, "%s cannot be opened: %s", folder, strerror(errno));
    int status = scratch_open(call, &out);
    packing.out = out;
    tar_write_end(&end);
    if (status == CLI_DONE)
        status = pack_folder(&packing, top);
    if (status == CLI_DONE)
        status = put(&packing, buffer_slice(&end));
    if (status != CLI_DONE)
        return status;
    *size = (uint64_t)lseek(out, 0, SEEK_CUR);
    lseek(out, 0, SEEK_SET);
    *fd = fd_take(&out);
    return CLI_DONE;
}

int build_archive_open(const struct cli_call *call, const char *file, int *fd, uint64_t *size,
                       const char **type)
{
    OWNED(fd_drop) int in = open(file, O_RDONLY | O_CLOEXEC);
    unsigned char head[4] = {0};
    struct stat status;

    if (in < 0 || fstat(in, &status) < 0 || pread(in, head, sizeof(head), 0) < 0)
        return cli_fail(call, CLI_FAILED, "%s cannot be read: %s", file, strerror(errno));
    if (!S_ISREG(status.st_mode))
        return cli_fail(call, CLI_FAILED, "%s is no file", file);
    *type = head[0] == 0x1f && head[1] == 0x8b   ? "application/gzip"
            : memcmp(head, "PK\003\004", 4) == 0 ? "application/zip"
                                                 : "application/x-tar";
    *size = (uint64_t)status.st_size;
    *fd = fd_take(&in);
    return CLI_DONE;
}

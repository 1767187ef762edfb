/* key_folder.c - signing keys as files: listed, read, written whole, removed. */
#include "auth/key_folder.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "registry/core/fd.h"
#include "registry/core/folder.h"

enum {
    FOLDER_MODE = 0700,
    FILE_MODE = 0600,
    TIME_SIZE = 16, /* "20240131T235959Z" */
};

static const int64_t CREATED_MAX = 253402300799; /* the end of the year 9999 */

void key_file_drop(struct key_file *file)
{
    jwt_key_drop(&file->key);
    *file = (struct key_file){0};
}

int key_file_compare(const struct key_file *a, const struct key_file *b)
{
    if (a->created_s != b->created_s)
        return a->created_s < b->created_s ? -1 : 1;
    return strcmp(a->name, b->name);
}

void key_names_drop(struct key_names *names)
{
    for (size_t i = 0; i < names->count; i++)
        free(names->items[i]);
    free(names->items);
    *names = (struct key_names){NULL, 0};
}

/* --- names --- */

static void name_print(int64_t created_s, const char *thumbprint, char out[KEY_NAME_SIZE + 1])
{
    time_t created = (time_t)created_s;
    struct tm utc;
    char text[TIME_SIZE + 1];

    gmtime_r(&created, &utc);
    strftime(text, sizeof(text), "%Y%m%dT%H%M%SZ", &utc);
    snprintf(out, KEY_NAME_SIZE + 1, "%s-%.*s.pem", text, JWT_THUMBPRINT_SIZE, thumbprint);
}

static int digits(const char *text, size_t count)
{
    int value = 0;

    for (size_t i = 0; i < count; i++)
        value = text[i] < '0' || text[i] > '9' || value < 0 ? -1 : value * 10 + (text[i] - '0');
    return value;
}

/* Printed again it must be the same, so there is one name for one key of one time. */
static bool name_parse(const char *name, int64_t *created_s)
{
    char again[KEY_NAME_SIZE + 1];
    struct tm utc = {0};

    if (strlen(name) != KEY_NAME_SIZE)
        return false;
    utc.tm_year = digits(name, 4) - 1900;
    utc.tm_mon = digits(name + 4, 2) - 1;
    utc.tm_mday = digits(name + 6, 2);
    utc.tm_hour = digits(name + 9, 2);
    utc.tm_min = digits(name + 11, 2);
    utc.tm_sec = digits(name + 13, 2);
    *created_s = timegm(&utc);
    if (*created_s < 0 || *created_s > CREATED_MAX)
        return false;
    name_print(*created_s, name + TIME_SIZE + 1, again);
    return strcmp(name, again) == 0;
}

/* What key_folder_create writes before the file has its name. */
static bool is_temporary(const char *name)
{
    return name[0] == '.' && slice_ends(slice_of(name), ".pem.new");
}

/* --- reading --- */

static int fail(struct error *err, int number, const char *name, const char *what)
{
    return error_set_errno(err, ERROR_UNAVAILABLE, number, "key file %.80s %s", name, what);
}

static int read_pem(int fd, const char *name, struct buffer *out, struct error *err)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return fail(err, errno, name, "cannot be examined");
    if (!S_ISREG(status.st_mode))
        return fail(err, 0, name, "is not a file");
    buffer_reserve(out, JWT_PEM_MAX + 1); /* never moves, so nothing of it is left behind */
    while (out->size <= JWT_PEM_MAX) {
        ssize_t got = read(fd, out->at + out->size, JWT_PEM_MAX + 1 - out->size);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return fail(err, errno, name, "cannot be read");
        if (got == 0)
            return 0;
        out->size += (size_t)got;
    }
    return fail(err, 0, name, "is too large for a key");
}

static int read_key(int fd, const char *name, struct jwt_key **out, struct error *err)
{
    OWNED(buffer_wipe) struct buffer pem = BUFFER_NONE;
    struct error why = {0};

    if (read_pem(fd, name, &pem, err) < 0)
        return -1;
    if (jwt_key_read_pem(buffer_slice(&pem), out, &why) < 0)
        return error_set(err, ERROR_UNAVAILABLE, "key file %.80s: %s", name, why.message);
    return 0;
}

int key_file_read(const char *path, struct key_file *out, struct error *err)
{
    const char *slash = strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    OWNED(fd_drop) int fd = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);

    if (fd < 0)
        return fail(err, errno, name, "cannot be opened");
    return read_key(fd, name, &out->key, err);
}

static int directory_open(const char *folder, struct error *err)
{
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be opened");
    return fd;
}

/* keys (3), whoever wrote it: a process that was killed may have left the name unsynced, a person
 * the bytes. */
static int settle(int fd, int directory, const char *name, struct error *err)
{
    return fsync(fd) < 0 || fsync(directory) < 0 ? fail(err, errno, name, "cannot be synced") : 0;
}

/* Others must not have seen it: a key that they could read may be theirs by now. */
static int check_mode(int fd, const char *name, struct error *err)
{
    struct stat status;

    if (fstat(fd, &status) < 0)
        return fail(err, errno, name, "cannot be examined");
    if ((status.st_mode & (S_IRWXG | S_IRWXO)) != 0)
        return fail(err, 0, name, "can be reached by others; its mode must be 0600");
    return 0;
}

static int file_open(int directory, const char *name, struct error *err)
{
    int fd = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

    return fd < 0 ? fail(err, errno, name, "cannot be opened") : fd;
}

int key_folder_read(const char *folder, const char *name, struct key_file *out, struct error *err)
{
    OWNED(fd_drop) int directory = directory_open(folder, err);
    OWNED(key_file_drop) struct key_file file = {0};

    if (directory < 0)
        return -1;
    OWNED(fd_drop) int fd = file_open(directory, name, err);
    if (fd < 0 || check_mode(fd, name, err) < 0 || read_key(fd, name, &file.key, err) < 0 ||
        settle(fd, directory, name, err) < 0)
        return -1;
    if (!name_parse(name, &file.created_s) ||
        strncmp(name + TIME_SIZE + 1, jwt_key_id(file.key), JWT_THUMBPRINT_SIZE) != 0)
        return fail(err, 0, name, "holds another key than its name says");
    memcpy(file.name, name, KEY_NAME_SIZE + 1);
    *out = file;
    file.key = NULL;
    return 0;
}

/* --- the folder --- */

int key_folder_list(const char *folder, struct key_names *out, struct error *err)
{
    OWNED(folder_drop) DIR *entries = opendir(folder);
    const struct dirent *entry;
    int64_t created_s;
    int status = 0;

    *out = (struct key_names){NULL, 0};
    if (entries == NULL)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be opened");
    out->items = memory_new(sizeof(*out->items));
    while ((entry = folder_next(entries)) != NULL) {
        const char *name = entry->d_name;
        if (is_temporary(name))
            continue;
        if (!name_parse(name, &created_s)) {
            status = fail(err, 0, name, "is none of the key folder's");
            continue;
        }
        out->items = memory_resize(out->items, (out->count + 1) * sizeof(*out->items));
        out->items[out->count++] = memory_text(slice_of(name));
    }
    if (errno == 0)
        return status;
    key_names_drop(out);
    return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be read");
}

/* OpenSSL has the last word, at the first use. */
static bool is_pem(struct slice text)
{
    static const char begin[] = "-----BEGIN ", end[] = "-----END ";

    return memmem(text.at, text.size, begin, strlen(begin)) != NULL &&
           memmem(text.at, text.size, end, strlen(end)) != NULL;
}

static int check_file(int directory, const char *name, struct error *err)
{
    OWNED(buffer_wipe) struct buffer pem = BUFFER_NONE;
    OWNED(fd_drop) int fd = file_open(directory, name, err);

    if (fd < 0 || check_mode(fd, name, err) < 0 || read_pem(fd, name, &pem, err) < 0)
        return -1;
    return is_pem(buffer_slice(&pem)) ? 0 : fail(err, 0, name, "is not a private key in PEM");
}

int key_folder_check(const char *folder, size_t *count, struct error *err)
{
    OWNED(key_names_drop) struct key_names names = {NULL, 0};
    OWNED(fd_drop) int directory = directory_open(folder, err);

    if (directory < 0 || key_folder_list(folder, &names, err) < 0)
        return -1;
    for (size_t i = 0; i < names.count; i++)
        if (check_file(directory, names.items[i], err) < 0)
            return -1;
    if (names.count == 0 && access(folder, W_OK | X_OK) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be written");
    if (count != NULL)
        *count = names.count;
    return 0;
}

/* Nobody writes one yet: the folder is made before there is a ring of its keys. */
static int remove_temporary(const char *folder, struct error *err)
{
    OWNED(folder_drop) DIR *entries = opendir(folder);
    const struct dirent *entry;

    if (entries == NULL)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be opened");
    while ((entry = folder_next(entries)) != NULL)
        if (is_temporary(entry->d_name) && unlinkat(dirfd(entries), entry->d_name, 0) < 0)
            return fail(err, errno, entry->d_name, "cannot be removed");
    return 0;
}

static int sync_parent(const char *folder, struct error *err)
{
    OWNED(memory_drop) char *parent = memory_text(slice_of(folder));
    char *slash;

    for (size_t size = strlen(parent); size > 1 && parent[size - 1] == '/'; size--)
        parent[size - 1] = 0;
    slash = strrchr(parent, '/');
    if (slash != NULL)
        slash[slash == parent] = 0;
    OWNED(fd_drop) int fd = directory_open(slash == NULL ? "." : parent, err);
    if (fd < 0)
        return -1;
    if (fsync(fd) < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be synced");
    return 0;
}

int key_folder_make(const char *folder, struct error *err)
{
    if (mkdir(folder, FOLDER_MODE) < 0 && errno != EEXIST)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the key folder cannot be made");
    /* whoever made it may have been killed before its name was synced */
    return sync_parent(folder, err) < 0 ? -1 : remove_temporary(folder, err);
}

/* --- writing --- */

static int write_temporary(int directory, const char *name, struct slice pem, struct error *err)
{
    OWNED(fd_drop)
    int fd =
        openat(directory, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, FILE_MODE);

    if (fd < 0)
        return fail(err, errno, name, "cannot be made");
    if (fd_write(fd, pem) < 0 || fsync(fd) < 0)
        return fail(err, errno, name, "cannot be written");
    return 0;
}

/* keys (3) */
static int write_file(int directory, const char *name, struct slice pem, struct error *err)
{
    char temporary[KEY_NAME_SIZE + 8];

    snprintf(temporary, sizeof(temporary), ".%s.new", name);
    if (write_temporary(directory, temporary, pem, err) < 0) {
        unlinkat(directory, temporary, 0);
        return -1;
    }
    if (renameat(directory, temporary, directory, name) < 0) {
        fail(err, errno, name, "cannot be named");
        unlinkat(directory, temporary, 0);
        return -1;
    }
    if (fsync(directory) < 0) {
        fail(err, errno, name, "cannot be synced");
        unlinkat(directory, name, 0);
        return -1;
    }
    return 0;
}

int key_folder_create(const char *folder, int64_t now_s, struct key_file *out, struct error *err)
{
    OWNED(fd_drop) int directory = directory_open(folder, err);
    OWNED(buffer_wipe) struct buffer pem = BUFFER_NONE;
    OWNED(key_file_drop) struct key_file file = {.created_s = now_s};

    if (directory < 0)
        return -1;
    if (now_s < 0 || now_s > CREATED_MAX)
        return error_set(err, ERROR_UNAVAILABLE, "no key can be made: the clock is wrong");
    file.key = jwt_key_new();
    name_print(now_s, jwt_key_id(file.key), file.name);
    buffer_reserve(&pem, JWT_PEM_MAX);
    jwt_key_write_pem(file.key, &pem);
    if (write_file(directory, file.name, buffer_slice(&pem), err) < 0)
        return -1;
    *out = file;
    file.key = NULL;
    return 0;
}

int key_folder_remove(const char *folder, const char *name, struct error *err)
{
    OWNED(fd_drop) int directory = directory_open(folder, err);

    if (directory < 0)
        return -1;
    if (unlinkat(directory, name, 0) < 0 && errno != ENOENT)
        return fail(err, errno, name, "cannot be removed");
    if (fsync(directory) < 0)
        return fail(err, errno, name, "is removed, but that cannot be synced");
    return 0;
}

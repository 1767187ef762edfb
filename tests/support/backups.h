/* backups.h - for tests of backups: folders beside the fixture, short ways to back up, verify and
 * restore, and to look at files and harm them. */
#ifndef SLIPWAY_TESTS_SUPPORT_BACKUPS_H
#define SLIPWAY_TESTS_SUPPORT_BACKUPS_H

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "storage/backup_internal.h"
#include "tests/support/store.h"

enum { PATH_SIZE = FOLDER_MAX + 256, TOLD_MAX = 8 };

/* Beside the fixture: where backups go, where they are restored, what was told. */
static struct {
    char base[FOLDER_MAX];
    char backup[FOLDER_MAX + 16], other[FOLDER_MAX + 16];
    struct backup_damage told[TOLD_MAX];
    size_t told_count;
    int cancel_after; /* -1: never */
} place;

static inline int set_up(void **state)
{
    folder_new(place.base);
    snprintf(place.backup, sizeof(place.backup), "%s/backup", place.base);
    snprintf(place.other, sizeof(place.other), "%s/other", place.base);
    place.cancel_after = -1;
    return fixture_set_up(state);
}

static inline int tear_down(void **state)
{
    int result = fixture_tear_down(state);

    folder_remove(place.base);
    return result;
}

/* --- short ways --- */

static inline struct digest push_blob(struct fixture *fixture, const char *text)
{
    struct digest digest = digest_text_of(text);
    char id[OCI_UPLOAD_ID_SIZE + 1];
    struct upload *upload = NULL;
    struct descriptor out;

    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    OK(storage_upload_claim(fixture->store, REPOSITORY, slice_of(id), &upload, &fixture->err));
    OK(storage_upload_append(upload, slice_of(text), &fixture->err));
    OK(storage_upload_finish(upload, &digest, &out, &fixture->err));
    return digest;
}

static inline void note_told(void *arg, const struct backup_damage *damage)
{
    (void)arg;
    assert_true(place.told_count < TOLD_MAX);
    place.told[place.told_count++] = *damage;
}

static inline bool is_cancelled(void *arg)
{
    (void)arg;
    return place.cancel_after >= 0 && place.cancel_after-- == 0;
}

static const struct progress progress = {.cancelled = is_cancelled};

static inline struct backup_options options_to(const char *directory)
{
    place.told_count = 0;
    return (struct backup_options){.directory = directory, .told = {note_told, NULL}};
}

static inline struct backup_report backup(struct fixture *fixture)
{
    const struct backup_options options = options_to(place.backup);
    struct backup_report report;

    OK(storage_backup(fixture->store, &options, NULL, &report, &fixture->err));
    return report;
}

static inline struct backup_report verify(struct fixture *fixture)
{
    const struct backup_options options = options_to(place.backup);
    struct backup_report report = {.damaged = 0};

    OK(backup_verify(NULL, &options, NULL, &report, &fixture->err));
    return report;
}

static inline struct restore_options restore_to(const char *root)
{
    return (struct restore_options){
        .from = options_to(place.backup), .root = root, .grace_ms = 3600000};
}

static inline struct backup_report restore(struct fixture *fixture)
{
    const struct restore_options options = restore_to(place.other);
    struct backup_report report = {.damaged = 0};

    OK(backup_restore(&options, NULL, &report, &fixture->err));
    return report;
}

/* From now on the fixture is the restored root. */
static inline void move_in(struct fixture *fixture)
{
    storage_close(fixture->store);
    fixture->store = NULL;
    fixture->options.root = place.other;
    fixture_open(fixture);
}

static inline const char *in(const char *folder, const char *name)
{
    static char path[4][PATH_SIZE];
    static int turn;
    char *out = path[turn++ % 4];

    snprintf(out, PATH_SIZE, "%s/%s", folder, name);
    return out;
}

/* The locator of the only blob with that many bytes. */
struct find {
    int64_t size;
    char locator[LOCATOR_SIZE + 1];
};

static inline int find_run(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *find = arg;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, "SELECT locator FROM blobs WHERE size = $1");

    db_bind_i64(&query, find->size);
    int row = db_step(&query, err);
    if (row == 1 && !slice_to_text(db_column_slice(&query, 0), find->locator, LOCATOR_SIZE + 1))
        return -1;
    return row == 1 ? 0 : -1;
}

/* "FOLDER/blobs/4f/4f1c..." of the blob that is `text`. */
static inline const char *file_of(struct fixture *fixture, const char *folder, const char *text)
{
    struct find find = {.size = (int64_t)strlen(text)};
    char name[64];

    OK(db_read(fixture->meta->db, find_run, &find, &fixture->err));
    snprintf(name, sizeof(name), "blobs/%.2s/%s", find.locator, find.locator);
    return in(folder, name);
}

static inline bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static inline struct stat stat_of(const char *path)
{
    struct stat status;

    assert_int_equal(lstat(path, &status), 0);
    return status;
}

static inline void flip_bit_at(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    char byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static inline void flip_bit(const char *path)
{
    flip_bit_at(path, 1);
}

static inline void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static inline size_t entries_of(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2;
}

static inline void assert_blob(struct fixture *fixture, const char *text)
{
    struct digest digest = digest_text_of(text);
    char found[64] = "";
    struct blob blob;

    OK(storage_blob_open(fixture->store, REPOSITORY, &digest, false, &blob, &fixture->err));
    assert_int_equal(read(blob.fd, found, sizeof(found) - 1), strlen(text));
    assert_string_equal(found, text);
    storage_blob_close(&blob);
}

#define BACKUP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

#endif

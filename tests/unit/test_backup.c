/* test_backup.c - snapshots of an opened storage in a folder, and what becomes of them: what is
 * copied, told, refused, removed and restored. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include "storage/backup_internal.h"
#include "storage/collect.h"
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

static int set_up(void **state)
{
    folder_new(place.base);
    snprintf(place.backup, sizeof(place.backup), "%s/backup", place.base);
    snprintf(place.other, sizeof(place.other), "%s/other", place.base);
    place.cancel_after = -1;
    return fixture_set_up(state);
}

static int tear_down(void **state)
{
    int result = fixture_tear_down(state);

    folder_remove(place.base);
    return result;
}

/* --- short ways --- */

static struct digest push_blob(struct fixture *fixture, const char *text)
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

static void note_told(void *arg, const struct backup_damage *damage)
{
    (void)arg;
    assert_true(place.told_count < TOLD_MAX);
    place.told[place.told_count++] = *damage;
}

static bool is_cancelled(void *arg)
{
    (void)arg;
    return place.cancel_after >= 0 && place.cancel_after-- == 0;
}

static const struct progress progress = {.cancelled = is_cancelled};

static struct backup_options options_to(const char *directory)
{
    place.told_count = 0;
    return (struct backup_options){.directory = directory, .told = {note_told, NULL}};
}

static struct backup_report backup(struct fixture *fixture)
{
    const struct backup_options options = options_to(place.backup);
    struct backup_report report;

    OK(storage_backup(fixture->store, &options, NULL, &report, &fixture->err));
    return report;
}

static struct backup_report verify(struct fixture *fixture)
{
    const struct backup_options options = options_to(place.backup);
    struct backup_report report = {.damaged = 0};

    OK(backup_verify(NULL, &options, NULL, &report, &fixture->err));
    return report;
}

static struct restore_options restore_to(const char *root)
{
    return (struct restore_options){
        .from = options_to(place.backup), .root = root, .grace_ms = 3600000};
}

static struct backup_report restore(struct fixture *fixture)
{
    const struct restore_options options = restore_to(place.other);
    struct backup_report report = {.damaged = 0};

    OK(backup_restore(&options, NULL, &report, &fixture->err));
    return report;
}

/* From now on the fixture is the restored root. */
static void move_in(struct fixture *fixture)
{
    storage_close(fixture->store);
    fixture->store = NULL;
    fixture->options.root = place.other;
    fixture_open(fixture);
}

static const char *in(const char *folder, const char *name)
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

static int find_run(struct db_tx *tx, void *arg, struct error *err)
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
static const char *file_of(struct fixture *fixture, const char *folder, const char *text)
{
    struct find find = {.size = (int64_t)strlen(text)};
    char name[64];

    OK(db_read(fixture->meta->db, find_run, &find, &fixture->err));
    snprintf(name, sizeof(name), "blobs/%.2s/%s", find.locator, find.locator);
    return in(folder, name);
}

static bool exists(const char *path)
{
    return access(path, F_OK) == 0;
}

static struct stat stat_of(const char *path)
{
    struct stat status;

    assert_int_equal(lstat(path, &status), 0);
    return status;
}

static void flip_bit_at(const char *path, off_t at)
{
    int fd = open(path, O_RDWR);
    char byte;

    assert_true(fd >= 0);
    assert_int_equal(pread(fd, &byte, 1, at), 1);
    byte ^= 4;
    assert_int_equal(pwrite(fd, &byte, 1, at), 1);
    close(fd);
}

static void flip_bit(const char *path)
{
    flip_bit_at(path, 1);
}

static void write_file(const char *path, const char *text)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
    close(fd);
}

static size_t entries_of(const char *path)
{
    DIR *folder = opendir(path);
    size_t count = 0;

    assert_non_null(folder);
    while (readdir(folder) != NULL)
        count++;
    closedir(folder);
    return count - 2;
}

static void assert_blob(struct fixture *fixture, const char *text)
{
    struct digest digest = digest_text_of(text);
    char found[64] = "";
    struct blob blob;

    OK(storage_blob_open(fixture->store, REPOSITORY, &digest, false, &blob, &fixture->err));
    assert_int_equal(read(blob.fd, found, sizeof(found) - 1), strlen(text));
    assert_string_equal(found, text);
    storage_blob_close(&blob);
}

/* --- what a snapshot says of itself --- */

static void test_summary_is_read_as_it_was_written(void **state)
{
    OWNED(summary_drop)
    struct summary summary = {.created_at = 1795271175123456,
                              .repositories = 1,
                              .manifests = 2,
                              .blobs = 3,
                              .bytes = 4,
                              .copied_bytes = 5,
                              .damaged = 6};
    OWNED(summary_drop) struct summary found = {0};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    (void)state;
    summary_add(&summary, &(struct summary_file){"meta.db", digest_text_of("a"), 7});
    summary_add(&summary, &(struct summary_file){"keys/a_B-9.pem", digest_text_of("b"), 8});
    summary_print(&summary, &text);
    assert_true(summary_parse(buffer_slice(&text), &found));
    assert_int_equal(found.created_at, summary.created_at);
    assert_int_equal(found.repositories, 1);
    assert_int_equal(found.manifests, 2);
    assert_int_equal(found.blobs, 3);
    assert_int_equal(found.bytes, 4);
    assert_int_equal(found.copied_bytes, 5);
    assert_int_equal(found.damaged, 6);
    assert_int_equal(found.file_count, 2);
    assert_string_equal(found.files[1].name, "keys/a_B-9.pem");
    assert_int_equal(found.files[1].size, 8);
    assert_true(digest_equal(&found.files[1].digest, &summary.files[1].digest));
}

#define SUM "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
#define META "file " SUM " 1 meta.db\n"

static void test_summary_refuses_what_is_not_whole_or_not_ours(void **state)
{
    static const char *const texts[] = {
        "",
        "slipway-backup 1\n",
        "slipway-backup 1\n" META,
        "slipway-backup 1\n" META "end",
        "slipway-backup 1\n" META "end\nmore",
        "slipway-backup 1\nend\n",
        "slipway-backup 2\n" META "end\n",
        "slipway-backup 1\n" META "blobs\nend\n",
        "slipway-backup 1\n" META "blobs -1\nend\n",
        "slipway-backup 1\n" META "blobs 1 \nend\n",
        "slipway-backup 1\n" META "sheep 1\nend\n",
        "slipway-backup 1\ncreated_at soon\n" META "end\n",
        "slipway-backup 1\nfile " SUM " 1 keys/a.pem\nend\n",
        "slipway-backup 1\n" META META "end\n",
        "slipway-backup 1\n" META "file " SUM " 1 keys/../meta.db\nend\n",
        "slipway-backup 1\n" META "file " SUM " 1 keys/.a\nend\n",
        "slipway-backup 1\n" META "file " SUM " 1 keys/\nend\n",
        "slipway-backup 1\n" META "file " SUM " 1 /etc/shadow\nend\n",
        "slipway-backup 1\n" META "file " SUM " x keys/a\nend\n",
        "slipway-backup 1\n" META "file sha256:44 1 keys/a\nend\n",
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(texts); i++) {
        OWNED(summary_drop) struct summary found = {0};
        if (summary_parse(slice_of(texts[i]), &found))
            fail_msg("taken: %s", texts[i]);
    }
}

/* --- what is copied --- */

static void test_backup_has_metadata_keys_and_bytes(void **state)
{
    struct fixture *fixture = *state;
    char mark[DIGEST_TEXT_MAX] = "", text[DIGEST_TEXT_MAX];

    mkdir(in(fixture->root, "keys"), 0700);
    write_file(in(fixture->root, "keys/20260101T000000Z-x.pem"), "a key");
    write_file(in(fixture->root, "keys/.half"), "no key");
    struct digest digest = push_blob(fixture, "first");
    push_blob(fixture, "the second");
    struct backup_report report = backup(fixture);
    assert_int_equal(report.blobs, 2);
    assert_int_equal(report.bytes, 15);
    assert_int_equal(report.copied, 2);
    assert_int_equal(report.copied_bytes, 15);
    assert_int_equal(report.damaged, 0);
    const char *file = file_of(fixture, place.backup, "first");
    assert_int_equal(stat_of(file).st_size, 5);
    assert_int_equal(stat_of(file).st_mode & 0777, 0600);
    if (getxattr(file, "user.slipway.digest", mark, sizeof(mark)) > 0)
        assert_string_equal(mark, digest_text(&digest, text));
    assert_int_equal(stat_of(place.backup).st_mode & 0777, 0700);
    OWNED(buffer_drop) struct buffer snapshot = BUFFER_NONE;
    buffer_print(&snapshot, "%s/snapshots/%s", place.backup, report.name);
    assert_int_equal(entries_of(snapshot.at), 3);
    assert_int_equal(entries_of(in(snapshot.at, "keys")), 1);
    assert_int_equal(stat_of(in(snapshot.at, "keys/20260101T000000Z-x.pem")).st_mode & 0777, 0600);
    assert_int_equal(stat_of(in(snapshot.at, "meta.db")).st_mode & 0777, 0600);
    assert_int_equal(verify(fixture).damaged, 0);
}

static void test_further_backup_copies_what_is_new(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    struct stat before = stat_of(file_of(fixture, place.backup, "first"));
    push_blob(fixture, "the second");
    struct backup_report report = backup(fixture);
    assert_int_equal(report.blobs, 2);
    assert_int_equal(report.copied, 1);
    assert_int_equal(report.copied_bytes, 10);
    struct stat after = stat_of(file_of(fixture, place.backup, "first"));
    assert_int_equal(after.st_ino, before.st_ino);
    assert_int_equal(after.st_mtim.tv_nsec, before.st_mtim.tv_nsec);
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 2);
}

static void test_file_that_was_cut_off_is_copied_again(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    const char *file = file_of(fixture, place.backup, "first");
    assert_int_equal(truncate(file, 3), 0);
    assert_int_equal(backup(fixture).copied, 1);
    assert_int_equal(stat_of(file).st_size, 5);
}

static void test_links_are_one_file(void **state)
{
    struct fixture *fixture = *state;
    struct backup_options options = options_to(place.backup);
    struct backup_report report;

    push_blob(fixture, "first");
    options.link = true;
    OK(storage_backup(fixture->store, &options, NULL, &report, &fixture->err));
    assert_int_equal(stat_of(file_of(fixture, place.backup, "first")).st_ino,
                     stat_of(file_of(fixture, fixture->root, "first")).st_ino);
    assert_int_equal(report.copied, 1);
}

static void test_copies_are_files_of_their_own(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    flip_bit(file_of(fixture, fixture->root, "first"));
    assert_int_equal(verify(fixture).damaged, 0);
}

/* (3) */
static void test_bytes_are_held_while_a_backup_runs(void **state)
{
    struct fixture *fixture = *state;
    struct backup_options options = options_to(place.backup);
    struct collect_state collect;
    struct backup_report report;

    push_blob(fixture, "first");
    OK(storage_backup(fixture->store, &options, NULL, &report, &fixture->err));
    OK(storage_collect_state(fixture->store, &collect, &fixture->err));
    assert_false(collect.held); /* it was given back */
    place.cancel_after = 1;
    FAILS(storage_backup(fixture->store, &options, &progress, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    OK(storage_collect_state(fixture->store, &collect, &fixture->err));
    assert_false(collect.held);
}

struct held {
    struct fixture *fixture;
    bool seen;
};

static void look_whether_held(void *arg, const char *counter, uint64_t amount)
{
    struct held *held = arg;
    struct collect_state collect = {.held = false};
    struct error err = {0};

    (void)amount;
    if (strcmp(counter, "blobs_done") != 0)
        return;
    assert_int_equal(storage_collect_state(held->fixture->store, &collect, &err), 0);
    held->seen = collect.held;
}

static void test_bytes_are_held_at_every_blob(void **state)
{
    struct held held = {*state, false};
    struct fixture *fixture = *state;
    const struct backup_options options = options_to(place.backup);
    const struct progress looking = {.add = look_whether_held, .arg = &held};
    struct backup_report report;

    push_blob(fixture, "first");
    OK(storage_backup(fixture->store, &options, &looking, &report, &fixture->err));
    assert_true(held.seen);
}

/* (1) */
static void test_cancelled_backup_leaves_no_snapshot(void **state)
{
    struct fixture *fixture = *state;
    const struct backup_options options = options_to(place.backup);
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};
    struct backup_report report;
    int cancelled = 0;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    for (int after = 0;; after++, cancelled++) {
        place.cancel_after = after;
        fixture->err = (struct error){0};
        if (storage_backup(fixture->store, &options, &progress, &report, &fixture->err) == 0)
            break;
        assert_int_equal(fixture->err.code, ERROR_UNAVAILABLE);
        assert_int_equal(entries_of(in(place.backup, "snapshots")), 0);
    }
    assert_true(cancelled > 3);
    OK(backup_list(place.backup, &list, &fixture->err));
    assert_int_equal(list.count, 1);
    assert_true(list.items[0].complete);
    assert_int_equal(verify(fixture).damaged, 0);
}

static void test_what_a_killed_command_left_is_shown_and_goes(void **state)
{
    struct fixture *fixture = *state;
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};

    backup(fixture);
    mkdir(in(place.backup, "snapshots/.new-20200101T000000.000Z"), 0700);
    mkdir(in(place.backup, "snapshots/.new-20200101T000000.000Z/keys"), 0700);
    write_file(in(place.backup, "snapshots/.new-20200101T000000.000Z/keys/a"), "half");
    OK(backup_list(place.backup, &list, &fixture->err));
    assert_int_equal(list.count, 2);
    assert_false(list.items[0].complete);
    assert_string_equal(list.items[0].name, "20200101T000000.000Z");
    assert_true(list.items[1].complete);
    backup(fixture);
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 2);
}

/* --- a snapshot is of one moment --- */

struct pairs {
    struct fixture *fixture;
    atomic_bool end;
    atomic_int written;
};

static int pair_run(struct db_tx *tx, void *arg, struct error *err)
{
    (void)arg;
    return db_execute(tx,
                      "INSERT INTO server_state(name, value)"
                      "  SELECT 'a' || (SELECT count(*) FROM server_state), hex(randomblob(500));"
                      "INSERT INTO server_state(name, value)"
                      "  SELECT 'b' || (SELECT count(*) FROM server_state), hex(randomblob(500))",
                      err);
}

static void *write_pairs(void *arg)
{
    struct pairs *pairs = arg;
    struct error err = {0};

    thread_role_current = ROLE_WORKER;
    while (!atomic_load(&pairs->end)) {
        assert_int_equal(meta_write(pairs->fixture->meta, pair_run, NULL, &err), 0);
        pairs->written++;
    }
    return NULL;
}

static int count_pairs(struct db_tx *tx, void *arg, struct error *err)
{
    int64_t *counts = arg;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, "SELECT sum(name GLOB 'a*'), sum(name GLOB 'b*')"
                                         "  FROM server_state WHERE name GLOB '[ab][0-9]*'");

    if (db_step(&query, err) != 1)
        return -1;
    counts[0] = db_column_i64(&query, 0);
    counts[1] = db_column_i64(&query, 1);
    return 0;
}

static void test_snapshot_of_a_database_that_is_written_to_is_whole(void **state)
{
    struct fixture *fixture = *state;
    struct pairs pairs = {.fixture = fixture};
    pthread_t writer;

    for (int i = 0; i < 300; i++)
        OK(meta_write(fixture->meta, pair_run, NULL, &fixture->err));
    assert_int_equal(pthread_create(&writer, NULL, write_pairs, &pairs), 0);
    while (atomic_load(&pairs.written) == 0)
        sched_yield();
    for (int i = 0; i < 5; i++) {
        OWNED(meta_drop) struct meta *sealed = NULL;
        int64_t counts[2] = {0, 0};
        char name[32];
        snprintf(name, sizeof(name), "%d?%%#.db", i); /* means something in a file's URI */
        OK(meta_snapshot(fixture->meta, in(place.base, name), NULL, &fixture->err));
        OK(meta_open_sealed(&sealed, in(place.base, name), &fixture->err));
        OK(db_read(sealed->db, count_pairs, counts, &fixture->err));
        OK(meta_backup_examine(sealed, NULL, &fixture->err));
        assert_true(counts[0] >= 300);
        assert_int_equal(counts[0], counts[1]);
    }
    assert_int_equal(entries_of(place.base), 5); /* nothing beside them */
    atomic_store(&pairs.end, true);
    pthread_join(writer, NULL);
}

enum { ASKED_MAX = 20 };

struct restless {
    struct fixture *fixture;
    int asked;
};

/* Somebody writes between any two pieces. */
static bool write_and_go_on(void *arg)
{
    struct restless *restless = arg;
    struct error err = {0};

    assert_int_equal(meta_write(restless->fixture->meta, pair_run, NULL, &err), 0);
    return ++restless->asked > ASKED_MAX;
}

static void test_snapshot_does_not_begin_again_when_somebody_writes(void **state)
{
    struct fixture *fixture = *state;
    struct restless restless = {fixture, 0};
    const struct progress writing = {.cancelled = write_and_go_on, .arg = &restless};

    for (int i = 0; i < 600; i++)
        OK(meta_write_loosely(fixture->meta, pair_run, NULL, DB_FOREGROUND, &fixture->err));
    OK(meta_snapshot(fixture->meta, in(place.base, "a.db"), &writing, &fixture->err));
    assert_true(restless.asked > 1);
}

static void test_snapshot_takes_no_file_that_is_there(void **state)
{
    struct fixture *fixture = *state;

    write_file(in(place.base, "there"), "precious");
    FAILS(meta_snapshot(fixture->meta, in(place.base, "there"), NULL, &fixture->err),
          ERROR_UNAVAILABLE);
    assert_int_equal(stat_of(in(place.base, "there")).st_size, 8);
}

static void test_sealed_metadata_of_a_newer_program_is_refused(void **state)
{
    struct fixture *fixture = *state;
    struct meta *sealed = NULL;

    script(fixture, "INSERT INTO schema_version(version, applied_at) VALUES (99, 0)");
    OK(meta_snapshot(fixture->meta, in(place.base, "a.db"), NULL, &fixture->err));
    FAILS(meta_open_sealed(&sealed, in(place.base, "a.db"), &fixture->err), ERROR_UNAVAILABLE);
    assert_non_null(strstr(fixture->err.message, "newer version"));
}

/* --- damage --- */

static void test_damaged_bytes_are_told_and_not_carried_on(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = push_blob(fixture, "first");
    struct blob blob;

    push_blob(fixture, "the second");
    push_blob(fixture, "a third one");
    flip_bit(file_of(fixture, fixture->root, "first"));
    assert_int_equal(unlink(file_of(fixture, fixture->root, "the second")), 0);
    struct backup_report report = backup(fixture);
    assert_int_equal(report.damaged, 2);
    assert_int_equal(report.copied, 1);
    assert_int_equal(place.told_count, 2);
    assert_true(digest_equal(&place.told[0].digest, &digest));
    assert_string_equal(place.told[0].what, "changed");
    assert_false(exists(file_of(fixture, place.backup, "first")));
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs WHERE damaged = 1"), 2);
    FAILS(storage_blob_stat(fixture->store, REPOSITORY, &digest, false, &blob, &fixture->err),
          ERROR_BLOB_UNKNOWN);
    assert_int_equal(backup(fixture).damaged, 2); /* known by now, and told again */
    assert_int_equal(verify(fixture).damaged, 2);
    push_blob(fixture, "first"); /* heals */
    report = backup(fixture);
    assert_int_equal(report.damaged, 1);
    assert_int_equal(report.copied, 1);
}

static void test_good_copy_stays_when_the_source_rots(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    backup(fixture);
    flip_bit(file_of(fixture, fixture->root, "first"));
    script(fixture, "UPDATE blobs SET damaged = 1");
    assert_int_equal(backup(fixture).damaged, 0);
    restore(fixture);
    move_in(fixture);
    assert_blob(fixture, "first");
}

static void test_verify_finds_what_is_wrong_with_bytes(void **state)
{
    struct fixture *fixture = *state;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    push_blob(fixture, "a third one");
    push_blob(fixture, "one that is whole");
    backup(fixture);
    flip_bit(file_of(fixture, place.backup, "first"));
    unlink(file_of(fixture, place.backup, "the second"));
    assert_int_equal(truncate(file_of(fixture, place.backup, "a third one"), 2), 0);
    assert_int_equal(verify(fixture).damaged, 3);
    assert_int_equal(place.told_count, 3);
    assert_string_equal(place.told[0].what, "changed");
    assert_string_equal(place.told[1].what, "missing");
    assert_string_equal(place.told[2].what, "of another size");
}

static void test_pipes_in_a_backup_make_nobody_wait(void **state)
{
    struct fixture *fixture = *state;
    const char *file;

    push_blob(fixture, "");
    backup(fixture);
    file = file_of(fixture, place.backup, "");
    unlink(file);
    assert_int_equal(mkfifo(file, 0600), 0);
    assert_int_equal(verify(fixture).damaged, 1);
    assert_string_equal(place.told[0].what, "unreadable");
}

static void test_verify_finds_what_is_wrong_with_metadata(void **state)
{
    struct fixture *fixture = *state;
    static const char *const files[] = {"meta.db", "keys/a.pem", "summary"};

    mkdir(in(fixture->root, "keys"), 0700);
    write_file(in(fixture->root, "keys/a.pem"), "a key");
    for (size_t i = 0; i < LENGTH(files); i++) {
        const struct backup_options options = options_to(place.backup);
        struct backup_report report = backup(fixture);
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE;
        buffer_print(&path, "%s/snapshots/%s/%s", place.backup, report.name, files[i]);
        flip_bit(path.at);
        fixture->err = (struct error){0};
        assert_int_equal(backup_verify(NULL, &options, NULL, &report, &fixture->err), -1);
        assert_non_null(strstr(fixture->err.message, "damaged"));
    }
}

/* A copy at `name`, found whole or not. */
static int examine_copy(struct fixture *fixture, const char *name)
{
    OWNED(meta_drop) struct meta *sealed = NULL;

    fixture->err = (struct error){0};
    OK(meta_open_sealed(&sealed, in(place.base, name), &fixture->err));
    return meta_backup_examine(sealed, NULL, &fixture->err);
}

/* One letter of the first place where the text stands. */
static void misspell(const char *path, const char *text)
{
    int fd = open(path, O_RDWR);
    OWNED(memory_drop) char *all = memory_new(4 << 20);

    assert_true(fd >= 0);
    ssize_t size = read(fd, all, 4 << 20);
    const char *found = size <= 0 ? NULL : memmem(all, (size_t)size, text, strlen(text));
    assert_non_null(found);
    assert_int_equal(pwrite(fd, "X", 1, found - all), 1);
    close(fd);
}

static void test_examination_finds_wrong_manifests_and_rows(void **state)
{
    struct fixture *fixture = *state;

    push_text(fixture, "{\"schemaVersion\":2}", "a-tag-of-its-own");
    OK(meta_snapshot(fixture->meta, in(place.base, "whole"), NULL, &fixture->err));
    OK(meta_snapshot(fixture->meta, in(place.base, "row"), NULL, &fixture->err));
    script(fixture, "UPDATE manifests SET payload = x'7b7d'");
    OK(meta_snapshot(fixture->meta, in(place.base, "payload"), NULL, &fixture->err));
    assert_int_equal(examine_copy(fixture, "whole"), 0);
    assert_int_equal(examine_copy(fixture, "payload"), -1);
    assert_non_null(strstr(fixture->err.message, "has other bytes"));
    misspell(in(place.base, "row"), "a-tag-of-its-own"); /* in an index, or not in the index */
    assert_int_equal(examine_copy(fixture, "row"), -1);
    assert_non_null(strstr(fixture->err.message, "damaged"));
}

/* --- whose folder --- */

static void test_folders_of_others_are_refused(void **state)
{
    struct fixture *fixture = *state;
    struct backup_options options = options_to(place.base);
    struct backup_report report;
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};
    struct backup_removed removed;

    write_file(in(place.base, "precious"), "x");
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    assert_int_equal(entries_of(place.base), 1);
    FAILS(backup_list(place.base, &list, &fixture->err), ERROR_NOT_FOUND);
    FAILS(backup_remove(fixture->root, NULL, 1, NULL, &removed, &fixture->err), ERROR_NOT_FOUND);
    options.directory = fixture->root; /* a root is none, whatever is in it */
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    options.directory = in(place.base, "none/below");
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
    backup(fixture);
    write_file(in(place.backup, "format"), "slipway-backup 2\n");
    options.directory = place.backup;
    FAILS(storage_backup(fixture->store, &options, NULL, &report, &fixture->err),
          ERROR_UNAVAILABLE);
}

static void test_commands_that_change_a_backup_exclude_each_other(void **state)
{
    static const struct {
        enum backup_use one, other;
        bool together;
    } table[] = {
        {BACKUP_MAKE, BACKUP_MAKE, false},   {BACKUP_MAKE, BACKUP_CHANGE, false},
        {BACKUP_MAKE, BACKUP_READ, true},    {BACKUP_CHANGE, BACKUP_READ, false},
        {BACKUP_READ, BACKUP_READ, true},    {BACKUP_CHANGE, BACKUP_LOOK, true},
        {BACKUP_READ, BACKUP_CHANGE, false},
    };
    struct fixture *fixture = *state;

    backup(fixture);
    for (size_t i = 0; i < LENGTH(table); i++) {
        OWNED(backup_folder_close) struct backup_folder one = {.path = NULL};
        OWNED(backup_folder_close) struct backup_folder other = {.path = NULL};
        OK(backup_folder_open(&one, place.backup, table[i].one, &fixture->err));
        if (table[i].together)
            OK(backup_folder_open(&other, place.backup, table[i].other, &fixture->err));
        else
            FAILS(backup_folder_open(&other, place.backup, table[i].other, &fixture->err),
                  ERROR_CONFLICT);
    }
}

/* (6) */
static void test_what_is_made_belongs_to_the_owner_of_the_folder(void **state)
{
    struct fixture *fixture = *state;

    if (geteuid() != 0)
        skip();
    push_blob(fixture, "first");
    assert_int_equal(mkdir(place.backup, 0700), 0);
    assert_int_equal(chown(place.backup, 12345, 12346), 0);
    struct backup_report report = backup(fixture);
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    buffer_print(&name, "snapshots/%s/meta.db", report.name);
    assert_int_equal(stat_of(in(place.backup, name.at)).st_uid, 12345);
    assert_int_equal(stat_of(in(place.backup, "blobs")).st_gid, 12346);
    assert_int_equal(stat_of(file_of(fixture, place.backup, "first")).st_uid, 12345);
    assert_int_equal(mkdir(place.other, 0700), 0);
    assert_int_equal(chown(place.other, 23456, 23456), 0);
    struct restore_options options = restore_to(place.other);
    options.from.link = true; /* not to files that the owner may be unable to read */
    OK(backup_restore(&options, NULL, &report, &fixture->err));
    static const char *const names[] = {"meta.db", "lock", "blobs"};
    for (size_t i = 0; i < LENGTH(names); i++)
        assert_int_equal(stat_of(in(place.other, names[i])).st_uid, 23456);
    assert_int_equal(stat_of(file_of(fixture, place.other, "first")).st_uid, 23456);
}

/* --- removing --- */

static void test_removed_snapshot_takes_what_only_it_named(void **state)
{
    struct fixture *fixture = *state;
    struct backup_removed removed;

    push_blob(fixture, "first");
    struct backup_report one = backup(fixture);
    push_blob(fixture, "the second");
    char *gone = strdup(file_of(fixture, place.backup, "first"));
    script(fixture, "DELETE FROM repository_blobs WHERE blob_id = 1;"
                    "DELETE FROM blobs WHERE id = 1");
    backup(fixture);
    OWNED(buffer_drop) struct buffer half = BUFFER_NONE;
    buffer_print(&half, "%s/blobs/%.2s/.%s", place.backup, strrchr(gone, '/') + 1,
                 strrchr(gone, '/') + 1);
    write_file(half.at, "cut off");
    FAILS(backup_remove(place.backup, "20200101T000000.000Z", 0, NULL, &removed, &fixture->err),
          ERROR_NOT_FOUND);
    assert_true(exists(gone));
    OK(backup_remove(place.backup, one.name, 0, NULL, &removed, &fixture->err));
    assert_int_equal(removed.snapshots, 1);
    assert_int_equal(removed.blobs, 1);
    assert_int_equal(removed.bytes, 5);
    assert_false(exists(gone));
    assert_false(exists(half.at));
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 1);
    assert_int_equal(verify(fixture).damaged, 0);
    free(gone);
}

static void test_prune_keeps_the_newest(void **state)
{
    struct fixture *fixture = *state;
    struct backup_removed removed;
    OWNED(backup_list_drop) struct backup_list list = {NULL, 0};
    struct backup_report newest = {.damaged = 0};

    push_blob(fixture, "first");
    for (int i = 0; i < 4; i++)
        newest = backup(fixture);
    OK(backup_remove(place.backup, NULL, 2, NULL, &removed, &fixture->err));
    assert_int_equal(removed.snapshots, 2);
    assert_int_equal(removed.blobs, 0);
    OK(backup_list(place.backup, &list, &fixture->err));
    assert_int_equal(list.count, 2);
    assert_string_equal(list.items[1].name, newest.name);
    assert_int_equal(verify(fixture).damaged, 0);
}

static void test_nothing_is_removed_beside_damaged_metadata(void **state)
{
    struct fixture *fixture = *state;
    struct backup_removed removed;
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    push_blob(fixture, "first");
    struct backup_report one = backup(fixture), two = backup(fixture);
    buffer_print(&path, "%s/snapshots/%s/meta.db", place.backup, one.name);
    flip_bit_at(path.at, stat_of(path.at).st_size / 2); /* where the database does not look */
    assert_int_equal(backup_remove(place.backup, two.name, 0, NULL, &removed, &fixture->err), -1);
    assert_int_equal(entries_of(in(place.backup, "snapshots")), 2);
    assert_true(exists(file_of(fixture, place.backup, "first")));
    OK(backup_remove(place.backup, one.name, 0, NULL, &removed, &fixture->err));
    assert_int_equal(verify(fixture).damaged, 0);
}

/* --- restoring --- */

static void test_restored_root_serves_what_was_there(void **state)
{
    struct fixture *fixture = *state;

    mkdir(in(fixture->root, "keys"), 0700);
    write_file(in(fixture->root, "keys/a.pem"), "a key");
    push_blob(fixture, "first");
    push_text(fixture, "{\"schemaVersion\":2}", "v1");
    backup(fixture);
    push_blob(fixture, "after the snapshot");
    struct backup_report report = restore(fixture);
    assert_int_equal(report.copied, 1);
    assert_int_equal(stat_of(place.other).st_mode & 0777, 0700);
    assert_int_equal(stat_of(in(place.other, "meta.db")).st_mode & 0777, 0600);
    assert_int_equal(stat_of(in(place.other, "keys")).st_mode & 0777, 0700);
    assert_int_equal(stat_of(in(place.other, "keys/a.pem")).st_mode & 0777, 0600);
    assert_false(exists(in(place.other, BACKUP_RESTORING)));
    move_in(fixture);
    assert_blob(fixture, "first");
    assert_int_equal(number(fixture, "SELECT count(*) FROM blobs"), 1);
    assert_int_equal(number(fixture, "SELECT count(*) FROM tags WHERE name = 'v1'"), 1);
}

/* Promises made after the snapshot, and before it, hold for a lease. */
static void test_restored_metadata_begins_its_leases_anew(void **state)
{
    struct fixture *fixture = *state;
    char id[OCI_UPLOAD_ID_SIZE + 1];
    int64_t now = clock_now_us();

    push_blob(fixture, "first");
    push_text(fixture, "{\"schemaVersion\":2}", "v1");
    OK(storage_upload_start(fixture->store, REPOSITORY, DIGEST_SHA256, NULL, id, &fixture->err));
    script(fixture, "UPDATE repository_blobs SET touched_at = 1;"
                    "UPDATE manifests SET touched_at = 1;"
                    "UPDATE gc_queue SET due = 1;"
                    "INSERT INTO trash(locator, not_before)"
                    "     VALUES ('0123456789abcdef0123456789abcdef', 1)");
    backup(fixture);
    restore(fixture);
    move_in(fixture);
    assert_int_equal(number(fixture, "SELECT count(*) FROM uploads"), 0);
    assert_int_equal(number(fixture, "SELECT count(*) FROM trash"), 0);
    assert_true(number(fixture, "SELECT min(touched_at) FROM repository_blobs") >= now);
    assert_true(number(fixture, "SELECT min(touched_at) FROM manifests") >= now);
    assert_true(number(fixture, "SELECT min(due) FROM gc_queue") >= now + INT64_C(3600) * US_PER_S);
    assert_int_equal(number(fixture, "SELECT count(*) FROM server_state"
                                     " WHERE name = 'orphans' AND value = 'due'"),
                     1); /* the boot was forgotten, so this start looks for files without rows */
}

static void test_blobs_that_a_backup_lacks_are_damaged(void **state)
{
    struct fixture *fixture = *state;
    struct digest digest = push_blob(fixture, "first");
    struct blob blob;

    push_blob(fixture, "the second");
    backup(fixture);
    flip_bit(file_of(fixture, place.backup, "first"));
    assert_int_equal(restore(fixture).damaged, 1);
    assert_string_equal(place.told[0].what, "changed");
    move_in(fixture);
    FAILS(storage_blob_stat(fixture->store, REPOSITORY, &digest, false, &blob, &fixture->err),
          ERROR_BLOB_UNKNOWN);
    assert_blob(fixture, "the second");
    push_blob(fixture, "first");
    assert_blob(fixture, "first");
}

static void test_restore_refuses_roots_that_are_not_empty(void **state)
{
    struct fixture *fixture = *state;
    struct restore_options options = restore_to(place.other);
    struct backup_report report;

    backup(fixture);
    mkdir(place.other, 0700);
    write_file(in(place.other, "precious"), "x");
    FAILS(backup_restore(&options, NULL, &report, &fixture->err), ERROR_CONFLICT);
    assert_int_equal(entries_of(place.other), 1);
    options.root = fixture->root;
    FAILS(backup_restore(&options, NULL, &report, &fixture->err), ERROR_CONFLICT);
    options.root = place.other;
    unlink(in(place.other, "precious"));
    mkdir(in(place.other, "lost+found"), 0700);
    OK(backup_restore(&options, NULL, &report, &fixture->err));
}

static void test_dry_run_makes_nothing(void **state)
{
    struct fixture *fixture = *state;
    struct restore_options options = restore_to(place.other);
    struct backup_report report;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    backup(fixture);
    unlink(file_of(fixture, place.backup, "first"));
    options.dry_run = true;
    OK(backup_restore(&options, NULL, &report, &fixture->err));
    assert_int_equal(report.damaged, 1);
    assert_int_equal(report.copied, 0);
    assert_false(exists(place.other));
}

/* (5), at every moment at which it can be asked to stop. */
static void test_restore_goes_on_where_it_was_cut_off(void **state)
{
    struct fixture *fixture = *state;
    const struct restore_options options = restore_to(place.other);
    struct storage_options opened = fixture->options;
    struct storage *store = NULL;
    struct backup_report report;
    int cut = 0;

    push_blob(fixture, "first");
    push_blob(fixture, "the second");
    backup(fixture);
    opened.root = place.other;
    for (int after = 0;; after++, cut++) {
        place.cancel_after = after;
        fixture->err = (struct error){0};
        if (backup_restore(&options, &progress, &report, &fixture->err) == 0)
            break;
        assert_true(exists(in(place.other, BACKUP_RESTORING)));
        FAILS(storage_open(&store, &opened, &fixture->err), ERROR_UNAVAILABLE);
        assert_non_null(strstr(fixture->err.message, "cut off"));
    }
    assert_true(cut > 3);
    move_in(fixture);
    assert_blob(fixture, "first");
    assert_blob(fixture, "the second");
}

static void test_restore_of_another_snapshot_does_not_go_on(void **state)
{
    struct fixture *fixture = *state;
    struct restore_options options = restore_to(place.other);
    struct backup_report one, report;

    push_blob(fixture, "first");
    one = backup(fixture);
    backup(fixture);
    options.snapshot = one.name;
    place.cancel_after = 1;
    FAILS(backup_restore(&options, &progress, &report, &fixture->err), ERROR_UNAVAILABLE);
    place.cancel_after = -1;
    options.snapshot = NULL;
    FAILS(backup_restore(&options, NULL, &report, &fixture->err), ERROR_CONFLICT);
    options.snapshot = one.name;
    OK(backup_restore(&options, NULL, &report, &fixture->err));
    assert_string_equal(report.name, one.name);
}

#define BACKUP_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_summary_is_read_as_it_was_written),
        cmocka_unit_test(test_summary_refuses_what_is_not_whole_or_not_ours),
        BACKUP_TEST(test_backup_has_metadata_keys_and_bytes),
        BACKUP_TEST(test_further_backup_copies_what_is_new),
        BACKUP_TEST(test_file_that_was_cut_off_is_copied_again),
        BACKUP_TEST(test_links_are_one_file),
        BACKUP_TEST(test_copies_are_files_of_their_own),
        BACKUP_TEST(test_bytes_are_held_while_a_backup_runs),
        BACKUP_TEST(test_bytes_are_held_at_every_blob),
        BACKUP_TEST(test_cancelled_backup_leaves_no_snapshot),
        BACKUP_TEST(test_what_a_killed_command_left_is_shown_and_goes),
        BACKUP_TEST(test_snapshot_of_a_database_that_is_written_to_is_whole),
        BACKUP_TEST(test_snapshot_does_not_begin_again_when_somebody_writes),
        BACKUP_TEST(test_snapshot_takes_no_file_that_is_there),
        BACKUP_TEST(test_sealed_metadata_of_a_newer_program_is_refused),
        BACKUP_TEST(test_damaged_bytes_are_told_and_not_carried_on),
        BACKUP_TEST(test_good_copy_stays_when_the_source_rots),
        BACKUP_TEST(test_verify_finds_what_is_wrong_with_bytes),
        BACKUP_TEST(test_pipes_in_a_backup_make_nobody_wait),
        BACKUP_TEST(test_verify_finds_what_is_wrong_with_metadata),
        BACKUP_TEST(test_examination_finds_wrong_manifests_and_rows),
        BACKUP_TEST(test_folders_of_others_are_refused),
        BACKUP_TEST(test_commands_that_change_a_backup_exclude_each_other),
        BACKUP_TEST(test_what_is_made_belongs_to_the_owner_of_the_folder),
        BACKUP_TEST(test_removed_snapshot_takes_what_only_it_named),
        BACKUP_TEST(test_prune_keeps_the_newest),
        BACKUP_TEST(test_nothing_is_removed_beside_damaged_metadata),
        BACKUP_TEST(test_restored_root_serves_what_was_there),
        BACKUP_TEST(test_restored_metadata_begins_its_leases_anew),
        BACKUP_TEST(test_blobs_that_a_backup_lacks_are_damaged),
        BACKUP_TEST(test_restore_refuses_roots_that_are_not_empty),
        BACKUP_TEST(test_dry_run_makes_nothing),
        BACKUP_TEST(test_restore_goes_on_where_it_was_cut_off),
        BACKUP_TEST(test_restore_of_another_snapshot_does_not_go_on),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

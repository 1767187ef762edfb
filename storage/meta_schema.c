/* meta_schema.c - the numbered schema files, and bringing a database up to date.
 * Touches  every table, at start only.
 * Never    goes back: a schema newer than the program is refused.
 *
 * A file once released is never edited; the next number says what changes. The assembler puts the
 * files into the program as they are, followed by a zero byte. */
#include "storage/meta_internal.h"

#include <string.h>

#define SCHEMA_FILE(number)                                                                        \
    extern const char schema_##number[];                                                           \
    __asm__(".section .rodata\n"                                                                   \
            ".global schema_" #number "\n"                                                         \
            "schema_" #number ":\n"                                                                \
            ".incbin \"storage/schema/" #number ".sql\"\n"                                         \
            ".byte 0\n"                                                                            \
            ".previous\n")

SCHEMA_FILE(0001);
SCHEMA_FILE(0002);
SCHEMA_FILE(0003);
SCHEMA_FILE(0004);

static const char *const schema_files[] = {schema_0001, schema_0002, schema_0003, schema_0004};

enum { SCHEMA_NEWEST = sizeof(schema_files) / sizeof(schema_files[0]) };

/* Text with the words of one database in the place of ours. */
static void translate(const char *text, const struct db_dialect *words, struct buffer *out)
{
    const struct {
        const char *ours;
        const char *theirs;
    } table[] = {
        {"@BYTEWISE", words->bytewise}, {"@ID", words->id},         {"@BYTES", words->bytes},
        {"@TIGHT", words->tight},       {"@STRICT", words->strict}, {"@JSON(", words->json},
        {"BIGINT", words->bigint},
    };
    size_t count = sizeof(table) / sizeof(table[0]);

    while (*text != 0) {
        size_t i = 0;
        while (i < count && strncmp(text, table[i].ours, strlen(table[i].ours)) != 0)
            i++;
        if (i < count) {
            buffer_append_text(out, table[i].theirs);
            text += strlen(table[i].ours);
        } else {
            buffer_append(out, text++, 1);
        }
    }
    buffer_append(out, "", 1);
}

/* The one table that no numbered file makes. BIGINT means a whole number to every database. */
static const char SQL_VERSION_TABLE[] = "CREATE TABLE IF NOT EXISTS schema_version("
                                        "    version BIGINT NOT NULL PRIMARY KEY,"
                                        "    applied_at BIGINT NOT NULL)";
static const char SQL_VERSION_FIND[] = "SELECT coalesce(max(version), 0)"
                                       "  FROM schema_version";
static const char SQL_VERSION_ADD[] = "INSERT INTO schema_version(version, applied_at)"
                                      "     VALUES ($1, $2)";

static int version_find(struct db_tx *tx, int64_t *version, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_VERSION_FIND);

    if (db_step(&query, err) != 1)
        return -1;
    *version = db_column_i64(&query, 0);
    return 0;
}

static int version_add(struct db_tx *tx, int64_t version, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_VERSION_ADD);

    db_bind_i64(&query, version);
    db_bind_i64(&query, clock_now_us());
    return db_finish(&query, err);
}

static int version_check(struct db_tx *tx, int64_t *version, struct error *err)
{
    if (version_find(tx, version, err) < 0)
        return -1;
    if (*version <= SCHEMA_NEWEST)
        return 0;
    return error_set(err, ERROR_UNAVAILABLE,
                     "the metadata has schema %lld, this program knows up to %d: "
                     "it was written by a newer version",
                     (long long)*version, SCHEMA_NEWEST);
}

static int apply(struct db_tx *tx, void *arg, struct error *err)
{
    const struct db_dialect *words = arg;
    int64_t version = 0;

    if (db_execute(tx, SQL_VERSION_TABLE, err) < 0 || version_check(tx, &version, err) < 0)
        return -1;
    for (; version < SCHEMA_NEWEST; version++) {
        OWNED(buffer_drop) struct buffer script = BUFFER_NONE;
        translate(schema_files[version], words, &script);
        if (db_execute(tx, script.at, err) < 0 || version_add(tx, version + 1, err) < 0)
            return -1;
    }
    return 0;
}

int meta_migrate(struct db *db, struct error *err)
{
    struct db_dialect words = *db_dialect(db);
    const struct db_work work = {.run = apply, .arg = &words};

    return db_write(db, &work, err);
}

static int known(struct db_tx *tx, void *arg, struct error *err)
{
    int64_t *version = arg;

    return version_check(tx, version, err);
}

int meta_schema_known(struct db *db, struct error *err)
{
    int64_t version = 0;

    if (db_read(db, known, &version, err) < 0)
        return -1;
    return version > 0 ? 0 : error_set(err, ERROR_UNAVAILABLE, "the metadata has no schema");
}

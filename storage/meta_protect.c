/* meta_protect.c - whether a tag may move or go, and a manifest: tags' own marks, rules, pins.
 * Touches  nothing: it reads tags, protections, pins.
 * Never    outside of the transaction that would do it: nothing comes between look and act. */
#include "registry/core/glob.h"
#include "storage/meta_internal.h"
#include "storage/pattern.h"

static const char SQL_TAG_MARK[] = "SELECT t.protection, r.name"
                                   "  FROM repositories r"
                                   "  LEFT JOIN tags t ON t.repo_id = r.id AND t.name = $2"
                                   " WHERE r.id = $1";
static const char SQL_RULES[] = "SELECT pattern, tags, bits"
                                "  FROM protections";
static const char SQL_PIN[] = "SELECT name"
                              "  FROM pins"
                              " WHERE repo_id = $1 AND manifest_id = $2 AND until > $3"
                              " LIMIT 1";
static const char SQL_TAGS_OF[] = "SELECT name"
                                  "  FROM tags"
                                  " WHERE repo_id = $1 AND manifest_id = $2"
                                  " ORDER BY name";

/* Every rule is read: there are few, and only tags that exist ask. */
static int rules_bits(struct db_tx *tx, struct slice repository, struct slice tag, unsigned *bits,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_RULES);
    int row;

    while ((row = db_step(&query, err)) == 1)
        if (pattern_covers(db_column_slice(&query, 0), repository) &&
            glob_matches(db_column_slice(&query, 1), tag))
            *bits |= (unsigned)db_column_i64(&query, 2);
    return row;
}

static int tag_bits(struct db_tx *tx, int64_t repository, struct slice tag, unsigned *bits,
                    struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_MARK);

    *bits = 0;
    db_bind_i64(&query, repository);
    db_bind_text(&query, tag);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    *bits = db_column_is_null(&query, 0) ? 0 : (unsigned)db_column_i64(&query, 0);
    return rules_bits(tx, db_column_slice(&query, 1), tag, bits, err);
}

int meta_guard_tag(struct db_tx *tx, int64_t repository, struct slice tag,
                   enum tag_protection against, struct error *err)
{
    unsigned bits = 0;

    if (tag_bits(tx, repository, tag, &bits, err) < 0)
        return -1;
    if ((bits & against) == 0)
        return 0;
    return error_set(err, ERROR_PROTECTED, "tag %.*s is %s", SLICE_ARG(tag),
                     against == TAG_IMMUTABLE ? "immutable: it stays where it is" : "protected");
}

static int pins_check(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t now,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN);

    db_bind_i64(&query, repository);
    db_bind_i64(&query, manifest);
    db_bind_i64(&query, now);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    return error_set(err, ERROR_PROTECTED, "the manifest is in use: pinned by %.*s",
                     SLICE_ARG(db_column_slice(&query, 0)));
}

int meta_guard_manifest(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t now,
                        struct error *err)
{
    int row;

    if (pins_check(tx, repository, manifest, now, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAGS_OF);
    db_bind_i64(&query, repository);
    db_bind_i64(&query, manifest);
    while ((row = db_step(&query, err)) == 1)
        if (meta_guard_tag(tx, repository, db_column_slice(&query, 0), TAG_PROTECTED, err) < 0)
            return -1;
    return row;
}

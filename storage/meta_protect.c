/* meta_protect.c - whether a tag may move or go, and a manifest: tags' own marks, rules, pins.
 * Touches  nothing: it reads tags, protections, pins.
 * Never    outside of the transaction that would do it: nothing comes between look and act. */
#include "registry/core/glob.h"
#include "storage/meta_internal.h"

#include <stdlib.h>

/* --- rules --- */

static const char SQL_NAME[] = "SELECT name"
                               "  FROM repositories"
                               " WHERE id = $1";
static const char SQL_RULES[] = "SELECT pattern, tags, bits"
                                "  FROM protections";

void meta_rules_drop(struct meta_rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        free(rules->items[i].tags);
    free(rules->items);
    *rules = (struct meta_rules){.items = NULL};
}

/* Every rule is looked at: there are few. */
static int rules_covering(struct db_tx *tx, struct slice repository, struct meta_rules *out,
                          struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_RULES);
    size_t capacity = 0;
    int row;

    while ((row = db_step(&query, err)) == 1) {
        if (!pattern_covers(db_column_slice(&query, 0), repository))
            continue;
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] =
            (struct meta_rule){meta_text(&query, 1), (unsigned)db_column_i64(&query, 2)};
        out->bits |= (unsigned)db_column_i64(&query, 2);
    }
    return row;
}

int meta_rules_read(struct db_tx *tx, int64_t repository, struct meta_rules *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_NAME);

    meta_rules_drop(out);
    db_bind_i64(&query, repository);
    int row = db_step(&query, err);
    return row <= 0 ? row : rules_covering(tx, db_column_slice(&query, 0), out, err);
}

unsigned meta_rules_bits(const struct meta_rules *rules, struct slice tag)
{
    unsigned bits = 0;

    for (size_t i = 0; i < rules->count; i++)
        if (glob_matches(slice_of(rules->items[i].tags), tag))
            bits |= rules->items[i].bits;
    return bits;
}

/* --- one tag --- */

static const char SQL_TAG_MARK[] = "SELECT protection"
                                   "  FROM tags"
                                   " WHERE repo_id = $1 AND name = $2";

static int tag_bits(struct db_tx *tx, int64_t repository, struct slice tag, unsigned *bits,
                    struct error *err)
{
    OWNED(meta_rules_drop) struct meta_rules rules = {.count = 0};
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAG_MARK);

    db_bind_i64(&query, repository);
    db_bind_text(&query, tag);
    int row = db_step(&query, err);
    if (row < 0 || meta_rules_read(tx, repository, &rules, err) < 0)
        return -1;
    *bits = (row == 1 ? (unsigned)db_column_i64(&query, 0) : 0) | meta_rules_bits(&rules, tag);
    return 0;
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

/* --- what is to go: pins and protected tags above it --- */

static const char SQL_GUARDED[] = "SELECT 1"
                                  "  FROM pins"
                                  " WHERE repo_id = $1 AND until > $2"
                                  " UNION ALL"
                                  " SELECT 1"
                                  "  FROM tags"
                                  " WHERE repo_id = $1 AND protection > 0"
                                  " LIMIT 1";
static const char SQL_PIN[] = "SELECT name"
                              "  FROM pins"
                              " WHERE repo_id = $1 AND manifest_id = $2 AND until > $3"
                              " LIMIT 1";
static const char SQL_TAGS_OF[] = "SELECT name, protection"
                                  "  FROM tags"
                                  " WHERE repo_id = $1 AND manifest_id = $2"
                                  " ORDER BY name";
static const char SQL_PARENTS[] =
    "SELECT r.parent_id"
    "  FROM manifest_refs r"
    "  JOIN manifests m ON m.id = r.parent_id"
    " WHERE r.repo_id = $1 AND r.child_id = $2 AND m.deleted_at IS NULL";
static const char SQL_USERS[] = "SELECT l.manifest_id"
                                "  FROM manifest_blobs l"
                                "  JOIN manifests m ON m.id = l.manifest_id"
                                " WHERE l.repo_id = $1 AND l.blob_id = $2 AND m.deleted_at IS NULL";

/* Manifests to ask about: what goes, and what holds it, and so on upwards. */
struct guard {
    int64_t repository, now;
    unsigned against; /* marks that object */
    struct meta_rules rules;
    int64_t *ids;
    size_t count, capacity;
};

static void guard_drop(struct guard *guard)
{
    meta_rules_drop(&guard->rules);
    free(guard->ids);
}

static void guard_add(struct guard *guard, int64_t id)
{
    for (size_t i = 0; i < guard->count; i++)
        if (guard->ids[i] == id)
            return;
    guard->ids = meta_grow(guard->ids, guard->count, &guard->capacity, sizeof(*guard->ids));
    guard->ids[guard->count++] = id;
}

static int guard_gather(struct db_tx *tx, struct guard *guard, const char *sql, int64_t below,
                        struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, sql);
    int row;

    db_bind_i64(&query, guard->repository);
    db_bind_i64(&query, below);
    while ((row = db_step(&query, err)) == 1)
        guard_add(guard, db_column_i64(&query, 0));
    return row;
}

/* Most repositories have nothing that could object. */
static int guard_begin(struct db_tx *tx, struct guard *guard, bool *needed, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_GUARDED);

    if (meta_rules_read(tx, guard->repository, &guard->rules, err) < 0)
        return -1;
    db_bind_i64(&query, guard->repository);
    db_bind_i64(&query, guard->now);
    int row = db_step(&query, err);
    *needed = row == 1 || (guard->rules.bits & guard->against) != 0;
    return row < 0 ? -1 : 0;
}

static int pins_check(struct db_tx *tx, const struct guard *guard, int64_t manifest,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN);

    db_bind_i64(&query, guard->repository);
    db_bind_i64(&query, manifest);
    db_bind_i64(&query, guard->now);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    return error_set(err, ERROR_PROTECTED, "the manifest is in use: pinned by %.*s",
                     SLICE_ARG(db_column_slice(&query, 0)));
}

static int tag_check(const struct guard *guard, const struct db_query *row, struct error *err)
{
    struct slice tag = db_column_slice(row, 0);
    unsigned bits = (unsigned)db_column_i64(row, 1) | meta_rules_bits(&guard->rules, tag);

    if ((bits & guard->against) == 0)
        return 0;
    return error_set(err, ERROR_PROTECTED, "tag %.*s is %s", SLICE_ARG(tag),
                     (bits & TAG_PROTECTED) != 0 ? "protected" : "immutable");
}

static int tags_check(struct db_tx *tx, const struct guard *guard, int64_t manifest,
                      struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_TAGS_OF);
    int row;

    db_bind_i64(&query, guard->repository);
    db_bind_i64(&query, manifest);
    while ((row = db_step(&query, err)) == 1)
        if (tag_check(guard, &query, err) < 0)
            return -1;
    return row;
}

static int guard_ask(struct db_tx *tx, struct guard *guard, struct error *err)
{
    for (size_t i = 0; i < guard->count; i++)
        if (pins_check(tx, guard, guard->ids[i], err) < 0 ||
            tags_check(tx, guard, guard->ids[i], err) < 0 ||
            guard_gather(tx, guard, SQL_PARENTS, guard->ids[i], err) < 0)
            return -1;
    return 0;
}

static int guard_manifest(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t now,
                          unsigned against, struct error *err)
{
    OWNED(guard_drop)
    struct guard guard = {.repository = repository, .now = now, .against = against};
    bool needed = false;

    if (guard_begin(tx, &guard, &needed, err) < 0)
        return -1;
    if (!needed)
        return 0;
    guard_add(&guard, manifest);
    return guard_ask(tx, &guard, err);
}

int meta_guard_manifest(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t now,
                        struct error *err)
{
    return guard_manifest(tx, repository, manifest, now, TAG_PROTECTED, err);
}

int meta_guard_type(struct db_tx *tx, int64_t repository, int64_t manifest, int64_t now,
                    struct error *err)
{
    return guard_manifest(tx, repository, manifest, now, TAG_IMMUTABLE | TAG_PROTECTED, err);
}

int meta_guard_blob(struct db_tx *tx, int64_t repository, int64_t blob, int64_t now,
                    struct error *err)
{
    OWNED(guard_drop)
    struct guard guard = {.repository = repository, .now = now, .against = TAG_PROTECTED};
    bool needed = false;

    if (guard_begin(tx, &guard, &needed, err) < 0)
        return -1;
    if (!needed)
        return 0;
    return guard_gather(tx, &guard, SQL_USERS, blob, err) < 0 ? -1 : guard_ask(tx, &guard, err);
}

/* --- a whole repository --- */

static const char SQL_PIN_ANY[] = "SELECT name"
                                  "  FROM pins"
                                  " WHERE repo_id = $1 AND until > $2"
                                  " LIMIT 1";
static const char SQL_TAGS_MARKED[] = "SELECT name, protection"
                                      "  FROM tags"
                                      " WHERE repo_id = $1 AND protection > 0";
static const char SQL_TAGS_ALL[] = "SELECT name, protection"
                                   "  FROM tags"
                                   " WHERE repo_id = $1";

static int pin_any(struct db_tx *tx, const struct guard *guard, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PIN_ANY);

    db_bind_i64(&query, guard->repository);
    db_bind_i64(&query, guard->now);
    int row = db_step(&query, err);
    if (row <= 0)
        return row;
    return error_set(err, ERROR_PROTECTED, "the repository is in use: pin %.*s",
                     SLICE_ARG(db_column_slice(&query, 0)));
}

int meta_guard_repository(struct db_tx *tx, int64_t repository, int64_t now, struct error *err)
{
    OWNED(guard_drop)
    struct guard guard = {.repository = repository, .now = now, .against = TAG_PROTECTED};
    int row;

    if (pin_any(tx, &guard, err) < 0 || meta_rules_read(tx, repository, &guard.rules, err) < 0)
        return -1;
    bool ruled = (guard.rules.bits & TAG_PROTECTED) != 0;
    OWNED(db_query_end)
    struct db_query query = db_query(tx, ruled ? SQL_TAGS_ALL : SQL_TAGS_MARKED);
    db_bind_i64(&query, repository);
    while ((row = db_step(&query, err)) == 1)
        if (tag_check(&guard, &query, err) < 0)
            return -1;
    return row;
}

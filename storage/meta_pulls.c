/* meta_pulls.c - adds gathered pull counts to the tables.
 * Touches  pull_counts, manifests (pulled_at).
 * Never    creates a repository. */
#include "storage/meta_internal.h"

static const char SQL_PULLS_ADD[] = "INSERT INTO pull_counts(repo_id, reference, day, kind, pulls)"
                                    "     VALUES ($1, $2, $3, $4, $5)"
                                    " ON CONFLICT (repo_id, reference, day, kind)"
                                    "   DO UPDATE SET pulls = pull_counts.pulls + excluded.pulls";
static const char SQL_PULLED[] = "UPDATE manifests"
                                 "   SET pulled_at = $1"
                                 " WHERE repo_id = $2 AND digest = $3"
                                 "   AND (pulled_at IS NULL OR pulled_at < $1)";

struct pulls {
    const struct meta_pull *items;
    size_t count;
};

static int pulls_add(struct db_tx *tx, int64_t repository, const struct meta_pull *pull,
                     struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PULLS_ADD);

    db_bind_i64(&query, repository);
    db_bind_text(&query, pull->reference);
    db_bind_i64(&query, pull->day);
    db_bind_i64(&query, pull->kind);
    db_bind_i64(&query, (int64_t)pull->pulls);
    return db_finish(&query, err);
}

/* Programs that only look (scanners, mirrors) are no use. */
static int pulled(struct db_tx *tx, int64_t repository, const struct meta_pull *pull,
                  struct error *err)
{
    const struct meta_key key = meta_key(pull->manifest);
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_PULLED);

    if (pull->kind == PULL_EXCLUDED)
        return 0;
    db_bind_i64(&query, pull->pulled_at);
    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    return db_finish(&query, err);
}

static int add(struct db_tx *tx, void *arg, struct error *err)
{
    const struct pulls *pulls = arg;

    for (size_t i = 0; i < pulls->count; i++) {
        const struct meta_pull *pull = &pulls->items[i];
        int64_t repository = 0;
        if (meta_repository_find(tx, pull->repository, &repository, err) < 0)
            return -1;
        if (repository != 0 &&
            (pulls_add(tx, repository, pull, err) < 0 || pulled(tx, repository, pull, err) < 0))
            return -1;
    }
    return 0;
}

int meta_pulls_add(struct meta *meta, const struct meta_pull *pulls, size_t count,
                   struct error *err)
{
    struct pulls with = {pulls, count};

    return meta_write_loosely(meta, add, &with, DB_BACKGROUND, err);
}

/* meta_base.c - which tags stand on a base, as their images say.
 * Touches  nothing: it reads manifest_bases, tags, manifests, repositories.
 * Never    looks inside a manifest.
 *
 * Pages go by repository, manifest and tag, along an index: a page costs what it shows, however
 * many images stand on the base. Spec: s2i 15.1 */
#include <stdlib.h>

#include "storage/meta_rebase.h"

void rebase_candidate_drop(struct rebase_candidate *candidate)
{
    free(candidate->repository);
    free(candidate->tag);
    free(candidate->base_name);
    free(candidate->base_digest);
    *candidate = (struct rebase_candidate){.tag = NULL};
}

void rebase_candidates_drop(struct rebase_candidates *candidates)
{
    for (size_t i = 0; i < candidates->count; i++)
        rebase_candidate_drop(&candidates->items[i]);
    free(candidates->items);
    *candidates = (struct rebase_candidates){.items = NULL};
}

#define BASE_SELECT                                                                                \
    "SELECT b.repo_id, b.manifest_id, r.name, t.name, m.digest, b.base_name, b.base_digest,"       \
    "       t.protection"                                                                          \
    "  FROM manifest_bases b"                                                                      \
    "  JOIN tags t ON t.repo_id = b.repo_id AND t.manifest_id = b.manifest_id"                     \
    "  JOIN manifests m ON m.id = b.manifest_id"                                                   \
    "  JOIN repositories r ON r.id = b.repo_id"
#define BASE_BEYOND                                                                                \
    "   AND (b.repo_id, b.manifest_id) >= ($2, $3)"                                                \
    "   AND NOT (b.repo_id = $2 AND b.manifest_id = $3 AND t.name <= $4)"                          \
    "   AND r.deleted_at IS NULL AND m.deleted_at IS NULL"
#define BASE_AFTER                                                                                 \
    BASE_BEYOND " ORDER BY b.repo_id, b.manifest_id, t.name"                                       \
                " LIMIT $5"

/* Two ranges of the index, merged: a list of names would be read whole and sorted. */
static const char SQL_BY_NAME[] =
    BASE_SELECT " WHERE b.base_name = $1" BASE_BEYOND " UNION ALL " BASE_SELECT
                " WHERE b.base_name = $5" BASE_BEYOND " ORDER BY 1, 2, 4"
                " LIMIT $6";
static const char SQL_BY_DIGEST[] = BASE_SELECT " WHERE b.base_digest = $1" BASE_AFTER;
/* $2 is the repository as well: as a range, a page begins where it should. */
static const char SQL_BY_REPOSITORY[] = BASE_SELECT " WHERE b.repo_id <= $1" BASE_AFTER;
static const char SQL_OF_TAG[] =
    "SELECT t.repo_id, t.manifest_id, r.name, t.name, m.digest, coalesce(b.base_name, ''),"
    "       coalesce(b.base_digest, ''), t.protection"
    "  FROM tags t"
    "  JOIN manifests m ON m.id = t.manifest_id"
    "  JOIN repositories r ON r.id = t.repo_id"
    "  LEFT JOIN manifest_bases b ON b.repo_id = t.repo_id AND b.manifest_id = t.manifest_id"
    " WHERE t.repo_id = $1 AND t.name = $2";

struct list {
    const struct rebase_query *query;
    struct rebase_candidates *out;
    struct meta_rules rules; /* of `repository` */
    int64_t repository;
};

/* Rules are read once for the tags of a repository, which follow each other. */
static int rules_of(struct db_tx *tx, struct list *with, int64_t repository, struct error *err)
{
    if (with->repository == repository)
        return 0;
    with->repository = repository;
    return meta_rules_read(tx, repository, &with->rules, err);
}

static int candidate_row(struct db_tx *tx, struct list *with, const struct db_query *query,
                         struct rebase_candidate *out, struct error *err)
{
    int64_t repository = db_column_i64(query, 0);

    *out = (struct rebase_candidate){.repository_id = repository,
                                     .manifest_id = db_column_i64(query, 1)};
    if (rules_of(tx, with, repository, err) < 0 || meta_digest(query, 4, &out->digest, err) < 0)
        return -1;
    out->repository = meta_text(query, 2);
    out->tag = meta_text(query, 3);
    out->base_name = meta_text(query, 5);
    out->base_digest = meta_text(query, 6);
    unsigned bits =
        (unsigned)db_column_i64(query, 7) | meta_rules_bits(&with->rules, slice_of(out->tag));
    out->immutable = (bits & TAG_IMMUTABLE) != 0;
    return 0;
}

static int list_fill(struct db_tx *tx, struct list *with, struct db_query *query, struct error *err)
{
    struct rebase_candidates *out = with->out;
    size_t capacity = 0;
    int row;

    while ((row = db_step(query, err)) == 1) {
        if (out->count == with->query->limit) {
            out->more = true;
            return 0;
        }
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        if (candidate_row(tx, with, query, &out->items[out->count], err) < 0)
            return -1;
        out->count++;
    }
    return row;
}

static const char *sql_of(const struct rebase_query *query)
{
    if (query->repository.at != NULL)
        return SQL_BY_REPOSITORY;
    return query->base_name.at != NULL ? SQL_BY_NAME : SQL_BY_DIGEST;
}

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    struct list *with = arg;
    const struct rebase_query *wanted = with->query;
    int64_t repository = 0;

    rebase_candidates_drop(with->out);
    with->repository = 0;
    if (wanted->repository.at != NULL &&
        meta_repository_at(tx, wanted->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, sql_of(wanted));
    bool begun = repository == 0 || wanted->after_repository == repository;
    if (wanted->repository.at != NULL)
        db_bind_i64(&query, repository);
    else
        db_bind_text(&query,
                     wanted->base_name.at != NULL ? wanted->base_name : wanted->base_digest);
    db_bind_i64(&query, begun ? wanted->after_repository : repository);
    db_bind_i64(&query, begun ? wanted->after_manifest : 0);
    db_bind_text(&query, meta_or_empty(wanted->after_tag));
    if (wanted->repository.at == NULL && wanted->base_name.at != NULL)
        db_bind_text(&query, wanted->base_alias); /* NULL is nobody's name */
    db_bind_i64(&query, meta_one_more(wanted->limit));
    return list_fill(tx, with, &query, err);
}

int rebase_candidate_list(struct storage *store, const struct rebase_query *query,
                          struct rebase_candidates *out, struct error *err)
{
    struct list with = {.query = query, .out = out};

    *out = (struct rebase_candidates){.items = NULL};
    int outcome = db_read(store->meta->db, list, &with, err);
    meta_rules_drop(&with.rules);
    if (outcome < 0)
        rebase_candidates_drop(out);
    return outcome;
}

struct find {
    struct list list;
    struct slice repository, tag;
    struct rebase_candidate *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    struct find *with = arg;
    int64_t repository = 0;

    rebase_candidate_drop(with->out);
    with->list.repository = 0;
    if (meta_repository_at(tx, with->repository, &repository, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_OF_TAG);
    db_bind_i64(&query, repository);
    db_bind_text(&query, with->tag);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : meta_tag_unknown(with->tag, err);
    return candidate_row(tx, &with->list, &query, with->out, err);
}

int rebase_candidate_find(struct storage *store, struct slice repository, struct slice tag,
                          struct rebase_candidate *out, struct error *err)
{
    struct find with = {.repository = repository, .tag = tag, .out = out};

    *out = (struct rebase_candidate){.tag = NULL};
    int outcome = db_read(store->meta->db, find, &with, err);
    meta_rules_drop(&with.list.rules);
    return outcome;
}

/* meta_repository.c - pages of repositories, as far as a filter shows them.
 * Touches  nothing: it reads.
 * Never    visits rows that the filter hides: each pattern is one range of names, public ones have
 *          an index of their own.
 *
 * Folded patterns are disjoint ranges in the order of names, so one after the other they are one
 * stream; public repositories are a second one; a page merges both. */
#include "storage/meta_accounts.h"
#include "storage/meta_internal.h"
#include "storage/pattern.h"

#include <stdlib.h>
#include <string.h>

/* --- one stream of rows, in the order of names --- */

/* Column 0 is the name. Borrows what it was built from. */
struct stream {
    struct db_tx *tx;
    const char *sql;
    const struct slice *patterns;
    size_t count, at;
    struct slice after;  /* rows behind it; itself and a blank: the first name that may come */
    struct slice search; /* for LIKE, or SLICE_NONE when the statement has no place for it */
    int64_t limit;
    struct buffer from, to; /* bound now */
    struct db_query query;
    bool open; /* the query runs */
    bool row;  /* and stands on a row */
};

static void stream_drop(struct stream *stream)
{
    if (stream->open)
        db_query_end(&stream->query);
    buffer_drop(&stream->from);
    buffer_drop(&stream->to);
}

/* The range of the pattern at hand, cut at `after`. False when nothing is left of it. */
static bool range_cut(struct stream *stream)
{
    stream->from.size = 0;
    stream->to.size = 0;
    pattern_range(stream->patterns[stream->at], &stream->from, &stream->to);
    if (slice_compare(buffer_slice(&stream->from), stream->after) < 0) {
        stream->from.size = 0;
        buffer_append_slice(&stream->from, stream->after);
    }
    return slice_compare(buffer_slice(&stream->from), buffer_slice(&stream->to)) < 0;
}

static void range_open(struct stream *stream)
{
    stream->query = db_query(stream->tx, stream->sql);
    stream->open = true;
    db_bind_text(&stream->query, meta_or_empty(buffer_slice(&stream->from)));
    db_bind_text(&stream->query, buffer_slice(&stream->to));
    if (stream->search.at != NULL)
        db_bind_text(&stream->query, stream->search);
    db_bind_i64(&stream->query, stream->limit);
}

static int stream_next(struct stream *stream, struct error *err)
{
    stream->row = false;
    while (stream->at < stream->count) {
        if (!stream->open && range_cut(stream))
            range_open(stream);
        int row = stream->open ? db_step(&stream->query, err) : 0;
        if (row != 0) {
            stream->row = row == 1;
            return row < 0 ? -1 : 0;
        }
        if (stream->open)
            db_query_end(&stream->query);
        stream->open = false;
        stream->at++;
    }
    return 0;
}

static struct slice stream_name(const struct stream *stream)
{
    return db_column_slice(&stream->query, 0);
}

/* --- both streams --- */

static const struct slice everything = {"*", 1};

struct list {
    const char *sql, *sql_public;
    struct slice last, search;
    const struct repository_filter *filter; /* NULL: all */
    size_t limit;
    void (*take)(struct list *list, const struct db_query *row);
    void *out;
    size_t count, capacity; /* of out */
    bool more;
};

/* Below zero: the next row is of `covered`; above: of `public`; 0: of both. */
static int order(const struct stream *covered, const struct stream *public)
{
    if (!covered->row || !public->row)
        return covered->row ? -1 : 1;
    return slice_compare(stream_name(covered), stream_name(public));
}

static int merge(struct list *list, struct stream *covered, struct stream *public,
                 struct error *err)
{
    if (stream_next(covered, err) < 0 || stream_next(public, err) < 0)
        return -1;
    while (covered->row || public->row) {
        if (list->count == list->limit) {
            list->more = true;
            return 0;
        }
        int next = order(covered, public);
        list->take(list, next <= 0 ? &covered->query : &public->query);
        if ((next <= 0 && stream_next(covered, err) < 0) ||
            (next >= 0 && stream_next(public, err) < 0))
            return -1;
    }
    return 0;
}

static int list_patterns(struct db_tx *tx, struct list *list, const struct slice *patterns,
                         size_t count, bool public, struct error *err)
{
    OWNED(buffer_drop) struct buffer after = BUFFER_NONE;

    buffer_append_slice(&after, list->last);
    if (list->last.size > 0)
        buffer_append_text(&after, " ");
    struct stream with = {.tx = tx,
                          .sql = list->sql,
                          .patterns = patterns,
                          .count = count,
                          .after = meta_or_empty(buffer_slice(&after)),
                          .search = list->search,
                          .limit = meta_one_more(list->limit)};
    OWNED(stream_drop) struct stream covered = with;
    with.sql = list->sql_public;
    with.patterns = &everything;
    with.count = public ? 1 : 0;
    OWNED(stream_drop) struct stream others = with;
    list->more = false;
    return merge(list, &covered, &others, err);
}

static int list_filtered(struct db_tx *tx, struct list *list, struct error *err)
{
    const struct repository_filter *filter = list->filter;

    if (filter == NULL || filter->all)
        return list_patterns(tx, list, &everything, 1, false, err);
    OWNED(memory_drop)
    struct slice *patterns = memory_new((filter->pattern_count + 1) * sizeof(*patterns));
    if (filter->pattern_count > 0)
        memcpy(patterns, filter->patterns, filter->pattern_count * sizeof(*patterns));
    size_t count = pattern_fold(patterns, filter->pattern_count);
    return list_patterns(tx, list, patterns, count, filter->public, err);
}

/* --- the catalogue --- */

static const char SQL_CATALOGUE[] = "SELECT name"
                                    "  FROM repositories"
                                    " WHERE first_manifest_at IS NOT NULL"
                                    "   AND name >= $1 AND name < $2"
                                    " ORDER BY name"
                                    " LIMIT $3";
/* By the index of public ones: the other condition is put so that no index fits it. */
static const char SQL_CATALOGUE_PUBLIC[] = "SELECT name"
                                           "  FROM repositories"
                                           " WHERE public = 1"
                                           "   AND coalesce(first_manifest_at, 0) > 0"
                                           "   AND name >= $1 AND name < $2"
                                           " ORDER BY name"
                                           " LIMIT $3";

static void name_take(struct list *list, const struct db_query *row)
{
    meta_page_add(list->out, &list->capacity, db_column_slice(row, 0));
    list->count++;
}

static int catalogue(struct db_tx *tx, void *arg, struct error *err)
{
    struct list *list = arg;

    page_drop(list->out);
    list->count = list->capacity = 0;
    return list_filtered(tx, list, err);
}

int meta_repository_list(struct meta *meta, struct slice last,
                         const struct repository_filter *filter, size_t limit, struct page *out,
                         struct error *err)
{
    struct list list = {.sql = SQL_CATALOGUE,
                        .sql_public = SQL_CATALOGUE_PUBLIC,
                        .last = last,
                        .filter = filter,
                        .limit = limit,
                        .take = name_take,
                        .out = out};

    *out = (struct page){.names = NULL};
    if (db_read(meta->db, catalogue, &list, err) < 0) {
        page_drop(out);
        return -1;
    }
    out->more = list.more;
    return 0;
}

/* --- with their settings --- */

#define SETTINGS_SELECT                                                                            \
    "SELECT r.name, r.id, r.created_at, r.version, r.description, r.public,"                       \
    "       (SELECT count(*) FROM tags t WHERE t.repo_id = r.id)"                                  \
    "  FROM repositories r"

static const char SQL_SETTINGS_FIND[] = SETTINGS_SELECT " WHERE r.name = $1";
static const char SQL_SETTINGS[] = SETTINGS_SELECT " WHERE r.name >= $1 AND r.name < $2"
                                                   "   AND r.name LIKE $3 ESCAPE '!'"
                                                   "   AND r.deleted_at IS NULL"
                                                   " ORDER BY r.name"
                                                   " LIMIT $4";
static const char SQL_SETTINGS_PUBLIC[] = SETTINGS_SELECT " WHERE r.public = 1"
                                                          "   AND r.name >= $1 AND r.name < $2"
                                                          "   AND r.name LIKE $3 ESCAPE '!'"
                                                          "   AND r.deleted_at IS NULL"
                                                          " ORDER BY r.name"
                                                          " LIMIT $4";

void repository_drop(struct repository *repository)
{
    free(repository->name);
    free(repository->description);
    *repository = (struct repository){.id = 0};
}

void repository_page_drop(struct repository_page *page)
{
    for (size_t i = 0; i < page->count; i++)
        repository_drop(&page->items[i]);
    free(page->items);
    *page = (struct repository_page){.items = NULL};
}

static struct repository repository_row(const struct db_query *query)
{
    return (struct repository){
        .name = meta_text(query, 0),
        .id = db_column_i64(query, 1),
        .created_at = db_column_i64(query, 2),
        .version = db_column_i64(query, 3),
        .description = meta_text(query, 4),
        .public = db_column_i64(query, 5) != 0,
        .tags = (uint64_t)db_column_i64(query, 6),
    };
}

static void repository_take(struct list *list, const struct db_query *row)
{
    struct repository_page *page = list->out;

    page->items = meta_grow(page->items, page->count, &list->capacity, sizeof(*page->items));
    page->items[page->count++] = repository_row(row);
    list->count++;
}

static int settings(struct db_tx *tx, void *arg, struct error *err)
{
    struct list *list = arg;

    repository_page_drop(list->out);
    list->count = list->capacity = 0;
    return list_filtered(tx, list, err);
}

int meta_settings_list(struct meta *meta, struct slice after, struct slice search,
                       const struct repository_filter *filter, size_t limit,
                       struct repository_page *out, struct error *err)
{
    OWNED(buffer_drop) struct buffer pattern = BUFFER_NONE;

    meta_search(&pattern, search);
    struct list list = {.sql = SQL_SETTINGS,
                        .sql_public = SQL_SETTINGS_PUBLIC,
                        .last = after,
                        .search = buffer_slice(&pattern),
                        .filter = filter,
                        .limit = limit,
                        .take = repository_take,
                        .out = out};
    *out = (struct repository_page){.items = NULL};
    if (db_read(meta->db, settings, &list, err) < 0) {
        repository_page_drop(out);
        return -1;
    }
    out->more = list.more;
    return 0;
}

struct find {
    struct slice name;
    struct repository *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *find = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_SETTINGS_FIND);

    db_bind_text(&query, find->name);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : error_set(err, ERROR_NOT_FOUND, "repository unknown");
    repository_drop(find->out);
    *find->out = repository_row(&query);
    return 0;
}

int meta_settings_find(struct meta *meta, struct slice name, struct repository *out,
                       struct error *err)
{
    struct find with = {name, out};

    *out = (struct repository){.id = 0};
    return db_read(meta->db, find, &with, err);
}

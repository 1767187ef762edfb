/* meta_rule.c - rules of protection: rows of protections.
 * Touches  protections, audit.
 * Never    applies them: meta_protect.c does. */
#include "storage/meta_content.h"

#include <stdlib.h>

void content_rule_drop(struct content_rule *rule)
{
    free(rule->pattern);
    free(rule->tags);
    *rule = (struct content_rule){.id = 0};
}

void content_rules_drop(struct content_rules *rules)
{
    for (size_t i = 0; i < rules->count; i++)
        content_rule_drop(&rules->items[i]);
    free(rules->items);
    *rules = (struct content_rules){.items = NULL};
}

#define RULE_SELECT                                                                                \
    "SELECT id, pattern, tags, bits, created_at, version"                                          \
    "  FROM protections"

static const char SQL_RULE[] = RULE_SELECT " WHERE id = $1";
static const char SQL_RULES[] = RULE_SELECT " ORDER BY id";
static const char SQL_RULE_COUNT[] = "SELECT count(*)"
                                     "  FROM protections";
static const char SQL_RULE_ADD[] = "INSERT INTO protections(pattern, tags, bits, created_at)"
                                   "     VALUES ($1, $2, $3, $4)"
                                   " ON CONFLICT (pattern, tags)"
                                   "   DO NOTHING"
                                   "  RETURNING id";
static const char SQL_RULE_UPDATE[] = "UPDATE protections"
                                      "   SET bits = $1, version = version + 1"
                                      " WHERE id = $2";
static const char SQL_RULE_DELETE[] = "DELETE FROM protections"
                                      "      WHERE id = $1";

static struct content_rule rule_row(const struct db_query *query)
{
    return (struct content_rule){
        .id = db_column_i64(query, 0),
        .pattern = meta_text(query, 1),
        .tags = meta_text(query, 2),
        .bits = (unsigned)db_column_i64(query, 3),
        .created_at = db_column_i64(query, 4),
        .version = db_column_i64(query, 5),
    };
}

static int rule_read(struct db_tx *tx, int64_t id, struct content_rule *out, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_RULE);

    content_rule_drop(out);
    db_bind_i64(&query, id);
    int row = db_step(&query, err);
    if (row <= 0)
        return row < 0 ? -1 : error_set(err, ERROR_NOT_FOUND, "rule unknown");
    *out = rule_row(&query);
    return 0;
}

/* --- looking --- */

static int list(struct db_tx *tx, void *arg, struct error *err)
{
    struct content_rules *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_RULES);
    size_t capacity = 0;
    int row;

    content_rules_drop(out);
    while ((row = db_step(&query, err)) == 1) {
        out->items = meta_grow(out->items, out->count, &capacity, sizeof(*out->items));
        out->items[out->count++] = rule_row(&query);
    }
    return row;
}

int meta_rule_list(struct meta *meta, struct content_rules *out, struct error *err)
{
    *out = (struct content_rules){.items = NULL};
    if (db_read(meta->db, list, out, err) == 0)
        return 0;
    content_rules_drop(out);
    return -1;
}

struct find {
    int64_t id;
    struct content_rule *out;
};

static int find(struct db_tx *tx, void *arg, struct error *err)
{
    const struct find *with = arg;

    return rule_read(tx, with->id, with->out, err);
}

int meta_rule_find(struct meta *meta, int64_t id, struct content_rule *out, struct error *err)
{
    struct find with = {id, out};

    *out = (struct content_rule){.id = 0};
    return db_read(meta->db, find, &with, err);
}

/* --- changing --- */

struct edit {
    int64_t id;
    struct slice pattern, tags;
    unsigned bits;
    const struct content_change *change;
    struct content_rule *out;
};

static int room_check(struct db_tx *tx, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_RULE_COUNT);
    int64_t count = 0;

    if (meta_number(&query, &count, err) < 0)
        return -1;
    if (count < CONTENT_RULES_MAX)
        return 0;
    return error_set(err, ERROR_CONFLICT, "there are %d rules already", CONTENT_RULES_MAX);
}

static int add(struct db_tx *tx, void *arg, struct error *err)
{
    const struct edit *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_RULE_ADD);

    if (room_check(tx, err) < 0)
        return -1;
    db_bind_text(&query, with->pattern);
    db_bind_text(&query, with->tags);
    db_bind_i64(&query, with->bits);
    db_bind_i64(&query, clock_now_us());
    int row = db_step(&query, err);
    if (row < 0)
        return -1;
    if (row == 0)
        return error_set(err, ERROR_CONFLICT, "there is a rule of this pattern and these tags");
    int64_t id = db_column_i64(&query, 0);
    if (db_finish(&query, err) < 0 || rule_read(tx, id, with->out, err) < 0)
        return -1;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_rule_add(struct meta *meta, struct slice pattern, struct slice tags, unsigned bits,
                  const struct content_change *change, struct content_rule *out, struct error *err)
{
    struct edit with = {0, pattern, tags, bits, change, out};

    *out = (struct content_rule){.id = 0};
    if (meta_write(meta, add, &with, err) == 0)
        return 0;
    content_rule_drop(out);
    return -1;
}

static int version_check(struct db_tx *tx, const struct edit *with, struct error *err)
{
    OWNED(content_rule_drop) struct content_rule rule = {.id = 0};

    if (rule_read(tx, with->id, &rule, err) < 0)
        return -1;
    return meta_version_check(rule.version, with->change->if_version, err);
}

static int update(struct db_tx *tx, void *arg, struct error *err)
{
    const struct edit *with = arg;

    if (version_check(tx, with, err) < 0 ||
        META_CHANGE(tx, SQL_RULE_UPDATE, err, with->bits, with->id) < 0 ||
        rule_read(tx, with->id, with->out, err) < 0)
        return -1;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_rule_update(struct meta *meta, int64_t id, unsigned bits,
                     const struct content_change *change, struct content_rule *out,
                     struct error *err)
{
    struct edit with = {.id = id, .bits = bits, .change = change, .out = out};

    *out = (struct content_rule){.id = 0};
    if (meta_write(meta, update, &with, err) == 0)
        return 0;
    content_rule_drop(out);
    return -1;
}

static int erase(struct db_tx *tx, void *arg, struct error *err)
{
    const struct edit *with = arg;

    if (version_check(tx, with, err) < 0 || META_CHANGE(tx, SQL_RULE_DELETE, err, with->id) < 0)
        return -1;
    return meta_audit_add(tx, with->change->event, err);
}

int meta_rule_delete(struct meta *meta, int64_t id, const struct content_change *change,
                     struct error *err)
{
    struct edit with = {.id = id, .change = change};

    return meta_write(meta, erase, &with, err);
}

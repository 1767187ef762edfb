/* meta_build_attest.c - rows of what is to stand beside images, and of the keys that sign it.
 * Touches  the tables build_attestations, build_keys.
 * Never    reads a document. */
#include "registry/core/clock.h"
#include "storage/meta_builds.h"

static const char SQL_ATTESTATION_ADD[] =
    "INSERT INTO build_attestations(build_id, document, due_at)"
    "     VALUES ($1, $2, $3)";
static const char SQL_REBASED_ADD[] =
    "INSERT INTO build_attestations(repo_id, manifest_id, actor, account_id, document, due_at)"
    "     SELECT repo_id, id, $1, $2, $3, $4"
    "       FROM manifests"
    "      WHERE repo_id = $5 AND digest = $6";
/* Those of a repository that is deleted wait until it is back, or goes with them. */
static const char SQL_ATTESTATION_NEXT[] =
    "SELECT a.id, a.document, a.tries, a.due_at, coalesce(a.build_id, 0),"
    "       coalesce(b.repository, r.name, ''), coalesce(b.actor, a.actor),"
    "       coalesce(b.account_id, a.account_id)"
    "  FROM build_attestations a"
    "  LEFT JOIN builds b ON b.id = a.build_id"
    "  LEFT JOIN repositories r ON r.id = a.repo_id"
    " WHERE coalesce(b.repository, r.name) < '~'"
    " ORDER BY a.due_at, a.id"
    " LIMIT 1";
static const char SQL_ATTESTATION_LATER[] = "UPDATE build_attestations"
                                            "   SET tries = tries + 1, due_at = $1"
                                            " WHERE id = $2";
static const char SQL_ATTESTATION_DONE[] = "DELETE FROM build_attestations"
                                           "      WHERE id = $1";
static const char SQL_KEY_FIND[] = "SELECT 1"
                                   "  FROM build_keys"
                                   " WHERE kid = $1";
static const char SQL_KEY_NOTE[] = "INSERT INTO build_keys(kid, jwk, created_at)"
                                   "     VALUES ($1, $2, $3)"
                                   " ON CONFLICT (kid)"
                                   "   DO NOTHING";
static const char SQL_KEYS[] = "SELECT jwk"
                               "  FROM build_keys"
                               " ORDER BY created_at DESC, kid";

/* --- attestations --- */

int meta_build_attestation_add(struct db_tx *tx, int64_t build, struct slice document,
                               struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ATTESTATION_ADD);

    db_bind_i64(&query, build);
    db_bind_text(&query, document);
    db_bind_i64(&query, clock_now_us());
    return db_finish(&query, err);
}

int meta_rebase_attestation_add(struct db_tx *tx, int64_t repository, const struct digest *image,
                                const struct actor *actor, struct slice document, struct error *err)
{
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REBASED_ADD);
    const struct meta_key key = meta_key(image);

    db_bind_text(&query, meta_or_empty(actor == NULL ? SLICE_NONE : actor->name));
    db_bind_i64(&query, actor == NULL ? 0 : actor->account);
    db_bind_text(&query, document);
    db_bind_i64(&query, clock_now_us());
    db_bind_i64(&query, repository);
    db_bind_bytes(&query, meta_key_slice(&key));
    return db_finish(&query, err);
}

static int next(struct db_tx *tx, void *arg, struct error *err)
{
    struct build_attestation *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_ATTESTATION_NEXT);

    int row = db_step(&query, err);
    if (row == 1)
        *out = (struct build_attestation){.id = db_column_i64(&query, 0),
                                          .document = meta_text(&query, 1),
                                          .tries = (uint64_t)db_column_i64(&query, 2),
                                          .due_at = db_column_i64(&query, 3),
                                          .build = db_column_i64(&query, 4),
                                          .repository = meta_text(&query, 5),
                                          .actor = meta_text(&query, 6),
                                          .account = db_column_i64(&query, 7)};
    return row < 0 ? -1 : 0;
}

int build_attestation_next(struct storage *store, struct build_attestation *out, struct error *err)
{
    *out = (struct build_attestation){.id = 0};
    return db_read(store->meta->db, next, out, err);
}

struct later {
    int64_t id, due_at;
};

static int later(struct db_tx *tx, void *arg, struct error *err)
{
    const struct later *with = arg;

    return META_CHANGE(tx, SQL_ATTESTATION_LATER, err, with->due_at, with->id);
}

int build_attestation_later(struct storage *store, int64_t id, int64_t due_at, struct error *err)
{
    struct later with = {id, due_at};

    return meta_write(store->meta, later, &with, err);
}

static int done(struct db_tx *tx, void *arg, struct error *err)
{
    const int64_t *id = arg;

    return META_CHANGE(tx, SQL_ATTESTATION_DONE, err, *id);
}

/* A row that comes back by a power cut is published once more, which changes nothing. */
int build_attestation_done(struct storage *store, int64_t id, struct error *err)
{
    return meta_write_loosely(store->meta, done, &id, DB_BACKGROUND, err);
}

/* --- keys --- */

struct key {
    struct slice kid, jwk;
    bool known;
};

static int key_look(struct db_tx *tx, void *arg, struct error *err)
{
    struct key *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_KEY_FIND);

    db_bind_text(&query, with->kid);
    int row = db_step(&query, err);
    with->known = row == 1;
    return row < 0 ? -1 : 0;
}

static int key_note(struct db_tx *tx, void *arg, struct error *err)
{
    const struct key *with = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_KEY_NOTE);

    db_bind_text(&query, with->kid);
    db_bind_text(&query, with->jwk);
    db_bind_i64(&query, clock_now_us());
    return db_finish(&query, err);
}

/* One that can be read is before whatever is written now: many signatures cost one write. */
int build_key_note(struct storage *store, struct slice kid, struct slice jwk, struct error *err)
{
    struct key with = {kid, jwk, false};

    if (db_read(store->meta->db, key_look, &with, err) < 0)
        return -1;
    return with.known ? 0 : meta_write(store->meta, key_note, &with, err);
}

static int key_list(struct db_tx *tx, void *arg, struct error *err)
{
    struct buffer *out = arg;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_KEYS);
    int row;

    while ((row = db_step(&query, err)) == 1) {
        buffer_append_text(out, out->size > 0 ? "," : "");
        buffer_append_slice(out, db_column_slice(&query, 0));
    }
    return row;
}

int build_key_list(struct storage *store, struct buffer *out, struct error *err)
{
    out->size = 0;
    return db_read(store->meta->db, key_list, out, err);
}

/* meta_rebase.c - tags of many repositories get other manifests, in one transaction.
 * Touches  what a push does (meta_push.c), rebases, rebase_moves, build_attestations, audit.
 * Never    moves a tag that stands for something else by now, or that may not move.
 *
 * rebases (1): who stays is found out in the transaction that moves the others. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "storage/meta_builds.h"
#include "storage/meta_rebase.h"

struct apply {
    struct meta_told told;
    const struct meta *meta;
    const struct rebase_new *rebase;
    struct rebase_image *images;
    size_t count;
    bool *retyped;
    /* set by each run */
    int64_t now, id, until;
    uint64_t moved;
};

int meta_rebase_look(struct db_tx *tx, const struct meta_rebase_look *look, int64_t *manifest,
                     enum rebase_move_outcome *outcome, char why[200], struct error *err)
{
    struct digest now;

    why[0] = 0;
    *outcome = REBASE_MOVE_ELSEWHERE;
    if (meta_tag_find(tx, look->repository, look->tag, manifest, &now, err) < 0)
        return -1;
    if (*manifest == 0 || !digest_equal(&now, look->from)) {
        snprintf(why, 200, "the tag %s meanwhile", *manifest == 0 ? "was deleted" : "moved");
        *manifest = 0;
        return 0;
    }
    *outcome = REBASE_MOVE_DONE;
    if (meta_guard_tag(tx, look->repository, look->tag, TAG_IMMUTABLE, err) == 0)
        return 0;
    if (err->code != ERROR_PROTECTED)
        return -1;
    *outcome = REBASE_MOVE_KEPT;
    snprintf(why, 200, "%s", err->message);
    error_clear(err);
    *manifest = 0;
    return 0;
}

/* --- rows to undo it by --- */

static const char SQL_REBASES_FORGET[] = "DELETE FROM rebases"
                                         "      WHERE until <= $1";
static const char SQL_REBASE_ADD[] = "INSERT INTO rebases(base, actor, created_at, until)"
                                     "     VALUES ($1, $2, $3, $4)"
                                     "  RETURNING id";
static const char SQL_MOVE_ADD[] =
    "INSERT INTO rebase_moves(rebase_id, repo_id, tag, manifest_id, new_digest, until)"
    "     VALUES ($1, $2, $3, $4, $5, $6)";

static int rebase_add(struct db_tx *tx, struct apply *with, struct error *err)
{
    const struct actor *actor = with->rebase->actor;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_REBASE_ADD);

    db_bind_text(&query, meta_or_empty(with->rebase->base));
    db_bind_text(&query, meta_or_empty(actor == NULL ? SLICE_NONE : actor->name));
    db_bind_i64(&query, with->now);
    db_bind_i64(&query, with->until);
    return meta_number(&query, &with->id, err);
}

/* The first tag that moves brings the row; with gc.undo 0 there is none to come back to. */
static int move_add(struct db_tx *tx, struct apply *with, const struct rebase_image *image,
                    const struct rebase_tag *tag, const int64_t ids[2], struct error *err)
{
    const struct meta_key key = meta_key(&image->put->digest);

    if (with->until == 0)
        return 0;
    if (with->id == 0 && rebase_add(tx, with, err) < 0)
        return -1;
    OWNED(db_query_end) struct db_query query = db_query(tx, SQL_MOVE_ADD);
    db_bind_i64(&query, with->id);
    db_bind_i64(&query, ids[0]);
    db_bind_text(&query, tag->name);
    db_bind_i64(&query, ids[1]);
    db_bind_bytes(&query, meta_key_slice(&key));
    db_bind_i64(&query, with->until);
    return db_finish(&query, err);
}

/* --- one image --- */

/* How many of its tags move, and the names of those. */
static int tags_look(struct db_tx *tx, struct apply *with, struct rebase_image *image,
                     int64_t repository, struct slice *names, size_t *count, struct error *err)
{
    for (size_t i = 0; i < image->tag_count; i++) {
        struct rebase_tag *tag = &image->tags[i];
        const struct meta_rebase_look look = {repository, tag->name, &image->before};
        int64_t ids[2] = {repository, 0};
        if (meta_rebase_look(tx, &look, &ids[1], &tag->outcome, tag->why, err) < 0)
            return -1;
        if (ids[1] == 0)
            continue;
        names[(*count)++] = tag->name;
        if (!with->rebase->dry_run && move_add(tx, with, image, tag, ids, err) < 0)
            return -1;
    }
    return 0;
}

static int image_apply(struct db_tx *tx, struct apply *with, size_t at, struct error *err)
{
    struct rebase_image *image = &with->images[at];
    OWNED(memory_drop)
    struct slice *names = memory_new((image->tag_count + 1) * sizeof(*names));
    struct manifest_put put = *image->put;
    int64_t repository = 0;

    put.tags = names;
    put.tag_count = 0;
    put.cause = TAG_REBASED;
    put.actor = with->rebase->actor;
    if (meta_repository_find(tx, image->repository, &repository, err) < 0 ||
        tags_look(tx, with, image, repository, names, &put.tag_count, err) < 0)
        return -1;
    with->moved += put.tag_count;
    if (put.tag_count == 0 || with->rebase->dry_run)
        return 0;
    if (meta_manifest_put_in(tx, with->meta, image->repository, &put, &with->retyped[at], err) < 0)
        return -1;
    return image->attestations.size == 0
               ? 0
               : meta_rebase_attestation_add(tx, repository, &put.digest, put.actor,
                                             image->attestations, err);
}

/* --- all --- */

static int event_add(struct db_tx *tx, const struct apply *with, struct error *err)
{
    char target[40] = "rebase";

    if (with->rebase->event == NULL)
        return 0;
    if (with->id != 0)
        snprintf(target, sizeof(target), "rebase/%" PRId64, with->id);
    struct audit_event event = *with->rebase->event;
    event.target = slice_of(target);
    return meta_audit_add(tx, &event, err);
}

static int apply(struct db_tx *tx, void *arg, struct error *err)
{
    struct apply *with = arg;

    with->now = clock_now_us();
    with->id = 0;
    with->moved = 0;
    with->until = with->meta->undo_us > 0 ? with->now + with->meta->undo_us : 0;
    with->told.changed = false;
    if (!with->rebase->dry_run && META_CHANGE(tx, SQL_REBASES_FORGET, err, with->now) < 0)
        return -1;
    for (size_t i = 0; i < with->count; i++)
        if (image_apply(tx, with, i, err) < 0)
            return -1;
    if (with->rebase->dry_run || with->moved == 0)
        return 0;
    with->told.changed = true;
    return event_add(tx, with, err);
}

int meta_rebase_apply(struct meta *meta, const struct rebase_new *rebase,
                      struct rebase_image *images, size_t count, bool *retyped, int64_t *id,
                      int64_t *until, const struct meta_after *after, struct error *err)
{
    struct apply with = {.told = {after, false},
                         .meta = meta,
                         .rebase = rebase,
                         .images = images,
                         .count = count,
                         .retyped = retyped};
    const struct db_work work = {
        .run = apply, .arg = &with, .after_commit = meta_tell, .priority = DB_HEAVY};

    int outcome =
        rebase->dry_run ? db_read(meta->db, apply, &with, err) : db_write(meta->db, &work, err);
    if (outcome < 0)
        return -1;
    *id = with.id;
    *until = with.id != 0 ? with.until : 0;
    return 0;
}

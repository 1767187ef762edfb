/* settle.c - pushes that the end of an earlier server cut off between their tags and their ref.
 * Touches  tags of images, by way of build_move_end.
 * Never    changes a ref: it tells whether the push happened. Spec: s2i 7.10, 13.11, 13.a */
#include <stdlib.h>

#include "registry/core/log.h"
#include "registry/git/git_internal.h"

enum { PAGE = 100 };

static int settle_one(struct git *git, const struct build_moved *left, struct error *err)
    ON(worker_thread)
{
    OWNED(memory_drop) char *path = repository_path(git, slice_of(left->repository));
    struct held_ref held = {.ref = left->ref};

    repository_refs_find(path, &held, 1);
    int is = held_ref_is(&held, left->ref_id);
    bool moved = is > 0;

    if (is < 0) {
        log_event(LOG_ERROR, "git.settled", F_TEXT("repository", left->repository),
                  F_TEXT("ref", left->ref), F_I64("build", left->build),
                  F_TEXT("tags", "wait for the next start: the ref cannot be read"));
        return 0;
    }
    if (moved)
        repository_refs_sync(path, &left->ref, 1);
    log_event(LOG_WARNING, "git.settled", F_TEXT("repository", left->repository),
              F_TEXT("ref", left->ref), F_I64("build", left->build),
              F_TEXT("tags", moved ? "stay with the ref" : "go back: the ref did not move"));
    return build_move_end(git->options.storage, left->build, moved, NULL, err);
}

int settle_left(struct git *git, struct error *err)
{
    int64_t after = 0;
    size_t count = PAGE;

    while (count == PAGE) {
        OWNED(build_moves_drop) struct build_moves left = {.items = NULL};
        if (build_move_list(git->options.storage, after, PAGE, &left, err) < 0)
            return -1;
        for (size_t i = 0; i < left.count; i++)
            if (settle_one(git, &left.items[i], err) < 0)
                return -1;
        count = left.count;
        after = count == 0 ? 0 : left.items[count - 1].build;
    }
    return 0;
}

/* brought.c - which files were there before a script ran: those of its source have the group 0
 * (4.12), those it makes have its own.
 * Touches  the upper folder of a root, for reading; memory.
 * Never    needed where files have owners on disk: only level "user" asks.
 *
 * An inode of the build's tmpfs is not given twice, so a file is known wherever it is moved. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "registry/core/folder.h"
#include "s2i/builder/steps.h"

enum { DEPTH_MAX = 2048, FIRST = 1024 };

void brought_drop(struct brought *brought)
{
    free(brought->slots);
    *brought = (struct brought){.slots = NULL};
}

/* Its slot, or the free one where it would be; 0 is nobody's number. */
static ino_t *slot_of(const struct brought *brought, ino_t inode)
{
    size_t mask = brought->capacity - 1;

    for (size_t at = (size_t)bytes_hash(0, &inode, sizeof(inode)) & mask;; at = (at + 1) & mask)
        if (brought->slots[at] == inode || brought->slots[at] == 0)
            return &brought->slots[at];
}

static void add(struct brought *brought, ino_t inode)
{
    if (brought->count * 2 >= brought->capacity) {
        struct brought bigger = {.count = brought->count,
                                 .capacity =
                                     brought->capacity == 0 ? FIRST : brought->capacity * 2};
        bigger.slots = memory_new(bigger.capacity * sizeof(ino_t));
        for (size_t i = 0; i < brought->capacity; i++)
            if (brought->slots[i] != 0)
                *slot_of(&bigger, brought->slots[i]) = brought->slots[i];
        free(brought->slots);
        *brought = bigger;
    }
    ino_t *slot = slot_of(brought, inode);
    brought->count += *slot == 0;
    *slot = inode;
}

/* What cannot be read is none of ours. */
static void walk(struct brought *brought, int at, const char *name, unsigned depth)
{
    OWNED(folder_drop) DIR *open = depth < DEPTH_MAX ? folder_open(at, name) : NULL;
    struct stat about;

    for (const struct dirent *entry; (entry = folder_next(open)) != NULL;) {
        if (fstatat(dirfd(open), entry->d_name, &about, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        add(brought, about.st_ino);
        if (S_ISDIR(about.st_mode))
            walk(brought, dirfd(open), entry->d_name, depth + 1);
    }
}

void brought_read(const struct work *work, struct assembly *assembly)
{
    if (!work->setup.root && assembly->user.gid != 0)
        walk(&assembly->brought, assembly->root.upper, ".", 0);
}

bool brought_has(void *arg, ino_t inode)
{
    const struct brought *brought = arg;

    return brought->count > 0 && *slot_of(brought, inode) == inode;
}

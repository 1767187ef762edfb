/* xattr.c - extended attributes of layers: which are kept, how ids in them are shifted, and the
 * marks that overlay and we put on files.
 * Touches  attributes of the descriptors it is given.
 * Never    a mark of overlay from an archive; trusted.*, labels and signatures of the host.
 *
 * Level (b) cannot keep owners: all files are ours. Those of an image's files stand in an attribute
 * with the prefix of overlay's own, which overlay neither shows nor copies up; it moves, and goes,
 * with its file. Symbolic links cannot carry it. Spec: s2i 16.3, 17.6, 18.7 */
#include <endian.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/xattr.h>

#include "s2i/layer/layer_internal.h"

#define CAPABILITY "security.capability"
#define ACL "system.posix_acl_"

enum mark { MARK_OPAQUE, MARK_ORIGIN, MARK_OWNER, MARK_COUNT };

/* The name of a mark of overlay's; MARK_OWNER is ours, and hidden by overlay as its own are. */
static const char *mark_name(const struct layer_ids *ids, enum mark mark)
{
    static const char *const names[MARK_COUNT][2] = {
        [MARK_OPAQUE] = {"trusted.overlay.opaque", "user.overlay.opaque"},
        [MARK_ORIGIN] = {"trusted.overlay.origin", "user.overlay.origin"},
        [MARK_OWNER] = {"trusted.overlay.slipway.owner", "user.overlay.slipway.owner"},
    };

    return names[mark][ids->user_xattr];
}

int mark_opaque(int fd, const struct layer_ids *ids)
{
    return fsetxattr(fd, mark_name(ids, MARK_OPAQUE), "y", 1, 0);
}

/* "x" is for escaped whiteouts below, and hides nothing. */
bool is_opaque(int fd, const struct layer_ids *ids)
{
    char value[2];

    return fgetxattr(fd, mark_name(ids, MARK_OPAQUE), value, sizeof(value)) == 1 && value[0] == 'y';
}

int mark_owner(int fd, const struct layer_ids *ids, uint64_t uid, uint64_t gid)
{
    char value[2 * U64_DIGITS_MAX + 2];

    if (uid == 0 && gid == 0)
        return 0;
    int size = snprintf(value, sizeof(value), "%llu:%llu", (unsigned long long)uid,
                        (unsigned long long)gid);
    return fsetxattr(fd, mark_name(ids, MARK_OWNER), value, (size_t)size, 0);
}

void read_owner(int fd, const struct layer_ids *ids, uint64_t *uid, uint64_t *gid)
{
    char value[2 * U64_DIGITS_MAX + 2];
    ssize_t size = fgetxattr(fd, mark_name(ids, MARK_OWNER), value, sizeof(value));
    struct slice head, tail;

    *uid = *gid = 0;
    if (size <= 0)
        return;
    slice_split((struct slice){value, (size_t)size}, ':', &head, &tail);
    if (!slice_to_u64(head, uid) || !slice_to_u64(tail, gid))
        *uid = *gid = 0;
}

bool xattr_kept(struct slice name)
{
    if (slice_starts(name, "user."))
        return !slice_starts(name, "user.overlay.");
    return slice_equal_text(name, CAPABILITY) || slice_equal_text(name, ACL "access") ||
           slice_equal_text(name, ACL "default");
}

/* --- capabilities of files: version 2 in layers, 3 with its root where ids are shifted --- */

enum { CAP_SIZE_2 = 20, CAP_SIZE_3 = 24 };
static const uint32_t CAP_VERSION_MASK = 0xff000000, CAP_VERSION_2 = 0x02000000,
                      CAP_VERSION_3 = 0x03000000;

static uint32_t get_u32(const char *at)
{
    uint32_t value;

    memcpy(&value, at, sizeof(value));
    return le32toh(value);
}

static void put_u32(char *at, uint32_t value)
{
    value = htole32(value);
    memcpy(at, &value, sizeof(value));
}

static bool cap_to_disk(const struct layer_ids *ids, struct slice value, struct buffer *out)
{
    if (value.size != CAP_SIZE_2 || (get_u32(value.at) & CAP_VERSION_MASK) != CAP_VERSION_2)
        return false;
    buffer_append_slice(out, value);
    if (ids->single || ids->base == 0)
        return true; /* the kernel adds our own namespace's root */
    put_u32(out->at, CAP_VERSION_3 | (get_u32(value.at) & ~CAP_VERSION_MASK));
    buffer_append(out, "\0\0\0", 4);
    put_u32(out->at + CAP_SIZE_2, ids->base);
    return true;
}

/* Those of another namespace's root: the container sees none, nor does the layer. */
static bool cap_from_disk(const struct layer_ids *ids, struct slice value, struct buffer *out)
{
    uint32_t version = value.size < CAP_SIZE_2 ? 0 : get_u32(value.at) & CAP_VERSION_MASK;
    bool three = version == CAP_VERSION_3 && value.size == CAP_SIZE_3;

    if (!three && (version != CAP_VERSION_2 || value.size != CAP_SIZE_2))
        return false;
    if (three && get_u32(value.at + CAP_SIZE_2) != ids->base)
        return false;
    buffer_append(out, value.at, CAP_SIZE_2);
    put_u32(out->at, CAP_VERSION_2 | (get_u32(value.at) & ~CAP_VERSION_MASK));
    return true;
}

/* --- POSIX access control lists: a version, then tag, permissions and id of each entry --- */

enum { ACL_HEADER = 4, ACL_ENTRY = 8, ACL_USER = 2, ACL_GROUP = 8 };

static bool acl_shift(struct slice value, uint32_t add, uint32_t from, uint32_t count,
                      struct buffer *out)
{
    if (value.size < ACL_HEADER || (value.size - ACL_HEADER) % ACL_ENTRY != 0)
        return false;
    buffer_append_slice(out, value);
    for (size_t at = ACL_HEADER; at < value.size; at += ACL_ENTRY) {
        uint32_t tag = get_u32(value.at + at) & 0xffff, id = get_u32(value.at + at + 4);
        if (tag != ACL_USER && tag != ACL_GROUP)
            continue;
        if (id < from || id - from >= count)
            return false;
        put_u32(out->at + at + 4, id + add);
    }
    return true;
}

bool xattr_to_disk(const struct layer_ids *ids, const struct tar_xattr *xattr, struct buffer *out)
{
    out->size = 0;
    if (slice_equal_text(xattr->name, CAPABILITY))
        return cap_to_disk(ids, xattr->value, out);
    if (slice_starts(xattr->name, ACL))
        return acl_shift(xattr->value, ids->base, 0, ids->count, out);
    buffer_append_slice(out, xattr->value);
    return true;
}

/* As xattr_to_disk, the other way round. */
static bool xattr_from_disk(const struct layer_ids *ids, const struct tar_xattr *xattr,
                            struct buffer *out)
{
    out->size = 0;
    if (slice_equal_text(xattr->name, CAPABILITY))
        return cap_from_disk(ids, xattr->value, out);
    if (slice_starts(xattr->name, ACL))
        return acl_shift(xattr->value, 0 - ids->base, ids->base, ids->count, out);
    buffer_append_slice(out, xattr->value);
    return true;
}

/* --- attributes of a file --- */

void xattr_set_drop(struct xattr_set *set)
{
    buffer_drop(&set->bytes);
}

static int compare_xattrs(const void *a, const void *b)
{
    return slice_compare(((const struct tar_xattr *)a)->name, ((const struct tar_xattr *)b)->name);
}

/* Adds one whose name is in set->bytes; values are put behind the names, so nothing moves. */
static int read_one(struct xattr_set *set, int fd, const struct layer_ids *ids, struct slice name,
                    struct slice path, struct error *err)
{
    char shown[SHOWN_MAX];
    OWNED(memory_drop) char *value = memory_new(LAYER_XATTRS_SIZE);
    OWNED(buffer_drop) struct buffer kept = BUFFER_NONE;
    ssize_t size = fgetxattr(fd, name.at, value, LAYER_XATTRS_SIZE);

    if (size < 0)
        return errno == ENODATA || errno == EOVERFLOW
                   ? 0
                   : error_set_errno(err, ERROR_INTERNAL, errno, "cannot read an attribute");
    struct tar_xattr xattr = {name, {value, (size_t)size}};
    if (!xattr_from_disk(ids, &xattr, &kept))
        return 0;
    if (memchr(name.at, '=', name.size) != NULL)
        return error_set(err, ERROR_INVALID, "'%s' has an attribute with '=' in its name",
                         path_shown(path, shown));
    if (set->count == sizeof(set->items) / sizeof(set->items[0]) ||
        set->bytes.size + kept.size > set->bytes.capacity)
        return error_set(err, ERROR_INVALID, "'%s' has too many extended attributes",
                         path_shown(path, shown));
    char *at = set->bytes.at + set->bytes.size;
    if (kept.size > 0)
        memcpy(at, kept.at, kept.size);
    set->bytes.size += kept.size;
    set->items[set->count++] = (struct tar_xattr){name, {at, kept.size}};
    return 0;
}

int xattr_set_read(struct xattr_set *set, int fd, const struct layer_ids *ids, struct slice path,
                   struct error *err)
{
    char few[1024];
    ssize_t size = flistxattr(fd, few, sizeof(few));

    set->count = 0;
    set->copied_up = false;
    if (size == 0 || (size < 0 && errno == ENOTSUP))
        return 0;
    if (size < 0 && errno != ERANGE)
        return error_set_errno(err, ERROR_INTERNAL, errno, "cannot read attributes");
    set->bytes.size = 0;
    buffer_reserve(&set->bytes, (size_t)5 * LAYER_XATTRS_SIZE);
    if (size > 0)
        memcpy(set->bytes.at, few, (size_t)size);
    else
        size = flistxattr(fd, set->bytes.at, LAYER_XATTRS_SIZE);
    if (size < 0)
        return error_set_errno(err, ERROR_INTERNAL, errno, "cannot read attributes");
    set->bytes.size = (size_t)size;
    for (size_t at = 0; at < (size_t)size;) {
        struct slice name = slice_of(set->bytes.at + at);
        at += name.size + 1;
        if (slice_equal_text(name, mark_name(ids, MARK_ORIGIN)))
            set->copied_up = true;
        else if (xattr_kept(name) && read_one(set, fd, ids, name, path, err) < 0)
            return -1;
    }
    qsort(set->items, set->count, sizeof(set->items[0]), compare_xattrs);
    return 0;
}

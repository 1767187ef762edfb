/* layer_internal.h - shared by the files of s2i/layer/: inflate.c (stored bytes become a tar),
 * place.c and place_path.c (files of an archive below a folder), xattr.c (attributes, owners, marks
 * of overlay), walk.c (upper and lower folders), compress.c (a tar becomes stored bytes), common.c.
 * Touches  nothing.
 * Never    included from outside s2i/layer/. */
#ifndef SLIPWAY_S2I_LAYER_INTERNAL_H
#define SLIPWAY_S2I_LAYER_INTERNAL_H

#include <sys/stat.h>
#include <sys/types.h>

#include "s2i/layer/layer.h"
#include "s2i/layer/tar_format.h"

enum {
    LAYER_BUFFER = 256 * 1024,
    LAYER_NAME_MAX = 255,
    LAYER_PATH_MAX = 4095, /* what one call of the kernel takes */
    LAYER_DEPTH_MAX = 512,
    LAYER_XATTRS_SIZE = 64 * 1024,
};

#define WHITEOUT_PREFIX ".wh."
#define WHITEOUT_META ".wh..wh." /* marks of AUFS for itself; and: */
#define WHITEOUT_OPAQUE ".wh..wh..opq"

/* --- common.c --- */

/* Below folder, however the archive's links stand: nothing outside is reached. links: symbolic
 * links on the way are followed inside the folder, else they are refused. -1 with errno. */
int open_below(int folder, const char *path, int flags, bool links);

/* A name for messages: control characters become '?', long ones are cut. */
enum { SHOWN_MAX = 120 };
const char *path_shown(struct slice path, char out[SHOWN_MAX]);

/* Adds a sentence; after some dozens "and more". notes may be NULL. */
void note(struct s2i_list *notes, const char *format, ...) PRINTF_LIKE(2, 3);
/* INVALID: the archive's fault. Returns -1. */
static inline int entry_refuse(struct slice path, const char *why, struct error *err)
{
    char shown[SHOWN_MAX];

    return error_set(err, ERROR_INVALID, "archive entry '%s': %s", path_shown(path, shown), why);
}
/* The disk's: "cannot <verb> '<path>'". Returns -1. */
static inline int entry_fail(const char *verb, struct slice path, int number, struct error *err)
{
    char shown[SHOWN_MAX];

    return error_set_errno(err, ERROR_INTERNAL, number, "cannot %s '%s'", verb,
                           path_shown(path, shown));
}

/* --- inflate.c --- */

enum packing { PACKED_NOT, PACKED_GZIP, PACKED_ZSTD };
enum packing packing_of(const char *media_type); /* layer_unpack.c */

struct inflater;
/* limits and hashes what comes out; fd is read from where it stands. quiet_ms: as of tar_wish. */
struct inflater *inflater_open(int fd, enum packing packing, const struct layer_limits *limits,
                               uint64_t quiet_ms);
void inflater_drop(struct inflater **inflater);
/* A tar_feed. */
int inflater_feed(void *inflater, char *out, size_t capacity, size_t *got, struct error *err);
/* Reads to the end; what came out in all. */
int inflater_finish(struct inflater *inflater, struct digest *out, struct error *err) MUST_CHECK;

/* --- xattr.c --- */

/* -1 with errno. */
int mark_opaque(int fd, const struct layer_ids *ids);
bool is_opaque(int fd, const struct layer_ids *ids);
/* Level (b): who owns the file in the image. No mark: 0:0. */
int mark_owner(int fd, const struct layer_ids *ids, uint64_t uid, uint64_t gid);
void read_owner(int fd, const struct layer_ids *ids, uint64_t *uid, uint64_t *gid);

/* Attributes that layers keep (17.6). */
bool xattr_kept(struct slice name);
/* The attribute as it stands in a layer becomes what is set on disk, in out. False: it cannot be.
 * Spec: 17.6 */
bool xattr_to_disk(const struct layer_ids *ids, const struct tar_xattr *xattr, struct buffer *out);

struct xattr_set {
    struct buffer bytes; /* names and values */
    struct tar_xattr items[64];
    size_t count;
    bool copied_up; /* overlay marked it so */
};
void xattr_set_drop(struct xattr_set *set);
/* Those of an open file that a layer keeps, sorted. INVALID  one has no place in a tar */
int xattr_set_read(struct xattr_set *set, int fd, const struct layer_ids *ids, struct slice path,
                   struct error *err) MUST_CHECK;

/* --- place.c, place_path.c --- */

struct place {
    int folder; /* borrowed */
    const struct layer_ids *ids;
    bool links;                      /* of open_below */
    bool layer;                      /* whiteouts stand in the folder; owners are the entries' */
    uint64_t folder_uid, folder_gid; /* of folders that no entry made, in the container */
    int parent;                      /* the last one, by its path; -1 */
    struct buffer parent_path;
    uint64_t implied;               /* folders without an entry, which count as some */
    struct pending_folder *pending; /* modes and times that come last (19.6) */
    size_t pending_count, pending_capacity;
};
void place_drop(struct place *place);
/* INVALID: so many entries, and the folders made for them, are more than the limit. */
bool place_too_many(const struct place *place, uint64_t entries, const struct layer_limits *limits,
                    struct error *err);
/* The folder an entry goes into, made where it is missing, and the entry's own name.
 * INVALID  "..", a name too long, a way through what is no folder */
int place_parent(struct place *place, struct slice path, int *parent, char name[LAYER_NAME_MAX + 1],
                 struct error *err) MUST_CHECK;
/* What stands under the name goes, unless both are folders; *whiteout: one stood there.
 * INVALID  a folder with something in it */
int place_clear(int parent, const char *name, bool folder, bool *whiteout, struct slice path,
                struct error *err) MUST_CHECK;
/* Why no entry may have this path; NULL: it may. */
const char *place_path_problem(struct slice path);
/* Of an open file. Level (b): only layers remember whose the file is. -1 with errno. */
int place_own(const struct place *place, int fd, uint64_t uid, uint64_t gid);
/* Notes what the open folder of this path gets in the end. -1 with errno. */
int place_pend(struct place *place, int fd, struct slice path, mode_t mode, int64_t mtime);
/* Folders: the mode and time are put on by place_finish. */
int place_folder(struct place *place, int parent, const char *name, const struct tar_entry *entry,
                 bool opaque, struct s2i_list *notes, struct error *err) MUST_CHECK;
int place_file(struct place *place, int parent, const char *name, const struct tar_entry *entry,
               struct tar_reader *reader, char *buffer, struct s2i_list *notes,
               struct error *err) MUST_CHECK;
int place_symlink(struct place *place, int parent, const char *name, const struct tar_entry *entry,
                  struct error *err) MUST_CHECK;
int place_fifo(struct place *place, int parent, const char *name, const struct tar_entry *entry,
               struct error *err) MUST_CHECK;
int place_hard_link(struct place *place, int parent, const char *name,
                    const struct tar_entry *entry, struct error *err) MUST_CHECK;
/* The folder itself: entry NULL: 0:0, 0755, 1970. */
int place_root(struct place *place, const struct tar_entry *entry, struct s2i_list *notes,
               struct error *err) MUST_CHECK;
int place_finish(struct place *place, struct error *err) MUST_CHECK;

/* --- walk.c --- */

/* A folder of upper on the way from the top to what is looked at. */
struct walk_folder {
    struct walk_folder *parent; /* NULL: the top */
    struct slice path;          /* "": the top */
    bool hidden;                /* lowers do not show through: it is opaque, or its parent is */
    bool written;               /* its entry is */
    bool group_known;           /* level (b): group is filled in */
    uint64_t group;             /* of what is new in it */
    bool viewed;                /* lowers is filled in */
    size_t *lowers;             /* those that show a folder of this path, topmost first */
    size_t lower_count;
};
void walk_folder_drop(struct walk_folder *folder);

struct walk_name {
    char *name;
    bool folder, whiteout;
};
struct walk_names {
    struct walk_name *items;
    size_t count, capacity;
};
void walk_names_drop(struct walk_names *names);
/* What stands in upper's folder, whiteouts first, then in the order of paths (17.1, 18.3). */
int walk_list(int upper, struct slice path, struct walk_names *out, struct error *err) MUST_CHECK;
/* Adds whiteouts of what the lowers alone show there and `names` does not have (18.2). */
int walk_hidden(const struct layer_make *make, struct walk_folder *folder, struct walk_names *names,
                struct error *err) MUST_CHECK;
/* Whether lowers show something of that name; *lower: which one does. path: of the child. */
int walk_shown(const struct layer_make *make, struct walk_folder *folder, struct slice path,
               bool *shown, size_t *lower, struct stat *file, struct error *err) MUST_CHECK;

/* --- compress.c --- */

struct packer;
struct packer *packer_open(const char *compression, layer_sink *sink, void *arg);
void packer_drop(struct packer **packer);
int packer_write(struct packer *packer, struct slice bytes, struct error *err) MUST_CHECK;
/* Digests and size of all; out's texts are made new. */
int packer_finish(struct packer *packer, struct s2i_layer *out, struct error *err) MUST_CHECK;
/* Whether there is such a compression. */
bool packer_knows(const char *compression);

#endif

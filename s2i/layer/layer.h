/* layer.h - layers of images: unpacked safely, and made from what a build changed.
 * Touches  folders it is given, always by descriptors.
 * Never    follows a link out of a folder; trusts a name, a size or a number of an archive.
 *
 * Runs in a builder's process that holds the build's ids: see struct layer_ids. */
#ifndef SLIPWAY_S2I_LAYER_H
#define SLIPWAY_S2I_LAYER_H

#include <sys/types.h>

#include "registry/core/digest.h"
#include "s2i/options.h"
#include "s2i/spec.h"

/* How ids of an archive stand on this disk. */
struct layer_ids {
    uint32_t base;   /* id 0 of the container here; level (a): ids are shifted by it */
    uint32_t count;  /* ids there are; others are refused */
    bool single;     /* level (b): every file belongs to us; whose the files of base layers are in
                        the image stands in an attribute that overlay hides and never copies */
    bool user_xattr; /* marks of overlay are user.overlay.*, not trusted.overlay.* */
};

struct layer_limits {
    uint64_t bytes_max, entries_max; /* unpacked */
    uint64_t ratio_max;              /* unpacked / packed, once beyond 64 MiB; 19.5 */
};

/* Unpacks a stored layer (gzip, zstd or plain by its media type) into an empty folder, as a lower
 * directory of overlay (18.5, 18.7, 19). diff_id is checked at the end. notes: what was left out.
 * INVALID  the archive, with a sentence that names the entry */
int layer_unpack(int fd, const struct s2i_layer *layer, int folder, const struct layer_ids *ids,
                 const struct layer_limits *limits, struct s2i_list *notes,
                 struct error *err) MUST_CHECK;
/* Whether an unpacked layer hides all layers below it (".wh..wh..opq" at its top): overlay does not
 * look at that mark of a lower directory's top, so whoever stacks leaves those below out. */
bool layer_hides_all(int folder, const struct layer_ids *ids);
/* Unpacks a plain tar (the source, artifacts) below a folder of a container, owned by uid:gid; no
 * special files; symbolic links are written as text and never followed; what leads outside fails
 * (strict) or is skipped with a note (save-artifacts, 8.3). */
struct tar_wish {
    uint32_t uid, gid; /* in the container */
    bool strict;
    struct layer_limits limits;
    uint64_t quiet_ms; /* no byte for so long: "timeout waiting for tar stream"; 0: no limit */
    bool (*take)(void *arg, struct slice path); /* NULL: every entry */
    void *arg;
};
int layer_untar(int fd, int folder, const struct layer_ids *ids, const struct tar_wish *wish,
                struct s2i_list *notes, struct error *err) MUST_CHECK;

/* What stands in a stored layer, entry by entry, in the archive's order; diff_id is checked at the
 * end. fd is read from where it stands. INVALID  the archive, or it is not that layer */
struct tar_entry;
typedef int layer_take(void *arg, const struct tar_entry *entry,
                       const struct digest *content, /* SHA-256; not set: no file */
                       struct error *err);
int layer_list(int fd, const struct s2i_layer *layer, const struct layer_limits *limits,
               layer_take *take, void *arg, struct error *err) MUST_CHECK;
/* The same; read is called with each piece of a file's content before take is with the file. */
typedef void layer_content(void *arg, struct slice bytes);
int layer_read(int fd, const struct s2i_layer *layer, const struct layer_limits *limits,
               layer_content *read, layer_take *take, void *arg, struct error *err) MUST_CHECK;

/* Where a layer's bytes go: compressed, in order. -1 ends the making. */
typedef int layer_sink(void *arg, struct slice bytes, struct error *err);
/* Whether the file of this inode was there before the script ran. */
typedef bool layer_brought(void *arg, ino_t inode);
/* Asked again and again while a layer is made, often without need. -1 ends the making. */
typedef int layer_go_on(void *arg, struct error *err);

struct layer_make {
    int upper;         /* the overlay's upper directory */
    const int *lowers; /* lower directories, topmost first: for 18.2 and 18.4 */
    size_t lower_count;
    struct layer_ids ids;
    uint32_t uid, gid; /* level (b): in the container, whose new files are */
    layer_brought
        *brought; /* level (b): those have the group 0, others gid or their folder's; NULL: none */
    void *brought_arg;
    int64_t epoch; /* seconds: 17.3 */
    bool clamp_all;
    const char *const
        *left_out; /* paths without a leading '/', with all below them; ends in NULL */
    /* "name=pattern"; NULL: one layer. A pattern stands for a path without a leading '/', and all
     * below it: '*' for any text, '?' for one character; the first that fits takes it. */
    const struct s2i_list *slices;
    size_t slice;                   /* which one to write; slices->count: the rest */
    const char *compression;        /* "gzip", "zstd" */
    uint64_t bytes_max;             /* of files, holes and all; 0: no limit */
    const struct s2i_list *secrets; /* exact bytes that must not be in any file (10.22) */
    layer_sink *sink;
    void *arg;
    layer_go_on *go_on; /* NULL: nobody is asked */
    void *go_on_arg;
    struct s2i_list *notes; /* what was skipped; may be NULL */
};
/* One pass: tar, diff id, compression, digest, sink (17.11). out's media type is OCI's. *entries: 0
 * when nothing changed.
 * INVALID  a name that cannot be represented (17.12), a secret (SecretInLayer in the cause), more
 * than bytes_max (DiskLimit in the cause) */
int layer_make(const struct layer_make *make, struct s2i_layer *out, uint64_t *entries,
               struct error *err) MUST_CHECK;

/* What two stored layers differ in, a line a path in bytewise order: "usr/bin/x: content, mode",
 * "etc/y: only in the first"; out gets at most so many lines. Each descriptor is read from where it
 * stands. INVALID  an archive's fault. Spec: 15.2 */
struct layer_pair {
    int fd;
    const struct s2i_layer *layer;
};
int layer_differences(const struct layer_pair *one, const struct layer_pair *other,
                      const struct layer_limits *limits, size_t most, struct s2i_list *out,
                      struct error *err) MUST_CHECK;

/* --- tar, as we write it (17.5) and read it (pure) --- */

struct tar_entry {
    struct slice path; /* relative, without a leading "./"; folders without the slash */
    struct slice link; /* symlink's text, or path of a hard link's target */
    char type;     /* '0' file, '1' hard link, '2' symlink, '3' '4' devices, '5' folder, '6' fifo */
    uint32_t mode; /* 07777 */
    uint64_t uid, gid, size;
    int64_t mtime;
    uint32_t device_major, device_minor;
    struct tar_xattr {
        struct slice name, value;
    } const *xattrs; /* sorted by name */
    size_t xattr_count;
};
/* Appends header blocks of the entry; content and tar_padding follow. */
void tar_write_header(struct buffer *out, const struct tar_entry *entry);
size_t tar_padding(uint64_t size);
/* Two empty blocks. */
void tar_write_end(struct buffer *out);

/* Reads a stream block by block; pax, GNU long names, base-256 numbers, v7; sparse formats are
 * refused. feed gives the next bytes: 0 at the end, -1. */
struct tar_reader;
typedef int tar_feed(void *arg, char *out, size_t capacity, size_t *got, struct error *err);
struct tar_reader *tar_reader_open(tar_feed *feed, void *arg);
void tar_reader_close(struct tar_reader *reader);
/* 1: an entry, borrowed until the next call; 0: the end; -1 INVALID. Skips what is left of the last
 * entry's content. */
int tar_next(struct tar_reader *reader, struct tar_entry *out, struct error *err) MUST_CHECK;
/* Content of the current entry; *got 0 at its end. */
int tar_read(struct tar_reader *reader, char *out, size_t capacity, size_t *got,
             struct error *err) MUST_CHECK;

#endif

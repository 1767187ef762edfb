/* reading.h - shared by the files of the child that reads sources: its orders, what it found, the
 * tar it writes.
 * Touches  nothing.
 * Never    included by the server's side, but for the words of the orders. */
#ifndef SLIPWAY_SOURCE_READING_H
#define SLIPWAY_SOURCE_READING_H

#include "registry/core/digest.h"
#include "s2i/source/entries.h"
#include "s2i/spec.h"

enum { READING_REPOSITORIES_MAX = 65 }; /* the outermost, and its submodules */

#define READING_TIME_MAX INT64_C(253402300799) /* the year 9999's last second */

/* What becomes of submodules: an empty folder; the same when it must be; an error when one is not
 * named in .gitmodules. */
enum { MODULES_IGNORED, MODULES_WANTED, MODULES_NEEDED };

/* Where a submodule's commit can be read. */
struct reading_module {
    char *path;       /* of the gitlink, from the root of the outermost repository */
    char *repository; /* NULL: could not be fetched, its folder stays empty */
};

struct reading_orders {
    bool archive;
    char *repository;   /* a bare one; NULL for archives */
    char *commit, *ref; /* a commit's id, or the full name of a ref; the other one is NULL */
    char *context_dir;
    char *exclude; /* NULL: the default */
    int modules_mode;
    struct reading_module *modules;
    size_t module_count;
    struct s2i_list detect;
    uint64_t files_max, bytes_max, blob_max;
    int archive_fd, spool_fd, tar_fd;
};
void reading_orders_drop(struct reading_orders *orders);
/* repository NULL: its folder stays empty. */
void reading_orders_add_module(struct reading_orders *orders, const char *path,
                               const char *repository);
json_t *reading_orders_write(const struct reading_orders *orders); /* the caller's */
int reading_orders_read(struct reading_orders *out, const json_t *object,
                        struct error *err) MUST_CHECK;

/* A gitlink that is not among the orders' modules. */
struct reading_gitlink {
    char *path, *parent; /* parent: the module it is in, "": the outermost repository */
    char *url;           /* as .gitmodules has it */
    char *commit;
};

struct reading {
    const struct reading_orders *orders;
    struct exclude exclude;
    struct entries entries;
    struct s2i_source_facts facts;
    struct reading_gitlink *gitlinks; /* when there are some, no tar is written */
    size_t gitlink_count;
    struct s2i_list warnings;
    const char *reason; /* when it fails: "InvalidSource" unless somebody knows better */
};
void reading_gitlink_add(struct reading *reading, struct slice path, struct slice parent,
                         const char *url, const uint8_t id[ENTRY_ID_SIZE]);
void reading_warn(struct reading *reading, struct slice path, const char *what);

/* --- contents: from wherever they are into the tar --- */

typedef int reading_sink(void *arg, struct slice bytes, struct error *err);
/* Gives all bytes of the entry's content, entry->size of them, to the sink. */
typedef int reading_content(void *arg, const struct entry *entry, reading_sink *sink,
                            void *sink_arg, struct error *err);

/* Writes the tar, and gathers what is seen on the way: .s2i/s2i.conf, LFS pointers, counts, matches
 * of the detect table, the digest. (tar.c) */
int reading_write(struct reading *reading, reading_content *content, void *arg,
                  struct error *err) MUST_CHECK;

/* --- kinds --- */

/* Fills entries and facts from a repository, and writes the tar. (tree.c) */
int reading_tree(struct reading *reading, struct error *err) MUST_CHECK;
/* (archive.c) */
int reading_archive(struct reading *reading, struct error *err) MUST_CHECK;

/* Runs git on a repository, its output to the sink, at most `most` bytes; words end in NULL and
 * begin with the command. (stream.c) */
int source_git(const char *repository, const char *const *words, uint64_t most, reading_sink *sink,
               void *arg, struct error *err) MUST_CHECK;

#endif

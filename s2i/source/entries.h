/* entries.h - what a source holds, gathered before any of it is written: names checked, limits met,
 * in the order of the tar.
 * Touches  memory.
 * Never    contents.
 *
 * Spec: s2i 4.7 to 4.11, 17.1. */
#ifndef SLIPWAY_SOURCE_ENTRIES_H
#define SLIPWAY_SOURCE_ENTRIES_H

#include <regex.h>

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum { ENTRY_ID_SIZE = 20 };

enum entry_kind { ENTRY_FOLDER, ENTRY_FILE, ENTRY_PROGRAM, ENTRY_LINK };

struct entry {
    char *path; /* relative to the source root, no slash at the end */
    size_t path_size;
    enum entry_kind kind;
    uint64_t size;  /* of its content; of a link: of its text */
    uint64_t order; /* of arrival */
    /* where its content is: */
    uint8_t id[ENTRY_ID_SIZE]; /* of a blob, in */
    size_t repository;         /* this one; or */
    uint64_t offset;           /* in a spool */
};

struct exclude {
    bool on;
    regex_t pattern;
};
/* 4.7. SLICE_NONE: the default; "": nothing. ".git" is never in a source whatever it says. INVALID
 */
int source_exclude_open(struct exclude *out, struct slice pattern, struct error *err) MUST_CHECK;
void source_exclude_drop(struct exclude *exclude);
/* The path alone; of its folders others have asked. */
bool source_exclude_matches(const struct exclude *exclude, const char *path);
/* The path, or a folder it is in. */
bool source_exclude_matches_within(const struct exclude *exclude, struct slice path);

struct entries {
    struct entry *items;
    size_t count, capacity;
    uint64_t bytes;
    uint64_t count_max, bytes_max, blob_max; /* 4.11 */
};
void source_entries_drop(struct entries *entries);
/* INVALID  that there is no room for so many more */
int source_entries_expect(const struct entries *entries, uint64_t more,
                          struct error *err) MUST_CHECK;
/* Borrowed, until the next call. NULL: INVALID  its name, or a limit */
struct entry *source_entries_add(struct entries *entries, struct slice path, enum entry_kind kind,
                                 uint64_t size, struct error *err) MUST_CHECK;
/* Adds folders that were not named, and sorts by the bytes of the paths. unique: a path that comes
 * twice is an error, else the later one counts. INVALID */
int source_entries_settle(struct entries *entries, bool unique, struct error *err) MUST_CHECK;

/* INVALID  "<path> <what>", the path so that it can be shown. Returns -1. */
int source_entry_refuse(struct error *err, struct slice path, const char *what);

#endif

/* interpose.h - the preloaded library of the crash tests: what its files share.
 * Touches  nothing.
 * Never    linked into the program.
 *
 * The library stands between the server and the kernel for everything below one folder, CRASH_ROOT.
 *   CRASH_CONTROL  file of struct control, mapped by the library and by the test that drives it:
 *                  the sequence counter, the boot id and the time to pretend, the rules
 *   CRASH_TRACE    when set, every effect and every sync is appended to this file
 *
 * (1) In the trace, the order of records is the order of effects: the number is taken and the call
 *     made under one lock.
 * (2) A sync is two records, begin and end: it promises what was issued before its begin, from its
 *     end on. The call itself is made outside the lock, so writers go on meanwhile.
 * (3) A rule that kills does so under the lock, so no effect is missing from the trace. */
#ifndef SLIPWAY_CRASH_INTERPOSE_H
#define SLIPWAY_CRASH_INTERPOSE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>
#include <sys/uio.h>

/* Kinds of calls, as bits of a rule and as kinds of records. control.py repeats the numbers. */
enum call {
    CALL_OPEN = 1 << 0,   /* an existing file */
    CALL_CREATE = 1 << 1, /* an open that made the file */
    CALL_WRITE = 1 << 2,
    CALL_SYNC = 1 << 3, /* fsync */
    CALL_DATASYNC = 1 << 4,
    CALL_TRUNCATE = 1 << 5,
    CALL_ALLOCATE = 1 << 6, /* fallocate */
    CALL_UNLINK = 1 << 7,
    CALL_MKDIR = 1 << 8,
    CALL_RMDIR = 1 << 9,
    CALL_RENAME = 1 << 10,
    CALL_LINK = 1 << 11,
    CALL_XATTR = 1 << 12,
    CALL_READ = 1 << 13,
    CALL_MALLOC = 1 << 14,
    CALL_SYNC_END = 1 << 15, /* records only */
    CALL_MAP = 1 << 16       /* records only: a shared, writable mapping, which nobody can trace */
};

enum action { KILL_BEFORE = 1, KILL_MID, KILL_AFTER, FAIL, SHORT, SKIP, DELAY, HOLD };

/* Applies to matching calls number `from` (counted from 1) to `from + times - 1`; times 0: to all
 * from there on. The driver writes `calls` last when arming, and zeroes it to disarm. */
struct rule {
    uint32_t calls;
    uint32_t action;
    uint32_t from;
    uint32_t times;
    int32_t error;     /* FAIL: errno; DELAY: milliseconds */
    uint32_t hits;     /* matching calls so far */
    uint32_t held;     /* HOLD: threads that stand before their call until the rule is disarmed */
    uint32_t struck;   /* times it has acted, or is about to; after it was disarmed nobody begins */
    char pattern[100]; /* fnmatch(3), of the path below CRASH_ROOT, "." itself; empty: any */
};

#define RULE_COUNT 8

struct control {
    uint64_t sequence; /* the last number taken */
    char boot_id[40];  /* empty: the machine's own */
    uint32_t handles;  /* the last handle given to an open file */
    uint32_t misuse;   /* calls below the root that the trace cannot describe */
    int64_t ahead_us;  /* the time of day runs so far ahead */
    struct rule rules[RULE_COUNT];
};

/* An open file below the root. */
struct tracked {
    uint32_t handle; /* 0: not below the root */
    char path[172];  /* relative to the root */
};

/* --- control.c --- */

extern struct control *control; /* NULL: the library does nothing */
/* The path below the root, or false when it is elsewhere. */
bool path_below_root(int folder, const char *path, char *out, size_t out_size);
/* The entry of a descriptor, NULL when the file is not below the root. */
struct tracked *tracked_find(int fd);
void tracked_open(int fd, const char *path);
void tracked_copy(int from, int to);
void tracked_close(int fd);
/* What a call is to do besides its work. */
struct verdict {
    enum action action; /* 0: nothing */
    int error;
};
struct verdict rules_ask(enum call call, const char *path);
void die(void) __attribute__((noreturn));

/* --- trace.c --- */

/* One record. */
struct effect {
    enum call call;
    uint32_t handle; /* 0: the path says */
    uint32_t flags;  /* CALL_ALLOCATE: its mode */
    uint64_t offset;
    uint64_t reference; /* new size; length allocated; for CALL_SYNC_END the number of its begin */
    const char *path;
    const char *path_to; /* rename and link */
};

bool trace_on(void);
void trace_lock(void);
void trace_unlock(void);
/* Under the lock. Returns the record's number. */
uint64_t trace_append(const struct effect *effect, const struct iovec *data, int count,
                      size_t length);

#endif

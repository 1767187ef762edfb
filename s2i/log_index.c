/* log_index.c - indexes of logs: their entries, and what an earlier process left of a log.
 * Touches  the two files of a log.
 * Never    a log that others see yet.
 *
 * log (1): after a crash the index may be behind or ahead; log_mend makes them agree. */
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "registry/core/clock.h"
#include "registry/core/fd.h"
#include "s2i/log_internal.h"

enum { REPAIR_SIZE = LOG_LINE_MAX + 1 /* the longest line fits */ };

/* --- entries --- */

static void u64_write(uint64_t value, char out[8])
{
    for (int i = 0; i < 8; i++)
        out[i] = (char)(value >> (8 * i));
}

static uint64_t u64_read(const char in[8])
{
    uint64_t value = 0;

    for (int i = 7; i >= 0; i--)
        value = value << 8 | (unsigned char)in[i];
    return value;
}

void log_entry_write(const struct log_entry *entry, char out[LOG_ENTRY_SIZE])
{
    u64_write(entry->offset, out);
    u64_write((uint64_t)entry->time_us << 2 | entry->stream, out + 8);
}

void log_entry_append(const struct log_entry *entry, struct buffer *out)
{
    char bytes[LOG_ENTRY_SIZE];

    log_entry_write(entry, bytes);
    buffer_append(out, bytes, sizeof(bytes));
}

size_t log_entries_read(int index_fd, uint64_t at, struct log_entry *out, size_t most)
{
    char bytes[64 * LOG_ENTRY_SIZE];
    size_t count = 0, wanted;
    ssize_t got;

    do {
        wanted = most - count < 64 ? most - count : 64;
        got =
            pread(index_fd, bytes, wanted * LOG_ENTRY_SIZE, (off_t)((at + count) * LOG_ENTRY_SIZE));
        for (ssize_t i = 0; i + LOG_ENTRY_SIZE <= got; i += LOG_ENTRY_SIZE) {
            uint64_t second = u64_read(bytes + i + 8);
            out[count++] =
                (struct log_entry){u64_read(bytes + i), (int64_t)(second >> 2), second & 3};
        }
    } while (count < most && got == (ssize_t)(wanted * LOG_ENTRY_SIZE));
    return count;
}

uint64_t log_entry_count(int index_fd)
{
    struct stat status;

    return fstat(index_fd, &status) < 0 ? 0 : (uint64_t)status.st_size / LOG_ENTRY_SIZE;
}

uint64_t log_entry_find(int index_fd, uint64_t offset)
{
    uint64_t low = 0, high = log_entry_count(index_fd);
    struct log_entry entry;

    while (low < high) {
        uint64_t middle = low + (high - low) / 2;
        if (log_entries_read(index_fd, middle, &entry, 1) == 1 && entry.offset < offset)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* --- what an earlier process left --- */

/* What is known to be whole so far, and what the next line is taken for. */
struct mend {
    int fd, index_fd;
    uint64_t size, count; /* bytes, lines */
    int64_t time_us;
    unsigned stream;
    struct buffer entries; /* on their way to the index */
};

/* An entry of a line that is there, and behind the line before: blocks that were never written are
 * zeros. */
static bool entry_holds(const struct mend *mend, uint64_t at, uint64_t log_size,
                        struct log_entry *out)
{
    struct log_entry two[2];
    size_t wanted = at == 0 ? 1 : 2;

    if (log_entries_read(mend->index_fd, at + 1 - wanted, two, wanted) != wanted)
        return false;
    *out = two[wanted - 1];
    return out->stream != LOG_ENDED && out->offset < log_size &&
           (at == 0 ? out->offset == 0 : out->offset > two[0].offset);
}

/* The entry that says "ended", entries of lines that did not reach the disk, and half an entry go.
 */
static int index_cut(struct mend *mend, uint64_t log_size)
{
    uint64_t count = log_entry_count(mend->index_fd);
    struct log_entry last;

    while (count > 0 && !entry_holds(mend, count - 1, log_size, &last))
        count--;
    mend->size = mend->count = 0;
    mend->time_us = clock_now_us();
    if (count > 0) { /* the last line counts once more: it may be a part */
        mend->size = last.offset;
        mend->time_us = last.time_us;
        mend->stream = last.stream;
        mend->count = --count;
    }
    return ftruncate(mend->index_fd, (off_t)(count * LOG_ENTRY_SIZE)) < 0 ||
                   lseek(mend->index_fd, 0, SEEK_END) < 0
               ? -1
               : 0;
}

/* Whole lines of a piece, which begins at mend->size, get the entries they lack. Zeros are blocks
 * that were never written: nothing behind them counts. */
static void piece_index(struct mend *mend, struct slice piece)
{
    struct slice line;

    while (slice_split(piece, '\n', &line, &piece) && memchr(line.at, 0, line.size) == NULL) {
        const struct log_entry entry = {mend->size, mend->time_us, mend->stream};
        log_entry_append(&entry, &mend->entries);
        mend->count++;
        mend->stream = LOG_OUT;
        mend->size += line.size + 1;
    }
}

static int lines_index(struct mend *mend)
{
    OWNED(memory_drop) char *piece = memory_new(REPAIR_SIZE);
    int put = 0;
    bool more = true;

    while (more && put == 0) {
        uint64_t before = mend->size;
        ssize_t got = pread(mend->fd, piece, REPAIR_SIZE, (off_t)before);
        if (got < 0)
            return -1;
        piece_index(mend, (struct slice){piece, (size_t)got});
        more = mend->size > before;
        put = fd_write(mend->index_fd, buffer_slice(&mend->entries));
        mend->entries.size = 0;
    }
    return put;
}

int log_mend(int fd, int index_fd, uint64_t *size, uint64_t *count)
{
    struct mend mend = {.fd = fd, .index_fd = index_fd, .stream = LOG_OUT};
    struct stat status;

    if (fstat(fd, &status) < 0)
        return -1;
    int outcome = index_cut(&mend, (uint64_t)status.st_size) < 0 ? -1 : lines_index(&mend);
    buffer_drop(&mend.entries);
    *size = mend.size;
    *count = mend.count;
    return outcome < 0 || ftruncate(fd, (off_t)mend.size) < 0 || lseek(fd, 0, SEEK_END) < 0 ? -1
                                                                                            : 0;
}

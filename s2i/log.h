/* log.h - logs of builds: files that grow, and readers that follow them.
 * Touches  <root>/builds/logs, a thread of its own.
 * Never    waits for a reader: one that is slow is behind, nobody else notices.
 *
 * <id>.log has the lines as everybody sees them: a byte offset names the same byte for the pusher,
 * the API and the console. <id>.index has for each line its offset, time and stream (16 bytes).
 *
 * (1) A line is whole or absent. It has no escape sequence but colours, no other control character
 *     but tab, and at most LOG_LINE_MAX bytes; secrets are "***". Spec: 13.13, 13.45, 5.4 */
#ifndef SLIPWAY_S2I_LOG_H
#define SLIPWAY_S2I_LOG_H

#include "registry/core/bytes.h"
#include "registry/core/error.h"

enum { LOG_LINE_MAX = 64 * 1024 };
enum log_stream { LOG_STEP, LOG_OUT, LOG_ERR }; /* ours; stdout, stderr of a script */

struct build_logs;
struct build_log; /* one that is being written; one writer thread at a time */

int build_logs_open(struct build_logs **out, const char *folder, struct error *err) MUST_CHECK;
void build_logs_close(struct build_logs *logs); /* accepts NULL */

/* Goes on where an earlier process stopped, when there is one. size_max: bytes; what is more is cut
 * with a line that says so. secrets: texts of 4 bytes and more, copied. */
int build_log_begin(struct build_logs *logs, int64_t id, uint64_t size_max,
                    const struct slice *secrets, size_t secret_count, struct build_log **out,
                    struct error *err) MUST_CHECK;
/* Bytes as they came; lines are cut at '\n' (a '\r' before it is dropped), the rest waits. Failures
 * of the disk are told by build_log_end. */
void build_log_write(struct build_log *log, enum log_stream stream, struct slice bytes);
void build_log_print(struct build_log *log, const char *format, ...) PRINTF_LIKE(2, 3);
uint64_t build_log_size(const struct build_log *log);
/* Consumes it: followers reach the end. */
int build_log_end(struct build_log *log, struct error *err) MUST_CHECK;

enum log_form {
    LOG_TEXT,  /* the bytes of the file */
    LOG_TIMED, /* each line after its time and stream: "2026-01-02T03:04:05.678Z O " */
    LOG_SSE,   /* server-sent events: id is the offset after the line; a comment every 15 s */
};
struct log_follow {
    int64_t id;
    uint64_t offset;
    enum log_form form;
    bool follow; /* goes on until the log ends; else what is there now */
};
/* *fd: to read from, the caller's: a pipe that ends when the log does. NOT_FOUND  no such log */
int build_log_follow(struct build_logs *logs, const struct log_follow *wish, int *fd,
                     struct error *err) MUST_CHECK;
/* *live: it is being written. NOT_FOUND */
int build_log_stat(struct build_logs *logs, int64_t id, uint64_t *size, bool *live,
                   struct error *err) MUST_CHECK;
/* For ranges: a descriptor of the file. */
int build_log_file(struct build_logs *logs, int64_t id, int *fd, struct error *err) MUST_CHECK;
/* The last lines, at most so many bytes, for the status (6.5); none when there is no log. */
void build_log_tail(struct build_logs *logs, int64_t id, size_t bytes, struct buffer *out);
void build_log_remove(struct build_logs *logs, int64_t id);

#endif

/* write.h - JSON of answers, written member by member into a buffer.
 * Touches  memory only.
 * Never    nests by itself: braces are the caller's.
 *
 * A comma is put before a member unless a brace or bracket was just opened. */
#ifndef SLIPWAY_API_WRITE_H
#define SLIPWAY_API_WRITE_H

#include "registry/core/bytes.h"

void write_open(struct buffer *out, const char *name, char brace); /* name NULL: an item */
void write_close(struct buffer *out, char brace);
void write_text(struct buffer *out, const char *name, struct slice value); /* NULL name: an item */
void write_text_or_null(struct buffer *out, const char *name, const char *value); /* NULL: null */
void write_i64(struct buffer *out, const char *name, int64_t value);
void write_flag(struct buffer *out, const char *name, bool value);
void write_null(struct buffer *out, const char *name);
/* RFC 3339; 0 is null. */
void write_time(struct buffer *out, const char *name, int64_t us);
/* What is JSON already. */
void write_raw(struct buffer *out, const char *name, struct slice json);

#endif

/* bytes.h - borrowed slices and owned, growing buffers.
 * Touches  memory only.
 * Never    I/O, locale. */
#ifndef SLIPWAY_CORE_BYTES_H
#define SLIPWAY_CORE_BYTES_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "registry/core/attributes.h"

/* Borrowed bytes; not terminated. An absent value is SLICE_NONE (at == NULL). */
struct slice {
    const char *at;
    size_t size;
};

#define SLICE_NONE ((struct slice){NULL, 0})
#define SLICE(literal) ((struct slice){"" literal, sizeof(literal) - 1})
/* For printf's "%.*s". */
#define SLICE_ARG(s) (int)(s).size, (s).at

struct slice slice_of(const char *text); /* NULL gives SLICE_NONE */
bool slice_equal(struct slice a, struct slice b);
bool slice_equal_text(struct slice a, const char *text);
bool slice_equal_ignore_case(struct slice a, const char *text); /* ASCII */
bool slice_starts(struct slice s, const char *prefix);
bool slice_ends(struct slice s, const char *suffix);
struct slice slice_from(struct slice s, size_t offset); /* clamps */
struct slice slice_trim(struct slice s);                /* spaces and tabs of both ends */
/* Splits at the first `at`: true and both parts when found; else head = s, tail = SLICE_NONE. */
bool slice_split(struct slice s, char at, struct slice *head, struct slice *tail);
/* Unsigned decimal, the whole slice, no sign, no blank; false when malformed or above INT64_MAX. */
bool slice_to_u64(struct slice s, uint64_t *out);
/* The same, but what is above INT64_MAX is INT64_MAX. */
bool slice_to_u64_saturated(struct slice s, uint64_t *out);
/* bytewise order, the shorter first when one is a prefix */
int slice_compare(struct slice a, struct slice b);
/* Bytes of the UTF-8 character at the start; 0 when s is empty or starts with something else. */
size_t utf8_size(struct slice s);
/* In place: each byte that belongs to no UTF-8 character becomes '?'. */
void utf8_mend(char *text);
/* Copies into out with a terminating zero; false when it does not fit or holds a zero byte. */
bool slice_to_text(struct slice s, char *out, size_t capacity) MUST_CHECK;

/* malloc, calloc, realloc, strdup that abort when memory is out: for small allocations only. */
void *memory_new(size_t size); /* zeroed */
void *memory_resize(void *old, size_t size);
char *memory_text(struct slice s);                             /* a zero-terminated copy; free() */
char *memory_print(const char *format, ...) PRINTF_LIKE(1, 2); /* the same of what is printed */
void memory_drop(void *owned_pointer);                         /* for OWNED: frees *(void **) */

/* Owned bytes that grow. Zero-initialised is empty. */
struct buffer {
    char *at;
    size_t size;
    size_t capacity;
};

#define BUFFER_NONE ((struct buffer){NULL, 0, 0})

void buffer_drop(struct buffer *buffer); /* frees, becomes BUFFER_NONE */
void buffer_wipe(struct buffer *buffer); /* the same of a secret: nothing of it stays in memory */
void buffer_append(struct buffer *buffer, const void *bytes, size_t size);
void buffer_append_slice(struct buffer *buffer, struct slice s);
void buffer_append_text(struct buffer *buffer, const char *text);
void buffer_append_u64(struct buffer *buffer, uint64_t value); /* decimal */
void buffer_print(struct buffer *buffer, const char *format, ...) PRINTF_LIKE(2, 3);
void buffer_print_list(struct buffer *buffer, const char *format, va_list list) PRINTF_LIKE(2, 0);
/* quoted and escaped; what is no UTF-8 becomes '?' */
void buffer_append_json(struct buffer *buffer, struct slice text);
/* Lines longer than width bytes go on after a blank in the next, behind indent blanks; a word that
 * is longer stays whole. */
void buffer_append_wrapped(struct buffer *buffer, struct slice text, size_t indent, size_t width);
void buffer_reserve(struct buffer *buffer, size_t more);
struct slice buffer_slice(const struct buffer *buffer);

/* Decimal digits, not terminated; returns how many. */
enum { U64_DIGITS_MAX = 20 };
size_t u64_digits(uint64_t value, char out[U64_DIGITS_MAX]);

int hex_value(char c); /* of a digit of either case; -1: it is none */
/* Lower-case hex. out needs 2 * size bytes, and is not terminated. */
void hex_encode(const uint8_t *bytes, size_t size, char *out);
bool hex_decode(struct slice text, uint8_t *out,
                size_t size); /* exactly 2*size lower-case digits */

/* FNV-1a folded through a multiplier; for tables in memory only, not against attackers who can
 * watch timing: seed it with a random value of the process. */
uint64_t bytes_hash(uint64_t seed, const void *bytes, size_t size);

/* Fills out from the kernel's generator; aborts when there is none. */
void random_bytes(void *out, size_t size);

#endif

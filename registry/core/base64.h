/* base64.h - base64 of RFC 4648.
 * Touches  memory only (pure).
 * Never    reads two spellings of the same bytes as one form, save where the form says so. */
#ifndef SLIPWAY_CORE_BASE64_H
#define SLIPWAY_CORE_BASE64_H

#include "registry/core/bytes.h"

enum base64 {
    BASE64,     /* section 4: '+' and '/', padded */
    BASE64_URL, /* section 5: '-' and '_', never padded (RFC 7515 section 2) */
    BASE64_ANY, /* read: each of these, padded or not, as DSSE lets writers choose; never written */
};

/* Appends. */
void base64_encode(enum base64 form, const void *bytes, size_t size, struct buffer *out);
/* False when it is not of the form: other characters, blanks among them; bits of the last digit
 * that belong to no byte and are not zero. Appends; on failure nothing. */
bool base64_decode(enum base64 form, struct slice text, struct buffer *out) MUST_CHECK;
/* The same into memory of the caller, which holds `room` bytes: false, too, when these are too few.
 * On failure a part may stand there, and *size tells nothing. */
bool base64_decode_into(enum base64 form, struct slice text, void *out, size_t room,
                        size_t *size) MUST_CHECK;

#endif

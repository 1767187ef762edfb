/* callback.h - the words of a callback (pure), for callback.c and its tests.
 * Touches  memory only.
 * Never    sends them. */
#ifndef SLIPWAY_S2I_CALLBACK_H
#define SLIPWAY_S2I_CALLBACK_H

#include "storage/builds.h"

/* "sha256=" and the HMAC of the body in hex. */
enum { CALLBACK_SIGNATURE_MAX = 80 };
void callback_sign(struct slice secret, struct slice body, char out[CALLBACK_SIGNATURE_MAX]);
/* JSON; image_config: of the result, or NULL. The caller's. Spec: s2i 11.1 */
char *callback_body(const struct build_record *record, const char *image_config);

#endif

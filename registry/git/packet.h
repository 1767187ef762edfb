/* packet.h - packets of git's protocols: four hex digits of length, then data; "0000" ends a list.
 * Touches  memory only (pure).
 * Never    knows what the data mean. Spec: s2i 13.2 */
#ifndef SLIPWAY_GIT_PACKET_H
#define SLIPWAY_GIT_PACKET_H

#include "registry/core/bytes.h"

enum { PACKET_MAX = 65520, PACKET_HEAD = 4 };

enum packet_outcome {
    PACKET_DATA,
    PACKET_FLUSH,
    PACKET_SHORT, /* the text ends before the packet does */
    PACKET_BAD,
};
/* Takes the first packet off *text; *data is borrowed from it, without the newline at its end. */
enum packet_outcome packet_next(struct slice *text, struct slice *data);
/* data: at most PACKET_MAX - PACKET_HEAD bytes. */
void packet_append(struct buffer *out, struct slice data);
void packet_append_flush(struct buffer *out);

#endif

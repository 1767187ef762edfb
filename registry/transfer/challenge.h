/* challenge.h - headers of another registry's answers, as texts (pure).
 * Touches  memory.
 * Never    the network. */
#ifndef SLIPWAY_TRANSFER_CHALLENGE_H
#define SLIPWAY_TRANSFER_CHALLENGE_H

#include "registry/core/bytes.h"

/* What WWW-Authenticate asks for. Freed with challenge_drop. */
struct challenge {
    bool basic, bearer;
    char *realm, *service, *scope; /* of bearer; NULL: not given */
};
void challenge_drop(struct challenge *challenge);
/* One header, or several joined by commas; what is not understood is passed over. */
void challenge_parse(struct slice header, struct challenge *out);

/* The target of rel="next" in a Link header; SLICE_NONE: there is none. Borrows. */
struct slice link_next(struct slice header);

#endif

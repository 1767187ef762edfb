/* auth.c - the open mode: everybody may do everything. */
#include "auth/auth.h"

#include <stdlib.h>

struct auth {
    enum auth_mode mode;
};

static const struct identity everybody = {
    .kind = IDENTITY_OPEN, .role = ACCOUNT_ROLE_ADMIN, .name = ""};

const struct identity *identity_hold(const struct identity *identity)
{
    return identity;
}

void identity_drop(const struct identity **identity)
{
    *identity = NULL;
}

int auth_open(struct auth **out, const struct auth_options *options, struct error *err)
{
    (void)err;
    struct auth *auth = memory_new(sizeof(*auth));
    auth->mode = options->mode;
    *out = auth;
    return 0;
}

void auth_close(struct auth *auth)
{
    free(auth);
}

enum auth_peeked auth_peek(struct auth *auth, const struct auth_request *request,
                           struct auth_answer *answer, struct error *err)
{
    (void)auth;
    (void)request;
    (void)err;
    *answer = (struct auth_answer){.identity = &everybody, .may_push = true};
    return AUTH_GRANTED;
}

int auth_authorise(struct auth *auth, const struct auth_request *request,
                   struct auth_answer *answer, struct error *err)
{
    return auth_peek(auth, request, answer, err) == AUTH_GRANTED ? 0 : -1;
}

bool auth_may(struct auth *auth, const struct identity *identity, struct slice repository,
              unsigned rights)
{
    (void)auth;
    (void)identity;
    (void)repository;
    (void)rights;
    return true;
}

/* account.c - whether the account a client names is the one its credentials are of. */
#include "auth/auth_internal.h"

/* Clients that hold a refresh token name what they gave as the user. Spec: TOK-13. */
bool auth_account_fits(const struct identity *identity, struct slice authorization,
                       struct slice account)
{
    OWNED(authorization_wipe) struct authorization given;

    if (account.size == 0 || identity == NULL || identity->credential == CREDENTIAL_NONE ||
        slice_equal_text(account, identity->name))
        return true;
    authorization_parse(authorization, &given);
    return given.kind == AUTHORIZATION_BASIC && slice_equal(account, given.name);
}

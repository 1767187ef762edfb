/* account.c - whether the account a client names is the one its credentials are of.
 * Touches  memory only.
 * Never    judges credentials: they were found right before. */
#include "auth/auth.h"
#include "auth/authorization.h"

bool auth_account_fits(const struct identity *identity, struct slice authorization,
                       struct slice account)
{
    struct authorization given;

    if (account.size == 0 || identity == NULL || identity->credential == CREDENTIAL_NONE ||
        slice_equal_text(account, identity->name))
        return true;
    /* A token may have been shown under another name (TOK-64): the client repeats that one. */
    authorization_parse(authorization, &given);
    bool fits = given.kind == AUTHORIZATION_BASIC && slice_equal(given.name, account);
    authorization_wipe(&given);
    return fits;
}

/* account.c - whether the account a client names is the one its credentials are of. */
#include "auth/auth.h"

bool auth_account_fits(const struct identity *identity, struct slice authorization,
                       struct slice account)
{
    (void)authorization;
    return account.size == 0 || identity == NULL || identity->credential == CREDENTIAL_NONE ||
           slice_equal_text(account, identity->name);
}

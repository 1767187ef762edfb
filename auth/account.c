/* account.c - whether the account a client names is the one its credentials are of; what an account
 * may that does not ask right now.
 * Touches  the account's rights in storage.
 * Never    judges credentials: they were found right before. */
#include "auth/auth_internal.h"

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

bool auth_account_may(struct auth *auth, int64_t account, const char *reach,
                      struct slice repository, unsigned rights)
{
    const struct token narrow = {.scopes = (char *)(uintptr_t)reach};
    const struct caller_origin origin = {.account = account,
                                         .credential = CREDENTIAL_NONE,
                                         .token = reach == NULL ? NULL : &narrow,
                                         .generation = auth_generation(auth),
                                         .good_until = INT64_MAX};
    const struct caller *nobody = caller_lasting(IDENTITY_ANONYMOUS, auth->anonymous_pull);
    struct caller *found = NULL;
    struct error ignored = {0};

    if (account == 0 || auth->mode == AUTH_MODE_NONE)
        return true;
    if (caller_of_account(auth, &origin, &found, &ignored) < 0)
        return false;
    OWNED(caller_drop) const struct caller *caller = found;
    return auth_may(auth, &caller->identity, repository, rights) ||
           (reach != NULL && auth_may(auth, &nobody->identity, repository, rights));
}

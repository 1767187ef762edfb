/* meta_robot.c - a robot is made whole, in one transaction: its account, grants, first token.
 * Touches  the tables accounts, grants, tokens, audit.
 * Never    leaves a robot without a secret, or a secret without its event: accounts (1). */
#include "storage/meta_token.h"

struct make {
    struct meta_told told;
    const struct robot_new *robot;
    struct token *out;
};

static int grants_add(struct db_tx *tx, const struct robot_new *robot, struct error *err)
{
    for (size_t i = 0; i < robot->grant_count; i++) {
        const struct robot_grant *grant = &robot->grants[i];
        if (meta_grant_set(tx, robot->account->id, grant->pattern, grant->rights, err) < 0 ||
            meta_audit_add(tx, grant->event, err) < 0)
            return -1;
    }
    return 0;
}

static int make(struct db_tx *tx, void *arg, struct error *err)
{
    struct make *with = arg;
    const struct robot_new *robot = with->robot;
    struct token_new token = *robot->token;
    int64_t id = 0;

    if (meta_account_make(tx, robot->account, err) < 0 ||
        meta_audit_add(tx, robot->event, err) < 0 || grants_add(tx, robot, err) < 0)
        return -1;
    token.account_id = robot->account->id;
    if (meta_token_add(tx, &token, &id, err) < 0 ||
        meta_token_read(tx, NULL, id, with->out, err) < 0)
        return -1;
    with->told.changed = true;
    return meta_audit_add(tx, robot->token_event, err);
}

int meta_robot_create(struct meta *meta, const struct robot_new *robot, struct token *out,
                      const struct meta_after *after, struct error *err)
{
    struct make with = {{after, false}, robot, out};

    *out = (struct token){.id = 0};
    if (meta_write_told(meta, make, &with.told, err) == 0)
        return 0;
    token_drop(out);
    return -1;
}

/* user.c - users of containers, by the image's own passwd and group.
 * Touches  memory only; the caller reads the files (6.3).
 * Never    lets a file give a number another meaning: a user called "1001" may have id 0. */
#include <stdlib.h>
#include <string.h>

#include "s2i/contract/contract.h"

enum { ID_MAX = 2147483647 };

void container_user_drop(struct container_user *user)
{
    free(user->home);
    *user = (struct container_user){.uid = 0};
}

static bool to_id(struct slice text, uint32_t *out)
{
    uint64_t id;

    if (!slice_to_u64(text, &id) || id > ID_MAX)
        return false;
    *out = (uint32_t)id;
    return true;
}

static bool is_number(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] < '0' || text.at[i] > '9')
            return false;
    return text.size > 0;
}

/* The fields of a line "a:b:c"; those that are missing are absent. */
enum { FIELDS = 7 };
static void split_fields(struct slice line, struct slice *fields)
{
    for (size_t i = 0; i < FIELDS; i++) {
        fields[i] = line;
        if (line.at != NULL)
            slice_split(line, ':', &fields[i], &line);
    }
}

/* Each line of a file in turn, false at the end. */
static bool next_line(struct slice *file, struct slice *fields)
{
    struct slice line;

    if (file->size == 0)
        return false;
    slice_split(*file, '\n', &line, file);
    split_fields(line, fields);
    return true;
}

struct account {
    struct slice name, home;
    uint32_t uid, gid;
};

/* The first line of that name, or of that id when wanted is a number. */
static bool find_account(struct slice passwd, struct slice wanted, struct account *out)
{
    struct slice fields[FIELDS];
    uint32_t id = 0;
    bool number = to_id(wanted, &id);

    while (next_line(&passwd, fields)) {
        if (fields[0].size == 0 || !to_id(fields[2], &out->uid) || !to_id(fields[3], &out->gid))
            continue;
        if (number ? out->uid != id : !slice_equal(fields[0], wanted))
            continue;
        out->name = fields[0];
        out->home = fields[5];
        return true;
    }
    return false;
}

static bool find_group(struct slice group, struct slice wanted, uint32_t *gid)
{
    struct slice fields[FIELDS];

    if (is_number(wanted))
        return to_id(wanted, gid);
    while (next_line(&group, fields))
        if (slice_equal(fields[0], wanted) && to_id(fields[2], gid))
            return true;
    return false;
}

static bool is_member(struct slice members, struct slice name)
{
    struct slice member;

    while (members.size > 0) {
        slice_split(members, ',', &member, &members);
        if (slice_equal(slice_trim(member), name))
            return true;
    }
    return false;
}

static int find_memberships(struct slice group, struct slice name, struct container_user *out,
                            struct error *err)
{
    struct slice fields[FIELDS];
    uint32_t gid;

    while (next_line(&group, fields)) {
        if (!to_id(fields[2], &gid) || gid == out->gid || !is_member(fields[3], name))
            continue;
        if (out->group_count == sizeof(out->groups) / sizeof(out->groups[0]))
            return error_set(err, ERROR_INVALID, "the user is in more than 64 groups");
        out->groups[out->group_count++] = gid;
    }
    return 0;
}

/* Names are the image's words. */
static const char *shown(struct slice name, char out[64])
{
    for (size_t i = 0; i < name.size; i++)
        if (name.at[i] < 0x20 || name.at[i] == 0x7f)
            return "with control characters";
    snprintf(out, 64, "%.*s", name.size > 60 ? 60 : (int)name.size, name.at);
    return out;
}

static int find_user(struct slice wanted, struct slice passwd, struct slice group,
                     struct container_user *out, struct error *err)
{
    struct account account;
    struct slice user, wanted_group;
    char text[64];

    slice_split(wanted, ':', &user, &wanted_group);
    if (user.size == 0)
        user = SLICE("0");
    bool found = find_account(passwd, user, &account);
    if (found) {
        out->uid = account.uid;
        out->gid = account.gid;
        if (account.home.size > 0 && account.home.at[0] == '/')
            out->home = memory_text(account.home);
    } else if (!is_number(user) || !to_id(user, &out->uid))
        return error_set(err, ERROR_INVALID, "user %s is not in the image's /etc/passwd",
                         shown(user, text));
    if (wanted_group.size > 0)
        return find_group(group, wanted_group, &out->gid)
                   ? 0
                   : error_set(err, ERROR_INVALID, "group %s is not in the image's /etc/group",
                               shown(wanted_group, text));
    return found ? find_memberships(group, account.name, out, err) : 0;
}

int container_user_find(const char *wanted, struct slice passwd, struct slice group,
                        struct container_user *out, struct error *err)
{
    *out = (struct container_user){.uid = 0};
    if (find_user(slice_of(wanted), passwd, group, out, err) == 0)
        return 0;
    container_user_drop(out);
    return -1;
}

/* Spec: s2i 12.4 */
int container_user_allowed(const char *allowed_uids, const char *wanted, bool from_label,
                           const char *image, struct error *err)
{
    struct slice user, group;
    uint32_t uid;
    bool holds = false;

    if (allowed_uids == NULL || allowed_uids[0] == 0)
        return 0;
    slice_split(slice_of(wanted), ':', &user, &group);
    if (is_number(user) && to_id(user, &uid) &&
        s2i_uids_parse(slice_of(allowed_uids), uid, &holds) && holds)
        return 0;
    if (from_label)
        return error_set(err, ERROR_DENIED,
                         "image %.80s includes the io.openshift.s2i.assemble-user label whose "
                         "value is not within the allowed range",
                         image);
    return error_set(err, ERROR_DENIED,
                     "image %.80s must specify a user that is numeric and within the range of "
                     "allowed users",
                     image);
}

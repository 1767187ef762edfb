/* protection.c - rules that protect tags, by patterns of repositories and globs of tags.
 * Touches  storage: content.h.
 * Never    the marks of one tag: tag.c has them.
 *
 * Who manages everything a pattern covers deals with its rules and does not see the others;
 * auditors see all. */
#include "registry/api/api_internal.h"
#include "registry/core/oci.h"
#include "storage/content.h"

/* --- who may --- */

static bool may_manage(const struct request *request, struct slice pattern) ON(worker_thread)
{
    return auth_may_pattern(request->services->auth, request->caller, pattern, RIGHT_ADMIN);
}

static bool may_see(const struct request *request, struct slice pattern) ON(worker_thread)
{
    return request->caller->role == ACCOUNT_ROLE_AUDITOR || may_manage(request, pattern);
}

/* The rule in the path, if the caller may see it; to change it he must manage its pattern. */
static int rule_at(const struct request *request, bool changes, struct content_rule *out,
                   struct error *err) ON(worker_thread)
{
    struct error missing = {0};
    int64_t id;

    if (answer_id(request, &id, err) < 0)
        return -1;
    if (content_rule_find(request->services->storage, id, out, &missing) < 0) {
        if (missing.code == ERROR_NOT_FOUND)
            return answer_missing(err);
        *err = missing;
        return -1;
    }
    if (!may_see(request, slice_of(out->pattern)))
        return answer_missing(err);
    if (changes && !may_manage(request, slice_of(out->pattern)))
        return error_set(err, ERROR_DENIED, "changing this rule is not allowed");
    return 0;
}

/* --- looking --- */

static void rule_write(struct buffer *out, const struct content_rule *rule)
{
    write_open(out, NULL, '{');
    write_i64(out, "id", rule->id);
    write_text(out, "pattern", slice_of(rule->pattern));
    write_text(out, "tags", slice_of(rule->tags));
    write_flag(out, "immutable", (rule->bits & TAG_IMMUTABLE) != 0);
    write_flag(out, "protected", (rule->bits & TAG_PROTECTED) != 0);
    write_time(out, "created_at", rule->created_at);
    write_i64(out, "version", rule->version);
    write_close(out, '}');
}

/* There are few: one page has all. */
int api_rules_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_rules_drop) struct content_rules rules = {0};
    struct buffer body = BUFFER_NONE;
    int64_t shown = 0;

    assert_worker_thread();
    if (content_rule_list(request->services->storage, &rules, err) < 0)
        return -1;
    list_open(&body);
    for (size_t i = 0; i < rules.count; i++) {
        if (!may_see(request, slice_of(rules.items[i].pattern)))
            continue;
        rule_write(&body, &rules.items[i]);
        shown++;
    }
    list_answer(request, reply, &body, SLICE_NONE, shown);
    return 0;
}

static void answer_rule(const struct request *request, struct reply *reply,
                        const struct content_rule *rule)
{
    struct buffer body = BUFFER_NONE;

    rule_write(&body, rule);
    answer_item(request, reply, rule->version, &body);
}

int api_rule_get(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_rule_drop) struct content_rule rule = {0};

    assert_worker_thread();
    if (rule_at(request, false, &rule, err) < 0)
        return -1;
    answer_rule(request, reply, &rule);
    return 0;
}

/* --- changing --- */

static unsigned with_mark(const struct json_value *value, unsigned bit, unsigned bits)
{
    if (!value->given)
        return bits;
    return value->flag ? bits | bit : bits & ~bit;
}

static int marks_read(const struct json_value *immutable, const struct json_value *protected,
                      unsigned *bits, struct error *err)
{
    *bits = with_mark(immutable, TAG_IMMUTABLE, *bits);
    *bits = with_mark(protected, TAG_PROTECTED, *bits);
    if (*bits == 0)
        return error_set_field(err, "protected", "a rule makes tags immutable, protected or both");
    return 0;
}

static void rule_event(struct event *event, const struct request *request, const char *action,
                       struct slice pattern, struct slice tags, unsigned bits)
{
    event_new(event, request, action, "pattern", pattern);
    write_text(&event->detail, "tags", tags);
    write_flag(&event->detail, "immutable", (bits & TAG_IMMUTABLE) != 0);
    write_flag(&event->detail, "protected", (bits & TAG_PROTECTED) != 0);
}

enum { POST_PATTERN, POST_TAGS, POST_IMMUTABLE, POST_PROTECTED, POST_COUNT };
static const struct json_member post_members[] = {
    [POST_PATTERN] = {"pattern", JSON_TEXT, .required = true, .least = 1, .most = PATTERN_MAX},
    [POST_TAGS] = {"tags", JSON_TEXT, .least = 1, .most = OCI_TAG_MAX},
    [POST_IMMUTABLE] = {.name = "immutable", .kind = JSON_FLAG},
    [POST_PROTECTED] = {.name = "protected", .kind = JSON_FLAG},
};

int api_rules_post(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(content_rule_drop) struct content_rule rule = {0};
    OWNED(event_drop) struct event event = {0};
    OWNED(buffer_drop) struct buffer location = BUFFER_NONE;
    struct json_value values[POST_COUNT];
    struct buffer text = BUFFER_NONE;
    struct actor actor;
    unsigned bits = 0;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(post_members), values, err) < 0)
        return -1;
    struct slice pattern = values[POST_PATTERN].text;
    struct slice tags = values[POST_TAGS].given ? values[POST_TAGS].text : SLICE("*");
    if (!pattern_valid(pattern))
        return error_set_field(err, "pattern",
                               "pattern must be *, a repository, or a prefix that ends in /*");
    if (!may_manage(request, pattern))
        return error_set(err, ERROR_DENIED, "protecting tags of this pattern is not allowed");
    if (marks_read(&values[POST_IMMUTABLE], &values[POST_PROTECTED], &bits, err) < 0)
        return -1;
    rule_event(&event, request, "protection.create", pattern, tags, bits);
    const struct content_change change = api_change(request, &actor, event_done(&event));
    if (content_rule_add(request->services->storage, pattern, tags, bits, &change, &rule, err) < 0)
        return -1;
    rule_write(&text, &rule);
    buffer_append_text(&location, "/api/v1/protected/");
    buffer_append_u64(&location, (uint64_t)rule.id);
    answer_created(reply, buffer_slice(&location), rule.version, &text);
    return 0;
}

enum { PATCH_IMMUTABLE, PATCH_PROTECTED, PATCH_COUNT };
static const struct json_member patch_members[] = {
    [PATCH_IMMUTABLE] = {.name = "immutable", .kind = JSON_FLAG},
    [PATCH_PROTECTED] = {.name = "protected", .kind = JSON_FLAG},
};

int api_rule_patch(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(json_body_drop) struct json_body body = {0};
    OWNED(content_rule_drop) struct content_rule rule = {0};
    OWNED(content_rule_drop) struct content_rule now = {0};
    OWNED(event_drop) struct event event = {0};
    struct json_value values[PATCH_COUNT];
    struct actor actor;
    int64_t if_version;

    assert_worker_thread();
    if (json_read(&body, request, JSON_MEMBERS(patch_members), values, err) < 0 ||
        rule_at(request, true, &rule, err) < 0 ||
        answer_condition(request, rule.version, &if_version, err) < 0)
        return -1;
    unsigned bits = rule.bits;
    if (marks_read(&values[PATCH_IMMUTABLE], &values[PATCH_PROTECTED], &bits, err) < 0)
        return -1;
    rule_event(&event, request, "protection.update", slice_of(rule.pattern), slice_of(rule.tags),
               bits);
    struct content_change change = api_change(request, &actor, event_done(&event));
    change.if_version = rule.version; /* what the marks were added to */
    if (content_rule_update(request->services->storage, rule.id, bits, &change, &now, err) < 0)
        return -1;
    answer_rule(request, reply, &now);
    return 0;
}

int api_rule_delete(struct request *request, struct reply *reply, struct error *err)
{
    OWNED(content_rule_drop) struct content_rule rule = {0};
    OWNED(event_drop) struct event event = {0};
    struct actor actor;
    int64_t if_version;
    bool dry_run;

    assert_worker_thread();
    if (answer_dry_run(request, &dry_run, err) < 0 || rule_at(request, true, &rule, err) < 0 ||
        answer_condition(request, rule.version, &if_version, err) < 0)
        return -1;
    if (dry_run) {
        answer_would_delete(reply, "rules", 1);
        return 0;
    }
    rule_event(&event, request, "protection.delete", slice_of(rule.pattern), slice_of(rule.tags),
               rule.bits);
    struct content_change change = api_change(request, &actor, event_done(&event));
    change.if_version = if_version;
    if (content_rule_delete(request->services->storage, rule.id, &change, err) < 0)
        return -1;
    answer_done(reply);
    return 0;
}

/* test_hook.c - payloads of webhooks in the shape of the five senders: which change of which ref is
 * built, and what is refused. */
#include "registry/api/hook.h"

#include <stdio.h>
#include <string.h>

#include "registry/core/json.h"
#include "tests/support/unit.h"

static void file_read(const char *name, struct buffer *out)
{
    char path[100], piece[4096];
    size_t got;

    snprintf(path, sizeof(path), "tests/s2i/hooks/%s.json", name);
    FILE *file = fopen(path, "r");
    assert_non_null(file);
    while ((got = fread(piece, 1, sizeof(piece), file)) > 0)
        buffer_append(out, piece, got);
    fclose(file);
}

/* --- samples --- */

enum verdict { BUILT, DELETED, NONE };
static const struct {
    const char *file;
    enum hook_sender sender;
    const char *configured; /* NULL: the default branch */
    enum verdict verdict;
    const char *ref, *commit;
} samples[] = {
    {"github-push", HOOK_GITHUB, NULL, BUILT, "refs/heads/main",
     "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"},
    {"github-push", HOOK_GITHUB, "main", BUILT, "refs/heads/main",
     "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"},
    {"github-push", HOOK_GITHUB, "refs/heads/main", BUILT, "refs/heads/main",
     "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"},
    {"github-push", HOOK_GITHUB, "refs/tags/main", NONE, NULL, NULL},
    {"github-push", HOOK_GITHUB, "next", NONE, NULL, NULL},
    {"github-tag", HOOK_GITHUB, NULL, NONE, NULL, NULL},
    {"github-tag", HOOK_GITHUB, "refs/tags/v1.2", BUILT, "refs/tags/v1.2",
     "0d1a26e67d8f5eaf1f6ba5c57fc3c7d91ac0fd1c"},
    {"github-deleted", HOOK_GITHUB, "main", DELETED, "refs/heads/main", NULL},
    {"gitlab-push", HOOK_GITLAB, NULL, BUILT, "refs/heads/trunk",
     "da1560886d4f094c3e6c9ef40349f7d38b5d27d7"},
    {"gitlab-push", HOOK_GITLAB, "main", NONE, NULL, NULL},
    {"gitlab-tag", HOOK_GITLAB, "refs/tags/v1.0.0", BUILT, "refs/tags/v1.0.0",
     "5937ac0a7beb003549fc5fd26fc247adbce4a52e"},
    {"gitlab-deleted", HOOK_GITLAB, NULL, DELETED, "refs/heads/trunk", NULL},
    {"gitea-push", HOOK_GITEA, NULL, BUILT, "refs/heads/develop",
     "bffeb74224043ba2feb48d137756c8a9331c449a"},
    {"bitbucket-push", HOOK_BITBUCKET, NULL, BUILT, "refs/heads/main",
     "709d658dc5b6d6afcd46049c2f332ee3f515a67d"},
    {"bitbucket-push", HOOK_BITBUCKET, "refs/tags/v2", BUILT, "refs/tags/v2",
     "709d658dc5b6d6afcd46049c2f332ee3f515a67d"},
    {"bitbucket-push", HOOK_BITBUCKET, "feature/x", DELETED, "refs/heads/feature/x", NULL},
    {"bitbucket-server", HOOK_BITBUCKET, NULL, BUILT, "refs/heads/master",
     "178864a7d521b6f5e720b386b2c2b0ef8563e0dc"},
    {"bitbucket-server", HOOK_BITBUCKET, "gone", DELETED, "refs/heads/gone", NULL},
    {"generic", HOOK_GENERIC, NULL, BUILT, "refs/heads/main",
     "c3ab8ff13720e8ad9047dd39466b3c8974e592c2"},
    {"generic-refs", HOOK_GENERIC, NULL, BUILT, "refs/heads/main",
     "2222222222222222222222222222222222222222"},
    {"generic-refs", HOOK_GENERIC, "other", BUILT, "refs/heads/other",
     "1111111111111111111111111111111111111111"},
};

static void check_text(const char *found, const char *wanted)
{
    if (wanted == NULL)
        assert_null(found);
    else
        assert_string_equal(found, wanted);
}

/* Spec: s2i 14.2 to 14.9. */
static void test_hook_samples(void **state)
{
    (void)state;
    for (size_t i = 0; i < LENGTH(samples); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        OWNED(hook_push_drop) struct hook_push push = {0};
        struct error err = {0};
        file_read(samples[i].file, &text);
        assert_int_equal(hook_parse(samples[i].sender, buffer_slice(&text), &push, &err), 0);
        const struct hook_change *change = hook_choose(&push, slice_of(samples[i].configured));
        if (samples[i].verdict == NONE) {
            assert_null(change);
            continue;
        }
        assert_non_null(change);
        assert_int_equal(change->deleted, samples[i].verdict == DELETED);
        check_text(change->ref, samples[i].ref);
        check_text(change->commit, samples[i].commit);
    }
}

static void test_hook_generic_says_little(void **state)
{
    static const char *const bodies[] = {"",
                                         " \t",
                                         "{}",
                                         "{\"git\":{}}",
                                         "{\"git\":{\"ref\":\"\",\"commit\":\"\"}}",
                                         "{\"type\":\"git\",\"more\":[1,2]}"};

    (void)state;
    for (size_t i = 0; i < LENGTH(bodies); i++) {
        OWNED(hook_push_drop) struct hook_push push = {0};
        struct error err = {0};
        assert_int_equal(hook_parse(HOOK_GENERIC, slice_of(bodies[i]), &push, &err), 0);
        const struct hook_change *change = hook_choose(&push, SLICE("next"));
        assert_non_null(change);
        assert_null(change->ref);
        assert_null(change->commit);
        assert_null(push.env);
    }
}

static void test_hook_generic_env(void **state)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    OWNED(hook_push_drop) struct hook_push push = {0};
    struct error err = {0};

    (void)state;
    file_read("generic", &text);
    assert_int_equal(hook_parse(HOOK_GENERIC, buffer_slice(&text), &push, &err), 0);
    assert_int_equal(json_array_size(push.env), 2);
    assert_string_equal(json_string_value(json_array_get(push.env, 0)), "STAGE=test");
    assert_string_equal(json_string_value(json_array_get(push.env, 1)), "EMPTY=");
}

#define ZERO "0000000000000000000000000000000000000000"
#define ONE "1111111111111111111111111111111111111111"

/* Without a default branch main or master is meant. */
static void test_hook_default_branch(void **state)
{
    static const struct {
        const char *ref;
        bool built;
    } cases[] = {{"refs/heads/main", true}, {"refs/heads/master", true}, {"refs/heads/x", false}};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(hook_push_drop) struct hook_push push = {0};
        struct error err = {0};
        char body[200];
        snprintf(body, sizeof(body), "{\"ref\":\"%s\",\"after\":\"" ONE "\"}", cases[i].ref);
        assert_int_equal(hook_parse(HOOK_GITHUB, slice_of(body), &push, &err), 0);
        assert_int_equal(hook_choose(&push, SLICE_NONE) != NULL, cases[i].built);
    }
}

/* Spec: s2i 14.9, 14.10: what has not the sender's shape is 400, whatever it holds. */
static void test_hook_refuses(void **state)
{
    static const struct {
        enum hook_sender sender;
        const char *body;
    } cases[] = {
        {HOOK_GITHUB, ""},
        {HOOK_GITHUB, "[]"},
        {HOOK_GITHUB, "{"},
        {HOOK_GITHUB, "{}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/main\"}"},
        {HOOK_GITHUB, "{\"ref\":7,\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/a..b\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/a b\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/a\\u001b\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"--upload-pack=x\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/a@{1}\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/a:b\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/.a\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/a.lock\",\"after\":\"" ONE "\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/main\",\"after\":\"HEAD\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/main\",\"after\":\"\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/main\",\"after\":\"1111\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/main\",\"after\":\"" ONE "0\"}"},
        {HOOK_GITHUB, "{\"ref\":\"refs/heads/main\",\"after\":\"ABCDEF1111111111111111111111111111"
                      "111111\"}"},
        {HOOK_GITLAB, "{\"ref\":\"refs/heads/main\",\"checkout_sha\":\"" ONE "\"}"},
        {HOOK_GITEA, "{\"after\":\"" ONE "\"}"},
        {HOOK_BITBUCKET, "{\"push\":{}}"},
        {HOOK_BITBUCKET, "{\"push\":{\"changes\":{}}}"},
        {HOOK_BITBUCKET, "{\"push\":{\"changes\":[7]}}"},
        {HOOK_BITBUCKET, "{\"push\":{\"changes\":[{\"new\":{\"name\":\"main\"}}]}}"},
        {HOOK_BITBUCKET, "{\"changes\":[{\"ref\":{\"id\":\"refs/heads/main\"}}]}"},
        {HOOK_GENERIC, "null"},
        {HOOK_GENERIC, "{\"git\":[]}"},
        {HOOK_GENERIC, "{\"git\":{\"ref\":7}}"},
        {HOOK_GENERIC, "{\"git\":{\"commit\":7}}"},
        {HOOK_GENERIC, "{\"git\":{\"commit\":\"main\"}}"},
        {HOOK_GENERIC, "{\"git\":{\"refs\":{}}}"},
        {HOOK_GENERIC, "{\"git\":{\"refs\":[7]}}"},
        {HOOK_GENERIC, "{\"env\":{}}"},
        {HOOK_GENERIC, "{\"env\":[7]}"},
        {HOOK_GENERIC, "{\"env\":[{\"name\":\"A=B\",\"value\":\"\"}]}"},
        {HOOK_GENERIC, "{\"env\":[{\"name\":\"1A\",\"value\":\"\"}]}"},
        {HOOK_GENERIC, "{\"env\":[{\"name\":\"\",\"value\":\"\"}]}"},
        {HOOK_GENERIC, "{\"env\":[{\"name\":\"A\",\"value\":7}]}"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(hook_push_drop) struct hook_push push = {0};
        struct error err = {0};
        if (hook_parse(cases[i].sender, slice_of(cases[i].body), &push, &err) == 0)
            fail_msg("taken: %s", cases[i].body);
        assert_int_equal(err.code, ERROR_BAD_REQUEST);
        assert_int_equal(push.count, 0);
    }
}

static void test_hook_too_many_changes(void **state)
{
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
    OWNED(hook_push_drop) struct hook_push push = {0};
    struct error err = {0};

    (void)state;
    buffer_append_text(&body, "{\"git\":{\"refs\":[");
    for (int i = 0; i <= HOOK_CHANGES_MAX; i++)
        buffer_append_text(&body, i == 0 ? "{}" : ",{}");
    buffer_append_text(&body, "]}}");
    assert_int_equal(hook_parse(HOOK_GENERIC, buffer_slice(&body), &push, &err), -1);
    assert_int_equal(err.code, ERROR_BAD_REQUEST);
}

static void test_hook_too_many_values(void **state)
{
    OWNED(buffer_drop) struct buffer body = BUFFER_NONE;
    struct hook_push push;
    struct error err = {0};

    (void)state;
    buffer_append_text(&body, "{\"ref\":\"main\",\"x\":[");
    for (size_t i = 0; i < JSON_VALUES_MAX; i++)
        buffer_append_text(&body, "{},");
    buffer_append_text(&body, "1]}");
    assert_int_equal(hook_parse(HOOK_GENERIC, buffer_slice(&body), &push, &err), -1);
    assert_non_null(strstr(err.message, "250000 values"));
    hook_push_drop(&push);
}

static void test_hook_events(void **state)
{
    static const struct {
        enum hook_sender sender;
        const char *event;
        enum hook_kind kind;
    } cases[] = {
        {HOOK_GITHUB, "push", HOOK_PUSH},
        {HOOK_GITHUB, "ping", HOOK_PING},
        {HOOK_GITHUB, "issues", HOOK_OTHER},
        {HOOK_GITHUB, NULL, HOOK_OTHER},
        {HOOK_GITLAB, "Push Hook", HOOK_PUSH},
        {HOOK_GITLAB, "Tag Push Hook", HOOK_PUSH},
        {HOOK_GITLAB, "push", HOOK_OTHER},
        {HOOK_GITEA, "push", HOOK_PUSH},
        {HOOK_GITEA, "pull_request", HOOK_OTHER},
        {HOOK_BITBUCKET, "repo:push", HOOK_PUSH},
        {HOOK_BITBUCKET, "repo:refs_changed", HOOK_PUSH},
        {HOOK_BITBUCKET, "diagnostics:ping", HOOK_PING},
        {HOOK_BITBUCKET, "push", HOOK_OTHER},
        {HOOK_GENERIC, NULL, HOOK_PUSH},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        assert_int_equal(hook_event(cases[i].sender, slice_of(cases[i].event)), cases[i].kind);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hook_samples),
        cmocka_unit_test(test_hook_generic_says_little),
        cmocka_unit_test(test_hook_generic_env),
        cmocka_unit_test(test_hook_default_branch),
        cmocka_unit_test(test_hook_refuses),
        cmocka_unit_test(test_hook_too_many_changes),
        cmocka_unit_test(test_hook_too_many_values),
        cmocka_unit_test(test_hook_events),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

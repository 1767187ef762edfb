/* test_build_status.c - statuses of commits: where each forge takes them, and in which words. */
#include "s2i/outbox.h"

#include <string.h>

#include "tests/support/unit.h"

#define COMMIT "c3ab8ff13720e8ad9047dd39466b3c8974e592c2"

static char *text(const char *words)
{
    return words == NULL ? NULL : memory_text(slice_of(words));
}

static struct s2i_options configured(const char *kind, const char *url, const char *api)
{
    return (struct s2i_options){
        .status_kind = text(kind), .url = text(url), .status_url = text(api)};
}

/* Spec: s2i 13.48. */
static void test_build_status_goes_where_the_source_is(void **state)
{
    static const struct {
        const char *kind, *url, *api, *wanted; /* wanted NULL: refused */
    } cases[] = {
        {"github", "https://github.com/team/app.git", NULL,
         "https://api.github.com/repos/team/app/statuses/" COMMIT},
        {"github", "git@github.com:team/app.git", NULL,
         "https://api.github.com/repos/team/app/statuses/" COMMIT},
        {"github", "https://git.example:8443/team/app", NULL,
         "https://git.example:8443/api/v3/repos/team/app/statuses/" COMMIT},
        {"gitea", "ssh://git@git.example:2222/team/app.git", NULL,
         "https://git.example/api/v1/repos/team/app/statuses/" COMMIT},
        {"gitea", "http://[::1]:3000/team/app.git/", NULL,
         "http://[::1]:3000/api/v1/repos/team/app/statuses/" COMMIT},
        {"gitea", "https://git.example/sub/team/app.git", "https://git.example/sub/api/v1//",
         "https://git.example/sub/api/v1/repos/team/app/statuses/" COMMIT},
        {"gitlab", "https://gitlab.example/group/sub/app.git", NULL,
         "https://gitlab.example/api/v4/projects/group%2Fsub%2Fapp/statuses/" COMMIT},
        {"gitlab", "https://gitlab.example/a b/app", NULL, NULL},
        {"gitlab", "https://gitlab.example/a+b/app", NULL,
         "https://gitlab.example/api/v4/projects/a%2Bb%2Fapp/statuses/" COMMIT},
        {"github", "https://github.com/app.git", NULL, NULL},
        {"github", "https://github.com/../app.git", NULL, NULL},
        {"github", "https://github.com//app.git", NULL, NULL},
        {"github", NULL, NULL, NULL},
        {"svn", "https://github.com/team/app.git", NULL, NULL},
        {NULL, "https://github.com/team/app.git", NULL, NULL},
    };
    const struct build_record record = {.id = 7,
                                        .repository = (char[]){"team/app"},
                                        .commit = (char[]){COMMIT},
                                        .ref = (char[]){"refs/heads/main"},
                                        .reason = (char[]){""},
                                        .result_digest = (char[]){"sha256:1"}};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_options_drop)
        struct s2i_options options = configured(cases[i].kind, cases[i].url, cases[i].api);
        OWNED(letter_drop) struct letter letter = {.headers = {.items = NULL}};
        const struct status_about about = {.configured = &options,
                                           .record = &record,
                                           .repository = "team/app",
                                           .state = BUILD_COMPLETE,
                                           .public_url = ""};
        struct error err = {0};
        if (cases[i].wanted == NULL) {
            assert_int_equal(status_write(&about, &letter, &err), -1);
            assert_int_equal(err.code, ERROR_INVALID);
            continue;
        }
        assert_int_equal(status_write(&about, &letter, &err), 0);
        OWNED(memory_drop) char *url = memory_text(buffer_slice(&letter.url));
        assert_string_equal(url, cases[i].wanted);
        assert_int_equal(letter.headers.count, 1); /* no token: nobody signs in */
    }
}

static void test_build_status_says_how_it_stands(void **state)
{
    static const struct {
        const char *kind;
        enum build_state state;
        const char *body;
    } cases[] = {
        {"github", BUILD_PENDING,
         "{\"state\":\"pending\",\"context\":\"slipway/team/app\",\"description\":\"waits to be "
         "built\",\"target_url\":\"https://r.example/api/v1/builds/7\"}"},
        {"github", BUILD_CANCELLED,
         "{\"state\":\"error\",\"context\":\"slipway/team/app\",\"description\":\"Cancelled: "
         "AssembleFailed\",\"target_url\":\"https://r.example/api/v1/builds/7\"}"},
        {"gitlab", BUILD_RUNNING,
         "{\"state\":\"running\",\"name\":\"slipway/team/app\",\"description\":\"is being "
         "built\",\"target_url\":\"https://r.example/api/v1/builds/7\",\"ref\":\"main\"}"},
        {"gitea", BUILD_FAILED,
         "{\"state\":\"failure\",\"context\":\"slipway/team/app\",\"description\":\"Failed: "
         "AssembleFailed\",\"target_url\":\"https://r.example/api/v1/builds/7\"}"},
    };
    struct build_record record = {.id = 7,
                                  .repository = (char[]){"team/app"},
                                  .commit = (char[]){COMMIT},
                                  .ref = (char[]){"refs/heads/main"},
                                  .reason = (char[]){"AssembleFailed"},
                                  .result_digest = (char[]){""}};

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++) {
        OWNED(s2i_options_drop)
        struct s2i_options options = configured(cases[i].kind, "https://g.example/a/b", NULL);
        OWNED(letter_drop) struct letter letter = {.headers = {.items = NULL}};
        const struct status_about about = {.configured = &options,
                                           .record = &record,
                                           .repository = "team/app",
                                           .state = cases[i].state,
                                           .public_url = "https://r.example",
                                           .token = "t0ken"};
        struct error err = {0};
        assert_int_equal(status_write(&about, &letter, &err), 0);
        OWNED(memory_drop) char *body = memory_text(buffer_slice(&letter.body));
        assert_string_equal(body, cases[i].body);
        assert_non_null(strstr(letter.headers.items[1], "t0ken"));
    }
    record.commit = (char[]){"main"};
    OWNED(s2i_options_drop)
    struct s2i_options options = configured("github", "https://g.example/a/b", NULL);
    OWNED(letter_drop) struct letter letter = {.headers = {.items = NULL}};
    const struct status_about about = {
        .configured = &options, .record = &record, .repository = "team/app", .public_url = ""};
    struct error err = {0};
    assert_int_equal(status_write(&about, &letter, &err), -1); /* no commit */
}

static void test_build_status_one_host_is_one_destination(void **state)
{
    static const char *const cases[][2] = {
        {"https://a.example/x?y", "https://a.example"},
        {"http://a.example:8080#z", "http://a.example:8080"},
        {"https://a.example", "https://a.example"},
        {"odd", "odd"},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        assert_true(slice_equal_text(letter_destination(cases[i][0]), cases[i][1]));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_build_status_goes_where_the_source_is),
        cmocka_unit_test(test_build_status_says_how_it_stands),
        cmocka_unit_test(test_build_status_one_host_is_one_destination),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

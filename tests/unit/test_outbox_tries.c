/* test_outbox_tries.c - what a try to tell of a build makes of its row: what counts, what comes
 * again.
 * Touches  memory only.
 * Never    a receiver: test_outbox.c, tests/s2i/test_told.py. */
#include "s2i/outbox.h"

#include "tests/support/unit.h"

enum { NOW = 1000 };
enum { UNCOUNTED = -1 };
#define GONE ERROR_UNAVAILABLE /* no answer came */

struct judged {
    enum build_message_kind kind;
    unsigned tries; /* before this one */
    int answer;
    enum error_code failed;
    bool closing;
    int outcome; /* or UNCOUNTED */
    int64_t after_ms;
};

static void check(const struct judged *judged, size_t number)
{
    const struct build_message message = {.kind = judged->kind, .tries = judged->tries};
    struct error failed = {0};
    struct build_message_try out;

    if (judged->failed != ERROR_NONE)
        (void)error_set(&failed, judged->failed, "why");
    const struct outbox_try tried = {.any = true,
                                     .answer = judged->answer,
                                     .failed = &failed,
                                     .closing = judged->closing,
                                     .now = NOW};
    bool counts = outbox_judge(&message, &tried, &out);
    int64_t after_ms = out.again_at == 0 ? 0 : (out.again_at - NOW) / 1000;
    if (counts != (judged->outcome != UNCOUNTED) ||
        (counts && ((int)out.outcome != judged->outcome || out.answer != judged->answer ||
                    after_ms != judged->after_ms)))
        fail_msg("row %zu", number);
    if (counts && judged->failed != ERROR_NONE)
        assert_true(slice_equal(out.problem, SLICE("why")));
}

/* Spec: s2i 11.1, 13.48; outbox (1). */
static void test_what_counts(void **state)
{
    static const struct judged cases[] = {
        {BUILD_STATUS, 0, 201, ERROR_NONE, false, BUILD_MESSAGE_DELIVERED, 0},
        {BUILD_STATUS, 2, 201, ERROR_NONE, true, BUILD_MESSAGE_DELIVERED, 0},
        {BUILD_STATUS, 0, 422, ERROR_NONE, false, BUILD_MESSAGE_GIVEN_UP, 0},
        {BUILD_STATUS, 0, 503, ERROR_NONE, false, BUILD_MESSAGE_WAITING, 2000},
        {BUILD_STATUS, 1, 429, ERROR_NONE, false, BUILD_MESSAGE_WAITING, 30000},
        {BUILD_STATUS, 2, 503, ERROR_NONE, false, BUILD_MESSAGE_GIVEN_UP, 0},
        {BUILD_CALLBACK, 0, 503, ERROR_NONE, false, BUILD_MESSAGE_GIVEN_UP, 0},
        {BUILD_CALLBACK, 0, 0, GONE, false, BUILD_MESSAGE_WAITING, 2000},
        {BUILD_CALLBACK, 2, 0, GONE, false, BUILD_MESSAGE_GIVEN_UP, 0},
        {BUILD_CALLBACK, 0, 0, ERROR_INVALID, false, BUILD_MESSAGE_GIVEN_UP, 0},
        /* the receiver answered: it is not told again as if it had not */
        {BUILD_STATUS, 0, 503, ERROR_NONE, true, BUILD_MESSAGE_WAITING, 2000},
        {BUILD_STATUS, 1, 429, ERROR_NONE, true, BUILD_MESSAGE_WAITING, 30000},
        {BUILD_STATUS, 2, 503, ERROR_NONE, true, BUILD_MESSAGE_GIVEN_UP, 0},
        {BUILD_CALLBACK, 0, 503, ERROR_NONE, true, BUILD_MESSAGE_GIVEN_UP, 0},
        /* it may not have */
        {BUILD_STATUS, 0, 0, GONE, true, UNCOUNTED, 0},
        {BUILD_STATUS, 2, 0, GONE, true, UNCOUNTED, 0},
        {BUILD_CALLBACK, 2, 0, GONE, true, UNCOUNTED, 0},
        {BUILD_CALLBACK, 0, 0, ERROR_INVALID, true, UNCOUNTED, 0},
    };

    (void)state;
    for (size_t i = 0; i < LENGTH(cases); i++)
        check(&cases[i], i);
}

static void test_nothing_to_tell(void **state)
{
    const struct build_message message = {.kind = BUILD_STATUS};
    const struct error none = {0};
    const struct outbox_try tried = {.failed = &none, .closing = true};
    struct build_message_try out;

    (void)state;
    assert_true(outbox_judge(&message, &tried, &out));
    assert_int_equal(out.outcome, BUILD_MESSAGE_NEEDLESS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_counts),
        cmocka_unit_test(test_nothing_to_tell),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}

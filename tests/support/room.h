/* room.h - for tests of the room of builds: a server that does not build. */
#ifndef SLIPWAY_TESTS_SUPPORT_ROOM_H
#define SLIPWAY_TESTS_SUPPORT_ROOM_H

#include "registry/core/clock.h"
#include "s2i/queue.h"
#include "storage/content.h"
#include "tests/support/hello.h"
#include "tests/support/store.h"

struct room {
    struct fixture *fixture;
    struct config config;
    struct builds *builds;
};

static inline void open_room(struct room *room)
{
    struct fixture *fixture = room->fixture;
    const struct builds_options options = {.storage = fixture->store, .config = &room->config};

    OK(builds_open(&room->builds, &options, &fixture->err));
}

static char *https_only[] = {(char *)(uintptr_t) "https"};
static char *usual_ports[] = {(char *)(uintptr_t) "443"};

static inline int set_up(void **state)
{
    struct room *room = memory_new(sizeof(*room));

    fixture_set_up((void **)&room->fixture);
    room->config = (struct config){.storage_root = room->fixture->root,
                                   .builds_http_proxy = (char[]){""},
                                   .builds_sources_schemes = {https_only, 1},
                                   .builds_sources_ports = {usual_ports, 1},
                                   .builds_keep_complete = 9,
                                   .builds_keep_failed = 9,
                                   .builds_keep_for = UINT64_MAX};
    *state = room;
    return 0;
}

static inline int tear_down(void **state)
{
    struct room *room = *state;

    builds_close(room->builds);
    fixture_tear_down((void **)&room->fixture);
    free(room);
    return 0;
}

#define ROOM_TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

static inline int64_t add(struct fixture *fixture, enum build_state state, enum build_source source,
                          const char *spec)
{
    const struct build_new build = {.repository = REPOSITORY,
                                    .actor = SLICE("ana"),
                                    .ref = SLICE("main"),
                                    .commit = SLICE("c0ffee"),
                                    .builder = SLICE("builders/c:latest"),
                                    .tags = SLICE("[\"latest\"]"),
                                    .url = SLICE("https://host/x.git"),
                                    .spec = slice_of(spec),
                                    .state = state,
                                    .source = source};
    int64_t id = 0, *superseded = NULL;
    size_t count = 0;

    OK(build_add(fixture->store, &build, &id, &superseded, &count, &fixture->err));
    free(superseded);
    return id;
}

static inline void expect(struct fixture *fixture, int64_t id, enum build_state state,
                          const char *reason)
{
    OWNED(build_record_drop) struct build_record record = {.id = 0};

    OK(build_find(fixture->store, id, &record, &fixture->err));
    assert_int_equal(record.state, state);
    assert_string_equal(record.reason, reason);
}

#endif

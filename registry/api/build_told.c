/* build_told.c - what others are told of a build: callbacks, statuses of its commit, how that went.
 * Touches  storage: the messages of a build.
 * Never    shows more of an URL than its host: secrets may be in the rest. */
#include "registry/api/build.h"

#include <string.h>

static const char *const kinds[] = {[BUILD_CALLBACK] = "callback", [BUILD_STATUS] = "status"};
static const char *const outcomes[] = {"Waiting", "Delivered", "GivenUp", "Needless"};

/* Of "https://host:port"; options take no URL with a user. */
static struct slice host_of(const char *destination)
{
    const char *mark = strstr(destination, "://");

    return slice_of(mark == NULL ? destination : mark + 3);
}

static void told_write(struct buffer *out, const struct build_told *told)
{
    write_open(out, NULL, '{');
    write_text(out, "kind", slice_of(kinds[told->kind]));
    write_text(out, "host", host_of(told->destination));
    write_text(out, "of", slice_of(build_state_name(told->state)));
    write_text(out, "state", slice_of(outcomes[told->outcome]));
    write_i64(out, "tries", told->tries);
    if (told->answer != 0)
        write_i64(out, "status", told->answer);
    else
        write_null(out, "status");
    write_text_or_null(out, "problem", told->problem[0] == 0 ? NULL : told->problem);
    write_time(out, "tried_at", told->tried_at);
    write_time(out, "next_at", told->due_at);
    write_close(out, '}');
}

int api_build_told_write(const struct request *request, struct buffer *out, int64_t build,
                         struct error *err)
{
    OWNED(build_told_drop) struct build_told_list told = {.count = 0};

    if (build_told_list(request->services->storage, build, &told, err) < 0)
        return -1;
    write_open(out, "messages", '[');
    for (size_t i = 0; i < told.count; i++)
        told_write(out, &told.items[i]);
    write_close(out, ']');
    return 0;
}

/* fuzz_git_push.c - any bytes as what receive-pack tells a hook: what is read keeps to its limits,
 * and what is allowed among it is safe as a file and as a tag. */
#include "registry/git/push.h"
#include "registry/git/refs.h"

#include <string.h>

#include "registry/core/oci.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void look(const struct push_command *command)
{
    const struct s2i_options options = {.url = NULL};
    OWNED(s2i_list_drop) struct s2i_list tags = {0};

    assert(strlen(command->old) == GIT_OID_SIZE && strlen(command->new) == GIT_OID_SIZE);
    assert(strlen(command->ref) <= PUSH_REF_SIZE_MAX);
    if (ref_objection(command->ref) != NULL)
        return;
    assert(strstr(command->ref, "..") == NULL && strstr(command->ref, "//") == NULL);
    assert(strncmp(command->ref, "refs/", 5) == 0 && strstr(command->ref, "/.") == NULL);
    if (refs_map(&options, command->ref, command->ref, command->new, &tags))
        for (size_t i = 0; i < tags.count; i++)
            assert(oci_tag_valid(slice_of(tags.items[i])));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct slice text = {(const char *)data, size};
    OWNED(push_wishes_drop) struct push_wishes wishes = {0};
    OWNED(push_request_drop) struct push_request request = {0};
    struct error err = {0};
    int complete = push_request_complete(text);

    if (push_request_parse(text, &request, &err) < 0)
        return 0;
    assert(complete == 1);
    assert(request.count <= PUSH_COMMANDS_MAX && request.option_count <= PUSH_OPTIONS_MAX);
    for (size_t i = 0; i < request.count; i++)
        look(&request.commands[i]);
    if (push_wishes_parse(&request, &wishes, &err) == 0)
        for (size_t i = 0; i < wishes.tags.count; i++)
            assert(oci_tag_valid(slice_of(wishes.tags.items[i])));
    return 0;
}

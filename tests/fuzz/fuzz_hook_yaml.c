/* fuzz_hook_yaml.c - any bytes as a generic payload in YAML: refused, or values that JSON has, no
 * deeper and no more of them than the limits say. */
#include <string.h>

#include "registry/api/hook.h"
#include "registry/api/hook_yaml.h"
#include "registry/core/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t count(json_t *value, size_t depth)
{
    size_t nodes = 1, i;
    const char *name;
    json_t *item;

    assert(depth <= HOOK_YAML_DEPTH_MAX);
    json_object_foreach(value, name, item) {
        nodes += 1 + count(item, depth + 1);
    }
    json_array_foreach(value, i, item) {
        nodes += count(item, depth + 1);
    }
    assert(json_is_object(value) || json_is_array(value) || json_is_string(value) ||
           json_is_null(value));
    return nodes;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    OWNED(json_drop) json_t *root = NULL;
    OWNED(hook_push_drop) struct hook_push push = {0};
    struct error err = {0};

    if (hook_yaml_read(text, &root, &err) < 0) {
        assert(err.code == ERROR_BAD_REQUEST && root == NULL);
        return 0;
    }
    assert(json_is_object(root) && count(root, 0) <= HOOK_YAML_NODES_MAX);
    if (hook_parse_yaml(text, &push, &err) < 0)
        assert(err.code == ERROR_BAD_REQUEST);
    return 0;
}

/* fuzz_build_words.c - any bytes as what a server and a builder tell each other of a build: what is
 * taken comes back the same. */
#include <stdlib.h>
#include <string.h>

#include "registry/core/json.h"
#include "s2i/spec.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_spec(const json_t *object)
{
    OWNED(s2i_spec_drop) struct s2i_spec first = {.build = 0};
    OWNED(s2i_spec_drop) struct s2i_spec again = {.build = 0};
    struct error err = {0};

    if (s2i_spec_read(&first, object, &err) < 0) {
        assert(err.code == ERROR_INVALID && first.input_count == 0);
        return;
    }
    OWNED(json_drop) json_t *written = s2i_spec_write(&first);
    assert(s2i_spec_read(&again, written, &err) == 0);
    OWNED(json_drop) json_t *same = s2i_spec_write(&again);
    assert(json_equal(written, same));
}

static void read_result(const json_t *object)
{
    OWNED(s2i_result_drop) struct s2i_result first = {.exit_code = 0};
    OWNED(s2i_result_drop) struct s2i_result again = {.exit_code = 0};
    struct error err = {0};

    if (s2i_result_read(&first, object, &err) < 0) {
        assert(err.code == ERROR_INVALID && first.layer_count == 0);
        return;
    }
    OWNED(json_drop) json_t *written = s2i_result_write(&first);
    assert(s2i_result_read(&again, written, &err) == 0);
    OWNED(json_drop) json_t *same = s2i_result_write(&again);
    assert(json_equal(written, same));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(json_drop) json_t *parsed = json_loadb((const char *)data, size, JSON_DECODE_ANY, NULL);

    if (parsed != NULL) {
        read_spec(parsed);
        read_result(parsed);
    }
    return 0;
}

/* fuzz_build_options.c - any bytes as options of a build, or as .s2i/s2i.conf: what is taken comes
 * back the same. */
#include <stdlib.h>
#include <string.h>

#include "s2i/options.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void read_back(const json_t *object, enum s2i_origin origin)
{
    OWNED(s2i_options_drop) struct s2i_options first = {.url = NULL};
    OWNED(s2i_options_drop) struct s2i_options again = {.url = NULL};
    const struct s2i_hosts hosts = s2i_hosts_of("https://r.example", SLICE("127.0.0.1:5000"));
    struct error err = {0};

    if (s2i_options_hear(&first, object, origin, &hosts, &err) < 0) {
        assert(err.code == ERROR_INVALID && err.message[0] != 0);
        return;
    }
    OWNED(json_decrefp) json_t *written = s2i_options_write(&first, true);
    assert(s2i_options_read(&again, written, S2I_FROM_CONFIG, &err) == 0);
    OWNED(json_decrefp) json_t *same = s2i_options_write(&again, true);
    assert(json_equal(written, same));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct slice text = {(const char *)data, size};
    struct error err = {0};
    json_t *parsed = NULL;

    if (s2i_conf_parse(text, &parsed, &err) == 0)
        read_back(parsed, S2I_FROM_SOURCE);
    else
        assert(err.code == ERROR_INVALID && strstr(err.message, ".s2i/s2i.conf") != NULL);
    json_decref(parsed);
    parsed = json_loadb(text.at == NULL ? "" : text.at, text.size, JSON_DECODE_ANY, NULL);
    if (parsed != NULL)
        for (int origin = S2I_FROM_CONFIG; origin <= S2I_FROM_SOURCE; origin++)
            read_back(parsed, (enum s2i_origin)origin);
    json_decref(parsed);
    return 0;
}

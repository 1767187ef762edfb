/* fuzz_config.c - any bytes as a configuration file: settings or sentences, and what show prints is
 * read back. */
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "registry/config_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool load(struct slice text, struct config *config, struct buffer *shown)
{
    struct config_report report = {BUFFER_NONE, BUFFER_NONE};
    int fd = memfd_create("config", MFD_CLOEXEC);
    OWNED(buffer_drop) struct buffer path = BUFFER_NONE;

    assert(fd >= 0 && write(fd, text.at, text.size) == (ssize_t)text.size);
    buffer_print(&path, "/proc/self/fd/%d", fd);
    const struct config_inputs inputs = {.file = path.at};
    bool fine = config_load(config, &inputs, &report);
    assert(fine == (report.errors.size == 0));
    config_show(config, CONFIG_NOTES_NONE, shown);
    config_report_drop(&report);
    close(fd);
    return fine;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(config_drop) struct config config = {0};
    OWNED(config_drop) struct config again = {0};
    OWNED(buffer_drop) struct buffer shown = BUFFER_NONE;
    OWNED(buffer_drop) struct buffer shown_again = BUFFER_NONE;

    if (!load((struct slice){(const char *)data, size}, &config, &shown))
        return 0;
    assert(load(buffer_slice(&shown), &again, &shown_again));
    assert(slice_equal(buffer_slice(&shown), buffer_slice(&shown_again)));
    return 0;
}

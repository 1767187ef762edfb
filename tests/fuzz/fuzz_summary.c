/* fuzz_summary.c - any bytes as the summary of a snapshot: what is accepted names nothing outside
 * of the snapshot, and is the same when it is written and read again. */
#include "storage/backup_internal.h"

#include <string.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_name(const char *name, bool first)
{
    if (first) {
        assert(strcmp(name, BACKUP_META) == 0);
        return;
    }
    assert(strncmp(name, BACKUP_KEYS "/", strlen(BACKUP_KEYS "/")) == 0);
    name += strlen(BACKUP_KEYS "/");
    assert(name[0] != 0 && name[0] != '.' && strchr(name, '/') == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    OWNED(summary_drop) struct summary summary = {0};
    OWNED(summary_drop) struct summary again = {0};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;

    if (!summary_parse((struct slice){(const char *)data, size}, &summary))
        return 0;
    assert(summary.file_count > 0);
    for (size_t i = 0; i < summary.file_count; i++)
        check_name(summary.files[i].name, i == 0);
    summary_print(&summary, &text);
    assert(summary_parse(buffer_slice(&text), &again));
    assert(again.created_at == summary.created_at && again.bytes == summary.bytes);
    assert(again.file_count == summary.file_count);
    for (size_t i = 0; i < again.file_count; i++)
        assert(digest_equal(&again.files[i].digest, &summary.files[i].digest));
    return 0;
}

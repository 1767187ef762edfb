/* common.c - what all files of s2i/layer/ need: opening below a folder, words about entries.
 * Touches  the folder it is given.
 * Never    resolves a path itself: the kernel does.
 *
 * Spec: s2i 16.13, 19.3 */
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdarg.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "s2i/layer/layer_internal.h"

enum { NOTES_MAX = 50, OPEN_TRIES = 64 };

int open_below(int folder, const char *path, int flags, bool links)
{
    struct open_how how = {
        .flags = (uint64_t)(flags | O_CLOEXEC),
        .resolve = RESOLVE_NO_MAGICLINKS |
                   (links ? RESOLVE_IN_ROOT : RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS),
    };
    long fd = -1;

    for (int i = 0; i < OPEN_TRIES; i++) { /* EAGAIN: something was renamed meanwhile */
        fd = syscall(SYS_openat2, folder, path[0] == 0 ? "." : path, &how, sizeof(how));
        if (fd >= 0 || (errno != EAGAIN && errno != EINTR))
            break;
    }
    return (int)fd;
}

const char *path_shown(struct slice path, char out[SHOWN_MAX])
{
    size_t size = path.size < SHOWN_MAX - 4 ? path.size : SHOWN_MAX - 4;

    for (size_t i = 0; i < size; i++)
        out[i] = (unsigned char)path.at[i] < ' ' || path.at[i] == 0x7f ? '?' : path.at[i];
    memcpy(out + size, "...", 4);
    if (size == path.size)
        out[size] = 0;
    return out;
}

void note(struct s2i_list *notes, const char *format, ...)
{
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    va_list list;

    if (notes == NULL || notes->count > NOTES_MAX)
        return;
    va_start(list, format);
    buffer_print_list(&text, format, list);
    va_end(list);
    s2i_list_add(notes, notes->count == NOTES_MAX ? SLICE("and more") : buffer_slice(&text));
}

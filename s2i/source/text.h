/* text.h - texts of strangers: shown without harm, and names of files that may be written (pure).
 * Touches  memory.
 * Never    I/O.
 *
 * Spec: s2i 4.4, 4.10, 13.13. */
#ifndef SLIPWAY_SOURCE_TEXT_H
#define SLIPWAY_SOURCE_TEXT_H

#include "registry/core/bytes.h"

enum {
    SOURCE_NAME_MAX = 255,
    SOURCE_PATH_MAX = 4096,
    SOURCE_DEPTH_MAX = 256, /* folders in each other */
};

/* Control characters of ASCII and Unicode, those that turn the direction of text, and what is no
 * UTF-8 become "\x1b"; tabs and line ends too. At most `most` bytes of the text are used. */
void source_text_clean(struct slice text, size_t most, struct buffer *out);
/* One component of a path. Spec: 4.10 */
bool source_name_valid(struct slice name);
/* A relative path of valid components, no longer and no deeper than allowed. */
bool source_path_valid(struct slice path);
/* "", "." and "./app/" are "", "" and "app"; false for what leaves the root. Spec: 4.4 */
bool source_folder_clean(struct slice text, struct buffer *out);

#endif

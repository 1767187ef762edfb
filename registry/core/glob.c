/* glob.c - matching of one pattern with one text.
 * Touches  nothing.
 * Never    allocates.
 *
 * Each star takes as little as it can; when what follows does not fit, the last star takes one
 * more. Earlier stars need not be tried again: what they took was the shortest that fits. */
#include "registry/core/glob.h"

bool glob_matches(struct slice pattern, struct slice text)
{
    size_t p = 0, t = 0, star = SIZE_MAX, taken = 0;

    while (t < text.size) {
        if (p < pattern.size && pattern.at[p] == '*') {
            star = p++;
            taken = t;
        } else if (p < pattern.size && (pattern.at[p] == '?' || pattern.at[p] == text.at[t])) {
            p++;
            t++;
        } else if (star != SIZE_MAX) {
            p = star + 1;
            t = ++taken;
        } else {
            return false;
        }
    }
    while (p < pattern.size && pattern.at[p] == '*')
        p++;
    return p == pattern.size;
}

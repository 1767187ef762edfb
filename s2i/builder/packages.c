/* packages.c - which packages a tree holds, by the databases of dpkg and apk: for the SBOM (15.5).
 * Touches  a tree none of whose processes live, read only.
 * Never    fails: a database that cannot be read says nothing. */
#include <stdio.h>
#include <string.h>

#include "s2i/builder/steps.h"

enum { DATABASE_MAX = 64 << 20, PACKAGES_MAX = 100000, WORD_MAX = 256 };

/* One word of printable ASCII, as names and versions are. */
static bool is_word(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return text.size > 0 && text.size <= WORD_MAX;
}

static void add(struct s2i_list *out, const char *kind, struct slice name, struct slice version)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    if (!is_word(name) || !is_word(version) || out->count >= PACKAGES_MAX)
        return;
    buffer_print(&line, "%s %.*s %.*s", kind, SLICE_ARG(name), SLICE_ARG(version));
    s2i_list_add(out, buffer_slice(&line));
}

/* "Package: x", "Status: install ok installed", "Version: 1": a paragraph each. */
static void read_dpkg(struct slice text, struct s2i_list *out)
{
    struct slice name = SLICE_NONE, version = SLICE_NONE, line;
    bool installed = true;

    while (text.size > 0) {
        slice_split(text, '\n', &line, &text);
        if (slice_starts(line, "Package: "))
            name = slice_from(line, strlen("Package: "));
        else if (slice_starts(line, "Version: "))
            version = slice_from(line, strlen("Version: "));
        else if (slice_starts(line, "Status: "))
            installed = slice_ends(line, " installed");
        if (line.size > 0 && text.size > 0)
            continue;
        if (installed)
            add(out, "deb", name, version);
        name = version = SLICE_NONE;
        installed = true;
    }
}

/* "P:x", "V:1": a paragraph each. */
static void read_apk(struct slice text, struct s2i_list *out)
{
    struct slice name = SLICE_NONE, version = SLICE_NONE, line;

    while (text.size > 0) {
        slice_split(text, '\n', &line, &text);
        if (slice_starts(line, "P:"))
            name = slice_from(line, 2);
        else if (slice_starts(line, "V:"))
            version = slice_from(line, 2);
        if (line.size > 0 && text.size > 0)
            continue;
        add(out, "apk", name, version);
        name = version = SLICE_NONE;
    }
}

void packages_read(int root, struct s2i_list *out)
{
    static const struct {
        const char *path;
        void (*read)(struct slice text, struct s2i_list *out);
    } databases[] = {
        {"/var/lib/dpkg/status", read_dpkg},
        {"/lib/apk/db/installed", read_apk},
        {"/usr/lib/apk/db/installed", read_apk},
    };

    for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        if (tree_read(root, databases[i].path, DATABASE_MAX, &text) == 1)
            databases[i].read(buffer_slice(&text), out);
    }
}

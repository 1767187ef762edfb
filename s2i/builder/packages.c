/* packages.c - which packages a tree holds, by the databases of dpkg and apk, and what its
 * application locks: for the SBOM (15.5). Touches  a tree none of whose processes live, read only.
 * Never    fails: a database that cannot be read says nothing. */
#include <jansson.h>
#include <stdio.h>
#include <string.h>

#include "registry/core/json.h"
#include "s2i/builder/steps.h"

enum {
    DATABASE_MAX = 64 << 20,
    LOCK_MAX = 16 << 20,
    RELEASE_MAX = 64 << 10,
    PACKAGES_MAX = 20000,
    WORD_MAX = 256,
    VENDOR_MAX = 64,
};

#define NODE_MODULES "node_modules/"

/* One word of printable ASCII, as names and versions are. */
static bool is_word(struct slice text)
{
    for (size_t i = 0; i < text.size; i++)
        if (text.at[i] <= ' ' || text.at[i] > '~')
            return false;
    return text.size > 0 && text.size <= WORD_MAX;
}

/* Of what identifiers are made of. */
static bool is_plain(struct slice text)
{
    for (size_t i = 0; i < text.size; i++) {
        char c = text.at[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!word && (c == 0 || strchr("._-", c) == NULL))
            return false;
    }
    return text.size > 0 && text.size < VENDOR_MAX - 1;
}

/* vendor: "/debian", or "". */
static void add(struct s2i_list *out, const char *kind, const char *vendor, struct slice name,
                struct slice version)
{
    OWNED(buffer_drop) struct buffer line = BUFFER_NONE;

    if (!is_word(name) || !is_word(version) || out->count >= PACKAGES_MAX)
        return;
    buffer_print(&line, "%s%s %.*s %.*s", kind, vendor, SLICE_ARG(name), SLICE_ARG(version));
    s2i_list_add(out, buffer_slice(&line));
}

/* "Package: x", "Status: install ok installed", "Version: 1": a paragraph each. */
static void read_dpkg(struct slice text, const char *vendor, struct s2i_list *out)
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
            add(out, "deb", vendor, name, version);
        name = version = SLICE_NONE;
        installed = true;
    }
}

/* "P:x", "V:1": a paragraph each. */
static void read_apk(struct slice text, const char *vendor, struct s2i_list *out)
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
        add(out, "apk", vendor, name, version);
        name = version = SLICE_NONE;
    }
}

/* "/ubuntu" of ID=ubuntu: whose packages these are, as tools tell them apart. */
static void vendor_read(int root, char out[VENDOR_MAX])
{
    static const char *const paths[] = {"/etc/os-release", "/usr/lib/os-release"};
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct slice line, rest;

    out[0] = 0;
    for (size_t i = 0; i < 2 && text.size == 0; i++)
        if (tree_read(root, paths[i], RELEASE_MAX, &text) != 1)
            text.size = 0;
    for (rest = buffer_slice(&text); rest.size > 0;) {
        slice_split(rest, '\n', &line, &rest);
        if (!slice_starts(line, "ID="))
            continue;
        line = slice_from(line, strlen("ID="));
        if (line.size > 1 && (line.at[0] == '"' || line.at[0] == '\''))
            line = (struct slice){line.at + 1, line.size - 2};
        if (is_plain(line))
            snprintf(out, VENDOR_MAX, "/%.*s", SLICE_ARG(line));
        return;
    }
}

/* --- what applications lock --- */

/* "node_modules/a/node_modules/@b/c": "@b/c", when it is there: what was only built with may have
 * been removed. */
static void read_npm(int root, const char *folder, struct slice text, struct s2i_list *out)
{
    json_t *lock = json_of_others(text, 0);
    const char *path;
    json_t *item;

    json_object_foreach(json_object_get(lock, "packages"), path, item) {
        const char *version = json_string_value(json_object_get(item, "version"));
        const char *name = NULL;
        OWNED(buffer_drop) struct buffer file = BUFFER_NONE;
        for (const char *at = path; (at = strstr(at, NODE_MODULES)) != NULL;)
            name = at += strlen(NODE_MODULES);
        buffer_print(&file, "%s/%s/package.json%c", folder, path, 0);
        if (name != NULL && version != NULL && tree_has(root, file.at))
            add(out, "npm", "", slice_of(name), slice_of(version));
    }
    json_decref(lock);
}

/* "name[extra]==1.2 ; marker": only what is pinned. */
static void read_pip(int root, const char *folder, struct slice text, struct s2i_list *out)
{
    struct slice line, name, version;

    (void)root;
    (void)folder;
    while (text.size > 0) {
        slice_split(text, '\n', &line, &text);
        line = slice_trim(line);
        for (size_t i = 0; i < line.size; i++)
            if (strchr(" ;#\\\t\r,", line.at[i]) != NULL)
                line.size = i;
        if (!slice_split(line, '=', &name, &version) || !slice_starts(version, "="))
            continue;
        version = slice_from(version, 1);
        slice_split(name, '[', &name, &(struct slice){0});
        if (is_plain(name) && version.size > 0 && memchr(version.at, '*', version.size) == NULL)
            add(out, "pypi", "", name, version);
    }
}

static void locks_read(int root, const char *folder, struct s2i_list *out)
{
    static const struct {
        const char *name;
        void (*read)(int root, const char *folder, struct slice text, struct s2i_list *out);
    } locks[] = {{"package-lock.json", read_npm}, {"requirements.txt", read_pip}};

    for (size_t i = 0; i < sizeof(locks) / sizeof(locks[0]); i++) {
        OWNED(buffer_drop) struct buffer path = BUFFER_NONE, text = BUFFER_NONE;
        buffer_print(&path, "%s/%s%c", folder, locks[i].name, 0);
        if (tree_read(root, path.at, LOCK_MAX, &text) == 1)
            locks[i].read(root, folder, buffer_slice(&text), out);
    }
}

void packages_read(int root, const char *folder, struct s2i_list *out)
{
    static const struct {
        const char *path;
        void (*read)(struct slice text, const char *vendor, struct s2i_list *out);
    } databases[] = {
        {"/var/lib/dpkg/status", read_dpkg},
        {"/lib/apk/db/installed", read_apk},
        {"/usr/lib/apk/db/installed", read_apk},
    };
    char vendor[VENDOR_MAX];

    vendor_read(root, vendor);
    for (size_t i = 0; i < sizeof(databases) / sizeof(databases[0]); i++) {
        OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
        if (tree_read(root, databases[i].path, DATABASE_MAX, &text) == 1)
            databases[i].read(buffer_slice(&text), vendor, out);
    }
    locks_read(root, folder, out);
}

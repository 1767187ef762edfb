/* tree.c - reads a commit of a bare repository; see reading.h.
 * Touches  repositories, read-only; `git` for what libgit2 cannot stream.
 * Never    gives libgit2 a text to resolve: ids and whole names of refs only (16.11); configuration
 *          of the system or of anybody's home.
 *
 * A tree may hold what no file system should get, nest without end, or name one tree a million
 * times: all is counted before it is walked, names are checked on the way, sizes before contents
 * are read. */
#include <git2.h>
#include <stdlib.h>
#include <string.h>

#include "s2i/source/census.h"
#include "s2i/source/commit.h"
#include "s2i/source/gitlinks.h"
#include "s2i/source/reading.h"
#include "s2i/source/text.h"

enum {
    STREAMED_ABOVE = 4 * 1024 * 1024, /* a packed blob is in memory as a whole, else */
    ENTRY_ID_CHECK = 1 / (ENTRY_ID_SIZE == GIT_OID_RAWSZ),
};

static void repository_drop(git_repository **repository)
{
    git_repository_free(*repository);
}

static void tree_drop(git_tree **tree)
{
    git_tree_free(*tree);
}

static void commit_drop(git_commit **commit)
{
    git_commit_free(*commit);
}

static void odb_object_drop(git_odb_object **object)
{
    git_odb_object_free(*object);
}

/* Repositories of this reading: 0 is the outermost, modules follow as they are met. */
struct forest {
    struct reading *reading;
    git_repository *repositories[READING_REPOSITORIES_MAX];
    git_odb *stores[READING_REPOSITORIES_MAX];
    const char *folders[READING_REPOSITORIES_MAX];
    size_t count;
};

static void forest_drop(struct forest *forest)
{
    for (size_t i = 0; i < forest->count; i++) {
        git_odb_free(forest->stores[i]);
        git_repository_free(forest->repositories[i]);
    }
}

static int forest_add(struct forest *forest, const char *folder, struct error *err)
{
    OWNED(repository_drop) git_repository *repository = NULL;

    if (forest->count == READING_REPOSITORIES_MAX)
        return error_set(err, ERROR_INVALID, "the source has more than %d submodules",
                         READING_REPOSITORIES_MAX - 1);
    if (git_repository_open_ext(&repository, folder,
                                GIT_REPOSITORY_OPEN_BARE | GIT_REPOSITORY_OPEN_NO_SEARCH,
                                NULL) != 0 ||
        git_repository_odb(&forest->stores[forest->count], repository) != 0)
        return source_git_unreadable(err, "the repository");
    forest->folders[forest->count] = folder;
    forest->repositories[forest->count++] = TAKE(repository);
    return 0;
}

/* --- the walk --- */

struct walk {
    struct forest *forest;
    size_t repository;
    char path[SOURCE_PATH_MAX + 1];  /* in the source */
    char place[SOURCE_PATH_MAX + 1]; /* from the root of the outermost repository: for modules */
    size_t path_size, place_size, depth;
    size_t parent_size; /* of place: the module that is walked */
    struct gitmodules modules;
};

static int walk_tree(struct walk *walk, const git_tree *tree, struct error *err);

static bool append_name(char *path, size_t *size, struct slice name)
{
    size_t slash = *size > 0;

    if (*size + slash + name.size > SOURCE_PATH_MAX)
        return false;
    if (slash)
        path[(*size)++] = '/';
    memcpy(path + *size, name.at, name.size);
    *size += name.size;
    path[*size] = '\0';
    return true;
}

static struct slice walk_path(const struct walk *walk)
{
    return (struct slice){walk->path, walk->path_size};
}

/* A repository's tree, from its root. What is left out by its path only the walk can count. */
static int walk_root(struct walk *walk, const git_tree *tree, struct error *err)
{
    const struct reading *reading = walk->forest->reading;
    git_repository *repository = walk->forest->repositories[walk->repository];

    if (!reading->exclude.on &&
        source_entries_expect(&reading->entries,
                              source_census(repository, tree, reading->entries.count_max), err) < 0)
        return -1;
    return walk_tree(walk, tree, err);
}

static int enter_folder(struct walk *walk, const git_oid *id, struct error *err)
{
    OWNED(tree_drop) git_tree *tree = NULL;

    if (source_entries_add(&walk->forest->reading->entries, walk_path(walk), ENTRY_FOLDER, 0,
                           err) == NULL)
        return -1;
    if (git_tree_lookup(&tree, walk->forest->repositories[walk->repository], id) != 0)
        return source_git_unreadable(err, "a folder of the repository");
    return walk_tree(walk, tree, err);
}

static int enter_file(struct walk *walk, const git_oid *id, enum entry_kind kind, struct error *err)
{
    size_t size;
    git_object_t type;

    if (git_odb_read_header(&size, &type, walk->forest->stores[walk->repository], id) != 0 ||
        type != GIT_OBJECT_BLOB)
        return source_git_unreadable(err, "a file of the repository");
    struct entry *entry =
        source_entries_add(&walk->forest->reading->entries, walk_path(walk), kind, size, err);
    if (entry == NULL)
        return -1;
    memcpy(entry->id, id->id, ENTRY_ID_SIZE);
    entry->repository = walk->repository;
    return 0;
}

static int walk_module(struct walk *walk, const char *folder, const git_oid *id, struct error *err)
{
    OWNED(commit_drop) git_commit *commit = NULL;
    OWNED(tree_drop) git_tree *tree = NULL;
    struct walk inner = *walk;

    inner.repository = walk->forest->count;
    inner.parent_size = walk->place_size;
    inner.modules = (struct gitmodules){NULL, 0};
    if (forest_add(walk->forest, folder, err) < 0)
        return -1;
    if (git_commit_lookup(&commit, walk->forest->repositories[inner.repository], id) != 0 ||
        git_commit_tree(&tree, commit) != 0)
        return source_git_unreadable(err, "a submodule's commit");
    if (gitmodules_read(&inner.modules, folder, tree, err) < 0)
        return -1;
    int outcome = walk_root(&inner, tree, err);
    gitmodules_drop(&inner.modules);
    return outcome;
}

static bool is_utf8(struct slice text)
{
    for (size_t size; text.size > 0; text = slice_from(text, size))
        if ((size = utf8_size(text)) == 0)
            return false;
    return true;
}

static int leave_empty(struct walk *walk, const char *why)
{
    reading_warn(walk->forest->reading, walk_path(walk), why);
    walk->forest->reading->facts.submodules_empty++;
    return 0;
}

/* A commit of another repository. Spec: 4.5 */
static int enter_gitlink(struct walk *walk, const git_oid *id, struct error *err)
{
    struct reading *reading = walk->forest->reading;
    const struct reading_orders *orders = reading->orders;
    struct slice place = {walk->place, walk->place_size};

    if (source_entries_add(&reading->entries, walk_path(walk), ENTRY_FOLDER, 0, err) == NULL)
        return -1;
    if (orders->modules_mode == MODULES_IGNORED)
        return leave_empty(walk, "is a submodule: its folder stays empty");
    for (size_t i = 0; i < orders->module_count; i++)
        if (slice_equal_text(place, orders->modules[i].path))
            return orders->modules[i].repository == NULL
                       ? leave_empty(walk, "is a submodule that cannot be fetched: its folder "
                                           "stays empty")
                       : walk_module(walk, orders->modules[i].repository, id, err);
    struct slice within = slice_from(place, walk->parent_size + (walk->parent_size > 0));
    if (!is_utf8(place)) /* the server is told of it in JSON */
        return source_entry_refuse(err, place, "is a submodule whose name is no UTF-8");
    const char *url = gitmodules_url(&walk->modules, within);
    if (url == NULL && orders->modules_mode == MODULES_NEEDED)
        return source_entry_refuse(err, place, "is a submodule that .gitmodules does not name");
    if (url == NULL)
        return leave_empty(walk, "is a submodule that .gitmodules does not name: its folder stays "
                                 "empty");
    reading_gitlink_add(reading, place, (struct slice){walk->place, walk->parent_size}, url,
                        id->id);
    return 0;
}

static int enter(struct walk *walk, const git_tree_entry *entry, struct error *err)
{
    const git_oid *id = git_tree_entry_id(entry);

    switch (git_tree_entry_filemode(entry)) {
    case GIT_FILEMODE_TREE:
        return enter_folder(walk, id, err);
    case GIT_FILEMODE_COMMIT:
        return enter_gitlink(walk, id, err);
    case GIT_FILEMODE_LINK:
        return enter_file(walk, id, ENTRY_LINK, err);
    case GIT_FILEMODE_BLOB_EXECUTABLE:
        return enter_file(walk, id, ENTRY_PROGRAM, err);
    case GIT_FILEMODE_BLOB:
        return enter_file(walk, id, ENTRY_FILE, err);
    default:
        return source_entry_refuse(err, walk_path(walk), "has a mode that is none of Git's");
    }
}

static int visit(struct walk *walk, const git_tree_entry *entry, struct error *err)
{
    struct slice name = slice_of(git_tree_entry_name(entry));
    size_t path_size = walk->path_size, place_size = walk->place_size;

    if (!source_name_valid(name))
        return source_entry_refuse(err, name, "is a name that a source must not have");
    if (!append_name(walk->path, &walk->path_size, name) ||
        !append_name(walk->place, &walk->place_size, name))
        return source_entry_refuse(err, walk_path(walk), "is nested deeper than a source may be");
    int outcome = source_exclude_matches(&walk->forest->reading->exclude, walk->path)
                      ? 0
                      : enter(walk, entry, err);
    walk->path[walk->path_size = path_size] = '\0';
    walk->place[walk->place_size = place_size] = '\0';
    return outcome;
}

static int walk_tree(struct walk *walk, const git_tree *tree, struct error *err)
{
    size_t count = git_tree_entrycount(tree);

    if (walk->depth == SOURCE_DEPTH_MAX)
        return source_entry_refuse(err, walk_path(walk), "is nested deeper than a source may be");
    walk->depth++;
    for (size_t i = 0; i < count; i++)
        if (visit(walk, git_tree_entry_byindex(tree, i), err) < 0)
            return -1;
    walk->depth--;
    return 0;
}

/* --- contents --- */

static int content(void *arg, const struct entry *entry, reading_sink *sink, void *sink_arg,
                   struct error *err)
{
    struct forest *forest = arg;
    OWNED(odb_object_drop) git_odb_object *object = NULL;
    char hex[GIT_OID_HEXSZ + 1];
    git_oid id;

    memcpy(id.id, entry->id, ENTRY_ID_SIZE);
    git_oid_tostr(hex, sizeof(hex), &id);
    if (entry->size > STREAMED_ABOVE)
        return source_git(forest->folders[entry->repository],
                          (const char *[]){"cat-file", "blob", hex, NULL}, entry->size, sink,
                          sink_arg, err);
    if (git_odb_read(&object, forest->stores[entry->repository], &id) != 0)
        return source_git_unreadable(err, "a file of the repository");
    return sink(sink_arg, (struct slice){git_odb_object_data(object), git_odb_object_size(object)},
                err);
}

/* --- the commit --- */

static int read_commit(struct walk *walk, git_commit *commit, struct error *err)
{
    struct forest *forest = walk->forest;
    struct reading *reading = forest->reading;
    OWNED(tree_drop) git_tree *tree = NULL;
    char hex[GIT_OID_HEXSZ + 1];

    if (git_commit_tree(&tree, commit) != 0)
        return source_git_unreadable(err, "the commit's tree");
    if (reading->orders->modules_mode != MODULES_IGNORED &&
        gitmodules_read(&walk->modules, forest->folders[0], tree, err) < 0)
        return -1;
    if (source_commit_context(reading, forest->repositories[0], &tree, err) < 0)
        return -1;
    reading->facts.tree = memory_text(slice_of(git_oid_tostr(hex, sizeof(hex), git_tree_id(tree))));
    struct slice context = slice_of(reading->orders->context_dir);
    memcpy(walk->place, context.at, context.size);
    walk->place_size = context.size;
    if (walk_root(walk, tree, err) < 0)
        return -1;
    if (reading->gitlink_count > 0)
        return 0;
    if (source_entries_settle(&reading->entries, true, err) < 0)
        return -1;
    return reading_write(reading, content, forest, err);
}

static void walk_drop(struct walk **walk)
{
    gitmodules_drop(&(*walk)->modules);
    free(*walk);
}

/* libgit2 looks at nothing but the repositories, and believes that they are ours. */
static void set_up(void)
{
    git_libgit2_init();
    for (int level = GIT_CONFIG_LEVEL_PROGRAMDATA; level <= GIT_CONFIG_LEVEL_GLOBAL; level++)
        git_libgit2_opts(GIT_OPT_SET_SEARCH_PATH, level, "");
    git_libgit2_opts(GIT_OPT_SET_OWNER_VALIDATION, 0);
    git_libgit2_opts(GIT_OPT_ENABLE_STRICT_HASH_VERIFICATION, 1);
}

int reading_tree(struct reading *reading, struct error *err)
{
    OWNED(forest_drop) struct forest forest = {.reading = reading};
    OWNED(commit_drop) git_commit *commit = NULL;
    OWNED(walk_drop) struct walk *walk = memory_new(sizeof(*walk));

    set_up();
    walk->forest = &forest;
    if (forest_add(&forest, reading->orders->repository, err) < 0 ||
        source_commit_find(reading, forest.repositories[0], &commit, err) < 0)
        return -1;
    source_commit_tell(&reading->facts, commit);
    return read_commit(walk, commit, err);
}

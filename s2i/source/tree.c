/* tree.c - reads a commit of a bare repository; see reading.h.
 * Touches  repositories, read-only; `git` for what libgit2 cannot stream.
 * Never    gives libgit2 a text to resolve: ids and whole names of refs only (16.11); configuration
 *          of the system or of anybody's home.
 *
 * A tree may hold what no file system should get, nest without end, or name one tree a million
 * times: names are checked and counts met as it is walked, sizes before contents are read. */
#include <git2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "s2i/source/gitlinks.h"
#include "s2i/source/reading.h"
#include "s2i/source/text.h"

enum {
    STREAMED_ABOVE = 4 * 1024 * 1024, /* a packed blob is in memory as a whole, else */
    SHOWN_MAX = 1000,
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

static void object_drop(git_object **object)
{
    git_object_free(*object);
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

/* Says what libgit2 said, for the log. */
static int unreadable(struct error *err, const char *what)
{
    const git_error *last = git_error_last();

    error_set(err, ERROR_INVALID, "%s cannot be read", what);
    return error_set_cause(err, "%s", last == NULL ? "" : last->message);
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
        return unreadable(err, "the repository");
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

static int enter_folder(struct walk *walk, const git_oid *id, struct error *err)
{
    OWNED(tree_drop) git_tree *tree = NULL;

    if (source_entries_add(&walk->forest->reading->entries, walk_path(walk), ENTRY_FOLDER, 0,
                           err) == NULL)
        return -1;
    if (git_tree_lookup(&tree, walk->forest->repositories[walk->repository], id) != 0)
        return unreadable(err, "a folder of the repository");
    return walk_tree(walk, tree, err);
}

static int enter_file(struct walk *walk, const git_oid *id, enum entry_kind kind, struct error *err)
{
    size_t size;
    git_object_t type;

    if (git_odb_read_header(&size, &type, walk->forest->stores[walk->repository], id) != 0 ||
        type != GIT_OBJECT_BLOB)
        return unreadable(err, "a file of the repository");
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
        return unreadable(err, "a submodule's commit");
    if (gitmodules_read(&inner.modules, folder, tree, err) < 0)
        return -1;
    int outcome = walk_tree(&inner, tree, err);
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
        return unreadable(err, "a file of the repository");
    return sink(sink_arg, (struct slice){git_odb_object_data(object), git_odb_object_size(object)},
                err);
}

/* --- the commit --- */

static char *clean_text(const char *text)
{
    OWNED(buffer_drop) struct buffer clean = BUFFER_NONE;

    source_text_clean(text == NULL ? SLICE("") : slice_of(text), SHOWN_MAX, &clean);
    return memory_text(buffer_slice(&clean));
}

/* Git's default form: "Thu Apr 7 15:13:13 2005 -0700". */
static char *date_text(const git_time *when)
{
    static const char days[] = "SunMonTueWedThuFriSat",
                      months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    int offset = abs(when->offset) % (100 * 60);
    time_t local = (time_t)(when->time + (int64_t)when->offset * 60);
    OWNED(buffer_drop) struct buffer text = BUFFER_NONE;
    struct tm at;

    if (gmtime_r(&local, &at) == NULL)
        return memory_text(SLICE(""));
    buffer_print(&text, "%.3s %.3s %d %02d:%02d:%02d %d %c%02d%02d",
                 days + (ptrdiff_t)at.tm_wday * 3, months + (ptrdiff_t)at.tm_mon * 3, at.tm_mday,
                 at.tm_hour, at.tm_min, at.tm_sec, at.tm_year + 1900, when->offset < 0 ? '-' : '+',
                 offset / 60, offset % 60);
    return memory_text(buffer_slice(&text));
}

static void tell_commit(struct s2i_source_facts *facts, git_commit *commit)
{
    const git_signature *author = git_commit_author(commit);
    OWNED(buffer_drop) struct buffer name = BUFFER_NONE;
    char hex[GIT_OID_HEXSZ + 1];
    int64_t time = git_commit_time(commit);

    facts->commit = memory_text(slice_of(git_oid_tostr(hex, sizeof(hex), git_commit_id(commit))));
    facts->subject = clean_text(git_commit_summary(commit));
    if (author != NULL) {
        buffer_print(&name, "%s <%s>", author->name, author->email);
        OWNED(memory_drop) char *text = memory_text(buffer_slice(&name));
        facts->author = clean_text(text);
        facts->author_date = date_text(&author->when);
    }
    facts->time = time < 0 ? 0 : time > READING_TIME_MAX ? READING_TIME_MAX : time;
}

/* The commit that the orders name; a tag leads to it. */
static int find_commit(struct reading *reading, git_repository *repository, git_commit **out,
                       struct error *err)
{
    const struct reading_orders *orders = reading->orders;
    OWNED(object_drop) git_object *object = NULL;
    git_object *commit = NULL;
    git_oid id;
    int found;

    if (orders->commit != NULL)
        found = git_oid_fromstr(&id, orders->commit);
    else
        found = git_reference_name_to_id(&id, repository, orders->ref);
    if (found == 0 && git_object_lookup(&object, repository, &id, GIT_OBJECT_ANY) == 0 &&
        git_object_peel(&commit, object, GIT_OBJECT_COMMIT) == 0) {
        *out = (git_commit *)commit;
        return 0;
    }
    reading->reason = "FetchSourceFailed";
    return error_set(err, ERROR_INVALID, "the source has no commit %.40s",
                     orders->commit == NULL ? "of that name" : orders->commit);
}

/* The tree of the context folder. Links are not followed. Spec: 4.4 */
static int find_context(struct reading *reading, git_repository *repository, git_tree **tree,
                        struct error *err)
{
    struct slice rest = slice_of(reading->orders->context_dir), name;
    char text[SOURCE_NAME_MAX + 1];

    while (rest.size > 0) {
        OWNED(tree_drop) git_tree *outer = TAKE(*tree);
        slice_split(rest, '/', &name, &rest);
        const git_tree_entry *entry =
            slice_to_text(name, text, sizeof(text)) ? git_tree_entry_byname(outer, text) : NULL;
        if (entry == NULL || git_tree_entry_filemode(entry) != GIT_FILEMODE_TREE) {
            reading->reason = "InvalidContextDirectory";
            return source_entry_refuse(err, slice_of(reading->orders->context_dir),
                                       "is no folder of the source");
        }
        if (git_tree_lookup(tree, repository, git_tree_entry_id(entry)) != 0)
            return unreadable(err, "a folder of the repository");
    }
    return 0;
}

static int read_commit(struct walk *walk, git_commit *commit, struct error *err)
{
    struct forest *forest = walk->forest;
    struct reading *reading = forest->reading;
    OWNED(tree_drop) git_tree *tree = NULL;
    char hex[GIT_OID_HEXSZ + 1];

    if (git_commit_tree(&tree, commit) != 0)
        return unreadable(err, "the commit's tree");
    if (reading->orders->modules_mode != MODULES_IGNORED &&
        gitmodules_read(&walk->modules, forest->folders[0], tree, err) < 0)
        return -1;
    if (find_context(reading, forest->repositories[0], &tree, err) < 0)
        return -1;
    reading->facts.tree = memory_text(slice_of(git_oid_tostr(hex, sizeof(hex), git_tree_id(tree))));
    struct slice context = slice_of(reading->orders->context_dir);
    memcpy(walk->place, context.at, context.size);
    walk->place_size = context.size;
    if (walk_tree(walk, tree, err) < 0)
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
        find_commit(reading, forest.repositories[0], &commit, err) < 0)
        return -1;
    tell_commit(&reading->facts, commit);
    return read_commit(walk, commit, err);
}

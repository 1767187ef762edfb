/* commit.c - see commit.h. */
#include "s2i/source/commit.h"

#include <stdlib.h>
#include <time.h>

#include "s2i/source/entries.h"
#include "s2i/source/text.h"

enum { SHOWN_MAX = 1000 };

static void tree_drop(git_tree **tree)
{
    git_tree_free(*tree);
}

static void object_drop(git_object **object)
{
    git_object_free(*object);
}

int source_git_unreadable(struct error *err, const char *what)
{
    const git_error *last = git_error_last();

    error_set(err, ERROR_INVALID, "%s cannot be read", what);
    return error_set_cause(err, "%s", last == NULL ? "" : last->message);
}

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

void source_commit_tell(struct s2i_source_facts *facts, git_commit *commit)
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

int source_commit_find(struct reading *reading, git_repository *repository, git_commit **out,
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

int source_commit_context(struct reading *reading, git_repository *repository, git_tree **tree,
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
            return source_git_unreadable(err, "a folder of the repository");
    }
    return 0;
}

/* session_source.c - the source of a build is fetched, and what it tells of itself is looked at.
 * Touches  confined children by way of source.h, the secrets that open sources.
 * Never    reads a stranger's file in this process. Spec: s2i 4, 15.7, 16.12. */
#include "s2i/session.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include "s2i/source/source.h"

static struct s2i_list list_of(const struct config_list *list)
{
    return (struct s2i_list){list->items, list->count};
}

void builds_rules_fill(struct builds_rules *out, const struct config *config, uint64_t bytes_max)
{
    out->schemes = list_of(&config->builds_sources_schemes);
    out->ports = list_of(&config->builds_sources_ports);
    out->hosts = list_of(&config->builds_sources_allow);
    out->rules = (struct source_rules){&out->schemes, &out->ports, &out->hosts, bytes_max};
}

static const struct s2i_list *detect_table(const struct session *session,
                                           const struct s2i_list *of_server)
{
    const struct s2i_list *own = &session->spec.options.detect;

    if (session->spec.options.builder != NULL)
        return NULL;
    return own->count > 0 ? own : of_server;
}

static char *repository_folder(const struct session *session)
{
    return memory_print("%s/%s.git", session->task->builds->repositories,
                        session->task->record.repository);
}

/* Names and values of what opens the sources (16.12). */
static int credentials_read(const struct session *session, struct s2i_list *out, struct error *err)
    ON(worker_thread)
{
    struct storage *storage = session->task->builds->storage;
    OWNED(build_config_drop) struct build_config config = {0};
    OWNED(build_secrets_drop) struct build_secrets secrets = {0};

    if (build_config_find(storage, slice_of(session->task->record.repository), &config, err) < 0) {
        error_clear(err);
        return 0;
    }
    if (build_secret_list(storage, config.id, BUILD_SECRET_SOURCE, true, &secrets, err) < 0)
        return -1;
    for (size_t i = 0; i < secrets.count; i++)
        s2i_list_add(out, slice_of(secrets.items[i].value));
    return 0;
}

static int archive_open(const struct session *session, int *fd, struct error *err)
{
    const struct build_task *task = session->task;
    OWNED(memory_drop) char *path = builds_archive_path(task->builds, task->record.id);

    *fd = task->archive >= 0 ? fcntl(task->archive, F_DUPFD_CLOEXEC, 0)
                             : open(path, O_RDONLY | O_CLOEXEC);
    if (*fd < 0)
        return error_set_errno(err, ERROR_UNAVAILABLE, errno, "the uploaded source is gone");
    return 0;
}

static int fetch_with(struct session *session, int archive, struct error *err) ON(worker_thread)
{
    const struct config *config = session->task->builds->config;
    const struct build_record *record = &session->task->record;
    const struct s2i_options *options = &session->spec.options;
    const struct s2i_list detect = list_of(&config->builds_detect);
    struct builds_rules rules;
    OWNED(memory_drop) char *folder = repository_folder(session);
    OWNED(s2i_list_wipe) struct s2i_list credentials = {0};
    const char *reason = "FetchSourceFailed";

    if (credentials_read(session, &credentials, err) < 0)
        return -1;
    const struct source_wish wish = {
        .kind = record->source,
        .repository_folder = folder,
        .commit = slice_of(record->commit),
        .ref = slice_of(record->ref),
        .url = slice_of(record->url),
        .archive = archive,
        .context_dir = slice_of(options->context_dir),
        .exclude = slice_of(options->exclude),
        .ignore_submodules = options->ignore_submodules,
        .detect = detect_table(session, &detect),
        .credentials = &credentials,
        .files_max = config->builds_sources_max_files,
        .bytes_max = config->builds_sources_max_size,
        .blob_max = config->builds_sources_max_size,
        .timeout_ms = config->builds_sources_timeout,
        .scratch = session->task->builds->scratch,
        .log = session->task->log,
        .cancel = session->task->wake,
    };
    builds_rules_fill(&rules, config, config->builds_sources_max_size);
    if (source_open(&wish, &rules.rules, &session->source, &session->spec.source, &reason, err) ==
        0)
        return 0;
    if (!session_stopped(session))
        session_fail_by(session, reason, err);
    return -1;
}

int session_fetch(struct session *session)
{
    const struct build_record *record = &session->task->record;
    struct error err = {0};
    int archive = -1;

    session_stage_begin(session, "FetchInputs");
    SAY(session, "-----> Fetching the source%s%.12s", record->commit[0] == 0 ? "" : ": commit ",
        record->commit);
    if (record->source == BUILD_FROM_ARCHIVE && archive_open(session, &archive, &err) < 0)
        return session_fail_by(session, "FetchSourceFailed", &err);
    int outcome = fetch_with(session, archive, &err);
    if (archive >= 0)
        close(archive);
    if (outcome < 0)
        return session_fail_by(session, "FetchSourceFailed", &err);
    const struct s2i_source_facts *source = &session->spec.source;
    SAY(session, "       %llu file%s, %llu bytes", (unsigned long long)source->files,
        source->files == 1 ? "" : "s", (unsigned long long)source->bytes);
    if (source->lfs_pointers > 0)
        SAY(session, "       warning: %llu files are pointers of Git LFS, not their content",
            (unsigned long long)source->lfs_pointers);
    session_facts_of_source(session);
    session_commit_known(session);
    session_stage_end(session);
    return 0;
}

/* "pattern=builder" of the first pattern that the source has. */
const char *session_detected(const struct session *session)
{
    const struct s2i_list found = session->spec.source.detected;
    const struct s2i_list of_server = list_of(&session->task->builds->config->builds_detect);
    const struct s2i_list *table = detect_table(session, &of_server);
    const struct s2i_hosts hosts = builds_hosts(session->task->builds);

    for (size_t i = 0; found.count > 0 && table != NULL && i < table->count; i++) {
        struct slice pattern, builder;
        if (slice_split(slice_of(table->items[i]), '=', &pattern, &builder) &&
            slice_equal_text(pattern, found.items[0]))
            return s2i_name_own(builder, &hosts).at;
    }
    return NULL;
}

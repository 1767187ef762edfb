/* reload.c - files that are read again while the server runs: keys, password file, certificates.
 * Touches  these files, the configuration files, the log, the service manager.
 * Never    a setting: those are compared with what they were at the start, and need a restart.
 *
 * (1) A file that cannot be used leaves what it held before in use.
 * (2) Stamps are taken before a file is read: what changes in between is read again. */
#include "registry/cli/reload.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "registry/cli/cli.h"
#include "registry/cli/wiring.h"
#include "registry/core/log.h"
#include "registry/notify.h"

/* --- certificates --- */

/* All zero for a file that is not there. */
static struct reload_stamp stamp_of(const char *path)
{
    struct reload_stamp stamp;
    struct stat found;

    memset(&stamp, 0, sizeof(stamp)); /* compared as bytes */
    if (path[0] == 0 || stat(path, &found) < 0)
        return stamp;
    stamp.device = found.st_dev;
    stamp.inode = found.st_ino;
    stamp.size = found.st_size;
    stamp.changed = found.st_mtim;
    return stamp;
}

/* True when one of the files is another than before. */
static bool take_stamps(struct reload *reload)
{
    const struct config *config = reload->config;
    const char *const files[RELOAD_FILES] = {config->server_tls_certificate, config->server_tls_key,
                                             config->server_tls_client_ca};
    bool changed = false;

    for (size_t i = 0; i < RELOAD_FILES; i++) {
        struct reload_stamp now = stamp_of(files[i]);
        changed = changed || memcmp(&now, &reload->stamps[i], sizeof(now)) != 0;
        reload->stamps[i] = now;
    }
    return changed;
}

static const int64_t DAY_S = 24 * 3600;

static void reload_tls(struct reload *reload)
{
    struct error err = {0};

    if (reload->config->server_tls_certificate[0] == 0)
        return;
    if (server_reload_tls(reload->server, &err) < 0)
        log_event(LOG_ERROR, "tls.reload_failed", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
    else
        log_event(LOG_INFO, "tls.reloaded",
                  F_I64("days_left", (server_tls_expires(reload->server) - time(NULL)) / DAY_S));
}

/* --- keys and passwords --- */

/* A failure that lasts is told once, and so is its end. */
static void reload_auth(struct reload *reload, bool force)
{
    struct error err = {0};
    bool failed = auth_reload(reload->auth, force, &err) < 0;

    if (failed && (force || strcmp(err.message, reload->auth_failure) != 0))
        log_event(LOG_ERROR, "auth.reload_failed", F_TEXT("reason", err.message),
                  F_TEXT("cause", err.cause));
    if (!failed && (force || reload->auth_failure[0] != 0))
        log_event(LOG_INFO, "auth.reloaded");
    memcpy(reload->auth_failure, err.message, sizeof(reload->auth_failure));
}

/* --- settings --- */

static void refuse_settings(const struct config_report *report)
{
    struct slice line, rest = buffer_slice(&report->errors);

    while (slice_split(rest, '\n', &line, &rest))
        log_event(LOG_ERROR, "settings.refused", F_SLICE("reason", line));
}

static void compare_settings(struct reload *reload)
{
    OWNED(config_drop) struct config now = {0};
    OWNED(config_report_drop) struct config_report report = {BUFFER_NONE, BUFFER_NONE};
    OWNED(buffer_drop) struct buffer keys = BUFFER_NONE;

    if (!cli_config_read(reload->call, &now, &report)) {
        refuse_settings(&report);
        return;
    }
    config_differences(reload->config, &now, &keys);
    if (keys.size > 0 && !slice_equal_text(buffer_slice(&keys), reload->waiting))
        log_event(LOG_WARNING, "settings.need_restart", F_SLICE("settings", buffer_slice(&keys)));
    free(reload->waiting);
    reload->waiting = memory_text(buffer_slice(&keys));
}

/* --- the whole --- */

void reload_begin(struct reload *reload, const struct cli_call *call, const struct config *config)
{
    memset(reload, 0, sizeof(*reload));
    reload->call = call;
    reload->config = config;
    reload->waiting = memory_text(SLICE(""));
    take_stamps(reload);
}

void reload_drop(struct reload *reload)
{
    free(reload->waiting);
}

void reload_all(struct reload *reload)
{
    notify_reloading();
    take_stamps(reload);
    reload_tls(reload);
    reload_auth(reload, true);
    compare_settings(reload);
    notify_manager("READY=1");
}

void reload_poll(struct reload *reload)
{
    if (take_stamps(reload))
        reload_tls(reload);
    reload_auth(reload, false);
}

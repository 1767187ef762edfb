-- Source to image: what is built, how, and by which webhooks.

-- How a repository is built, at most once each. While a repository is deleted and may come back,
-- its rows here and in builds stand under its name of then, '~' and its id. spec: options as JSON
-- (s2i/options.h). hook: the opaque id in the URL of its webhooks. account_id: who set it last,
-- 0 none. reach: what his token was narrowed to, its scopes; null: it was not. version: what ETag
-- says.
CREATE TABLE build_configs(
    id @ID,
    repository TEXT @BYTEWISE NOT NULL UNIQUE,
    spec TEXT NOT NULL,
    hook TEXT NOT NULL UNIQUE,
    paused BIGINT NOT NULL DEFAULT 0,
    account_id BIGINT NOT NULL DEFAULT 0,
    reach TEXT,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 1
) @STRICT;

-- What a configuration needs and nobody may read back. kind: 1 secret of webhooks, 2 credential of
-- a source, 3 file for assemble, 4 what signs callbacks, 5 token that sets statuses of commits.
CREATE TABLE build_secrets(
    config_id BIGINT NOT NULL REFERENCES build_configs(id) ON DELETE CASCADE,
    kind BIGINT NOT NULL,
    name TEXT @BYTEWISE NOT NULL,
    value TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY(config_id, kind, name)
) @TIGHT;

-- Deliveries seen lately: the same one again starts nothing. content: SHA-256 of a body that no
-- sender sends twice, whatever its delivery is called; null: of others. build_id null: nothing was
-- started.
CREATE TABLE build_deliveries(
    id @ID,
    config_id BIGINT NOT NULL REFERENCES build_configs(id) ON DELETE CASCADE,
    sender TEXT NOT NULL,
    delivery TEXT NOT NULL,
    content TEXT,
    event TEXT NOT NULL,
    verdict TEXT NOT NULL,
    build_id BIGINT,
    created_at BIGINT NOT NULL,
    UNIQUE(config_id, sender, delivery)
) @STRICT;
CREATE INDEX build_deliveries_config ON build_deliveries(config_id, id);
CREATE INDEX build_deliveries_content ON build_deliveries(config_id, content)
    WHERE content IS NOT NULL;

-- state: 0 new, 1 pending, 2 running, 3 complete, 4 failed, 5 error, 6 cancelled; it only grows.
-- source: 1 push, 2 URL, 3 archive, 4 none. policy: 0 serial, 1 serial with the latest only,
-- 2 parallel. spec, stages, facts, tags: JSON. input_key: what decides the result (SHA-256, hex).
-- epoch: counts how often it was begun; a worker that went quiet writes nothing any more.
-- expires_at: one that still waits then is cancelled; null: it may wait for ever.
CREATE TABLE builds(
    id @ID,
    repository TEXT @BYTEWISE NOT NULL,
    state BIGINT NOT NULL,
    policy BIGINT NOT NULL,
    source BIGINT NOT NULL,
    triggered_by TEXT NOT NULL,
    actor TEXT NOT NULL,
    account_id BIGINT,
    url TEXT NOT NULL DEFAULT '',
    ref TEXT NOT NULL DEFAULT '',
    commit_id TEXT NOT NULL DEFAULT '',
    builder TEXT NOT NULL DEFAULT '',
    builder_digest TEXT NOT NULL DEFAULT '',
    spec TEXT NOT NULL,
    tags TEXT NOT NULL DEFAULT '[]',
    stages TEXT NOT NULL DEFAULT '[]',
    facts TEXT NOT NULL DEFAULT '{}',
    reason TEXT NOT NULL DEFAULT '',
    message TEXT NOT NULL DEFAULT '',
    exit_code BIGINT,
    input_key TEXT,
    result_digest TEXT,
    layer_size BIGINT,
    log_size BIGINT NOT NULL DEFAULT 0,
    retry_of BIGINT,
    ended_by TEXT,
    left_by TEXT,
    epoch BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    started_at BIGINT,
    finished_at BIGINT
) @STRICT;
CREATE INDEX builds_open ON builds(state, repository, id, policy) WHERE state < 3;
CREATE INDEX builds_state ON builds(state, id);
CREATE INDEX builds_repository ON builds(repository, id, state);
CREATE INDEX builds_key ON builds(repository, input_key, id)
    WHERE state = 3 AND input_key IS NOT NULL;
CREATE INDEX builds_finished ON builds(finished_at) WHERE finished_at IS NOT NULL;
CREATE INDEX builds_expire ON builds(state, expires_at) WHERE state = 1;

-- What others are told of a build. kind: 1 how it ended, at its callback URL; 2 how it stands, at
-- the forge its source is of. destination: one message at a time goes to each. state: of the build,
-- as it is to be told. due_at null: nothing is, until that changes. outcome: 0 it waits, 1 it was
-- delivered, 2 given up, 3 there was nothing to tell. answer, problem: of the last try, its status
-- of HTTP (0: none came) and what went wrong. A row goes with its build.
CREATE TABLE build_messages(
    id @ID,
    build_id BIGINT NOT NULL REFERENCES builds(id) ON DELETE CASCADE,
    kind BIGINT NOT NULL,
    destination TEXT NOT NULL,
    state BIGINT NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT,
    outcome BIGINT NOT NULL DEFAULT 0,
    answer BIGINT NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT '',
    tried_at BIGINT,
    UNIQUE(build_id, kind)
) @STRICT;
CREATE INDEX build_messages_due ON build_messages(due_at, id) WHERE due_at IS NOT NULL;

-- What is still to be published of an image that was made: written with the end of its build, or
-- with the rebase that moved a tag to it; gone when it stands beside the image. Of a rebase, whose
-- build_id is null: repo_id and manifest_id say which image, actor and account_id who asked.
-- document: JSON (s2i/attest.c). due_at: when it is tried next.
CREATE TABLE build_attestations(
    id @ID,
    build_id BIGINT UNIQUE REFERENCES builds(id) ON DELETE CASCADE,
    repo_id BIGINT,
    manifest_id BIGINT,
    actor TEXT NOT NULL DEFAULT '',
    account_id BIGINT NOT NULL DEFAULT 0,
    document TEXT NOT NULL,
    tries BIGINT NOT NULL DEFAULT 0,
    due_at BIGINT NOT NULL,
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id) ON DELETE CASCADE
) @STRICT;
CREATE INDEX build_attestations_due ON build_attestations(due_at, id);
CREATE INDEX build_attestations_manifest ON build_attestations(repo_id, manifest_id)
    WHERE manifest_id IS NOT NULL;

-- Public keys that signed provenance of builds, for ever: images outlive the keys of theirs. kid:
-- RFC 7638 thumbprint. jwk: JSON.
CREATE TABLE build_keys(
    kid TEXT @BYTEWISE NOT NULL PRIMARY KEY,
    jwk TEXT NOT NULL,
    created_at BIGINT NOT NULL
) @TIGHT;

-- Whose turn it is: the number of the last start in each repository, counted over all of them.
-- first_build: what tells it from those that had its name before; a row goes with its repository.
CREATE TABLE build_turns(
    repository TEXT @BYTEWISE NOT NULL PRIMARY KEY,
    turn BIGINT NOT NULL UNIQUE,
    first_build BIGINT NOT NULL
) @TIGHT;

-- Tags that a push moved and whose ref is about to move: gone when the ref moved, or the tags went
-- back. What a killed server leaves is settled by the ref. ref_id: what it will hold.
CREATE TABLE build_moves(
    build_id BIGINT NOT NULL PRIMARY KEY,
    repo_id BIGINT NOT NULL,
    ref TEXT NOT NULL,
    ref_id TEXT NOT NULL,
    image @BYTES NOT NULL
) @TIGHT;
CREATE INDEX build_moves_repository ON build_moves(repo_id);

-- digest: where the tag stood before; null: there was no such tag.
CREATE TABLE build_move_tags(
    build_id BIGINT NOT NULL REFERENCES build_moves(build_id) ON DELETE CASCADE,
    name TEXT @BYTEWISE NOT NULL,
    digest @BYTES,
    PRIMARY KEY(build_id, name)
) @TIGHT;

-- What images say they stand on, by their annotations: the name of the base as it is written there,
-- with the tag latest where it has none, '' without a name; its digest as text. A row is as old as
-- its manifest and goes with it. text@JSON(name): what a JSON object has under the name. A colon
-- before the last slash is that of a port: the inner rtrim ends a name at that slash.
CREATE TABLE manifest_bases(
    repo_id BIGINT NOT NULL,
    manifest_id BIGINT NOT NULL,
    base_name TEXT @BYTEWISE NOT NULL,
    base_digest TEXT @BYTEWISE NOT NULL,
    PRIMARY KEY(repo_id, manifest_id),
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id) ON DELETE CASCADE
) @TIGHT;
CREATE UNIQUE INDEX manifest_bases_name ON manifest_bases(base_name, repo_id, manifest_id);
CREATE UNIQUE INDEX manifest_bases_digest ON manifest_bases(base_digest, repo_id, manifest_id);
INSERT INTO manifest_bases(repo_id, manifest_id, base_name, base_digest)
     SELECT repo_id, id,
            name ||
                CASE WHEN name <> ''
                      AND substr(name, length(rtrim(name, replace(name, '/', ''))) + 1)
                          NOT LIKE '%:%'
                     THEN ':latest' ELSE '' END,
            digest
       FROM (SELECT repo_id, id,
                    coalesce(annotations@JSON('org.opencontainers.image.base.name'), '') AS name,
                    annotations@JSON('org.opencontainers.image.base.digest') AS digest
               FROM manifests
              WHERE annotations LIKE '%"org.opencontainers.image.base.digest"%'
                AND media_type LIKE '%manifest.v%') AS said
      WHERE digest LIKE 'sha%:%';

-- Images that were put on newer bases, all tags of a row in one transaction; until: they can be
-- taken back before it, and are forgotten after it.
CREATE TABLE rebases(
    id @ID,
    base TEXT NOT NULL,
    actor TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    until BIGINT NOT NULL
) @STRICT;
CREATE INDEX rebases_until ON rebases(until);

-- The tags that moved. manifest_id: what the tag stood for, which the collector keeps until then;
-- new_digest: what it got.
CREATE TABLE rebase_moves(
    rebase_id BIGINT NOT NULL REFERENCES rebases(id) ON DELETE CASCADE,
    repo_id BIGINT NOT NULL,
    tag TEXT @BYTEWISE NOT NULL,
    manifest_id BIGINT NOT NULL,
    new_digest @BYTES NOT NULL,
    until BIGINT NOT NULL,
    undone_at BIGINT,
    PRIMARY KEY(rebase_id, repo_id, tag),
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id) ON DELETE CASCADE
) @TIGHT;
CREATE INDEX rebase_moves_manifest ON rebase_moves(repo_id, manifest_id, until);

-- Looking after itself: collection, undo, protection, retention, quotas, jobs.

-- actor: the account's name; null: nobody was asked, or the server did it by itself. cause: see
-- enum tag_cause of storage/storage.h.
ALTER TABLE tag_history ADD COLUMN actor TEXT;
ALTER TABLE tag_history ADD COLUMN cause BIGINT NOT NULL DEFAULT 0;

-- Bits of this tag alone: 1 immutable, 2 protected. Rules by pattern stand in protections.
ALTER TABLE tags ADD COLUMN protection BIGINT NOT NULL DEFAULT 0;
-- With all that is asked about the tags of one manifest: for a column that the index lacks, SQLite
-- would rather take the first half of the key, every tag of the repository.
DROP INDEX tags_manifest;
CREATE INDEX tags_manifest ON tags(repo_id, manifest_id, name, updated_at, protection);
CREATE INDEX tags_protected ON tags(repo_id, protection) WHERE protection > 0;

-- When the tag was deleted: with its manifest when both times are the same; and the marks it had.
ALTER TABLE deleted_tags ADD COLUMN deleted_at BIGINT NOT NULL DEFAULT 0;
ALTER TABLE deleted_tags ADD COLUMN protection BIGINT NOT NULL DEFAULT 0;

-- What a repository has set aside, and all moves of its tags.
CREATE INDEX manifests_deleted ON manifests(repo_id, id) WHERE deleted_at IS NOT NULL;
CREATE INDEX tag_history_repository ON tag_history(repo_id, id);

-- A repository that was deleted has a name that no client can ask for, and the old one beside it.
ALTER TABLE repositories ADD COLUMN deleted_at BIGINT;
ALTER TABLE repositories ADD COLUMN deleted_name TEXT;
CREATE INDEX repositories_deleted ON repositories(deleted_name) WHERE deleted_name IS NOT NULL;

-- Who opened the session, and so who linked the blob first in this repository; null: no account.
ALTER TABLE uploads ADD COLUMN account_id BIGINT;
ALTER TABLE repository_blobs ADD COLUMN account_id BIGINT;

-- kind 4: a deleted repository. follows: it hung on something that is gone for good (child of an
-- index, referrer of a subject), so it goes too when nothing else holds it.
ALTER TABLE gc_queue ADD COLUMN follows BIGINT NOT NULL DEFAULT 0;
ALTER TABLE trash ADD COLUMN attempts BIGINT NOT NULL DEFAULT 0;

-- "In use by name until then": the manifest does not go, whoever asks.
CREATE TABLE pins(
    repo_id BIGINT NOT NULL,
    name TEXT @BYTEWISE NOT NULL,
    manifest_id BIGINT NOT NULL,
    until BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    PRIMARY KEY(repo_id, name),
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id)
) @TIGHT;
CREATE INDEX pins_manifest ON pins(repo_id, manifest_id);
CREATE INDEX pins_until ON pins(until);

-- Pulls of long ago are forgotten.
CREATE INDEX pull_counts_day ON pull_counts(day);

-- Tags that may not move or not go, by patterns of repositories and globs of tags. bits as in tags.
CREATE TABLE protections(
    id @ID,
    pattern TEXT @BYTEWISE NOT NULL,
    tags TEXT NOT NULL,
    bits BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 1,
    UNIQUE(pattern, tags)
) @STRICT;

-- Rules of retention as they were written (JSON). mode: 0 off, 1 report, 2 enforce.
CREATE TABLE policies(
    id @ID,
    pattern TEXT @BYTEWISE NOT NULL UNIQUE,
    mode BIGINT NOT NULL,
    rules TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 1
) @STRICT;

-- Bounds in bytes. kind: 1 a pattern of repositories, 2 an account, by its name.
CREATE TABLE quotas(
    id @ID,
    kind BIGINT NOT NULL,
    subject TEXT @BYTEWISE NOT NULL,
    account_id BIGINT REFERENCES accounts(id) ON DELETE CASCADE,
    bytes BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 1,
    UNIQUE(kind, subject)
) @STRICT;

CREATE UNIQUE INDEX quotas_account ON quotas(account_id) WHERE account_id IS NOT NULL;

-- How many links a blob has below a quota's pattern: it counts once.
CREATE TABLE quota_blobs(
    quota_id BIGINT NOT NULL REFERENCES quotas(id) ON DELETE CASCADE,
    blob_id BIGINT NOT NULL,
    links BIGINT NOT NULL,
    PRIMARY KEY(quota_id, blob_id)
) @TIGHT;

-- What is used, in parts that pushes of different blobs do not share.
CREATE TABLE quota_usage(
    quota_id BIGINT NOT NULL REFERENCES quotas(id) ON DELETE CASCADE,
    part BIGINT NOT NULL,
    bytes BIGINT NOT NULL,
    PRIMARY KEY(quota_id, part)
) @TIGHT;

-- Long work: what was asked, by whom, how far it is, how it ended. spec, progress, result: JSON.
-- state: 0 waiting, 1 running, 2 done, 3 failed, 4 cancelled, 5 interrupted.
CREATE TABLE jobs(
    id @ID,
    kind TEXT NOT NULL,
    state BIGINT NOT NULL,
    spec TEXT NOT NULL,
    actor TEXT NOT NULL,
    phase TEXT NOT NULL DEFAULT '',
    progress TEXT NOT NULL DEFAULT '{}',
    result TEXT NOT NULL DEFAULT '{}',
    error TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    started_at BIGINT,
    finished_at BIGINT
) @STRICT;
CREATE INDEX jobs_kind ON jobs(kind, id);
CREATE INDEX jobs_state ON jobs(state) WHERE state < 2;

-- Blobs known damaged, for those who count them.
CREATE INDEX blobs_damaged ON blobs(id) WHERE damaged = 1;

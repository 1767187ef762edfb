-- The first schema. One text for every database; the program puts in their words:
--   @ID      a number the database gives, never twice
--   @BYTES   a byte string
--   @TIGHT   a table stored in the order of its primary key
--   @STRICT  columns hold what they say
--   @BYTEWISE  text that sorts by its bytes, in every locale
-- Times are microseconds since 1970. Digests are one byte for the algorithm and the raw hash.
-- deleted_at: set aside until gc.undo has passed; no read sees the row, pushing the content again
-- clears it. Payload and hash state come last: what is read often lies in a row's first page.

-- Small things the server remembers: the boot it last ran in, cursors.
CREATE TABLE server_state(
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL
) @TIGHT;

-- first_manifest_at: from then on the catalogue lists it (CAT-03), whatever is deleted later.
CREATE TABLE repositories(
    id @ID,
    name TEXT @BYTEWISE NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    first_manifest_at BIGINT
) @STRICT;
CREATE INDEX repositories_listed ON repositories(name) WHERE first_manifest_at IS NOT NULL;

-- Physical bytes: every locator is in exactly one of blobs, uploads, trash.
CREATE TABLE blobs(
    id @ID,
    digest @BYTES NOT NULL UNIQUE,
    size BIGINT NOT NULL,
    locator TEXT NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    verified_at BIGINT,
    damaged BIGINT NOT NULL DEFAULT 0
) @STRICT;

-- Open sessions. received: what the client was told at the last checkpoint; synced: what survives a
-- power cut, with the state of the hash there.
CREATE TABLE uploads(
    id TEXT NOT NULL PRIMARY KEY,
    repo_id BIGINT NOT NULL REFERENCES repositories(id),
    locator TEXT NOT NULL UNIQUE,
    algorithm BIGINT NOT NULL,
    received BIGINT NOT NULL DEFAULT 0,
    synced BIGINT NOT NULL DEFAULT 0,
    started_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    hash_state @BYTES
) @TIGHT;
CREATE INDEX uploads_repository ON uploads(repo_id);
CREATE INDEX uploads_expiry ON uploads(expires_at);

-- Sessions that became a blob lately: a repeated PUT is answered again (UPL-23).
CREATE TABLE finished_uploads(
    id TEXT NOT NULL PRIMARY KEY,
    repo_id BIGINT NOT NULL REFERENCES repositories(id),
    digest @BYTES NOT NULL,
    forget_at BIGINT NOT NULL
) @TIGHT;
CREATE INDEX finished_uploads_repository ON finished_uploads(repo_id);
CREATE INDEX finished_uploads_forget ON finished_uploads(forget_at);

-- Bytes nobody can reach any more; the sweep removes them.
CREATE TABLE trash(
    locator TEXT NOT NULL PRIMARY KEY,
    not_before BIGINT NOT NULL
) @TIGHT;
CREATE INDEX trash_due ON trash(not_before);

-- Which repository has which blob. touched_at is the lease.
CREATE TABLE repository_blobs(
    repo_id BIGINT NOT NULL REFERENCES repositories(id),
    blob_id BIGINT NOT NULL REFERENCES blobs(id),
    touched_at BIGINT NOT NULL,
    deleted_at BIGINT,
    PRIMARY KEY(repo_id, blob_id)
) @TIGHT;
CREATE INDEX repository_blobs_blob ON repository_blobs(blob_id);

-- The same bytes under sha256 and sha512 are two rows, each served under its own digest (HDR-02).
-- size: of the payload; total_size: with all that it names.
CREATE TABLE manifests(
    id @ID,
    repo_id BIGINT NOT NULL REFERENCES repositories(id),
    digest @BYTES NOT NULL,
    media_type TEXT NOT NULL,
    artifact_type TEXT,
    subject @BYTES,
    annotations TEXT,
    size BIGINT NOT NULL,
    total_size BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    touched_at BIGINT NOT NULL,
    pulled_at BIGINT,
    deleted_at BIGINT,
    payload @BYTES NOT NULL,
    UNIQUE(repo_id, digest),
    UNIQUE(repo_id, id)
) @STRICT;
-- Referrers, oldest push first. No key to the subject: it may come later, or never (MPUT-18).
CREATE INDEX manifests_subject ON manifests(repo_id, subject, id)
    WHERE subject IS NOT NULL AND deleted_at IS NULL;

-- Config, layers, and index children that are blobs.
CREATE TABLE manifest_blobs(
    repo_id BIGINT NOT NULL,
    manifest_id BIGINT NOT NULL,
    blob_id BIGINT NOT NULL,
    PRIMARY KEY(repo_id, manifest_id, blob_id),
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id) ON DELETE CASCADE,
    FOREIGN KEY(repo_id, blob_id) REFERENCES repository_blobs(repo_id, blob_id)
) @TIGHT;
CREATE INDEX manifest_blobs_blob ON manifest_blobs(repo_id, blob_id);

-- Children of an index. child_id is null for a child that is not here as a manifest.
CREATE TABLE manifest_refs(
    repo_id BIGINT NOT NULL,
    parent_id BIGINT NOT NULL,
    digest @BYTES NOT NULL,
    child_id BIGINT,
    platform TEXT,
    PRIMARY KEY(repo_id, parent_id, digest),
    FOREIGN KEY(repo_id, parent_id) REFERENCES manifests(repo_id, id) ON DELETE CASCADE,
    FOREIGN KEY(repo_id, child_id) REFERENCES manifests(repo_id, id)
) @TIGHT;
CREATE INDEX manifest_refs_child ON manifest_refs(repo_id, child_id) WHERE child_id IS NOT NULL;
CREATE INDEX manifest_refs_sparse ON manifest_refs(repo_id, digest) WHERE child_id IS NULL;

-- Blobs that a manifest names and the repository does not have (exempt layers, sparse images): they
-- become manifest_blobs when they arrive.
CREATE TABLE missing_refs(
    repo_id BIGINT NOT NULL,
    digest @BYTES NOT NULL,
    manifest_id BIGINT NOT NULL,
    PRIMARY KEY(repo_id, digest, manifest_id),
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id) ON DELETE CASCADE
) @TIGHT;
CREATE INDEX missing_refs_manifest ON missing_refs(repo_id, manifest_id);

CREATE TABLE tags(
    repo_id BIGINT NOT NULL,
    name TEXT @BYTEWISE NOT NULL,
    manifest_id BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    PRIMARY KEY(repo_id, name),
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id)
) @TIGHT;
CREATE INDEX tags_manifest ON tags(repo_id, manifest_id);

-- Tags that were deleted and can be brought back until then.
CREATE TABLE deleted_tags(
    repo_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    manifest_id BIGINT NOT NULL,
    until BIGINT NOT NULL,
    PRIMARY KEY(repo_id, name, manifest_id),
    FOREIGN KEY(repo_id, manifest_id) REFERENCES manifests(repo_id, id) ON DELETE CASCADE
) @TIGHT;
CREATE INDEX deleted_tags_manifest ON deleted_tags(repo_id, manifest_id);
CREATE INDEX deleted_tags_until ON deleted_tags(until);

-- Every move of a tag; new_digest is null when it was deleted.
CREATE TABLE tag_history(
    id @ID,
    repo_id BIGINT NOT NULL,
    name TEXT NOT NULL,
    old_digest @BYTES,
    new_digest @BYTES,
    at BIGINT NOT NULL
) @STRICT;
CREATE INDEX tag_history_tag ON tag_history(repo_id, name, id);

-- What the collector has to look at. kind: 1 manifest, 2 link, 3 blob (repo_id 0).
CREATE TABLE gc_queue(
    kind BIGINT NOT NULL,
    repo_id BIGINT NOT NULL,
    ref_id BIGINT NOT NULL,
    due BIGINT NOT NULL,
    attempts BIGINT NOT NULL DEFAULT 0,
    PRIMARY KEY(kind, repo_id, ref_id)
) @TIGHT;
CREATE INDEX gc_queue_due ON gc_queue(due);

-- Pulls by day (days since 1970), by tag or digest. kind: of the caller; 0 anonymous.
CREATE TABLE pull_counts(
    repo_id BIGINT NOT NULL REFERENCES repositories(id),
    reference TEXT NOT NULL,
    day BIGINT NOT NULL,
    kind BIGINT NOT NULL,
    pulls BIGINT NOT NULL,
    PRIMARY KEY(repo_id, reference, day, kind)
) @TIGHT;

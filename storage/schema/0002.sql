-- Who may do what: accounts, what they hold, what they may, and what was done.

-- kind: 1 user, 2 robot. role: 0 user, 1 admin, 2 operator, 3 auditor. A user without password_hash
-- signs in by the password file or not at all. version grows with every change of the row.
CREATE TABLE accounts(
    id @ID,
    name TEXT @BYTEWISE NOT NULL UNIQUE,
    kind BIGINT NOT NULL,
    role BIGINT NOT NULL DEFAULT 0,
    description TEXT NOT NULL DEFAULT '',
    password_hash TEXT,
    password_at BIGINT,
    external BIGINT NOT NULL DEFAULT 0,
    disabled BIGINT NOT NULL DEFAULT 0,
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    last_login_at BIGINT,
    version BIGINT NOT NULL DEFAULT 1
) @STRICT;
CREATE INDEX accounts_kind ON accounts(kind, name);
CREATE INDEX accounts_admins ON accounts(role) WHERE role = 1;

-- Secrets an account shows instead of a password; only their SHA-256 is here. kind: 1 personal,
-- 2 refresh. scopes: what it is narrowed to, "" for all its account may. Refresh tokens that came
-- from one another share family; rotated_at: a successor was given out.
CREATE TABLE tokens(
    id @ID,
    account_id BIGINT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
    kind BIGINT NOT NULL,
    secret_hash @BYTES NOT NULL UNIQUE,
    hint TEXT NOT NULL,
    label TEXT NOT NULL,
    scopes TEXT NOT NULL,
    family @BYTES,
    service TEXT NOT NULL DEFAULT '',
    created_at BIGINT NOT NULL,
    expires_at BIGINT,
    rotated_at BIGINT,
    last_used_at BIGINT,
    last_used_from TEXT,
    disabled BIGINT NOT NULL DEFAULT 0,
    version BIGINT NOT NULL DEFAULT 1
) @STRICT;
CREATE INDEX tokens_account ON tokens(account_id, kind, id);
CREATE INDEX tokens_family ON tokens(family) WHERE family IS NOT NULL;
CREATE INDEX tokens_expiry ON tokens(expires_at) WHERE expires_at IS NOT NULL;

-- People signed in with a browser. password_at: when the password was last given.
CREATE TABLE sessions(
    id @ID,
    account_id BIGINT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
    secret_hash @BYTES NOT NULL UNIQUE,
    created_at BIGINT NOT NULL,
    used_at BIGINT NOT NULL,
    password_at BIGINT NOT NULL,
    remote TEXT NOT NULL,
    agent TEXT NOT NULL
) @STRICT;
CREATE INDEX sessions_account ON sessions(account_id, id);
CREATE INDEX sessions_used ON sessions(used_at);
CREATE INDEX sessions_created ON sessions(created_at);

-- pattern: a repository's name, "prefix/*" for all below, "*" for all. actions: bits of
-- storage/accounts.h.
CREATE TABLE grants(
    id @ID,
    account_id BIGINT NOT NULL REFERENCES accounts(id) ON DELETE CASCADE,
    pattern TEXT @BYTEWISE NOT NULL,
    actions BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    version BIGINT NOT NULL DEFAULT 1,
    UNIQUE(account_id, pattern)
) @STRICT;
CREATE INDEX grants_pattern ON grants(pattern, id);

ALTER TABLE repositories ADD COLUMN public BIGINT NOT NULL DEFAULT 0;
ALTER TABLE repositories ADD COLUMN description TEXT NOT NULL DEFAULT '';
ALTER TABLE repositories ADD COLUMN version BIGINT NOT NULL DEFAULT 1;
CREATE INDEX repositories_public ON repositories(name) WHERE public = 1;

-- Who opened the session, as auth calls him; null when nobody was asked.
ALTER TABLE uploads ADD COLUMN owner TEXT;

-- What was changed by whom, and who was refused. repeats: the same refusal, told once.
CREATE TABLE audit(
    id @ID,
    at BIGINT NOT NULL,
    actor TEXT NOT NULL,
    actor_id BIGINT,
    action TEXT NOT NULL,
    target TEXT NOT NULL,
    outcome TEXT NOT NULL,
    remote TEXT NOT NULL,
    request_id TEXT NOT NULL,
    detail TEXT NOT NULL,
    repeats BIGINT NOT NULL DEFAULT 1
) @STRICT;
CREATE INDEX audit_at ON audit(at);
CREATE INDEX audit_actor ON audit(actor, id);

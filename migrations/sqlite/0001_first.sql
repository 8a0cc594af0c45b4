-- +goose Up

-- One row. Raised by one as the last statement of every change to a client, secret, scope, resource or key, so that
-- every process knows when to drop its caches. The fingerprint ties the database to its root key.
CREATE TABLE revision (
    id              BIGINT NOT NULL PRIMARY KEY,
    value           BIGINT NOT NULL,
    key_fingerprint TEXT
);
INSERT INTO revision (id, value) VALUES (1, 1);

CREATE TABLE clients (
    id               TEXT    NOT NULL PRIMARY KEY,
    name             TEXT    NOT NULL,
    owner            TEXT    NOT NULL,
    uri              TEXT    NOT NULL,
    policy_uri       TEXT    NOT NULL,
    tos_uri          TEXT    NOT NULL,
    contacts         TEXT    NOT NULL,
    auth_method      TEXT    NOT NULL,
    grant_types      TEXT    NOT NULL,
    redirect_uris    TEXT    NOT NULL,
    scopes           TEXT    NOT NULL,
    default_scopes   TEXT,
    optional_scopes  TEXT    NOT NULL,
    audience         TEXT    NOT NULL,
    resources        TEXT,
    require_pkce     BOOLEAN NOT NULL,
    skip_consent     BOOLEAN NOT NULL,
    refresh_rotation BOOLEAN NOT NULL,
    access_token_ttl BIGINT,
    refresh_idle_ttl BIGINT,
    refresh_max_ttl  BIGINT,
    epoch            BIGINT  NOT NULL,
    created_at       BIGINT  NOT NULL,
    updated_at       BIGINT  NOT NULL,
    disabled_at      BIGINT
);

CREATE TABLE client_secrets (
    id         TEXT   NOT NULL PRIMARY KEY,
    client_id  TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    hash       BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX client_secrets_client ON client_secrets (client_id);

CREATE TABLE users (
    id           TEXT    NOT NULL PRIMARY KEY,
    username     TEXT    NOT NULL,
    username_key TEXT    NOT NULL,
    email        TEXT    NOT NULL,
    email_key    TEXT    NOT NULL,
    name         TEXT    NOT NULL,
    admin        BOOLEAN NOT NULL,
    epoch        BIGINT  NOT NULL,
    created_at   BIGINT  NOT NULL,
    updated_at   BIGINT  NOT NULL,
    disabled_at  BIGINT
);
CREATE UNIQUE INDEX users_username_key ON users (username_key);
CREATE UNIQUE INDEX users_email_key ON users (email_key);

CREATE TABLE passwords (
    user_id    TEXT   NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash       TEXT   NOT NULL,
    changed_at BIGINT NOT NULL
);

CREATE TABLE browser_sessions (
    id           TEXT   NOT NULL PRIMARY KEY,
    token_hash   BLOB   NOT NULL,
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_epoch   BIGINT NOT NULL,
    auth_time    BIGINT NOT NULL,
    acr          TEXT   NOT NULL,
    amr          TEXT   NOT NULL,
    address      TEXT   NOT NULL,
    user_agent   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    ended_at     BIGINT
);
CREATE UNIQUE INDEX browser_sessions_token_hash ON browser_sessions (token_hash);
CREATE INDEX browser_sessions_user ON browser_sessions (user_id);
CREATE INDEX browser_sessions_expires ON browser_sessions (expires_at);

-- Failed sign-ins by account (an HMAC of the name as typed, known or not) and network; network '*' is the account as a whole.
CREATE TABLE sign_in_attempts (
    account       BLOB   NOT NULL,
    network       TEXT   NOT NULL,
    failures      BIGINT NOT NULL,
    last_at       BIGINT NOT NULL,
    blocked_until BIGINT,
    PRIMARY KEY (account, network)
);
CREATE INDEX sign_in_attempts_last ON sign_in_attempts (last_at);

CREATE TABLE scopes (
    name        TEXT   NOT NULL PRIMARY KEY,
    description TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);

CREATE TABLE resources (
    identifier    TEXT   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    scopes        TEXT   NOT NULL,
    introspectors TEXT   NOT NULL,
    created_at    BIGINT NOT NULL
);

CREATE TABLE consents (
    id         TEXT   NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id  TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    scopes     TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    updated_at BIGINT NOT NULL,
    ended_at   BIGINT
);
CREATE UNIQUE INDEX consents_live ON consents (user_id, client_id) WHERE ended_at IS NULL;
CREATE INDEX consents_client ON consents (client_id);

-- The grant row is the refresh state: at most one live refresh token per grant is a matter of structure.
CREATE TABLE grants (
    id                 TEXT    NOT NULL PRIMARY KEY,
    consent_id         TEXT    NOT NULL,
    client_id          TEXT    NOT NULL,
    user_id            TEXT    NOT NULL,
    client_epoch       BIGINT  NOT NULL,
    user_epoch         BIGINT  NOT NULL,
    scopes             TEXT    NOT NULL,
    resources          TEXT    NOT NULL,
    session_id         TEXT    NOT NULL,
    offline            BOOLEAN NOT NULL,
    auth_time          BIGINT  NOT NULL,
    acr                TEXT    NOT NULL,
    amr                TEXT    NOT NULL,
    created_at         BIGINT  NOT NULL,
    expires_at         BIGINT  NOT NULL,
    revoked_at         BIGINT,
    revoke_reason      TEXT,
    current_hash       BLOB,
    previous_hash      BLOB,
    rotated_at         BIGINT,
    refresh_expires_at BIGINT,
    successor_sealed   BLOB
);
CREATE INDEX grants_consent ON grants (consent_id);
CREATE INDEX grants_session ON grants (session_id);
CREATE INDEX grants_expires ON grants (expires_at);

CREATE TABLE authorization_requests (
    id           TEXT   NOT NULL PRIMARY KEY,
    client_id    TEXT   NOT NULL,
    parameters   TEXT   NOT NULL,
    browser_hash BLOB,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    decided_at   BIGINT
);
CREATE INDEX authorization_requests_expires ON authorization_requests (expires_at);

CREATE TABLE authorization_codes (
    hash          BLOB    NOT NULL PRIMARY KEY,
    consent_id    TEXT    NOT NULL,
    client_id     TEXT    NOT NULL,
    user_id       TEXT    NOT NULL,
    client_epoch  BIGINT  NOT NULL,
    user_epoch    BIGINT  NOT NULL,
    scopes        TEXT    NOT NULL,
    resources     TEXT    NOT NULL,
    session_id    TEXT    NOT NULL,
    offline       BOOLEAN NOT NULL,
    auth_time     BIGINT  NOT NULL,
    acr           TEXT    NOT NULL,
    amr           TEXT    NOT NULL,
    redirect_uri  TEXT    NOT NULL,
    redirect_sent BOOLEAN NOT NULL,
    challenge     TEXT,
    created_at    BIGINT  NOT NULL,
    expires_at    BIGINT  NOT NULL,
    consumed_at   BIGINT,
    grant_id      TEXT
);
CREATE INDEX authorization_codes_expires ON authorization_codes (expires_at);

CREATE TABLE revoked_tokens (
    jti        TEXT   NOT NULL PRIMARY KEY,
    revoked_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX revoked_tokens_expires ON revoked_tokens (expires_at);

-- A key's stage is a function of these times, the same in every process.
CREATE TABLE signing_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    algorithm  TEXT   NOT NULL,
    public     TEXT   NOT NULL,
    sealed     BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    active_at  BIGINT NOT NULL,
    retires_at BIGINT,
    removed_at BIGINT
);

CREATE TABLE audit_events (
    id         TEXT   NOT NULL PRIMARY KEY,
    at         BIGINT NOT NULL,
    event      TEXT   NOT NULL,
    actor      TEXT   NOT NULL,
    client_id  TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    grant_id   TEXT   NOT NULL,
    scopes     TEXT   NOT NULL,
    token      TEXT   NOT NULL,
    detail     TEXT   NOT NULL,
    request_id TEXT   NOT NULL,
    address    TEXT   NOT NULL,
    user_agent TEXT   NOT NULL,
    seal       BIGINT
);
CREATE INDEX audit_events_at ON audit_events (at);

INSERT INTO scopes (name, description, created_at)
VALUES ('offline_access', 'Keep this access after you sign out, until you withdraw it', 0);

-- +goose Up

-- Text ids. Times are BIGINT Unix milliseconds, NULL for not yet. Lists are joined by spaces. Foreign keys only
-- from secrets, passwords, sessions and consents: elsewhere each would cost a lock per insert.

-- One row for this installation. Transactions that must not run concurrently lock it: changes of signing keys,
-- creation of secrets, rekey. The fingerprint is that of the root key. created_by: dev for `gatehouse dev`,
-- which refuses any other database.
CREATE TABLE installation (
    id              BIGINT NOT NULL PRIMARY KEY,
    key_fingerprint TEXT,
    created_by      TEXT
);
INSERT INTO installation (id) VALUES (1);

-- Every change to a client, secret, scope, resource or key adds a row in its transaction, so that no change waits
-- for the lock of another one. Each process reads the rows that were committed since it last read, and drops those
-- records from its cache. client_id is '*' when everything is dropped. position is one more than that of the last
-- row.
CREATE TABLE changes (
    position  BIGINT NOT NULL,
    client_id TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (position, client_id)
);
CREATE INDEX changes_at ON changes (at);

-- One row. seen_at: when a serving process last wrote here. cleanup_at: the time by which rows were last deleted.
CREATE TABLE liveness (
    id         BIGINT NOT NULL PRIMARY KEY,
    seen_at    BIGINT,
    cleanup_at BIGINT
);
INSERT INTO liveness (id) VALUES (1);

-- Times in which a process could not use the database, so that it could not respond.
CREATE TABLE outages (
    id         TEXT   NOT NULL PRIMARY KEY,
    started_at BIGINT NOT NULL,
    ended_at   BIGINT NOT NULL
);
CREATE INDEX outages_ended ON outages (ended_at);

-- NULL in optional_scopes_selected: selected, except for self-registered clients. refresh_grace: NULL is the
-- server's setting, 0 is off. allowed_networks: empty is any network. last_used_at, to the day: when a dynamically
-- registered client last got an authorization.
CREATE TABLE clients (
    id                            TEXT    NOT NULL PRIMARY KEY,
    name                          TEXT    NOT NULL,
    owner                         TEXT    NOT NULL,
    uri                           TEXT    NOT NULL,
    policy_uri                    TEXT    NOT NULL,
    tos_uri                       TEXT    NOT NULL,
    contacts                      TEXT    NOT NULL,
    logo_uri                      TEXT    NOT NULL,
    application_type              TEXT    NOT NULL,
    software_id                   TEXT    NOT NULL,
    software_version              TEXT    NOT NULL,
    auth_method                   TEXT    NOT NULL,
    auth_alg                      TEXT    NOT NULL,
    token_endpoint_audience       BOOLEAN NOT NULL,
    jwks                          TEXT    NOT NULL,
    jwks_uri                      TEXT    NOT NULL,
    grant_types                   TEXT    NOT NULL,
    redirect_uris                 TEXT    NOT NULL,
    scopes                        TEXT    NOT NULL,
    default_scopes                TEXT,
    optional_scopes               TEXT    NOT NULL,
    optional_scopes_selected      BOOLEAN,
    audience                      TEXT    NOT NULL,
    resources                     TEXT,
    require_pkce                  BOOLEAN NOT NULL,
    skip_consent                  BOOLEAN NOT NULL,
    refresh_rotation              BOOLEAN NOT NULL,
    access_token_ttl              BIGINT,
    refresh_idle_ttl              BIGINT,
    refresh_max_ttl               BIGINT,
    refresh_grace                 BIGINT,
    id_token_alg                  TEXT    NOT NULL,
    id_token_claims               BOOLEAN NOT NULL,
    userinfo_alg                  TEXT    NOT NULL,
    request_object_alg            TEXT    NOT NULL,
    require_signed_request_object BOOLEAN NOT NULL,
    request_uris                  TEXT    NOT NULL,
    subject_type                  TEXT    NOT NULL,
    sector_identifier_uri         TEXT    NOT NULL,
    sector                        TEXT    NOT NULL,
    default_max_age               BIGINT,
    require_auth_time             BOOLEAN NOT NULL,
    default_acr_values            TEXT    NOT NULL,
    initiate_login_uri            TEXT    NOT NULL,
    post_logout_redirect_uris     TEXT    NOT NULL,
    backchannel_logout_uri        TEXT    NOT NULL,
    backchannel_session_required  BOOLEAN NOT NULL,
    allowed_networks              TEXT    NOT NULL,
    epoch                         BIGINT  NOT NULL,
    created_at                    BIGINT  NOT NULL,
    updated_at                    BIGINT  NOT NULL,
    disabled_at                   BIGINT,
    described_at                  BIGINT,
    last_used_at                  BIGINT,
    registration_hash             BLOB
);
CREATE INDEX clients_access_token_ttl ON clients (access_token_ttl) WHERE access_token_ttl IS NOT NULL;
CREATE INDEX clients_never_used ON clients (created_at) WHERE registration_hash IS NOT NULL AND last_used_at IS NULL;
CREATE INDEX clients_last_used ON clients (last_used_at) WHERE registration_hash IS NOT NULL;

CREATE TABLE client_secrets (
    id         TEXT   NOT NULL PRIMARY KEY,
    client_id  TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    hash       BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT
);
CREATE INDEX client_secrets_client ON client_secrets (client_id);
CREATE INDEX client_secrets_expires ON client_secrets (expires_at) WHERE expires_at IS NOT NULL;

-- Single use of a client's assertions (RFC 7523 §3): the SHA-256 of their jti, until they would have expired.
CREATE TABLE used_assertions (
    client_id  TEXT   NOT NULL,
    jti_hash   BLOB   NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (client_id, jti_hash)
);
CREATE INDEX used_assertions_expires ON used_assertions (expires_at);

-- Initial access tokens of dynamic registration (RFC 7591 §3).
CREATE TABLE registration_tokens (
    id         TEXT   NOT NULL PRIMARY KEY,
    hash       BLOB   NOT NULL,
    note       TEXT   NOT NULL,
    uses_left  BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE UNIQUE INDEX registration_tokens_hash ON registration_tokens (hash);
CREATE INDEX registration_tokens_expires ON registration_tokens (expires_at);

CREATE TABLE users (
    id                TEXT    NOT NULL PRIMARY KEY,
    username          TEXT    NOT NULL,
    username_key      TEXT    NOT NULL,
    email             TEXT    NOT NULL,
    email_key         TEXT    NOT NULL,
    name              TEXT    NOT NULL,
    profile           TEXT    NOT NULL,
    admin             BOOLEAN NOT NULL,
    epoch             BIGINT  NOT NULL,
    created_at        BIGINT  NOT NULL,
    updated_at        BIGINT  NOT NULL,
    disabled_at       BIGINT,
    email_verified_at BIGINT,
    phone_verified_at BIGINT
);
CREATE UNIQUE INDEX users_username_key ON users (username_key);
CREATE UNIQUE INDEX users_email_key ON users (email_key);

CREATE TABLE passwords (
    user_id    TEXT   NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    hash       TEXT   NOT NULL,
    changed_at BIGINT NOT NULL
);

-- The address and user agent are personal data: personal seals them under a key derived from personal_key, as in
-- audit_events.
CREATE TABLE browser_sessions (
    id           TEXT   NOT NULL PRIMARY KEY,
    token_hash   BLOB   NOT NULL,
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_epoch   BIGINT NOT NULL,
    auth_time    BIGINT NOT NULL,
    acr          TEXT   NOT NULL,
    amr          TEXT   NOT NULL,
    personal     BLOB,
    personal_key BLOB,
    created_at   BIGINT NOT NULL,
    last_seen_at BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    ended_at     BIGINT
);
CREATE UNIQUE INDEX browser_sessions_token_hash ON browser_sessions (token_hash);
CREATE INDEX browser_sessions_user ON browser_sessions (user_id);
CREATE INDEX browser_sessions_expires ON browser_sessions (expires_at);

-- Failed sign-ins by account (an HMAC of the account or of the name as typed) and network (an HMAC, or '*' for
-- all).
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
-- The standard scopes (OIDC Core §5.4, §11).
INSERT INTO scopes (name, description, created_at) VALUES
    ('openid', 'Know that it is you', 0),
    ('profile', 'See your profile, such as your name and picture', 0),
    ('email', 'See your email address', 0),
    ('address', 'See your postal address', 0),
    ('phone', 'See your phone number', 0),
    ('offline_access', 'Keep this access after you sign out, until you withdraw it', 0);

CREATE TABLE resources (
    identifier    TEXT   NOT NULL PRIMARY KEY,
    name          TEXT   NOT NULL,
    scopes        TEXT   NOT NULL,
    introspectors TEXT   NOT NULL,
    created_at    BIGINT NOT NULL
);

-- resource_scopes: which scopes a consent covers at which APIs; refused: which optional ones the user refused. Each
-- value is the identifier of a resource, which has no #, then # and a scope or claim:NAME. The identifier is empty
-- for a scope of no API; the scope is empty for access to the API itself. redirect_uri: the destination that the
-- consent page named when the user last agreed; empty when the operator skips consent for the client.
CREATE TABLE consents (
    id              TEXT   NOT NULL PRIMARY KEY,
    user_id         TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    client_id       TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    scopes          TEXT   NOT NULL,
    resource_scopes TEXT   NOT NULL,
    refused         TEXT   NOT NULL,
    redirect_uri    TEXT   NOT NULL,
    created_at      BIGINT NOT NULL,
    updated_at      BIGINT NOT NULL,
    ended_at        BIGINT
);
CREATE UNIQUE INDEX consents_active ON consents (user_id, client_id) WHERE ended_at IS NULL;
CREATE INDEX consents_client ON consents (client_id);

-- The row of a grant is its refresh state, so that a grant cannot have two valid refresh tokens.
CREATE TABLE grants (
    id                 TEXT    NOT NULL PRIMARY KEY,
    consent_id         TEXT    NOT NULL,
    client_id          TEXT    NOT NULL,
    user_id            TEXT    NOT NULL,
    client_epoch       BIGINT  NOT NULL,
    user_epoch         BIGINT  NOT NULL,
    scopes             TEXT    NOT NULL,
    resources          TEXT    NOT NULL,
    claims             TEXT    NOT NULL,
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

-- client_epoch: that of the client when the request was stored; once it differs, the request counts as expired.
-- signed_in_at: when the user of the session signed in for this request. approved_at: when that user allowed it
-- although the sign-in was too old to issue a code.
CREATE TABLE authorization_requests (
    id           TEXT   NOT NULL PRIMARY KEY,
    client_id    TEXT   NOT NULL,
    client_epoch BIGINT NOT NULL,
    parameters   TEXT   NOT NULL,
    hint_subject TEXT   NOT NULL,
    browser_hash BLOB,
    session_id   TEXT   NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    signed_in_at BIGINT,
    approved_at  BIGINT,
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
    claims        TEXT    NOT NULL,
    session_id    TEXT    NOT NULL,
    offline       BOOLEAN NOT NULL,
    auth_time     BIGINT  NOT NULL,
    acr           TEXT    NOT NULL,
    amr           TEXT    NOT NULL,
    redirect_uri  TEXT    NOT NULL,
    redirect_sent BOOLEAN NOT NULL,
    nonce         TEXT    NOT NULL,
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

-- The stage of a key is a function of these times, the same in every process.
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

-- The master secret, which does not change when the root key is replaced, sealed under it.
CREATE TABLE secrets (
    id         TEXT   NOT NULL PRIMARY KEY,
    sealed     BLOB   NOT NULL,
    created_at BIGINT NOT NULL
);

-- Queued messages to clients. A row is inserted in the transaction of the change; any process sends it and retries
-- for a day.
CREATE TABLE deliveries (
    id         TEXT   NOT NULL PRIMARY KEY,
    kind       TEXT   NOT NULL,
    client_id  TEXT   NOT NULL,
    user_id    TEXT   NOT NULL,
    session_id TEXT   NOT NULL,
    attempts   BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    next_at    BIGINT NOT NULL
);
CREATE INDEX deliveries_next ON deliveries (next_at);

-- The address and user agent of an event are personal data: personal seals them under a key derived from
-- personal_key. Erasing that key erases them, while the seal of the row, which covers the ciphertext only, stays
-- valid.
CREATE TABLE audit_events (
    id           TEXT   NOT NULL PRIMARY KEY,
    at           BIGINT NOT NULL,
    event        TEXT   NOT NULL,
    actor        TEXT   NOT NULL,
    client_id    TEXT   NOT NULL,
    user_id      TEXT   NOT NULL,
    grant_id     TEXT   NOT NULL,
    scopes       TEXT   NOT NULL,
    token        TEXT   NOT NULL,
    detail       TEXT   NOT NULL,
    request_id   TEXT   NOT NULL,
    personal     BLOB,
    personal_key BLOB,
    seal         BIGINT
);
CREATE INDEX audit_events_at ON audit_events (at);
CREATE INDEX audit_events_unsealed ON audit_events (id) WHERE seal IS NULL;
CREATE INDEX audit_events_seal ON audit_events (seal, id) WHERE seal IS NOT NULL;

-- The chain of seals. Each mac covers the previous seal and the rows of this one. retired_mac proves that the
-- operator, who has the root key, removed the rows.
CREATE TABLE audit_seals (
    id          BIGINT NOT NULL PRIMARY KEY CHECK (id BETWEEN 0 AND 9007199254740992),
    row_count   BIGINT NOT NULL,
    mac         BLOB   NOT NULL,
    sealed_at   BIGINT NOT NULL,
    retired_at  BIGINT,
    retired_mac BLOB
);
INSERT INTO audit_seals (id, row_count, mac, sealed_at) VALUES (0, 0, x'', 0);

-- The SHA-256 in hexadecimal of each migration when it was applied. Each process compares them with its files.
CREATE TABLE migration_checksums (
    version BIGINT NOT NULL PRIMARY KEY,
    sha256  TEXT   NOT NULL
);

-- +goose Up

-- What can be used once, until it would have expired: the jti of an assertion, the step of a TOTP code, the challenge
-- of a passkey. kind: what it is, so that one kind never counts as another. scope_hash: the SHA-256 of its owner, such
-- as the client or user. id_hash: the SHA-256 of its identifier. The table replaces used_assertions, which the previous
-- version still uses while it serves; a later migration drops it.
CREATE TABLE used_once (
    kind       TEXT   NOT NULL,
    scope_hash BYTEA  NOT NULL,
    id_hash    BYTEA  NOT NULL,
    expires_at BIGINT NOT NULL,
    PRIMARY KEY (kind, scope_hash, id_hash)
);
CREATE INDEX used_once_expires ON used_once (expires_at);

-- passkey_handle: the user handle of the user's passkeys (WebAuthn §4): random, not the sub. NULL until the first one.
ALTER TABLE users ADD COLUMN passkey_handle BYTEA;
CREATE UNIQUE INDEX users_passkey_handle ON users (passkey_handle);

-- Credentials of WebAuthn. public_key: COSE. aaguid: the model of the authenticator, '' for none. attestation: the
-- format of the attestation that was verified, or none. second_factor: only after a password, because the authenticator
-- does not verify the user. discoverable: it signs in without a username.
CREATE TABLE passkeys (
    id              TEXT    NOT NULL PRIMARY KEY,
    user_id         TEXT    NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    credential_id   BYTEA   NOT NULL,
    public_key      BYTEA   NOT NULL,
    sign_count      BIGINT  NOT NULL,
    aaguid          TEXT    NOT NULL,
    transports      TEXT    NOT NULL,
    attestation     TEXT    NOT NULL,
    user_verified   BOOLEAN NOT NULL,
    discoverable    BOOLEAN NOT NULL,
    second_factor   BOOLEAN NOT NULL,
    backup_eligible BOOLEAN NOT NULL,
    backed_up       BOOLEAN NOT NULL,
    name            TEXT    NOT NULL,
    created_at      BIGINT  NOT NULL,
    last_used_at    BIGINT
);
CREATE UNIQUE INDEX passkeys_credential ON passkeys (credential_id);
CREATE INDEX passkeys_user ON passkeys (user_id);

-- The secret of a user's TOTP authenticator (RFC 6238), sealed under the root key. id: the user. A secret that is not
-- confirmed yet is not stored.
CREATE TABLE totp_secrets (
    id           TEXT   NOT NULL PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    sealed       BYTEA  NOT NULL,
    algorithm    TEXT   NOT NULL,
    digits       BIGINT NOT NULL,
    period       BIGINT NOT NULL,
    confirmed_at BIGINT NOT NULL
);

-- Recovery codes of a user: the SHA-256 of the user and the code.
CREATE TABLE recovery_codes (
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    hash       BYTEA  NOT NULL,
    created_at BIGINT NOT NULL,
    used_at    BIGINT,
    PRIMARY KEY (user_id, hash)
);

-- Browsers in which a user is not prompted for the second factor. token_hash: the SHA-256 of the cookie.
CREATE TABLE remembered_devices (
    token_hash BYTEA  NOT NULL PRIMARY KEY,
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);
CREATE INDEX remembered_devices_user ON remembered_devices (user_id);
CREATE INDEX remembered_devices_expires ON remembered_devices (expires_at);

-- Sign-ins that still need a second factor. They belong to one browser and are no session: that is created when the
-- sign-in is finished. request_id: the authorization request, '' for none. acr, amr and auth_time: of the first factor.
CREATE TABLE pending_sign_ins (
    id           TEXT   NOT NULL PRIMARY KEY,
    browser_hash BYTEA  NOT NULL,
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    user_epoch   BIGINT NOT NULL,
    request_id   TEXT   NOT NULL,
    acr          TEXT   NOT NULL,
    amr          TEXT   NOT NULL,
    auth_time    BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    finished_at  BIGINT
);
CREATE INDEX pending_sign_ins_user ON pending_sign_ins (user_id);
CREATE INDEX pending_sign_ins_expires ON pending_sign_ins (expires_at);

-- +goose Up

-- OpenID Connect. Columns have defaults, so that the version before this one goes on serving while it is upgraded.
ALTER TABLE clients ADD COLUMN logo_uri TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN initiate_login_uri TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN application_type TEXT NOT NULL DEFAULT 'web';
ALTER TABLE clients ADD COLUMN software_id TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN software_version TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN jwks TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN jwks_uri TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN auth_alg TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN token_endpoint_audience BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN id_token_alg TEXT NOT NULL DEFAULT 'RS256';
ALTER TABLE clients ADD COLUMN userinfo_alg TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN request_object_alg TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN request_uris TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN subject_type TEXT NOT NULL DEFAULT 'public';
ALTER TABLE clients ADD COLUMN sector_identifier_uri TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN sector TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN default_max_age BIGINT;
ALTER TABLE clients ADD COLUMN require_auth_time BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN default_acr_values TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN post_logout_redirect_uris TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN backchannel_logout_uri TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN backchannel_session_required BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN id_token_claims BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN described_at BIGINT;
ALTER TABLE clients ADD COLUMN registration_hash BLOB;

ALTER TABLE users ADD COLUMN profile TEXT NOT NULL DEFAULT '{}';
ALTER TABLE users ADD COLUMN email_verified_at BIGINT;
ALTER TABLE users ADD COLUMN phone_verified_at BIGINT;

ALTER TABLE authorization_requests ADD COLUMN session_id TEXT NOT NULL DEFAULT '';
ALTER TABLE authorization_requests ADD COLUMN hint_subject TEXT NOT NULL DEFAULT '';
ALTER TABLE authorization_codes ADD COLUMN nonce TEXT NOT NULL DEFAULT '';
ALTER TABLE authorization_codes ADD COLUMN claims TEXT NOT NULL DEFAULT '';
ALTER TABLE grants ADD COLUMN claims TEXT NOT NULL DEFAULT '';

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

-- What has to reach others: inserted in the transaction of the change that it tells of, sent by any process, again and
-- again until it arrived.
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

-- The standard scopes (OIDC Core §5.4). A client may have named one before it meant anything; then it had no words.
INSERT INTO scopes (name, description, created_at) VALUES
    ('openid', 'Know that it is you', 0),
    ('profile', 'See your profile, such as your name and picture', 0),
    ('email', 'See your e-mail address', 0),
    ('address', 'See your postal address', 0),
    ('phone', 'See your phone number', 0)
ON CONFLICT (name) DO UPDATE SET description = excluded.description WHERE scopes.description = scopes.name;
UPDATE revision SET value = value + 1 WHERE id = 1;

-- The keys of ID tokens with other algorithms than access tokens have, which the version before this one cannot read.
CREATE TABLE openid_keys (
    id         TEXT   NOT NULL PRIMARY KEY,
    algorithm  TEXT   NOT NULL,
    public     TEXT   NOT NULL,
    sealed     BLOB   NOT NULL,
    created_at BIGINT NOT NULL,
    active_at  BIGINT NOT NULL,
    retires_at BIGINT,
    removed_at BIGINT
);

-- Random values that must stay what they are when the root key is rotated, sealed under it.
CREATE TABLE secrets (
    id         TEXT   NOT NULL PRIMARY KEY,
    sealed     BLOB   NOT NULL,
    created_at BIGINT NOT NULL
);

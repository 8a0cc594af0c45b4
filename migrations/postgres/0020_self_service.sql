-- +goose Up

-- terms_version: the version of the terms that the user accepted last, '' for none. deletion_at: when the account is
-- deleted because its user requested it; signing in before clears it.
ALTER TABLE users ADD COLUMN terms_version TEXT NOT NULL DEFAULT '';
ALTER TABLE users ADD COLUMN deletion_at BIGINT;
CREATE INDEX users_deletion ON users (deletion_at) WHERE deletion_at IS NOT NULL;

-- Tokens and codes in mails to users. There is one for each user, purpose and slot: a new one replaces it. slot: ''
-- except for the links that undo a change of address, of which each address has its own. hash: the SHA-256 of a token;
-- of a code the HMAC with the user and browser. email: the address that it confirms. browser_hash: the browser that
-- may use it, NULL for any. tries_left: how many codes may still be entered.
CREATE TABLE email_tokens (
    user_id      TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    purpose      TEXT   NOT NULL,
    slot         TEXT   NOT NULL,
    hash         BYTEA   NOT NULL,
    email        TEXT   NOT NULL,
    email_key    TEXT   NOT NULL,
    user_epoch   BIGINT NOT NULL,
    browser_hash BYTEA,
    tries_left   BIGINT NOT NULL,
    created_at   BIGINT NOT NULL,
    expires_at   BIGINT NOT NULL,
    used_at      BIGINT,
    PRIMARY KEY (user_id, purpose, slot)
);
CREATE UNIQUE INDEX email_tokens_hash ON email_tokens (hash);
CREATE INDEX email_tokens_expires ON email_tokens (expires_at);

-- Addresses for which a sign-up was requested, until the link in the mail to them was used. They reserve nothing: the
-- username and password are chosen afterwards. hash: the SHA-256 of the token in the link. invitation_id: '' for none.
CREATE TABLE sign_ups (
    email_key     TEXT   NOT NULL PRIMARY KEY,
    email         TEXT   NOT NULL,
    hash          BYTEA   NOT NULL,
    invitation_id TEXT   NOT NULL,
    created_at    BIGINT NOT NULL,
    expires_at    BIGINT NOT NULL,
    used_at       BIGINT
);
CREATE UNIQUE INDEX sign_ups_hash ON sign_ups (hash);
CREATE INDEX sign_ups_expires ON sign_ups (expires_at);

-- Invitations by the operator. hash: the SHA-256 of the token in the link. email: the only address that may use it, ''
-- for any. mailed: only a mail to that address has the link, so that using it proves the address. user_id: the account
-- that was created with it.
CREATE TABLE invitations (
    id         TEXT    NOT NULL PRIMARY KEY,
    hash       BYTEA    NOT NULL,
    email      TEXT    NOT NULL,
    groups     TEXT    NOT NULL,
    mailed     BOOLEAN NOT NULL,
    created_at BIGINT  NOT NULL,
    expires_at BIGINT  NOT NULL,
    used_at    BIGINT,
    user_id    TEXT    NOT NULL
);
CREATE UNIQUE INDEX invitations_hash ON invitations (hash);
CREATE INDEX invitations_expires ON invitations (expires_at);

-- Usernames of deleted users and previous addresses of users, as HMACs. Only that user may have them before until.
CREATE TABLE retired_names (
    name_mac BYTEA   NOT NULL PRIMARY KEY,
    user_id  TEXT   NOT NULL,
    until    BIGINT NOT NULL
);
CREATE INDEX retired_names_until ON retired_names (until);

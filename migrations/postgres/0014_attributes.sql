-- +goose Up

-- Attributes of users that the operator defines, and that clients get as a claim with a scope. type: string, number,
-- boolean or strings. user_access: what the user may do with it: none, read or edit. claim_key: the claim in lower
-- case. constant: the value of every user as JSON. template: a string with properties of the user, such as {username}.
-- Both empty: each user has a separate value.
CREATE TABLE attributes (
    name        TEXT   NOT NULL PRIMARY KEY,
    label       TEXT   NOT NULL,
    type        TEXT   NOT NULL,
    user_access TEXT   NOT NULL,
    claim       TEXT   NOT NULL,
    claim_key   TEXT   NOT NULL,
    scope       TEXT   NOT NULL,
    constant    TEXT   NOT NULL,
    template    TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX attributes_claim_key ON attributes (claim_key);

-- The values as JSON. Deleting an attribute or a user deletes them.
CREATE TABLE user_attributes (
    user_id   TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    attribute TEXT NOT NULL REFERENCES attributes (name) ON DELETE CASCADE,
    value     TEXT NOT NULL,
    PRIMARY KEY (user_id, attribute)
);
CREATE INDEX user_attributes_attribute ON user_attributes (attribute);

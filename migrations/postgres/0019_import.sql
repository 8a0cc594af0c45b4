-- +goose Up

-- kind: the algorithm of a hash that another system computed, '' for Gatehouse's own. It is replaced at the first
-- correct sign-in. expires_at: when a weak hash of another system becomes invalid.
ALTER TABLE passwords ADD COLUMN kind TEXT NOT NULL DEFAULT '';
ALTER TABLE passwords ADD COLUMN expires_at BIGINT;
CREATE INDEX passwords_expires ON passwords (expires_at) WHERE expires_at IS NOT NULL;

-- slow_hash: the password hash of a secret that Gatehouse did not generate, whose entropy is unknown; hash is then
-- empty. '' for a generated secret.
ALTER TABLE client_secrets ADD COLUMN slow_hash TEXT NOT NULL DEFAULT '';

-- Where imported users come from, so that an import can be repeated. source: a name of the other system, such as
-- keycloak:REALM. external_id: the user's id in it.
CREATE TABLE external_ids (
    source      TEXT   NOT NULL,
    external_id TEXT   NOT NULL,
    user_id     TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (source, external_id)
);
CREATE INDEX external_ids_user ON external_ids (user_id);

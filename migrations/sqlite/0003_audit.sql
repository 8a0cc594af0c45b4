-- +goose Up

-- Where an event came from is personal data: it is sealed under a key that personal_key makes, so that it can be erased
-- by erasing that, while the seal of the row, which covers the ciphertext alone, still holds. The columns address and
-- user_agent are filled by the version before this one only.
ALTER TABLE audit_events ADD COLUMN personal BLOB;
ALTER TABLE audit_events ADD COLUMN personal_key BLOB;
CREATE INDEX audit_events_unsealed ON audit_events (id) WHERE seal IS NULL;
CREATE INDEX audit_events_seal ON audit_events (seal, id) WHERE seal IS NOT NULL;

-- The chain of seals. Each mac covers the seal before it and the rows it sealed. retired_mac says that the operator, who has
-- the root key, let the rows go.
CREATE TABLE audit_seals (
    id          BIGINT NOT NULL PRIMARY KEY CHECK (id BETWEEN 0 AND 9007199254740992),
    row_count   BIGINT NOT NULL,
    mac         BLOB  NOT NULL,
    sealed_at   BIGINT NOT NULL,
    retired_at  BIGINT,
    retired_mac BLOB
);
INSERT INTO audit_seals (id, row_count, mac, sealed_at) VALUES (0, 0, x'', 0);

-- CIDRs a client may authenticate from; empty: anywhere.
ALTER TABLE clients ADD COLUMN allowed_networks TEXT NOT NULL DEFAULT '';

-- +goose Up

-- Whether the client's authorization requests must be signed request objects (RFC 9101 section 10.5).
ALTER TABLE clients ADD COLUMN require_signed_request_object BOOLEAN NOT NULL DEFAULT false;

-- When a dynamically registered client last got an authorization, to the day. NULL: never. Clients from before count as
-- used now.
ALTER TABLE clients ADD COLUMN last_used_at BIGINT;
UPDATE clients SET last_used_at = CAST(strftime('%s', 'now') AS INTEGER) * 1000 WHERE registration_hash IS NOT NULL;
CREATE INDEX clients_never_used ON clients (created_at) WHERE registration_hash IS NOT NULL AND last_used_at IS NULL;
CREATE INDEX clients_last_used ON clients (last_used_at) WHERE registration_hash IS NOT NULL;

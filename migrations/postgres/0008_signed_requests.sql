-- +goose NO TRANSACTION
-- +goose Up

-- Whether the client's authorization requests must be signed request objects (RFC 9101 section 10.5).
ALTER TABLE clients ADD COLUMN IF NOT EXISTS require_signed_request_object BOOLEAN NOT NULL DEFAULT false;

-- When a dynamically registered client last got an authorization, to the day. NULL: never. Clients from before count as
-- used now. An attempt that failed leaves an invalid index, which is dropped first.
ALTER TABLE clients ADD COLUMN IF NOT EXISTS last_used_at BIGINT;
UPDATE clients SET last_used_at = (extract(epoch FROM now()) * 1000)::bigint WHERE registration_hash IS NOT NULL AND last_used_at IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS clients_never_used;
CREATE INDEX CONCURRENTLY clients_never_used ON clients (created_at) WHERE registration_hash IS NOT NULL AND last_used_at IS NULL;
DROP INDEX CONCURRENTLY IF EXISTS clients_last_used;
CREATE INDEX CONCURRENTLY clients_last_used ON clients (last_used_at) WHERE registration_hash IS NOT NULL;

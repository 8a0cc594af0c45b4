-- +goose NO TRANSACTION
-- +goose Up

-- What every process asks each minute and hour must not read all secrets and all clients. An attempt that broke off
-- leaves an index that is of no use.
DROP INDEX CONCURRENTLY IF EXISTS client_secrets_expires;
CREATE INDEX CONCURRENTLY client_secrets_expires ON client_secrets (expires_at) WHERE expires_at IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS clients_access_token_ttl;
CREATE INDEX CONCURRENTLY clients_access_token_ttl ON clients (access_token_ttl) WHERE access_token_ttl IS NOT NULL;
DROP INDEX CONCURRENTLY IF EXISTS registration_tokens_expires;
CREATE INDEX CONCURRENTLY registration_tokens_expires ON registration_tokens (expires_at);

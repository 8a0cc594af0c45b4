-- +goose Up

-- What every process asks each minute and hour must not read all secrets and all clients.
CREATE INDEX client_secrets_expires ON client_secrets (expires_at) WHERE expires_at IS NOT NULL;
CREATE INDEX clients_access_token_ttl ON clients (access_token_ttl) WHERE access_token_ttl IS NOT NULL;
CREATE INDEX registration_tokens_expires ON registration_tokens (expires_at);

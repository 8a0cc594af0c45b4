-- +goose Up

-- document_hash: the SHA-256 of the client ID metadata document that the row was made from. NULL for a client that the
-- operator created or that registered itself.
ALTER TABLE clients ADD COLUMN document_hash BYTEA;
CREATE INDEX clients_document_never_used ON clients (created_at)
    WHERE document_hash IS NOT NULL AND last_used_at IS NULL;
CREATE INDEX clients_document_last_used ON clients (last_used_at) WHERE document_hash IS NOT NULL;

-- When the document of such a client was last fetched, and until when it is current.
CREATE TABLE client_documents (
    client_id  TEXT   NOT NULL PRIMARY KEY REFERENCES clients (id) ON DELETE CASCADE,
    etag       TEXT   NOT NULL,
    fetched_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL
);

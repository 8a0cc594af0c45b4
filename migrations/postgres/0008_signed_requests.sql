-- +goose Up

-- Whether the client's authorization requests must be signed request objects (RFC 9101 section 10.5).
ALTER TABLE clients ADD COLUMN require_signed_request_object BOOLEAN NOT NULL DEFAULT false;

-- +goose Up

-- Whether this server serves the metadata of the resource (RFC 9728).
ALTER TABLE resources ADD COLUMN publish_metadata BOOLEAN NOT NULL DEFAULT FALSE;

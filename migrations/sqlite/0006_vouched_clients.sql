-- +goose Up

-- vouched: the operator has checked a client that registered itself. default_resource: the resource of requests that
-- name none.
ALTER TABLE clients ADD COLUMN vouched BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN default_resource TEXT NOT NULL DEFAULT '';

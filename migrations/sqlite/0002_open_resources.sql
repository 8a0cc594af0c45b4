-- +goose Up

-- Whether clients that registered dynamically may request the resource and its scopes.
ALTER TABLE resources ADD COLUMN open_to_apps BOOLEAN NOT NULL DEFAULT FALSE;

-- +goose Up

-- confirmed_at: when the user of the session confirmed that they want to continue with a client that is not verified.
ALTER TABLE authorization_requests ADD COLUMN confirmed_at BIGINT;

-- +goose Up

-- The names of self-registered clients that were deleted, so that the page that a user sees can name the client.
CREATE TABLE deleted_clients (
    id         TEXT   NOT NULL PRIMARY KEY,
    name       TEXT   NOT NULL,
    deleted_at BIGINT NOT NULL
);
CREATE INDEX deleted_clients_deleted ON deleted_clients (deleted_at);

-- +goose Up

-- Every change to a client, secret, scope, resource or key adds a row in its transaction. Each process reads the rows that
-- are new, and drops those records from its cache. client_id is '*' when everything is to be dropped; with one writer, the
-- position is one more than the last.
CREATE TABLE changes (
    position  BIGINT NOT NULL,
    client_id TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (position, client_id)
);
CREATE INDEX changes_at ON changes (at);

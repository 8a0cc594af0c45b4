-- +goose Up

-- Every change to a client, secret, scope, resource or key adds a row in its transaction, so that no change waits for
-- another one's lock. Each process reads the rows that were committed since it last read, and drops those records from its
-- cache. client_id is '*' when everything is to be dropped; position is the id of the transaction.
CREATE TABLE changes (
    position  BIGINT NOT NULL,
    client_id TEXT   NOT NULL,
    at        BIGINT NOT NULL,
    PRIMARY KEY (position, client_id)
);
CREATE INDEX changes_at ON changes (at);

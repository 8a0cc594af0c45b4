-- +goose Up

-- The retry window of a client's refresh tokens, in milliseconds; NULL: the server's setting, 0: off.
ALTER TABLE clients ADD COLUMN refresh_grace BIGINT;

-- One row. seen_at: when a serving process last wrote here. cleanup_at: the time by which rows were last deleted.
CREATE TABLE liveness (
    id BIGINT NOT NULL PRIMARY KEY,
    seen_at BIGINT,
    cleanup_at BIGINT
);
INSERT INTO liveness (id, cleanup_at) SELECT 1, max(sealed_at) FROM audit_seals WHERE id > 0;

-- Times in which a process could not use the database, so that it could not respond.
CREATE TABLE outages (
    id TEXT NOT NULL PRIMARY KEY,
    started_at BIGINT NOT NULL,
    ended_at BIGINT NOT NULL
);
CREATE INDEX outages_ended ON outages (ended_at);

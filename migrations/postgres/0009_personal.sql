-- +goose NO TRANSACTION
-- +goose Up

-- The client's epoch when an authorization request was stored: after the client was disabled, or its tokens were revoked,
-- the request is expired.
ALTER TABLE authorization_requests ADD COLUMN IF NOT EXISTS client_epoch BIGINT;

-- The address and user agent of a session are personal data: personal seals them under a key derived from personal_key, as
-- in audit_events. The columns address and user_agent are filled only by the previous version; every process clears them and
-- finds such rows by the index. An attempt that failed leaves an invalid index, which is dropped first.
ALTER TABLE browser_sessions ADD COLUMN IF NOT EXISTS personal BYTEA;
ALTER TABLE browser_sessions ADD COLUMN IF NOT EXISTS personal_key BYTEA;
UPDATE browser_sessions SET address = '', user_agent = '';
DROP INDEX CONCURRENTLY IF EXISTS browser_sessions_clear;
CREATE INDEX CONCURRENTLY browser_sessions_clear ON browser_sessions (id) WHERE length(address || user_agent) > 0;

-- The column network is an HMAC from now on. Earlier rows have networks in clear and no longer count.
DELETE FROM sign_in_attempts;

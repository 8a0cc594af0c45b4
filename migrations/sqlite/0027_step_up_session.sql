-- +goose Up

-- session_id: the session that the sign-in makes stronger, '' for a sign-in that begins with the first factor. It
-- cannot be finished after the session has ended.
ALTER TABLE pending_sign_ins ADD COLUMN session_id TEXT NOT NULL DEFAULT '';

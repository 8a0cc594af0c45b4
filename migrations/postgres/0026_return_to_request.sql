-- +goose Up

-- request_id: the authorization request in which the link was requested, '' for none. The user continues with it in the
-- browser that has claimed it.
ALTER TABLE email_tokens ADD COLUMN request_id TEXT NOT NULL DEFAULT '';
ALTER TABLE sign_ups ADD COLUMN request_id TEXT NOT NULL DEFAULT '';

-- email_key: the normalized address, by which a sign-up finds the invitation of its address.
ALTER TABLE invitations ADD COLUMN email_key TEXT NOT NULL DEFAULT '';
UPDATE invitations SET email_key = lower(email);
CREATE INDEX invitations_email ON invitations (email_key) WHERE email_key <> '';

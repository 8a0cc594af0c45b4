-- +goose Up

-- The redirect URI that the consent page named when the user last agreed: the account page shows its host. Empty: the
-- consent is older than the column, or the operator skips consent for the client.
ALTER TABLE consents ADD COLUMN redirect_uri TEXT NOT NULL DEFAULT '';

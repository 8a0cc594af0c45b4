-- +goose Up

-- Which scopes a consent covers at which APIs, and which optional ones the user refused: each value is the identifier of a
-- resource, which has no #, then # and a scope or claim:NAME. The identifier is empty for a scope of no API; the scope is
-- empty for access to the API itself. NULL: stored by the previous version, which had only scopes.
ALTER TABLE consents ADD COLUMN resource_scopes TEXT;
ALTER TABLE consents ADD COLUMN refused TEXT NOT NULL DEFAULT '';

-- NULL: selected, except for self-registered clients.
ALTER TABLE clients ADD COLUMN optional_scopes_selected BOOLEAN;

-- When the chosen user signed in for this request, and when that user allowed it although the sign-in was too old to
-- issue a code.
ALTER TABLE authorization_requests ADD COLUMN signed_in_at BIGINT;
ALTER TABLE authorization_requests ADD COLUMN approved_at BIGINT;

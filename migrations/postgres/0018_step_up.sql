-- +goose Up

-- required_acr: the weakest acr that is enough for the client, for tokens for the resource, or for members of the
-- group; empty: any. max_auth_age: how many seconds ago the user may have signed in; 0: any time.
ALTER TABLE clients ADD COLUMN required_acr TEXT NOT NULL DEFAULT '';
ALTER TABLE resources ADD COLUMN required_acr TEXT NOT NULL DEFAULT '';
ALTER TABLE resources ADD COLUMN max_auth_age BIGINT NOT NULL DEFAULT 0;

-- enrol_until: until when members without the factors may postpone adding them; NULL: they may not.
ALTER TABLE groups ADD COLUMN required_acr TEXT NOT NULL DEFAULT '';
ALTER TABLE groups ADD COLUMN enrol_until BIGINT;

-- When the user of the session chose to add factors later; NULL since the last sign-in.
ALTER TABLE browser_sessions ADD COLUMN enrolment_postponed_at BIGINT;

-- +goose Up

-- required_acr: the weakest acr that is enough for users with the role; empty: any. enrol_until: until when those
-- without the factors may postpone adding them; NULL: they may not.
ALTER TABLE roles ADD COLUMN required_acr TEXT NOT NULL DEFAULT '';
ALTER TABLE roles ADD COLUMN enrol_until BIGINT;

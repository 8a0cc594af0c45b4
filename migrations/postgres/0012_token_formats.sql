-- +goose Up

-- The headers typ and alg of the access tokens of the resource; empty: the default.
ALTER TABLE resources ADD COLUMN token_typ TEXT NOT NULL DEFAULT '';
ALTER TABLE resources ADD COLUMN token_alg TEXT NOT NULL DEFAULT '';

-- +goose Up

-- The command that created the database: dev for `gatehouse dev`, which refuses any other database.
ALTER TABLE revision ADD COLUMN created_by TEXT;

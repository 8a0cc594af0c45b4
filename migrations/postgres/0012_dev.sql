-- +goose Up

-- What created the database: dev for `gatehouse dev`, which works on no other one.
ALTER TABLE revision ADD COLUMN created_by TEXT;

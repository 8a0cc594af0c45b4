-- +goose Up
-- What PostgreSQL gains here SQLite has: see the other file of this number.
SELECT 1;

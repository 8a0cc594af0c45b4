-- +goose Up

-- language: of the email of the invitation and of the pages that its link opens, '' for none.
ALTER TABLE invitations ADD COLUMN language TEXT NOT NULL DEFAULT '';

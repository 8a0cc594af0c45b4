-- +goose Up

-- preregistered: the operator registered the client of a client ID metadata document in advance. operator_members: the
-- members of the document that the operator has set.
ALTER TABLE clients ADD COLUMN preregistered BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE clients ADD COLUMN operator_members TEXT NOT NULL DEFAULT '';

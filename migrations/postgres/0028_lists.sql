-- +goose Up

-- The words by which users and clients are found: parts of their names, addresses and ids, folded. The order of the
-- bytes is the same in every database, and ranges of it are prefixes.
CREATE TABLE user_terms (
    record_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    term      TEXT NOT NULL COLLATE "C",
    PRIMARY KEY (record_id, term)
);
CREATE INDEX user_terms_by_term ON user_terms (term, record_id COLLATE "C");

CREATE TABLE client_terms (
    record_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    term      TEXT NOT NULL COLLATE "C",
    PRIMARY KEY (record_id, term)
);
CREATE INDEX client_terms_by_term ON client_terms (term, record_id COLLATE "C");

-- Lists are read a page at a time in the order of names.
CREATE INDEX users_by_username ON users (username_key COLLATE "C", id COLLATE "C");
CREATE INDEX clients_by_name ON clients (lower(name) COLLATE "C", id COLLATE "C");

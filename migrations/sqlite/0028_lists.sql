-- +goose Up

-- The words by which users and clients are found: parts of their names, addresses and ids, folded. Ranges of the order
-- of the bytes are prefixes.
CREATE TABLE user_terms (
    record_id TEXT NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    term      TEXT NOT NULL,
    PRIMARY KEY (record_id, term)
) WITHOUT ROWID;
CREATE INDEX user_terms_by_term ON user_terms (term, record_id);

CREATE TABLE client_terms (
    record_id TEXT NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    term      TEXT NOT NULL,
    PRIMARY KEY (record_id, term)
) WITHOUT ROWID;
CREATE INDEX client_terms_by_term ON client_terms (term, record_id);

-- Lists are read a page at a time in the order of names.
CREATE INDEX users_by_username ON users (username_key, id);
CREATE INDEX clients_by_name ON clients (lower(name), id);

-- +goose Up

-- mail: which mail a delivery of the kind mail is, such as reset_password. sealed: its recipient and values, sealed
-- under a derived key and bound to the row.
ALTER TABLE deliveries ADD COLUMN mail TEXT NOT NULL DEFAULT '';
ALTER TABLE deliveries ADD COLUMN sealed BLOB;

-- Addresses that the mail server rejected permanently, as the MAC of the address. No mail is sent to them before until.
CREATE TABLE mail_pauses (
    address_mac BLOB   NOT NULL PRIMARY KEY,
    created_at  BIGINT NOT NULL,
    until       BIGINT NOT NULL
);
CREATE INDEX mail_pauses_until ON mail_pauses (until);

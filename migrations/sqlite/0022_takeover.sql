-- +goose Up

-- sign_in_epoch: raised when the password changes and when the user reports an event of another. Sign-ins that began
-- before fail, and browsers in which the user signed in before are unknown.
ALTER TABLE users ADD COLUMN sign_in_epoch BIGINT NOT NULL DEFAULT 0;

-- second_factor_since: since when the user has had a second factor without interruption, in the row of each second
-- factor; 0 for those from before this column.
ALTER TABLE totp_secrets ADD COLUMN second_factor_since BIGINT NOT NULL DEFAULT 0;
ALTER TABLE passkeys ADD COLUMN second_factor_since BIGINT NOT NULL DEFAULT 0;

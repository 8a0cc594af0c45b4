-- +goose Up

-- groups_claim: whether access tokens for the resource have the groups of the user. claim_groups: which of them it
-- gets; empty: all.
ALTER TABLE resources ADD COLUMN groups_claim BOOLEAN NOT NULL DEFAULT FALSE;
ALTER TABLE resources ADD COLUMN claim_groups TEXT NOT NULL DEFAULT '';

-- groups_claim_name: the name of the claim of groups for the client; empty: groups. groups_prefix: what the names of
-- groups begin with in it.
ALTER TABLE clients ADD COLUMN groups_claim_name TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN groups_prefix TEXT NOT NULL DEFAULT '';

-- +goose Up

-- Groups of users. name_key: the name in lower case, so that two names differ in more than case. Deleting a group or a
-- user deletes the memberships.
CREATE TABLE groups (
    name        TEXT   NOT NULL PRIMARY KEY,
    name_key    TEXT   NOT NULL,
    description TEXT   NOT NULL,
    created_at  BIGINT NOT NULL
);
CREATE UNIQUE INDEX groups_name_key ON groups (name_key);

CREATE TABLE group_members (
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    group_name TEXT   NOT NULL REFERENCES groups (name) ON DELETE CASCADE,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, group_name)
);
CREATE INDEX group_members_group ON group_members (group_name);

-- claim_groups: the groups that the client gets of those of a user; empty: all. required_groups: a user in none of
-- them has no access; empty: every user has.
ALTER TABLE clients ADD COLUMN claim_groups TEXT NOT NULL DEFAULT '';
ALTER TABLE clients ADD COLUMN required_groups TEXT NOT NULL DEFAULT '';

INSERT INTO scopes (name, description, created_at) VALUES ('groups', 'See the groups that you are in', 0)
    ON CONFLICT (name) DO NOTHING;

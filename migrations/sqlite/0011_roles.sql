-- +goose Up

-- Roles of users, groups and clients at a resource. Deleting a resource, role, user, group or client deletes the
-- assignments.
CREATE TABLE roles (
    resource    TEXT   NOT NULL REFERENCES resources (identifier) ON DELETE CASCADE,
    name        TEXT   NOT NULL,
    description TEXT   NOT NULL,
    created_at  BIGINT NOT NULL,
    PRIMARY KEY (resource, name)
);

CREATE TABLE role_users (
    user_id    TEXT   NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    resource   TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (user_id, resource, role),
    FOREIGN KEY (resource, role) REFERENCES roles (resource, name) ON DELETE CASCADE
);
CREATE INDEX role_users_role ON role_users (resource, role);

CREATE TABLE role_groups (
    group_name TEXT   NOT NULL REFERENCES groups (name) ON DELETE CASCADE,
    resource   TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (group_name, resource, role),
    FOREIGN KEY (resource, role) REFERENCES roles (resource, name) ON DELETE CASCADE
);
CREATE INDEX role_groups_role ON role_groups (resource, role);

CREATE TABLE role_clients (
    client_id  TEXT   NOT NULL REFERENCES clients (id) ON DELETE CASCADE,
    resource   TEXT   NOT NULL,
    role       TEXT   NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (client_id, resource, role),
    FOREIGN KEY (resource, role) REFERENCES roles (resource, name) ON DELETE CASCADE
);
CREATE INDEX role_clients_role ON role_clients (resource, role);

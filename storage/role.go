package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Role is a role at a resource, which its access tokens name.
type Role struct {
	Resource    string `json:"resource" gorm:"primaryKey"` // its identifier
	Name        string `json:"name" gorm:"primaryKey"`
	Description string `json:"description,omitempty"`

	SignInRequirement

	CreatedAt time.Time `json:"created_at" gorm:"serializer:millis;autoCreateTime:false"`
}

// RoleUser is a role of a user.
type RoleUser struct {
	UserID    string    `gorm:"primaryKey"`
	Resource  string    `gorm:"primaryKey"`
	Role      string    `gorm:"primaryKey"`
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

// RoleGroup is a role of the members of a group.
type RoleGroup struct {
	GroupName string    `gorm:"primaryKey"`
	Resource  string    `gorm:"primaryKey"`
	Role      string    `gorm:"primaryKey"`
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

// RoleClient is a role of a client in the tokens that it gets for itself.
type RoleClient struct {
	ClientID  string    `gorm:"primaryKey"`
	Resource  string    `gorm:"primaryKey"`
	Role      string    `gorm:"primaryKey"`
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

// MaxRoles is the number of roles that a resource can have, so that a token with all of them is not too large.
const MaxRoles = 100

// ErrTooManyRoles is returned by CreateRole for a resource that has MaxRoles.
var ErrTooManyRoles = errors.New("a resource has at most 100 roles")

// Assignees are the holders of a role, or those to whom it is assigned.
type Assignees struct {
	Users   []string // ids
	Groups  []string // names
	Clients []string // ids
}

// roleTables returns the tables of the assignments with the column of the holder.
func (a Assignees) roleTables() []roleTable {
	return []roleTable{
		{"role_users", "user_id", "users", "id", a.Users}, {"role_groups", "group_name", "groups", "name", a.Groups},
		{"role_clients", "client_id", "clients", "id", a.Clients},
	}
}

type roleTable struct {
	table, column string
	holders, key  string // the table of the holders and its key
	ids           []string
}

// event returns the event of a change of a role, or of the assignment to a holder.
func (t roleTable) event(event string, r Role, id string) audit.Event {
	e := roleEvent(event, r)
	switch t.holders {
	case "users":
		e.UserID = id
	case "clients":
		e.ClientID = id
	default:
		e.Detail["group"] = id
	}
	return e
}

func roleEvent(event string, r Role) audit.Event {
	return audit.Event{Type: event, Detail: map[string]any{"resource": r.Resource, "role": r.Name}}
}

// Roles returns the roles of a resource, or of every resource with "", by resource and name.
func (s *Store) Roles(ctx context.Context, resource string) ([]Role, error) {
	out, err := db.List[Role](ctx, s.Read, "resource, name", "resource = ? OR ? = ''", resource, resource)
	return out, db.Wrap("list roles", err)
}

// RoleAssignees returns the holders of a role. It returns ErrNotFound when there is no such role.
func (s *Store) RoleAssignees(ctx context.Context, resource, name string) (a Assignees, err error) {
	if _, err := db.Take[Role](ctx, s.Read, "resource = ? AND name = ?", resource, name); err != nil {
		return a, db.Wrap("read role", err)
	}
	for _, t := range []struct {
		query string
		ids   *[]string
	}{
		{"SELECT user_id FROM role_users", &a.Users}, {"SELECT group_name FROM role_groups", &a.Groups},
		{"SELECT client_id FROM role_clients", &a.Clients},
	} {
		*t.ids, err = db.Select[string](ctx, s.Read, t.query+" WHERE resource = ? AND role = ?", resource, name)
		if err != nil {
			return a, db.Wrap("list holders of a role", err)
		}
	}
	return a, nil
}

// UserRoles returns the names of the roles of a user at a resource, those of groups included.
func (s *Store) UserRoles(ctx context.Context, resource, userID string) ([]string, error) {
	out, err := db.Select[string](ctx, s.Read, `SELECT role FROM role_users WHERE user_id = ? AND resource = ?
		UNION SELECT role_groups.role FROM group_members
			JOIN role_groups ON role_groups.group_name = group_members.group_name
			WHERE group_members.user_id = ? AND role_groups.resource = ?`, userID, resource, userID, resource)
	return out, db.Wrap("read roles of a user", err)
}

// ClientRoles returns the names of the roles of a client at a resource.
func (s *Store) ClientRoles(ctx context.Context, resource, clientID string) ([]string, error) {
	out, err := db.Select[string](
		ctx, s.Read, "SELECT role FROM role_clients WHERE client_id = ? AND resource = ?", clientID, resource,
	)
	return out, db.Wrap("read roles of a client", err)
}

// CreateRole adds a role. It returns ErrNotFound when there is no such resource, ErrConflict when it has the role, and
// ErrTooManyRoles when it can have no more.
func (s *Store) CreateRole(ctx context.Context, r Role) error {
	var refused error
	e := roleEvent(audit.RoleCreated, r)
	r.record(e, SignInRequirement{})
	err := s.changeShared(ctx, e, func(tx *Store) error {
		refused = nil
		if err := tx.lockRows(ctx, "resources", "identifier = ?", r.Resource); err != nil {
			return err
		}
		if _, err := db.Take[Resource](ctx, tx.Write, "identifier = ?", r.Resource); err != nil {
			return err
		}
		var n int
		err := db.QueryRow(ctx, tx.Write, []any{&n}, "SELECT count(*) FROM roles WHERE resource = ?", r.Resource)
		if err != nil {
			return err
		}
		if n >= MaxRoles {
			refused = ErrTooManyRoles
			return refused
		}
		return db.Insert(ctx, tx.Write, &r)
	})
	if refused != nil {
		return refused
	}
	return db.Wrap("create role", err)
}

// UpdateRole calls change with the stored role and stores its description and requirement. It returns ErrNotFound, or
// the error of change.
func (s *Store) UpdateRole(ctx context.Context, resource, name string, change func(r *Role) error) error {
	e := roleEvent(audit.RoleUpdated, Role{Resource: resource, Name: name})
	requirement := func(r *Role) *SignInRequirement { return &r.SignInRequirement }
	return updateRequirement(ctx, s, e, requirement, change, "roles", "resource = ? AND name = ?", resource, name)
}

// DeleteRole removes a role with its assignments, or returns ErrNotFound.
func (s *Store) DeleteRole(ctx context.Context, resource, name string) error {
	e := roleEvent(audit.RoleDeleted, Role{Resource: resource, Name: name})
	return db.Wrap("delete role", s.changeShared(ctx, e, func(tx *Store) error {
		return db.ExecOne(ctx, tx.Write, "DELETE FROM roles WHERE resource = ? AND name = ?", resource, name)
	}))
}

// GrantRole grants a role to users, groups and clients, in one transaction. A holder that has it keeps it, without an
// event, and one that was deleted in the meantime gets nothing. It returns ErrNotFound when there is no such role.
func (s *Store) GrantRole(ctx context.Context, resource, name string, to Assignees) error {
	return s.changeAssignees(ctx, resource, name, to, func(tx *Store, t roleTable, id string) error {
		insert := "INSERT INTO " + t.table + " (" + t.column + ", resource, role, created_at) SELECT " + t.key +
			", ?, ?, CAST(? AS BIGINT) FROM " + t.holders + " WHERE " + t.key + " = ? ON CONFLICT DO NOTHING"
		return db.ExecOne(ctx, tx.Write, insert, resource, name, db.Millis(s.Now()), id)
	}, audit.RoleGranted)
}

// RevokeRole revokes a role of users, groups and clients, in one transaction. One that does not have it causes no
// event. It returns ErrNotFound when there is no such role.
func (s *Store) RevokeRole(ctx context.Context, resource, name string, from Assignees) error {
	return s.changeAssignees(ctx, resource, name, from, func(tx *Store, t roleTable, id string) error {
		return db.ExecOne(ctx, tx.Write,
			"DELETE FROM "+t.table+" WHERE "+t.column+" = ? AND resource = ? AND role = ?", id, resource, name)
	}, audit.RoleRevoked)
}

// changeAssignees calls change for every holder and records the event, unless change returns ErrNotFound because it
// changed nothing.
func (s *Store) changeAssignees(
	ctx context.Context, resource, name string, holders Assignees,
	change func(tx *Store, t roleTable, id string) error, event string,
) error {
	return db.Wrap("change holders of a role", s.Tx(ctx, func(tx *Store) error {
		r, err := db.Take[Role](ctx, tx.Write, "resource = ? AND name = ?", resource, name)
		if err != nil {
			return err
		}
		for _, t := range holders.roleTables() {
			for _, id := range t.ids {
				err := change(tx, t, id)
				if errors.Is(err, ErrNotFound) {
					continue
				}
				if err == nil {
					err = tx.Audit.Record(ctx, t.event(event, r, id))
				}
				if err != nil {
					return err
				}
			}
		}
		return nil
	}))
}

package storage

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Group is a named set of users.
type Group struct {
	Name        string `json:"name" gorm:"primaryKey"`
	NameKey     string `json:"-"` // the name in lower case, unique
	Description string `json:"description,omitempty"`

	SignInRequirement

	CreatedAt time.Time `json:"created_at" gorm:"serializer:millis;autoCreateTime:false"`
}

// GroupMember is the membership of a user in a group.
type GroupMember struct {
	UserID    string    `gorm:"primaryKey"`
	GroupName string    `gorm:"primaryKey"`
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

// GroupPattern is the end of an item of a list that stands for all groups whose names begin with the rest of it.
const GroupPattern = "*"

// MatchesGroup reports whether a list of groups, or of patterns, has the group.
func MatchesGroup(list Strings, name string) bool {
	return slices.ContainsFunc(list, func(item string) bool {
		start, isPattern := strings.CutSuffix(item, GroupPattern)
		return item == name || isPattern && strings.HasPrefix(name, start)
	})
}

// groupEvent returns the event of a change of a group, or of the membership of a user in it.
func groupEvent(event, name, userID string) audit.Event {
	return audit.Event{Type: event, UserID: userID, Detail: map[string]any{"group": name}}
}

// Groups returns all groups by name.
func (s *Store) Groups(ctx context.Context) ([]Group, error) {
	out, err := db.List[Group](ctx, s.Read, "name", "1 = 1")
	return out, db.Wrap("list groups", err)
}

// Group returns a group by name, or ErrNotFound.
func (s *Store) Group(ctx context.Context, name string) (Group, error) {
	g, err := db.Take[Group](ctx, s.Read, "name = ?", name)
	return g, db.Wrap("read group", err)
}

// GroupMembers returns up to limit members of a group by id, beginning after the given one.
func (s *Store) GroupMembers(ctx context.Context, name, after string, limit int) ([]User, error) {
	out, err := db.ListLimit[User](ctx, s.Read, limit, "id",
		"id > ? AND id IN (SELECT user_id FROM group_members WHERE group_name = ?)", after, name)
	return out, db.Wrap("list members of a group", err)
}

// UserGroups returns the names of the groups that a user is in.
func (s *Store) UserGroups(ctx context.Context, userID string) ([]string, error) {
	out, err := db.Select[string](ctx, s.Read, "SELECT group_name FROM group_members WHERE user_id = ?", userID)
	return out, db.Wrap("read groups of a user", err)
}

// hasRequiredGroup returns the condition that a user is in one of the groups that the client of the query requires, if
// it requires any. Removing the name from the list changes the list only if it has the name: both engines have
// replace, but no other function in common that finds a string without patterns.
func hasRequiredGroup(userID string) string {
	const list = "' ' || clients.required_groups || ' '"
	return `(clients.required_groups = '' OR EXISTS (SELECT 1 FROM group_members
		WHERE group_members.user_id = ` + userID + `
		AND replace(` + list + `, ' ' || group_members.group_name || ' ', '') <> ` + list + `))`
}

// HasRequiredGroup reports whether a user is in one of the groups that the client requires, if it requires any.
func (s *Store) HasRequiredGroup(ctx context.Context, c *Client, userID string) (bool, error) {
	if len(c.RequiredGroups) == 0 {
		return true, nil
	}
	groups, err := s.UserGroups(ctx, userID)
	return slices.ContainsFunc(groups, c.RequiredGroups.Has), err
}

// CreateGroup adds a group, or returns ErrConflict when there is one with the name in any case.
func (s *Store) CreateGroup(ctx context.Context, g Group) error {
	g.NameKey = strings.ToLower(g.Name)
	e := groupEvent(audit.GroupCreated, g.Name, "")
	g.record(e, SignInRequirement{})
	return db.Wrap("create group", s.Tx(ctx, func(tx *Store) error {
		if err := db.Insert(ctx, tx.Write, &g); err != nil {
			return err
		}
		if g.RequiredACR != "" { // otherwise nothing that is cached changes
			tx.recordSharedChange()
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// UpdateGroup calls change with the stored group and stores its description and requirement. It returns ErrNotFound, or
// the error of change.
func (s *Store) UpdateGroup(ctx context.Context, name string, change func(g *Group) error) error {
	requirement := func(g *Group) *SignInRequirement { return &g.SignInRequirement }
	return updateRequirement(ctx, s, groupEvent(audit.GroupUpdated, name, ""), requirement, change,
		"groups", "name = ?", name)
}

// DeleteGroup removes a group with its memberships, or returns ErrNotFound.
func (s *Store) DeleteGroup(ctx context.Context, name string) error {
	return db.Wrap("delete group", s.changeShared(ctx, groupEvent(audit.GroupDeleted, name, ""), func(tx *Store) error {
		return db.ExecOne(ctx, tx.Write, "DELETE FROM groups WHERE name = ?", name)
	}))
}

// AddGroupMembers adds users to a group, in one transaction. A user who is in it already stays in it, without an event.
// It returns ErrNotFound when there is no such group, or no longer such a user.
func (s *Store) AddGroupMembers(ctx context.Context, name string, userIDs []string) error {
	return db.Wrap("add to a group", s.Tx(ctx, func(tx *Store) error {
		if _, err := db.Take[Group](ctx, tx.Write, "name = ?", name); err != nil {
			return err
		}
		for _, id := range userIDs {
			if err := tx.addGroupMember(ctx, name, id); err != nil {
				return err
			}
		}
		return nil
	}))
}

func (s *Store) addGroupMember(ctx context.Context, name, userID string) error {
	if _, err := db.Take[User](ctx, s.Write, "id = ?", userID); err != nil {
		return err
	}
	err := db.ExecOne(ctx, s.Write, `INSERT INTO group_members (user_id, group_name, created_at) VALUES (?, ?, ?)
		ON CONFLICT (user_id, group_name) DO NOTHING`, userID, name, db.Millis(s.Now()))
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return s.Audit.Record(ctx, groupEvent(audit.GroupMemberAdded, name, userID))
}

// RemoveGroupMembers removes users from a group, in one transaction. It returns ErrNotFound when there is no such
// group. A user who is not in it changes nothing and causes no event.
func (s *Store) RemoveGroupMembers(ctx context.Context, name string, userIDs []string) error {
	return db.Wrap("remove from a group", s.Tx(ctx, func(tx *Store) error {
		if _, err := db.Take[Group](ctx, tx.Write, "name = ?", name); err != nil {
			return err
		}
		for _, id := range userIDs {
			err := db.ExecOne(ctx, tx.Write, "DELETE FROM group_members WHERE user_id = ? AND group_name = ?", id, name)
			if errors.Is(err, ErrNotFound) {
				continue
			}
			if err == nil {
				err = tx.Audit.Record(ctx, groupEvent(audit.GroupMemberRemoved, name, id))
			}
			if err != nil {
				return err
			}
		}
		return nil
	}))
}

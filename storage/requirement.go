package storage

import (
	"context"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// SignInRequirement is how the users with a group or a role must sign in, whatever the client.
type SignInRequirement struct {
	// The weakest acr that is enough, empty: any; and until when users without the factors may postpone adding them,
	// nil: they may not.
	RequiredACR string     `json:"required_acr,omitempty" gorm:"column:required_acr"`
	EnrolUntil  *time.Time `json:"enrol_until,omitempty" gorm:"serializer:millis"`
}

// record adds the requirement to the event of a change, unless there is none before and after it.
func (r *SignInRequirement) record(e audit.Event, before SignInRequirement) {
	delete(e.Detail, "required_acr") // of a transaction that was retried
	delete(e.Detail, "enrol_until")
	if r.RequiredACR != "" || before.RequiredACR != "" {
		e.Detail["required_acr"], e.Detail["enrol_until"] = r.RequiredACR, r.EnrolUntil
	}
}

// updateRequirement calls change with the stored group or role, and stores its description and requirement. It returns
// ErrNotFound, or the error of change.
func updateRequirement[T any](
	ctx context.Context, s *Store, e audit.Event, requirement func(record *T) *SignInRequirement,
	change func(record *T) error, table, where string, args ...any,
) error {
	var refused error // by change
	err := s.changeShared(ctx, e, func(tx *Store) error {
		refused = nil
		if err := tx.lockRows(ctx, table, where, args...); err != nil {
			return err
		}
		record, err := db.Take[T](ctx, tx.Write, where, args...)
		if err != nil {
			return err
		}
		after := requirement(&record)
		before := *after
		if refused = change(&record); refused != nil {
			return refused
		}
		if after.RequiredACR == "" {
			after.EnrolUntil = nil
		}
		after.record(e, before)
		return db.Update(ctx, tx.Write, &record, []string{"description", "required_acr", "enrol_until"}, where, args...)
	})
	if refused != nil {
		return refused
	}
	return db.Wrap("update "+table, err)
}

// lockRows serializes changes that read rows and write them back.
func (s *Store) lockRows(ctx context.Context, table, where string, args ...any) error {
	if s.Engine() != Postgres {
		return nil // the transaction holds the only lock
	}
	return db.Exec(ctx, s.Write, "SELECT 1 FROM "+table+" WHERE "+where+" FOR UPDATE", args...)
}

// UserRequirements returns the requirements of the groups of a user and of the roles of the user, those of groups
// included. While no group and no role has a requirement, it reads nothing.
func (s *Store) UserRequirements(ctx context.Context, userID string) ([]SignInRequirement, error) {
	if exist, err := s.requirementsExist(ctx); err != nil || !exist {
		return nil, err
	}
	const roles = " JOIN roles ON roles.resource = assigned.resource AND roles.name = assigned.role "
	out, err := db.Select[SignInRequirement](ctx, s.Read, `
		SELECT groups.required_acr, groups.enrol_until
			FROM group_members JOIN groups ON groups.name = group_members.group_name
			WHERE group_members.user_id = ? AND groups.required_acr <> ''
		UNION SELECT roles.required_acr, roles.enrol_until FROM role_users AS assigned`+roles+`
			WHERE assigned.user_id = ? AND roles.required_acr <> ''
		UNION SELECT roles.required_acr, roles.enrol_until
			FROM group_members JOIN role_groups AS assigned ON assigned.group_name = group_members.group_name`+roles+`
			WHERE group_members.user_id = ? AND roles.required_acr <> ''`, userID, userID, userID)
	return out, db.Wrap("read requirements of a user", err)
}

// requirementsExist reports whether a group or a role has a requirement.
func (s *Store) requirementsExist(ctx context.Context) (bool, error) {
	return cached(s,
		func(c *cache) (exist, ok bool) {
			return c.requirements != nil && *c.requirements, c.requirements != nil
		},
		func() (exist bool, err error) {
			err = db.QueryRow(ctx, s.Read, []any{&exist}, `SELECT EXISTS (SELECT 1 FROM groups WHERE required_acr <> '')
				OR EXISTS (SELECT 1 FROM roles WHERE required_acr <> '')`)
			return exist, db.Wrap("find requirements", err)
		},
		func(c *cache, exist bool) { c.requirements = &exist })
}

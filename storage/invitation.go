package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Invitation lets one user create an account, which then is in its groups.
type Invitation struct {
	ID        string     `json:"id"`
	Hash      []byte     `json:"-"`               // SHA-256 of the token in the link
	Email     string     `json:"email,omitempty"` // the only address that may use it; empty: any
	EmailKey  string     `json:"-"`
	Groups    Strings    `json:"groups,omitempty"`
	Mailed    bool       `json:"mailed"`             // only an email to Email has the link: using it proves the address
	Language  string     `json:"language,omitempty"` // BCP 47, of the email and of the pages that the link opens
	CreatedAt time.Time  `json:"created_at" gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt time.Time  `json:"expires_at" gorm:"serializer:millis"`
	UsedAt    *time.Time `json:"used_at,omitempty" gorm:"serializer:millis"`
	UserID    string     `json:"sub,omitempty"` // of the account that was created with it
}

var invitationRow = db.NewRecord[Invitation]("invitations")

// CreateInvitation stores an invitation and, if it is mailed, queues the email. It returns ErrNotFound when there is no
// group with one of the names.
func (s *Store) CreateInvitation(ctx context.Context, i *Invitation, m Mail) error {
	e := audit.Event{
		Type: audit.InvitationCreated, Token: audit.HashReference(i.Hash),
		Detail: map[string]any{"id": i.ID, "groups": []string(i.Groups)},
	}
	return db.Wrap("create an invitation", s.Tx(ctx, func(tx *Store) error {
		for _, name := range i.Groups {
			if _, err := tx.Group(ctx, name); err != nil {
				return err
			}
		}
		if err := db.Insert(ctx, tx.Write, i); err != nil {
			return err
		}
		if m.Token = i.Hash; i.Mailed {
			if err := tx.QueueMail(ctx, m); err != nil {
				return err
			}
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// Invitations returns the invitations, the newest first. Expired ones are deleted after a day.
func (s *Store) Invitations(ctx context.Context) ([]Invitation, error) {
	out, err := db.List[Invitation](ctx, s.Read, "created_at DESC, id", "1 = 1")
	return out, db.Wrap("list invitations", err)
}

// DeleteInvitation revokes an invitation that was not used, or returns ErrNotFound.
func (s *Store) DeleteInvitation(ctx context.Context, id string) error {
	return db.Wrap("delete an invitation", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write, "DELETE FROM invitations WHERE id = ? AND used_at IS NULL", id); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.InvitationRevoked, Detail: map[string]any{"id": id}})
	}))
}

// Invitation returns the invitation with a hash, which it does not use, or a *RefusalError when it cannot be used.
func (s *Store) Invitation(ctx context.Context, hash []byte) (Invitation, error) {
	i, err := db.Take[Invitation](ctx, s.Write, "hash = ? AND used_at IS NULL AND expires_at > ?", hash,
		db.Millis(s.Now()))
	if errors.Is(err, ErrNotFound) {
		err = s.linkRefusal(ctx, "invitations", hash)
	}
	return i, db.Wrap("read an invitation", err)
}

// AcceptInvitation consumes an invitation that names an address, and creates the user with that address and its groups.
// It returns a *RefusalError when it cannot be used, and ErrConflict when the username or address is taken; the
// invitation can then be used again.
func (s *Store) AcceptInvitation(ctx context.Context, hash []byte, u *User, passwordHash string) error {
	return db.Wrap("accept an invitation", s.Tx(ctx, func(tx *Store) error {
		i, err := tx.useInvitation(ctx, u, "email <> '' AND hash = ?", hash)
		if errors.Is(err, ErrNotFound) {
			return tx.linkRefusal(ctx, "invitations", hash)
		}
		if err != nil {
			return err
		}
		return tx.insertSignedUp(ctx, u, passwordHash, i.Groups, i.ID)
	}))
}

// useInvitation consumes an invitation in the current transaction, or returns ErrNotFound.
func (s *Store) useInvitation(ctx context.Context, u *User, where string, args ...any) (i Invitation, err error) {
	now := db.Millis(s.Now())
	err = db.QueryRow(ctx, s.Write, invitationRow.Targets(&i), `UPDATE invitations SET used_at = ?, user_id = ?
		WHERE used_at IS NULL AND expires_at > ? AND (email IN ('', ?) OR email_key = ?) AND `+where+
		` RETURNING `+invitationRow.Columns(), append([]any{now, u.ID, now, u.Email, u.EmailKey}, args...)...)
	return i, err
}

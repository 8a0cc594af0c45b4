package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// SignUp is an address for which a sign-up was requested, until the link in the email to it was used. It reserves
// nothing.
type SignUp struct {
	EmailKey     string `gorm:"primaryKey"`
	Email        string
	Hash         []byte     // SHA-256 of the token in the link
	InvitationID string     // empty: none
	RequestID    string     // of the AuthorizationRequest in which it was requested; empty: none
	CreatedAt    time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt    time.Time  `gorm:"serializer:millis"`
	UsedAt       *time.Time `gorm:"serializer:millis"`
}

var signUpRow = db.NewRecord[SignUp]("sign_ups")

// CreateSignUp stores a sign-up, replaces the previous one of the address, and queues the email with the link. With no
// sign-up, because the address has an account, it does the same work and stores nothing.
func (s *Store) CreateSignUp(ctx context.Context, signUp *SignUp, m Mail) error {
	e := audit.Event{Type: audit.UserSignUpRequested}
	return db.Wrap("create a sign-up", s.Tx(ctx, func(tx *Store) error {
		var err error
		if signUp == nil {
			e.Detail, e.UserID = map[string]any{"reason": "the address has an account"}, m.UserID
			err = db.Exec(ctx, tx.Write, "UPDATE sign_ups SET used_at = used_at WHERE email_key = ''")
		} else {
			e.Token, m.Token = audit.HashReference(signUp.Hash), signUp.Hash
			err = db.Exec(
				ctx, tx.Write, `INSERT INTO sign_ups (email_key, email, hash, invitation_id, request_id, created_at,
					expires_at) VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (email_key) DO UPDATE SET email = excluded.email,
					hash = excluded.hash, invitation_id = excluded.invitation_id, request_id = excluded.request_id,
					created_at = excluded.created_at, expires_at = excluded.expires_at, used_at = NULL`,
				signUp.EmailKey, signUp.Email, signUp.Hash, signUp.InvitationID, signUp.RequestID, db.Millis(signUp.CreatedAt),
				db.Millis(signUp.ExpiresAt),
			)
		}
		if err != nil {
			return err
		}
		if err := tx.QueueMail(ctx, m); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// SignUp returns the sign-up with a hash, which it does not use, or a *RefusalError when it cannot be used.
func (s *Store) SignUp(ctx context.Context, hash []byte) (SignUp, error) {
	v, err := db.Take[SignUp](ctx, s.Write, "hash = ? AND used_at IS NULL AND expires_at > ?", hash, db.Millis(s.Now()))
	if errors.Is(err, ErrNotFound) {
		err = s.linkRefusal(ctx, "sign_ups", hash)
	}
	return v, db.Wrap("read a sign-up", err)
}

// linkRefusal returns why a row of sign_ups or invitations cannot be used.
func (s *Store) linkRefusal(ctx context.Context, table string, hash []byte) error {
	var used, expired bool
	err := db.QueryRow(ctx, s.Write, []any{&used, &expired},
		"SELECT used_at IS NOT NULL, expires_at <= ? FROM "+table+" WHERE hash = ?", db.Millis(s.Now()), hash)
	switch {
	case errors.Is(err, ErrNotFound):
		return &RefusalError{Reason: "unknown, or replaced by a newer one"}
	case err != nil:
		return err
	case used:
		return &RefusalError{Reason: "already used"}
	case expired:
		return &RefusalError{Reason: "expired"}
	}
	return &RefusalError{Reason: "for another address"}
}

// CompleteSignUp consumes a sign-up, and the invitation that it began with or that names the address, and creates the
// user with the groups of the invitation. It returns a *RefusalError when one of them cannot be used, and ErrConflict
// when the username or address is taken; the link can then be used again.
func (s *Store) CompleteSignUp(ctx context.Context, hash []byte, u *User, passwordHash string) error {
	return db.Wrap("complete a sign-up", s.Tx(ctx, func(tx *Store) error {
		now := db.Millis(s.Now())
		var v SignUp
		err := db.QueryRow(ctx, tx.Write, signUpRow.Targets(&v), `UPDATE sign_ups SET used_at = ?
			WHERE hash = ? AND used_at IS NULL AND expires_at > ? AND email_key = ? RETURNING `+signUpRow.Columns(),
			now, hash, now, u.EmailKey)
		if errors.Is(err, ErrNotFound) {
			return tx.linkRefusal(ctx, "sign_ups", hash)
		}
		if err != nil {
			return err
		}
		i, err := tx.invitationOf(ctx, v, u)
		if err != nil {
			return err
		}
		return tx.insertSignedUp(ctx, u, passwordHash, i.Groups, i.ID)
	}))
}

// invitationOf consumes the invitation of a sign-up in the current transaction: the one that it began with, or the
// newest one of the address, which the link of the sign-up proved. Without either it returns an empty one.
func (s *Store) invitationOf(ctx context.Context, v SignUp, u *User) (Invitation, error) {
	if v.InvitationID != "" {
		i, err := s.useInvitation(ctx, u, "id = ?", v.InvitationID)
		if errors.Is(err, ErrNotFound) {
			err = &RefusalError{Reason: "the invitation was used, revoked or has expired"}
		}
		return i, err
	}
	i, err := s.useInvitation(ctx, u, `id = (SELECT id FROM invitations WHERE email_key = ? AND email_key <> ''
		AND used_at IS NULL AND expires_at > ? ORDER BY created_at DESC, id LIMIT 1)`, u.EmailKey, db.Millis(s.Now()))
	if errors.Is(err, ErrNotFound) {
		return Invitation{}, nil
	}
	return i, err
}

// insertSignedUp creates a user who signed up, in the current transaction. A group that was deleted since the
// invitation is left out.
func (s *Store) insertSignedUp(ctx context.Context, u *User, hash string, groups []string, invitationID string) error {
	if err := s.insertUser(ctx, u, hash); err != nil {
		return err
	}
	e := audit.Event{Type: audit.UserSignedUp, UserID: u.ID}
	if invitationID != "" {
		e.Detail = map[string]any{"invitation": invitationID}
	}
	if err := s.Audit.Record(ctx, e); err != nil {
		return err
	}
	for _, name := range groups {
		if _, err := s.Group(ctx, name); errors.Is(err, ErrNotFound) {
			continue
		} else if err != nil {
			return err
		}
		if err := s.addGroupMember(ctx, name, u.ID); err != nil {
			return err
		}
	}
	return nil
}

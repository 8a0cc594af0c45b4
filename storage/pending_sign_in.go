package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/db"
)

// PendingSignIn is a sign-in that still needs a second factor. It belongs to one browser and is no session.
type PendingSignIn struct {
	ID          string
	BrowserHash []byte // of the cookie of the browser in which it began
	UserID      string
	UserEpoch   int64
	RequestID   string     // the authorization request, or ""
	SessionID   string     // the session that it makes stronger, or "" when it began with the first factor
	ACR         string     `gorm:"column:acr"` // of the first factor
	AMR         Strings    `gorm:"column:amr"`
	AuthTime    time.Time  `gorm:"serializer:millis"`
	CreatedAt   time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt   time.Time  `gorm:"serializer:millis"`
	FinishedAt  *time.Time `gorm:"serializer:millis"`
	SignInEpoch int64      `gorm:"-"` // of the user when the sign-in began; not stored
}

var pendingSignInRow = db.NewRecord[PendingSignIn]("pending_sign_ins")

// isPending is the condition that a sign-in of a browser can still be finished: it is neither finished nor expired, the
// user is neither disabled nor was signed out everywhere since it began, and the session that it makes stronger has not
// ended: a second factor alone starts none.
const isPending = `pending_sign_ins.id = ? AND browser_hash = ? AND finished_at IS NULL AND expires_at > ?
	AND EXISTS (SELECT 1 FROM users WHERE users.id = pending_sign_ins.user_id AND users.disabled_at IS NULL
		AND users.epoch = pending_sign_ins.user_epoch)
	AND (session_id = '' OR EXISTS (SELECT 1 FROM browser_sessions WHERE browser_sessions.id = session_id
		AND ended_at IS NULL))`

// CreatePendingSignIn stores a sign-in that still needs a second factor. It returns ErrNotFound when the password
// changed or everything was ended since the sign-in began.
func (s *Store) CreatePendingSignIn(ctx context.Context, p PendingSignIn) error {
	p.CreatedAt = s.Now()
	return db.Wrap("create pending sign-in", pendingSignInRow.InsertIf(
		ctx, s.Write, &p, s.unchangedUser(), p.UserID, p.UserEpoch, p.SignInEpoch,
	))
}

// PendingSignIn returns a sign-in of a browser that can still be finished, and its user, or ErrNotFound.
func (s *Store) PendingSignIn(ctx context.Context, id string, browser []byte) (p PendingSignIn, u User, err error) {
	dest := append(pendingSignInRow.Targets(&p), userRow.Targets(&u)...)
	err = db.QueryRow(ctx, s.Write, dest, "SELECT "+pendingSignInRow.QualifiedColumns()+", "+userRow.QualifiedColumns()+
		" FROM pending_sign_ins JOIN users ON users.id = pending_sign_ins.user_id WHERE "+isPending,
		id, browser, db.Millis(s.Now()))
	return p, u, db.Wrap("read pending sign-in", err)
}

// FactorUse is what a second factor consumes: a step of the TOTP authenticator, or a recovery code.
type FactorUse struct {
	UserID        string
	RecoveryHash  []byte // nil: the step
	TOTPStep      int64
	StepExpiresAt time.Time
}

// FinishSignIn consumes a sign-in of a browser together with a second factor, or with none if use is empty because the
// factor was consumed before. It returns ErrNotFound when the sign-in was finished before, has expired, or belongs to
// another browser, and ErrConsumed when the factor was used before or does not exist. Of several concurrent calls, one
// succeeds.
func (s *Store) FinishSignIn(ctx context.Context, id string, browser []byte, use FactorUse) error {
	return db.Wrap("finish sign-in", s.Tx(ctx, func(tx *Store) error {
		now := db.Millis(s.Now())
		if err := db.ExecOne(ctx, tx.Write, "UPDATE pending_sign_ins SET finished_at = ? WHERE "+isPending,
			now, id, browser, now); err != nil {
			return err
		}
		if use.UserID == "" {
			return nil
		}
		if use.RecoveryHash == nil {
			return tx.UseTOTPStep(ctx, use.UserID, use.TOTPStep, use.StepExpiresAt)
		}
		_, err := tx.UseRecoveryCode(ctx, use.UserID, use.RecoveryHash)
		if errors.Is(err, ErrNotFound) {
			err = ErrConsumed
		}
		return err
	}))
}

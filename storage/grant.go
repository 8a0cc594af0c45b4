package storage

import (
	"bytes"
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Grant is one completed authorization under a consent: the token family and its refresh state. Because this row is
// the state, a grant has at most one active refresh token.
type Grant struct {
	ID string
	GrantTerms
	CreatedAt        time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt        time.Time  `gorm:"serializer:millis"` // the absolute maximum
	RevokedAt        *time.Time `gorm:"serializer:millis"`
	RevokeReason     *string
	CurrentHash      []byte     // SHA-256 of the active refresh token, NULL when there is none
	PreviousHash     []byte     // SHA-256 of the one that it replaced
	RotatedAt        *time.Time `gorm:"serializer:millis"`
	RefreshExpiresAt *time.Time `gorm:"serializer:millis"` // slides with use
	SuccessorSealed  []byte     // the current token, readable only with the previous one

	Nonce string `gorm:"-"` // of the code that it was created from, for the first ID token only
}

func newGrant(c AuthorizationCode, r Redemption, now time.Time) Grant {
	g := Grant{ID: r.GrantID, GrantTerms: c.GrantTerms, CreatedAt: now, ExpiresAt: r.GrantExpiresAt, Nonce: c.Nonce}
	if r.RefreshHash != nil {
		g.CurrentHash, g.RefreshExpiresAt = r.RefreshHash, &r.RefreshExpiresAt
	}
	return g
}

// Grant returns a stored grant, active or not, or ErrNotFound.
func (s *Store) Grant(ctx context.Context, id string) (Grant, error) {
	g, err := db.Take[Grant](ctx, s.Write, "id = ?", id)
	return g, db.Wrap("read grant", err)
}

// Rotation is the use of a refresh token.
type Rotation struct {
	GrantID         string
	ClientID        string
	Hash            []byte // SHA-256 of the token presented
	NextHash        []byte // of its successor; nil does not replace the token
	SealedSuccessor []byte // the successor, sealed under the token presented
	IdleTTL         time.Duration
	Grace           time.Duration // the retry window, 0 for none
}

// MaxRefreshGrace is the maximum time after a rotation in which a retry gets its successor, including extensions by
// outages.
const MaxRefreshGrace = 10 * time.Minute

// RotationResult is the outcome of a rotation.
type RotationResult struct {
	Grant           Grant
	SealedSuccessor []byte        // on a retry, the sealed successor to return again; nil after a rotation
	Age             time.Duration // of the rotation that is retried
	// Outage is the part of Age in which the database was unavailable, if it decided.
	Outage time.Duration
}

// changedGrantRow writes the audit row in the statement that changes a grant (PostgreSQL).
var changedGrantRow = audit.NewChangeRow("changed", "id")

// rotatedRow has the columns of a grant that a rotation returns: all but the state of its refresh token.
var rotatedRow = db.NewRecord[Grant]("grants").Without("revoked_at", "revoke_reason", "current_hash", "previous_hash",
	"rotated_at", "refresh_expires_at", "successor_sealed")

// revokeTimeout limits a revocation that continues after the caller disconnected.
const revokeTimeout = 10 * time.Second

// currentHash returns the hash of the token that is active after the rotation.
func (r Rotation) currentHash() []byte {
	if r.NextHash != nil {
		return r.NextHash
	}
	return r.Hash
}

// RotateRefreshToken replaces the active refresh token of a grant by one conditional UPDATE; of several concurrent
// attempts one succeeds. The previous token, presented again within the retry window and before its successor was used,
// gets the sealed successor of the first response, so that a client can recover from a lost response without a fork.
// Any other token of the grant is reuse: the grant is revoked and the error is ErrReused. For a token that is unknown,
// expired, revoked or of another client it changes nothing and returns a *RefusalError with the reason, which is
// ErrNotFound.
func (s *Store) RotateRefreshToken(ctx context.Context, r Rotation) (RotationResult, error) {
	e := audit.Event{Type: audit.RefreshRotated}
	arrived := s.Now()
	now, next := db.Millis(arrived), db.Millis(arrived.Add(r.IdleTTL))
	set, args := "refresh_expires_at = CASE WHEN expires_at < ? THEN expires_at ELSE ? END", []any{next, next}
	if r.NextHash != nil {
		set += ", previous_hash = current_hash, current_hash = ?, rotated_at = ?, successor_sealed = ?"
		args = append(args, r.NextHash, now, r.SealedSuccessor)
	} else {
		set += ", successor_sealed = NULL" // the use ends the retry window of the previous token
	}
	args = append(args, r.GrantID, r.Hash, r.ClientID, now, now)
	e.ClientID, e.GrantID, e.Token = r.ClientID, r.GrantID, audit.HashReference(r.currentHash())
	g, err := s.changeGrant(ctx, e, `UPDATE grants SET `+set+`
		WHERE id = ? AND current_hash = ? AND client_id = ? AND revoked_at IS NULL AND expires_at > ?
			AND refresh_expires_at > ?
		AND `+activeCondition("grants")+` RETURNING `+rotatedRow.Columns(), args)
	if errors.Is(err, ErrNotFound) {
		return s.classifyFailedRotation(ctx, r, arrived)
	}
	return RotationResult{Grant: g}, db.Wrap("rotate refresh token", err)
}

// changeGrant executes an UPDATE of at most one grant that returns the columns of rotatedRow, together with its audit
// row: one statement and so one round trip on PostgreSQL, a short transaction on SQLite, which has no INSERT in a
// WITH.
func (s *Store) changeGrant(ctx context.Context, e audit.Event, update string, args []any) (g Grant, err error) {
	row, err := s.Audit.NewRow(ctx, e)
	if err != nil {
		return Grant{}, err
	}
	if s.Engine() == Postgres {
		query := `WITH changed AS (` + update + `), recorded AS (` + changedGrantRow.Query + `)
			SELECT ` + rotatedRow.Columns() + ` FROM changed`
		args = append(args, changedGrantRow.Args(&row)...)
		if g, err = scanRotated(ctx, s.Write, query, args); err == nil {
			s.Audit.Count(e.Type)
		}
		return g, err
	}
	err = s.Tx(ctx, func(tx *Store) error {
		if g, err = scanRotated(ctx, tx.Write, update, args); err != nil {
			return err
		}
		row.UserID, row.Scopes = g.UserID, g.Scopes.String()
		return tx.Audit.Insert(ctx, &row)
	})
	return g, err
}

func scanRotated(ctx context.Context, conn db.Conn, query string, args []any) (Grant, error) {
	var g Grant
	err := db.QueryRow(ctx, conn, rotatedRow.Targets(&g), query, args...)
	return g, err
}

// classifyFailedRotation detects reuse after a rotation that changed no row: it returns the reason, from a read on the
// writer, and revokes the grant when it is reuse. A token that is neither the current nor the previous one can never
// become either again, so the later decision is still correct. The time of arrival decides whether a retry is inside
// the window, so that a slow database does not turn it into reuse.
func (s *Store) classifyFailedRotation(ctx context.Context, r Rotation, arrived time.Time) (RotationResult, error) {
	now := s.Now()
	g, err := db.Take[Grant](ctx, s.Write, "id = ? AND client_id = ? AND revoked_at IS NULL AND expires_at > ? "+
		"AND refresh_expires_at > ? AND "+activeCondition("grants"), r.GrantID, r.ClientID, db.Millis(now), db.Millis(now))
	if errors.Is(err, ErrNotFound) {
		err = s.GrantRefusal(ctx, r.GrantID, r.ClientID)
	}
	if err != nil {
		return RotationResult{}, db.Wrap("read grant", err)
	}
	if bytes.Equal(g.CurrentHash, r.Hash) {
		return RotationResult{}, ErrNotFound // it became active between the two statements
	}
	if bytes.Equal(g.PreviousHash, r.Hash) && g.RotatedAt != nil && len(g.SuccessorSealed) > 0 {
		allowed, outage, err := s.retryAllowed(ctx, r.Grace, *g.RotatedAt, arrived)
		if err != nil {
			return RotationResult{}, db.Wrap("read outages", err)
		}
		if allowed {
			return RotationResult{
				Grant: g, SealedSuccessor: g.SuccessorSealed, Age: arrived.Sub(*g.RotatedAt), Outage: outage,
			}, nil
		}
	}
	// Also when the caller has disconnected: an attacker must not avoid the revocation that way.
	limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), revokeTimeout)
	defer cancel()
	err = s.revokeGrant(limited, g.ID, "refresh_token_reused", audit.Event{
		Type: audit.RefreshReused, ClientID: g.ClientID, UserID: g.UserID, Scopes: g.Scopes.String(),
		Token: audit.HashReference(r.Hash),
	})
	if err != nil && !errors.Is(err, ErrNotFound) {
		return RotationResult{}, err
	}
	return RotationResult{}, ErrReused
}

// retryAllowed reports whether a retry is within the retry window of a rotation. Time in which a process could not use
// the database does not count, so that the client has the complete window after an outage. A rotation in the future,
// by a process with another clock, counts as one of now.
func (s *Store) retryAllowed(
	ctx context.Context, grace time.Duration, rotated, arrived time.Time,
) (ok bool, outage time.Duration, err error) {
	age := arrived.Sub(rotated)
	if grace <= 0 || age < grace || age >= MaxRefreshGrace {
		return grace > 0 && age < grace, 0, nil
	}
	outage, err = s.outageBetween(ctx, rotated, arrived)
	return age-outage < grace, outage, err
}

// RevokeReusedAboveLimit detects reuse of a refresh token whose request a rate limit refuses, so that no rotation does:
// it revokes the grant and returns ErrReused when the token presented is neither the active one nor one that may be
// retried. Otherwise it returns nil. It rotates nothing, and a single read suffices when there is no reuse.
func (s *Store) RevokeReusedAboveLimit(ctx context.Context, r Rotation) error {
	now := s.Now()
	var one int
	err := db.QueryRow(
		ctx, s.Read, []any{&one},
		`SELECT 1 FROM grants WHERE id = ? AND client_id = ? AND revoked_at IS NULL AND current_hash <> ?
		AND (previous_hash IS NULL OR previous_hash <> ? OR rotated_at <= ?)`, r.GrantID, r.ClientID, r.Hash, r.Hash,
		db.Millis(now.Add(-r.Grace)),
	)
	if err == nil {
		_, err = s.classifyFailedRotation(ctx, r, now)
	}
	if errors.Is(err, ErrReused) {
		return err
	}
	return nil
}

// RevokeGrant ends a grant with all its tokens. It returns ErrNotFound when there is none or it is already revoked. It
// sets the type of the event.
func (s *Store) RevokeGrant(ctx context.Context, id, reason string, e audit.Event) error {
	e.Type = audit.GrantRevoked
	return s.revokeGrant(ctx, id, reason, e)
}

func (s *Store) revokeGrant(ctx context.Context, id, reason string, e audit.Event) error {
	e.GrantID = id
	return db.Wrap("revoke grant", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write,
			"UPDATE grants SET revoked_at = ?, revoke_reason = ? WHERE id = ? AND revoked_at IS NULL",
			db.Millis(s.Now()), reason, id); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// ActiveGrant returns a grant that is active in every respect, with the username of its user, or ErrNotFound.
func (s *Store) ActiveGrant(ctx context.Context, id string) (Grant, string, error) {
	now := db.Millis(s.Now())
	g, err := db.Take[Grant](
		ctx, s.Read, "id = ? AND revoked_at IS NULL AND expires_at > ? AND "+activeCondition("grants"), id, now,
	)
	if err != nil {
		return Grant{}, "", db.Wrap("read grant", err)
	}
	u, err := s.User(ctx, g.UserID)
	return g, u.Username, err
}

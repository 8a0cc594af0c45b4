package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// AuthorizationRequest is an authorization request that waits for a user to sign in, to decide on the consent page,
// or both.
type AuthorizationRequest struct {
	ID          string // random, in the URL of the page; only the browser that claimed it can use it
	ClientID    string
	Parameters  string     // of the request, form-encoded
	BrowserHash []byte     // SHA-256 of the browser cookie that claimed it, NULL before
	CreatedAt   time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	ExpiresAt   time.Time  `gorm:"serializer:millis"`
	DecidedAt   *time.Time `gorm:"serializer:millis"` // it is decided once
	SessionID   string     // the selected session, empty before
	HintSubject string     // the sub of its id_token_hint, which is not stored
	SignedInAt  *time.Time `gorm:"serializer:millis"` // when the user of the session signed in for this request
	// When that user approved it although the sign-in was too old for a code.
	ApprovedAt  *time.Time `gorm:"serializer:millis"`
	ClientEpoch int64      // of the client when the request was stored
	// When that user confirmed that they want to continue with a client that is not verified.
	ConfirmedAt *time.Time `gorm:"serializer:millis"`
}

// CreateRequest stores a request.
func (s *Store) CreateRequest(ctx context.Context, r *AuthorizationRequest) error {
	return db.Wrap("store authorization request", db.Insert(ctx, s.Write, r))
}

// ErrOtherBrowser is returned by ClaimRequest and ClaimedRequest when another browser claimed the request.
var ErrOtherBrowser error = db.Outcome("claimed by another browser")

// ClaimRequest returns the request for the browser whose cookie has the given hash. The first browser claims it; any
// other gets ErrOtherBrowser. It returns ErrNotFound for an unknown request, and an expired or decided one unchanged.
func (s *Store) ClaimRequest(ctx context.Context, id string, browserHash []byte) (AuthorizationRequest, error) {
	err := db.Exec(
		ctx, s.Write, "UPDATE authorization_requests SET browser_hash = ? WHERE id = ? AND browser_hash IS NULL",
		browserHash, id,
	)
	if err != nil {
		return AuthorizationRequest{}, db.Wrap("claim authorization request", err)
	}
	return s.ClaimedRequest(ctx, id, browserHash)
}

// ClaimedRequest does the same as ClaimRequest for a request that was claimed before: it never claims.
func (s *Store) ClaimedRequest(ctx context.Context, id string, browserHash []byte) (AuthorizationRequest, error) {
	r, err := db.Take[AuthorizationRequest](ctx, s.Write, "id = ?", id)
	if err != nil {
		return AuthorizationRequest{}, db.Wrap("read authorization request", err)
	}
	if len(browserHash) == 0 || !keyed.Equal(r.BrowserHash, browserHash) {
		return AuthorizationRequest{ClientID: r.ClientID}, ErrOtherBrowser
	}
	return r, nil
}

// SelectSession sets which user signed in to the browser a request is for. It ignores a sign-in, an approval and a
// confirmation of another session. It returns ErrNotFound when the request is not of that browser or is already
// decided.
func (s *Store) SelectSession(ctx context.Context, id string, browserHash []byte, sessionID string) error {
	return db.Wrap("choose a session", db.ExecOne(ctx, s.Write, `UPDATE authorization_requests SET session_id = ?,
		signed_in_at = CASE WHEN session_id = ? THEN signed_in_at END,
		approved_at = CASE WHEN session_id = ? THEN approved_at END,
		confirmed_at = CASE WHEN session_id = ? THEN confirmed_at END
		WHERE id = ? AND browser_hash = ? AND decided_at IS NULL`,
		sessionID, sessionID, sessionID, sessionID, id, browserHash))
}

// RecordSignIn does the same as SelectSession for a session that was just signed in for this request.
func (s *Store) RecordSignIn(ctx context.Context, id string, browserHash []byte, sessionID string) error {
	return db.Wrap(
		"record a sign-in", db.ExecOne(ctx, s.Write, `UPDATE authorization_requests SET session_id = ?, signed_in_at = ?,
		approved_at = CASE WHEN session_id = ? THEN approved_at END,
		confirmed_at = CASE WHEN session_id = ? THEN confirmed_at END
		WHERE id = ? AND browser_hash = ? AND decided_at IS NULL`,
			sessionID, db.Millis(s.Now()), sessionID, sessionID, id, browserHash),
	)
}

// ConfirmRequest records that the user of the session confirmed that they want to continue with a client that is not
// verified. It also sets the session of the request. It returns ErrNotFound when the request is not of that browser, is
// already decided, or is for another session.
func (s *Store) ConfirmRequest(ctx context.Context, id string, browserHash []byte, sessionID string) error {
	return db.Wrap("confirm a request", db.ExecOne(ctx, s.Write, `UPDATE authorization_requests
		SET session_id = ?, confirmed_at = ?
		WHERE id = ? AND browser_hash = ? AND decided_at IS NULL AND session_id IN ('', ?)`,
		sessionID, db.Millis(s.Now()), id, browserHash, sessionID))
}

// Denial is a refusal of access to a client.
type Denial struct {
	RequestID string
	ClientID  string
	UserID    string // empty when no user is signed in
	Scopes    Strings
	Reason    string // why the server refused; empty when the user did
}

// DenyRequest records a denial. A request is decided once: the second decision returns ErrConsumed.
func (s *Store) DenyRequest(ctx context.Context, d Denial) error {
	e := audit.Event{Type: audit.ConsentDenied, ClientID: d.ClientID, UserID: d.UserID, Scopes: d.Scopes.String()}
	if d.Reason != "" {
		e.Detail = map[string]any{"reason": d.Reason}
	}
	return db.Wrap("deny authorization request", s.Tx(ctx, func(tx *Store) error {
		if err := tx.decideRequest(ctx, d.RequestID); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// decideRequest marks a request as decided, or returns ErrConsumed when it was decided before.
func (s *Store) decideRequest(ctx context.Context, id string) error {
	err := db.ExecOne(
		ctx, s.Write, "UPDATE authorization_requests SET decided_at = ? WHERE id = ? AND decided_at IS NULL",
		db.Millis(s.Now()), id,
	)
	if errors.Is(err, ErrNotFound) {
		err = ErrConsumed
	}
	return err
}

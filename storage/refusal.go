package storage

import (
	"context"
	"errors"

	"gatehouse/storage/db"
)

// RefusalError is the reason why a code or refresh token was refused, for the log and the audit log. It wraps
// ErrNotFound.
type RefusalError struct {
	Reason  string
	UserID  string // of the code or grant, empty when unknown
	GrantID string
	Purpose string // of the EmailToken
}

// Error returns the reason.
func (r *RefusalError) Error() string { return r.Reason }

// Unwrap returns ErrNotFound.
func (r *RefusalError) Unwrap() error { return ErrNotFound }

// The reasons of a RefusalError that the client can fix. They are in the error response.
const (
	RefusedRedirectURI        = "redirect_uri differs from the authorization request"
	RefusedMissingRedirectURI = "redirect_uri is missing, and the authorization request had it"
	RefusedMissingVerifier    = "code_verifier is missing, and the authorization request had a code_challenge"
	RefusedVerifier           = "code_verifier does not match the code_challenge"
	RefusedUnexpectedVerifier = "code_verifier was sent, and the authorization request had no code_challenge"
)

// endReason returns why a code or grant is not active although it has neither expired nor been revoked itself: see
// activeCondition.
func (s *Store) endReason(
	ctx context.Context, consentID string, clientEpoch, userEpoch int64, sessionID string,
) (string, error) {
	var consentEnded, clientDisabled, userDisabled, hasGroup bool
	var client, user int64
	err := db.QueryRow(
		ctx, s.Write, []any{&consentEnded, &clientDisabled, &client, &userDisabled, &user, &hasGroup},
		`SELECT consents.ended_at IS NOT NULL,
		clients.disabled_at IS NOT NULL, clients.epoch, users.disabled_at IS NOT NULL, users.epoch,
		`+hasRequiredGroup("users.id")+`
		FROM consents JOIN clients ON clients.id = consents.client_id JOIN users ON users.id = consents.user_id
		WHERE consents.id = ?`,
		consentID,
	)
	if errors.Is(err, ErrNotFound) {
		return "the client or the user was deleted", nil
	}
	if err != nil {
		return "", err
	}
	switch {
	case clientDisabled:
		return "the client is disabled", nil
	case userDisabled:
		return "the user is disabled", nil
	case consentEnded:
		return "the user withdrew the consent", nil
	case client != clientEpoch:
		return "the tokens of the client were revoked", nil
	case user != userEpoch:
		return "the tokens of the user were revoked", nil
	case !hasGroup:
		return "the user is in none of the groups that the client requires", nil
	}
	var one int
	err = db.QueryRow(
		ctx, s.Write, []any{&one}, "SELECT 1 FROM browser_sessions WHERE id = ? AND ended_at IS NOT NULL", sessionID,
	)
	if errors.Is(err, ErrNotFound) {
		return "it became valid during the check", nil
	}
	return "the browser session was ended", err
}

// refuseCode returns the first check of a redemption that failed, as a *RefusalError.
func (s *Store) refuseCode(ctx context.Context, r Redemption, c AuthorizationCode) error {
	out := &RefusalError{UserID: c.UserID}
	switch {
	case c.ClientID != r.ClientID:
		out.Reason = "the code was issued to another client"
	case r.RedirectURI != nil && *r.RedirectURI != c.RedirectURI:
		out.Reason = RefusedRedirectURI
	case c.Challenge != nil && r.Challenge == "":
		out.Reason = RefusedMissingVerifier
	case c.Challenge == nil && r.Challenge != "":
		out.Reason = RefusedUnexpectedVerifier
	case r.RedirectURI == nil && c.RedirectSent && c.Challenge == nil:
		out.Reason = RefusedMissingRedirectURI
	case !r.matches(c):
		out.Reason = RefusedVerifier
	case !c.ExpiresAt.After(s.Now()):
		out.Reason = "the code has expired"
	default:
		session := c.SessionID
		if c.Offline {
			session = ""
		}
		reason, err := s.endReason(ctx, c.ConsentID, c.ClientEpoch, c.UserEpoch, session)
		if err != nil {
			return db.Wrap("read the consent of a code", err)
		}
		out.Reason = reason
	}
	return out
}

// GrantRefusal returns the reason why the client cannot use the grant: a *RefusalError, or another error when it cannot
// be read.
func (s *Store) GrantRefusal(ctx context.Context, id, clientID string) error {
	g, err := db.Take[Grant](ctx, s.Write, "id = ?", id)
	if errors.Is(err, ErrNotFound) {
		return &RefusalError{Reason: "an unknown grant"}
	}
	if err != nil {
		return db.Wrap("read grant", err)
	}
	out := &RefusalError{UserID: g.UserID, GrantID: g.ID}
	now := s.Now()
	switch {
	case g.ClientID != clientID:
		out.Reason = "it was issued to another client"
	case g.RevokedAt != nil:
		out.Reason = "the grant was revoked"
	case !g.ExpiresAt.After(now):
		out.Reason = "the grant has expired"
	case g.RefreshExpiresAt != nil && !g.RefreshExpiresAt.After(now):
		out.Reason = "the refresh token was not used for too long"
	default:
		session := g.SessionID
		if g.Offline {
			session = ""
		}
		if out.Reason, err = s.endReason(ctx, g.ConsentID, g.ClientEpoch, g.UserEpoch, session); err != nil {
			return db.Wrap("read the consent of a grant", err)
		}
	}
	return out
}

package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// RevokedToken is an access token that was revoked individually. The row is deleted after the token has expired.
type RevokedToken struct {
	JTI       string    `gorm:"column:jti;primaryKey"`
	RevokedAt time.Time `gorm:"serializer:millis"`
	ExpiresAt time.Time `gorm:"serializer:millis"`
}

// TokenRef has the claims of an access token that decide whether it is active: its jti, its client and either the
// client's epoch (client credentials) or the grant (a user's token).
type TokenRef struct {
	JTI         string
	ClientID    string
	ClientEpoch int64
	GrantID     string // empty for client credentials
}

var activeUserToken = ` FROM grants JOIN users ON users.id = grants.user_id
	WHERE grants.id = ? AND grants.client_id = ? AND grants.revoked_at IS NULL AND ` + activeCondition("grants") + `
	AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)`

const activeClientToken = `SELECT 1 FROM clients WHERE id = ? AND epoch = ? AND disabled_at IS NULL
	AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)`

// ActiveToken checks with one query whether a token with a valid signature is active, and returns the username for a
// user's token. ErrNotFound means that it is not.
func (s *Store) ActiveToken(ctx context.Context, t TokenRef) (username string, err error) {
	if t.GrantID != "" {
		err = db.QueryRow(
			ctx, s.Read, []any{&username}, "SELECT users.username"+activeUserToken, t.GrantID, t.ClientID, t.JTI,
		)
		return username, db.Wrap("check token", err)
	}
	var one int
	err = db.QueryRow(ctx, s.Read, []any{&one}, activeClientToken, t.ClientID, t.ClientEpoch, t.JTI)
	return "", db.Wrap("check token", err)
}

// GrantedClaims is what a grant lets its client read about the user.
type GrantedClaims struct {
	Scopes Strings
	Claims string // requested by name, as JSON
}

// UserByToken does the same as ActiveToken for a user's token at the userinfo endpoint. It returns the user and what
// the grant covers.
func (s *Store) UserByToken(ctx context.Context, t TokenRef) (User, GrantedClaims, error) {
	var u User
	var claims GrantedClaims
	err := db.QueryRow(ctx, s.Read, append(userRow.Targets(&u), &claims.Scopes, &claims.Claims),
		"SELECT "+userRow.QualifiedColumns()+", grants.scopes, grants.claims"+activeUserToken, t.GrantID, t.ClientID, t.JTI)
	return u, claims, db.Wrap("check token", err)
}

// RevokeToken revokes one access token. Revoking it again changes nothing and writes no event. It sets the type of the
// event.
func (s *Store) RevokeToken(ctx context.Context, t RevokedToken, e audit.Event) error {
	e.Type = audit.TokenRevoked
	if s.Engine() == Postgres {
		return db.Wrap("revoke token", s.revokeTokenInOneStatement(ctx, t, e))
	}
	return db.Wrap("revoke token", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(
			ctx, tx.Write,
			"INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES (?, ?, ?) ON CONFLICT (jti) DO NOTHING", t.JTI,
			db.Millis(s.Now()), db.Millis(t.ExpiresAt),
		)
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// revokedTokenRow writes the audit row in the statement of a revocation (PostgreSQL).
var revokedTokenRow = audit.NewChangeRow("token", "grant_id")

// revokeTokenInOneStatement does the same as RevokeToken.
func (s *Store) revokeTokenInOneStatement(ctx context.Context, t RevokedToken, e audit.Event) error {
	row, err := s.Audit.NewRow(ctx, e)
	if err != nil {
		return err
	}
	var one int
	args := []any{t.JTI, db.Millis(s.Now()), db.Millis(t.ExpiresAt), row.ClientID, row.UserID, row.GrantID, row.Scopes}
	err = db.QueryRow(ctx, s.Write, []any{&one}, `WITH revoked AS (
			INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES (?, ?, ?) ON CONFLICT (jti) DO NOTHING
				RETURNING jti),
		token AS (SELECT ?::text AS client_id, ?::text AS user_id, ?::text AS grant_id, ?::text AS scopes FROM revoked),
		recorded AS (`+revokedTokenRow.Query+`)
		SELECT 1 FROM revoked`, append(args, revokedTokenRow.Args(&row)...)...)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		s.Audit.Count(e.Type)
	}
	return err
}

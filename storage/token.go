package storage

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// RevokedToken is an access token that was revoked by itself; the row leaves when the token would have expired.
type RevokedToken struct {
	JTI       string    `gorm:"column:jti;primaryKey"`
	RevokedAt time.Time `gorm:"serializer:millis"`
	ExpiresAt time.Time `gorm:"serializer:millis"`
}

// TokenRef is what an access token says about its own life: its id, its client and either the client's epoch (a
// machine's token) or the grant (a person's).
type TokenRef struct {
	JTI         string
	ClientID    string
	ClientEpoch int64
	GrantID     string // empty for a machine's token
}

var liveUserToken = ` FROM grants JOIN users ON users.id = grants.user_id
	WHERE grants.id = ? AND grants.client_id = ? AND grants.revoked_at IS NULL AND ` + live("grants") + `
	AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)`

const liveMachineToken = `SELECT 1 FROM clients WHERE id = ? AND epoch = ? AND disabled_at IS NULL
	AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)`

// ActiveToken reports, by one query, whether a token with a good signature is still alive, and for a person's token their
// username. ErrNotFound means dead.
func (s *Store) ActiveToken(ctx context.Context, t TokenRef) (username string, err error) {
	if t.GrantID != "" {
		err = db.QueryRow(ctx, s.Read, []any{&username}, "SELECT users.username"+liveUserToken, t.GrantID, t.ClientID, t.JTI)
		return username, db.Wrap("check token", err)
	}
	var one int
	err = db.QueryRow(ctx, s.Read, []any{&one}, liveMachineToken, t.ClientID, t.ClientEpoch, t.JTI)
	return "", db.Wrap("check token", err)
}

// GrantedClaims is what a person's grant lets an app know of them.
type GrantedClaims struct {
	Scopes Strings
	Claims string // requested by name, as JSON
}

// UserByToken is ActiveToken for a person's token at the userinfo endpoint: it returns the person, and what the token's grant
// holds. ErrNotFound means dead.
func (s *Store) UserByToken(ctx context.Context, t TokenRef) (User, GrantedClaims, error) {
	var u User
	var claims GrantedClaims
	err := db.QueryRow(ctx, s.Read, append(userRow.Targets(&u), &claims.Scopes, &claims.Claims),
		"SELECT "+userRow.QualifiedColumns()+", grants.scopes, grants.claims"+liveUserToken, t.GrantID, t.ClientID, t.JTI)
	return u, claims, db.Wrap("check token", err)
}

// RevokeToken makes one access token useless. Revoking it again changes nothing and writes no event.
func (s *Store) RevokeToken(ctx context.Context, t RevokedToken, e audit.Event) error {
	if s.Engine() == Postgres {
		return db.Wrap("revoke token", s.revokeAtOnce(ctx, t, e))
	}
	return db.Wrap("revoke token", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(ctx, tx.Write, "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES (?, ?, ?) ON CONFLICT (jti) DO NOTHING",
			t.JTI, db.Millis(s.Now()), db.Millis(t.ExpiresAt))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// revokeAtOnce is RevokeToken in one statement.
func (s *Store) revokeAtOnce(ctx context.Context, t RevokedToken, e audit.Event) error {
	row, err := s.Audit.NewRow(ctx, e)
	if err != nil {
		return err
	}
	var one int
	err = db.QueryRow(ctx, s.Write, []any{&one}, `WITH revoked AS (
			INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES (?, ?, ?) ON CONFLICT (jti) DO NOTHING RETURNING jti),
		whose AS (SELECT ?::text AS client_id, ?::text AS user_id, ?::text AS grant_id, ?::text AS scopes FROM revoked),
		recorded AS (`+revokedTokenRow.Query+`)
		SELECT 1 FROM revoked`,
		append([]any{t.JTI, db.Millis(s.Now()), db.Millis(t.ExpiresAt), row.ClientID, row.UserID, row.GrantID, row.Scopes}, revokedTokenRow.Args(&row)...)...)
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err == nil {
		s.Audit.Count(e.Type)
	}
	return err
}

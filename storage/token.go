package storage

import (
	"context"
	"errors"
	"time"
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
	UserID      string
}

var liveUserToken = `SELECT users.username FROM grants JOIN users ON users.id = grants.user_id
	WHERE grants.id = ? AND grants.client_id = ? AND grants.user_id = ? AND grants.revoked_at IS NULL AND ` + live("grants") + `
	AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)`

const liveMachineToken = `SELECT 1 FROM clients WHERE id = ? AND epoch = ? AND disabled_at IS NULL
	AND NOT EXISTS (SELECT 1 FROM revoked_tokens WHERE jti = ?)`

// LiveToken reports, by one query, whether a token with a good signature is still alive, and for a person's token their
// username. ErrNotFound means dead.
func (s *Store) LiveToken(ctx context.Context, t TokenRef) (username string, err error) {
	if t.GrantID != "" {
		err = queryRow(ctx, s.read, []any{&username}, liveUserToken, t.GrantID, t.ClientID, t.UserID, t.JTI)
		return username, wrap("check token", err)
	}
	var one int
	err = queryRow(ctx, s.read, []any{&one}, liveMachineToken, t.ClientID, t.ClientEpoch, t.JTI)
	return "", wrap("check token", err)
}

// RevokeToken makes one access token useless. Revoking it again changes nothing and writes no event.
func (s *Store) RevokeToken(ctx context.Context, t RevokedToken, e Event) error {
	e.Token = t.JTI
	return wrap("revoke token", s.Tx(ctx, func(tx *Store) error {
		err := tx.execOne(ctx, "INSERT INTO revoked_tokens (jti, revoked_at, expires_at) VALUES (?, ?, ?) ON CONFLICT (jti) DO NOTHING",
			t.JTI, toMillis(s.now()), toMillis(t.ExpiresAt))
		if errors.Is(err, ErrNotFound) {
			return nil
		}
		if err != nil {
			return err
		}
		return tx.record(ctx, e)
	}))
}

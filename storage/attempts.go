package storage

import (
	"context"
	"errors"
	"time"
)

// SignInAttempt counts the failed sign-ins on one account from one network; network "*" is the account as a whole.
type SignInAttempt struct {
	Account      []byte `gorm:"primaryKey"`
	Network      string `gorm:"primaryKey"`
	Failures     int64
	LastAt       time.Time  `gorm:"serializer:millis"`
	BlockedUntil *time.Time `gorm:"serializer:millis"`
}

// SignInAttempt returns the count, or a zero one when there were no failures.
func (s *Store) SignInAttempt(ctx context.Context, account []byte, network string) (SignInAttempt, error) {
	// From the writer: on SQLite a reader may lag a failure that was counted a moment ago.
	a, err := take[SignInAttempt](ctx, s.write, "account = ? AND network = ?", account, network)
	if errors.Is(err, ErrNotFound) {
		return SignInAttempt{Account: account, Network: network}, nil
	}
	return a, wrap("read sign-in attempts", err)
}

// CountSignInFailure adds one failure and returns the new count. Failures older than forget count no more.
func (s *Store) CountSignInFailure(ctx context.Context, account []byte, network string, forget time.Duration) (int64, error) {
	now := s.now()
	var n int64
	err := queryRow(ctx, s.write, []any{&n}, `INSERT INTO sign_in_attempts (network, account, failures, last_at) VALUES (?, ?, 1, ?)
		ON CONFLICT (account, network) DO UPDATE SET
			failures = CASE WHEN sign_in_attempts.last_at < ? THEN 1 ELSE sign_in_attempts.failures + 1 END,
			last_at = excluded.last_at
		RETURNING failures`, network, account, toMillis(now), toMillis(now.Add(-forget)))
	return n, wrap("count sign-in failure", err)
}

// BlockSignIn refuses sign-ins on the account from the network until the given time, never less long than before.
func (s *Store) BlockSignIn(ctx context.Context, account []byte, network string, until time.Time) error {
	return wrap("block sign-in", s.exec(ctx, `UPDATE sign_in_attempts SET blocked_until = ?
		WHERE account = ? AND network = ? AND (blocked_until IS NULL OR blocked_until < ?)`,
		toMillis(until), account, network, toMillis(until)))
}

// ForgetSignInFailures clears the count after a right password.
func (s *Store) ForgetSignInFailures(ctx context.Context, account []byte, network string) error {
	return wrap("forget sign-in failures", s.exec(ctx, "DELETE FROM sign_in_attempts WHERE account = ? AND network = ?", account, network))
}

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

// SignInLimit says how failed sign-ins slow the next attempt: fewer than Free cost nothing, and from then on each doubles
// the wait, from one second up to Longest. Failures older than Forget count no more.
type SignInLimit struct {
	Free            int64
	Longest, Forget time.Duration
}

// SignInBlocked returns until when sign-ins on the account from the network are refused, or nil.
func (s *Store) SignInBlocked(ctx context.Context, account []byte, network string) (*time.Time, error) {
	// From the writer: a failure that was counted a moment ago must be seen.
	a, err := take[SignInAttempt](ctx, s.write, "account = ? AND network = ?", account, network)
	if errors.Is(err, ErrNotFound) || err == nil && (a.BlockedUntil == nil || !s.now().Before(*a.BlockedUntil)) {
		return nil, nil
	}
	return a.BlockedUntil, wrap("read sign-in attempts", err)
}

// CountSignInFailure counts a failed sign-in and sets how long the next one must wait, in one statement.
func (s *Store) CountSignInFailure(ctx context.Context, account []byte, network string, limit SignInLimit) error {
	at, stale, longest := toMillis(s.now()), toMillis(s.now().Add(-limit.Forget)), limit.Longest.Milliseconds()
	const counted = "(CASE WHEN sign_in_attempts.last_at < ? THEN 1 ELSE sign_in_attempts.failures + 1 END)"
	// 1 << 20 seconds is beyond every limit; a larger shift would not fit.
	const wait = "1000 * (1 << CAST(" + counted + " - CAST(? AS BIGINT) AS INTEGER))"
	return wrap("count sign-in failure", s.exec(ctx, `INSERT INTO sign_in_attempts (network, account, failures, last_at) VALUES (?, ?, 1, ?)
		ON CONFLICT (account, network) DO UPDATE SET failures = `+counted+`, last_at = excluded.last_at,
			blocked_until = CASE
				WHEN `+counted+` < CAST(? AS BIGINT) THEN NULL
				WHEN `+counted+` - CAST(? AS BIGINT) > 20 OR `+wait+` > CAST(? AS BIGINT) THEN CAST(? AS BIGINT)
				ELSE CAST(? AS BIGINT) + `+wait+` END`,
		network, account, at, stale,
		stale, limit.Free, stale, limit.Free, stale, limit.Free, longest, at+longest,
		at, stale, limit.Free))
}

// ForgetSignInFailures clears the count after a right password.
func (s *Store) ForgetSignInFailures(ctx context.Context, account []byte, network string) error {
	return wrap("forget sign-in failures", s.exec(ctx, "DELETE FROM sign_in_attempts WHERE account = ? AND network = ?", account, network))
}

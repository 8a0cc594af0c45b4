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

// SignInLimit says how failed sign-ins slow the next attempt: Free failures cost nothing, and from then on each doubles
// the wait, from one second up to Longest. Failures older than Forget count no more.
type SignInLimit struct {
	Free            int64
	Longest, Forget time.Duration
}

// AttemptSignIn takes one attempt in advance, by one conditional statement: of attempts that come together none slips
// through unseen. It returns ErrBusy, with when to come back, while the account is blocked from that network. The
// caller forgets the failures when the password turns out right.
func (s *Store) AttemptSignIn(ctx context.Context, account []byte, network string, limit SignInLimit) (retryAt time.Time, err error) {
	now := s.now()
	at, stale := toMillis(now), toMillis(now.Add(-limit.Forget))
	// "counted" is the number of failures including this one; 1 << 20 seconds is beyond every limit.
	const counted = "(CASE WHEN sign_in_attempts.last_at < ? THEN 1 ELSE sign_in_attempts.failures + 1 END)"
	query := `INSERT INTO sign_in_attempts (network, account, failures, last_at) VALUES (?, ?, 1, ?)
		ON CONFLICT (account, network) DO UPDATE SET failures = ` + counted + `, last_at = excluded.last_at,
			blocked_until = CASE
				WHEN ` + counted + ` < CAST(? AS BIGINT) THEN NULL
				WHEN ` + counted + ` - CAST(? AS BIGINT) > 20 OR 1000 * (1 << CAST(` + counted + ` - CAST(? AS BIGINT) AS INTEGER)) > CAST(? AS BIGINT) THEN CAST(? AS BIGINT)
				ELSE CAST(? AS BIGINT) + 1000 * (1 << CAST(` + counted + ` - CAST(? AS BIGINT) AS INTEGER)) END
		WHERE sign_in_attempts.blocked_until IS NULL OR sign_in_attempts.blocked_until <= ?
		RETURNING failures`
	var failures int64
	err = queryRow(ctx, s.write, []any{&failures}, query, network, account, at, stale,
		stale, limit.Free,
		stale, limit.Free, stale, limit.Free, limit.Longest.Milliseconds(), at+limit.Longest.Milliseconds(),
		at, stale, limit.Free, at)
	if errors.Is(err, ErrNotFound) {
		a, err := take[SignInAttempt](ctx, s.write, "account = ? AND network = ?", account, network)
		if err != nil && !errors.Is(err, ErrNotFound) {
			return time.Time{}, wrap("read sign-in attempts", err)
		}
		if a.BlockedUntil == nil {
			return now.Add(time.Second), ErrBusy // forgotten between the two statements
		}
		return *a.BlockedUntil, ErrBusy
	}
	return time.Time{}, wrap("attempt sign-in", err)
}

// ForgetSignInFailures clears the count after a right password.
func (s *Store) ForgetSignInFailures(ctx context.Context, account []byte, network string) error {
	return wrap("forget sign-in failures", s.exec(ctx, "DELETE FROM sign_in_attempts WHERE account = ? AND network = ?", account, network))
}

package storage

import (
	"context"
	"errors"
	"strings"
	"time"

	"gatehouse/storage/db"
)

// SignInAttempt counts the failed sign-ins on one account from one subnet or device; "*" is the account as a whole.
// Both are HMACs, because they are only compared. Statements read and write single columns; only tests use the struct.
type SignInAttempt struct {
	Account      []byte `gorm:"primaryKey"`
	Subnet       string `gorm:"primaryKey;column:network"`
	Failures     int64
	LastAt       time.Time  `gorm:"serializer:millis"`
	BlockedUntil *time.Time `gorm:"serializer:millis"`
}

// SignInLimit sets how failed sign-ins delay the next attempt. Fewer than FreeFailures have no effect; from then on
// exponential backoff applies, from one second up to MaxWait. Failures older than Period do not count.
type SignInLimit struct {
	FreeFailures    int64
	MaxWait, Period time.Duration
}

// SignInCount is one count of failed sign-ins and the limit on it.
type SignInCount struct {
	Account []byte // an HMAC of the account or name
	Subnet  string // an HMAC of the subnet or device, or "*" for all
	Limit   SignInLimit
}

// SignInBlockedUntil returns the time until which the counts refuse sign-ins: the latest of them, or nil.
func (s *Store) SignInBlockedUntil(ctx context.Context, counts ...SignInCount) (*time.Time, error) {
	now := s.Now()
	// A failure in the future was counted before the clock was set back; its block would last as long as it was ahead.
	args := []any{db.Millis(now), db.Millis(now.Add(db.MaxClockSkew))}
	where := make([]string, 0, len(counts))
	for _, c := range counts {
		where = append(where, "account = ? AND network = ?")
		args = append(args, c.Account, c.Subnet)
	}
	var until *time.Time
	// Read on the writer connection, which sees a failure that was counted a moment ago.
	err := db.QueryRow(ctx, s.Write, []any{db.ScanNullTime(&until)},
		"SELECT max(blocked_until) FROM sign_in_attempts WHERE blocked_until > ? AND last_at <= ? AND ("+
			strings.Join(where, " OR ")+")", args...)
	return until, db.Wrap("read sign-in attempts", err)
}

// SubnetFailures is the state of a subnet after CountSignInFailures.
type SubnetFailures struct {
	Names        int64      // how many names failed to sign in
	BlockedUntil *time.Time // nil when that is within the limit
}

// CountSignInFailures increments each of the counts and sets how long the next sign-in must wait, in one transaction.
// The first count is that of the name and subnet. If names is not nil and this is the first failure of the name, it
// also increments names.
func (s *Store) CountSignInFailures(
	ctx context.Context, counts []SignInCount, names *SignInCount,
) (found SubnetFailures, err error) {
	return found, db.Wrap("count sign-in failure", s.Tx(ctx, func(tx *Store) error {
		found = SubnetFailures{}
		first := false
		for i, c := range counts {
			failures, _, err := tx.countSignInFailure(ctx, c)
			if err != nil {
				return err
			}
			first = first || i == 0 && failures == 1
		}
		if names == nil || !first {
			return nil
		}
		found.Names, found.BlockedUntil, err = tx.countSignInFailure(ctx, *names)
		return err
	}))
}

// countSignInFailure increments one count in one statement.
func (s *Store) countSignInFailure(ctx context.Context, c SignInCount) (failures int64, blocked *time.Time, err error) {
	limit := c.Limit
	at, stale, longest := db.Millis(s.Now()), db.Millis(s.Now().Add(-limit.Period)), limit.MaxWait.Milliseconds()
	const counted = "(CASE WHEN sign_in_attempts.last_at < ? THEN 1 ELSE sign_in_attempts.failures + 1 END)"
	// 1 << 20 seconds is beyond every limit; a larger shift would overflow.
	const wait = "1000 * (1 << CAST(" + counted + " - CAST(? AS BIGINT) AS INTEGER))"
	err = db.QueryRow(
		ctx, s.Write, []any{&failures, db.ScanNullTime(&blocked)},
		`INSERT INTO sign_in_attempts (network, account, failures, last_at, blocked_until)
		VALUES (?, ?, 1, ?, CASE WHEN 1 < CAST(? AS BIGINT) THEN NULL ELSE CAST(? AS BIGINT) END)
		ON CONFLICT (account, network) DO UPDATE SET failures = `+counted+`, last_at = excluded.last_at,
			blocked_until = CASE
				WHEN `+counted+` < CAST(? AS BIGINT) THEN NULL
				WHEN `+counted+` - CAST(? AS BIGINT) > 20 OR `+wait+` > CAST(? AS BIGINT) THEN CAST(? AS BIGINT)
				ELSE CAST(? AS BIGINT) + `+wait+` END
		RETURNING failures, blocked_until`, c.Subnet, c.Account, at, limit.FreeFailures, at+1000, stale, stale,
		limit.FreeFailures, stale, limit.FreeFailures, stale, limit.FreeFailures, longest, at+longest, at, stale,
		limit.FreeFailures,
	)
	return failures, blocked, err
}

// ClearSignInFailures deletes counts after a correct password.
func (s *Store) ClearSignInFailures(ctx context.Context, counts ...SignInCount) error {
	for _, c := range counts {
		if err := db.Exec(ctx, s.Write,
			"DELETE FROM sign_in_attempts WHERE account = ? AND network = ?", c.Account, c.Subnet); err != nil {
			return db.Wrap("clear sign-in failures", err)
		}
	}
	return nil
}

// CreditSignIn subtracts a sign-in from the names that failed in its subnet, and ends a wait. It does so once for
// each account and subnet within the limit's Period, so that repeated sign-ins have no effect. success is the row
// that records it.
func (s *Store) CreditSignIn(ctx context.Context, names, success SignInCount, credit int64) error {
	var failures int64
	err := db.QueryRow(
		ctx, s.Write, []any{&failures},
		"SELECT failures FROM sign_in_attempts WHERE account = ? AND network = ? AND failures > 0", names.Account,
		names.Subnet,
	)
	if errors.Is(err, ErrNotFound) {
		return nil // nothing to subtract from
	}
	if err != nil {
		return db.Wrap("credit a sign-in", err)
	}
	return db.Wrap("credit a sign-in", s.Tx(ctx, func(tx *Store) error {
		now := s.Now()
		err := db.ExecOne(
			ctx, tx.Write, `INSERT INTO sign_in_attempts (account, network, failures, last_at) VALUES (?, ?, 0, ?)
			ON CONFLICT (account, network) DO UPDATE SET last_at = excluded.last_at WHERE sign_in_attempts.last_at < ?`,
			success.Account, success.Subnet, db.Millis(now), db.Millis(now.Add(-names.Limit.Period)),
		)
		if errors.Is(err, ErrNotFound) {
			return nil // already credited
		}
		if err != nil {
			return err
		}
		return db.Exec(
			ctx, tx.Write,
			`UPDATE sign_in_attempts SET failures = CASE WHEN failures > ? THEN failures - ? ELSE 0 END, blocked_until = NULL
			WHERE account = ? AND network = ?`, credit, credit, names.Account, names.Subnet,
		)
	}))
}

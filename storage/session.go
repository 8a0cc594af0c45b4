package storage

import (
	"context"
	"encoding/json"
	"sync"
	"time"
)

// BrowserSession is a signed-in browser.
type BrowserSession struct {
	ID         string // public: what grants and, later, ID tokens call it
	TokenHash  []byte // SHA-256 of the cookie
	UserID     string
	UserEpoch  int64
	AuthTime   time.Time  `gorm:"serializer:millis"`
	ACR        string     `gorm:"column:acr"`
	AMR        Strings    `gorm:"column:amr"`
	Address    string     // of the last sign-in, stored sealed in Personal; rows of earlier versions have it in clear
	UserAgent  string     // as Address
	CreatedAt  time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	LastSeenAt time.Time  `gorm:"serializer:millis"`
	ExpiresAt  time.Time  `gorm:"serializer:millis"`
	EndedAt    *time.Time `gorm:"serializer:millis"`

	Personal    []byte // Address and UserAgent, sealed under a key derived from PersonalKey
	PersonalKey []byte // random; NULL once erased
}

// SessionByToken returns the live session with that cookie hash and its person, or ErrNotFound: when it has ended,
// expired, idled longer than idle, or its person is disabled or has ended all sessions.
func (s *Store) SessionByToken(ctx context.Context, hash []byte, idle time.Duration) (BrowserSession, User, error) {
	now := s.now()
	var b BrowserSession
	var u User
	var profile []byte
	dest := []any{
		&b.ID, &b.TokenHash, &b.UserID, &b.UserEpoch, instant{&b.AuthTime}, &b.ACR, &b.AMR, &b.Address, &b.UserAgent, instant{&b.CreatedAt}, instant{&b.LastSeenAt}, instant{&b.ExpiresAt}, moment{&b.EndedAt}, &b.Personal, &b.PersonalKey,
		&u.ID, &u.Username, &u.UsernameKey, &u.Email, &u.EmailKey, &u.Name, &profile, &u.Admin, &u.Epoch, instant{&u.CreatedAt}, instant{&u.UpdatedAt}, moment{&u.DisabledAt}, moment{&u.EmailVerifiedAt}, moment{&u.PhoneVerifiedAt},
	}
	err := queryRow(ctx, s.read, dest, "SELECT "+sessionColumns()+", "+userColumns()+` FROM browser_sessions
		JOIN users ON users.id = browser_sessions.user_id AND users.disabled_at IS NULL AND users.epoch = browser_sessions.user_epoch
		WHERE token_hash = ? AND ended_at IS NULL AND expires_at > ? AND last_seen_at > ?`, hash, toMillis(now), toMillis(now.Add(-idle)))
	if err == nil && len(profile) > 0 {
		err = json.Unmarshal(profile, &u.Profile)
	}
	b.open(s)
	return b, u, wrap("read session", err)
}

var sessionColumns = sync.OnceValue(func() string { return columnsOf(&BrowserSession{}, "browser_sessions") })

// UnendedSession returns the session with that cookie hash that nobody has ended, though it may have expired, or
// ErrNotFound.
func (s *Store) UnendedSession(ctx context.Context, hash []byte) (BrowserSession, error) {
	b, err := take[BrowserSession](ctx, s.write, "token_hash = ? AND ended_at IS NULL", hash)
	b.open(s)
	return b, wrap("read session", err)
}

// Sessions returns a person's live sessions, the latest seen first.
func (s *Store) Sessions(ctx context.Context, u User, idle time.Duration) ([]BrowserSession, error) {
	now := s.now()
	out, err := list[BrowserSession](ctx, s.read, "last_seen_at DESC",
		"user_id = ? AND user_epoch = ? AND ended_at IS NULL AND expires_at > ? AND last_seen_at > ?",
		u.ID, u.Epoch, toMillis(now), toMillis(now.Add(-idle)))
	for i := range out {
		out[i].open(s)
	}
	return out, wrap("list sessions", err)
}

// CreateSession adds a session at sign-in.
func (s *Store) CreateSession(ctx context.Context, b *BrowserSession, e Event) error {
	e.UserID = b.UserID
	row := *b
	if err := row.seal(s); err != nil {
		return wrap("create session", err)
	}
	return wrap("create session", s.Tx(ctx, func(tx *Store) error {
		if err := tx.insert(ctx, &row); err != nil {
			return err
		}
		return tx.record(ctx, e)
	}))
}

// RenewSession records that the person of a live session signed in again: the cookie's hash changes, so that a cookie
// known before the sign-in is worth nothing after it, and the grants bound to the session stay. It returns ErrNotFound
// when the session is not live or not that person's.
func (s *Store) RenewSession(ctx context.Context, b *BrowserSession, e Event) error {
	e.UserID = b.UserID
	row := *b
	if err := row.seal(s); err != nil {
		return wrap("renew session", err)
	}
	return wrap("renew session", s.Tx(ctx, func(tx *Store) error {
		amr, err := b.AMR.Value()
		if err != nil {
			return err
		}
		if err := tx.execOne(ctx, `UPDATE browser_sessions SET token_hash = ?, user_epoch = ?, auth_time = ?, acr = ?, amr = ?,
			address = '', user_agent = '', personal = ?, personal_key = ?, last_seen_at = ?, expires_at = ?
			WHERE id = ? AND user_id = ? AND ended_at IS NULL`,
			b.TokenHash, b.UserEpoch, toMillis(b.AuthTime), b.ACR, amr, row.Personal, row.PersonalKey, toMillis(b.LastSeenAt),
			toMillis(b.ExpiresAt), b.ID, b.UserID); err != nil {
			return err
		}
		return tx.record(ctx, e)
	}))
}

// TouchSession notes that the session was used. Callers do so once a minute at most.
func (s *Store) TouchSession(ctx context.Context, id string) error {
	return wrap("touch session", s.exec(ctx, "UPDATE browser_sessions SET last_seen_at = ? WHERE id = ? AND ended_at IS NULL", toMillis(s.now()), id))
}

// EndSession ends one of the person's sessions, and with it every grant bound to it that has no offline_access. The apps
// that were used in it and want to know are told (OIDC Back-Channel Logout §2.3). It returns ErrNotFound when they have no
// such live session.
func (s *Store) EndSession(ctx context.Context, userID, id string, e Event) error {
	e.UserID = userID
	return wrap("end session", s.Tx(ctx, func(tx *Store) error {
		if err := tx.execOne(ctx, "UPDATE browser_sessions SET ended_at = ? WHERE id = ? AND user_id = ? AND ended_at IS NULL",
			toMillis(s.now()), id, userID); err != nil {
			return err
		}
		if err := tx.tellOfLogout(ctx, "grants.session_id = ?", id); err != nil {
			return err
		}
		return tx.record(ctx, e)
	}))
}

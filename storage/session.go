package storage

import (
	"context"
	"errors"
	"strconv"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// BrowserSession is a signed-in browser.
type BrowserSession struct {
	ID         string // the id in grants; clients get a sid derived from it
	TokenHash  []byte // SHA-256 of the cookie
	UserID     string
	UserEpoch  int64
	AuthTime   time.Time  `gorm:"serializer:millis"`
	ACR        string     `gorm:"column:acr"`
	AMR        Strings    `gorm:"column:amr"`
	Address    string     `gorm:"-"` // of the last sign-in, stored only in Personal
	UserAgent  string     `gorm:"-"` // likewise
	CreatedAt  time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	LastSeenAt time.Time  `gorm:"serializer:millis"`
	ExpiresAt  time.Time  `gorm:"serializer:millis"`
	EndedAt    *time.Time `gorm:"serializer:millis"`

	SignInEpoch int64 `gorm:"-"` // of the user when the sign-in began; not stored

	EnrolmentPostponedAt *time.Time `gorm:"serializer:millis"` // nil since the last sign-in

	Personal    []byte // Address and UserAgent, sealed under a key derived from PersonalKey
	PersonalKey []byte // random; NULL once erased
}

// SessionByTokenHash returns the active session with that cookie hash, and its user. It returns ErrNotFound when the
// session was ended, has expired or idled longer than idle, or when its user is disabled or has ended all sessions.
func (s *Store) SessionByTokenHash(ctx context.Context, hash []byte, idle time.Duration) (BrowserSession, User, error) {
	now := s.Now()
	var b BrowserSession
	var u User
	dest := append(sessionRow.Targets(&b), userRow.Targets(&u)...)
	err := db.QueryRow(
		ctx, s.Read, dest, "SELECT "+sessionRow.QualifiedColumns()+", "+userRow.QualifiedColumns()+` FROM browser_sessions
		JOIN users ON users.id = browser_sessions.user_id AND users.disabled_at IS NULL
			AND users.epoch = browser_sessions.user_epoch
		WHERE token_hash = ? AND ended_at IS NULL AND expires_at > ? AND last_seen_at > ?`, hash, db.Millis(now),
		db.Millis(now.Add(-idle)),
	)
	b.open(s)
	return b, u, db.Wrap("read session", err)
}

var sessionRow = db.NewRecord[BrowserSession]("browser_sessions")

// SessionNotEnded returns the session with that cookie hash, expired or not, or ErrNotFound when it was ended.
func (s *Store) SessionNotEnded(ctx context.Context, hash []byte) (BrowserSession, error) {
	b, err := db.Take[BrowserSession](ctx, s.Write, "token_hash = ? AND ended_at IS NULL", hash)
	b.open(s)
	return b, db.Wrap("read session", err)
}

// Sessions returns the active sessions of a user, the last used one first.
func (s *Store) Sessions(ctx context.Context, u User, idle time.Duration) ([]BrowserSession, error) {
	now := s.Now()
	out, err := db.List[BrowserSession](ctx, s.Read, "last_seen_at DESC",
		"user_id = ? AND user_epoch = ? AND ended_at IS NULL AND expires_at > ? AND last_seen_at > ?",
		u.ID, u.Epoch, db.Millis(now), db.Millis(now.Add(-idle)))
	for i := range out {
		out[i].open(s)
	}
	return out, db.Wrap("list sessions", err)
}

// HasHadSession reports whether a session of the user is stored, active or not. They are stored for a day at least.
func (s *Store) HasHadSession(ctx context.Context, userID string) (bool, error) {
	var one int
	err := db.QueryRow(ctx, s.Write, []any{&one}, "SELECT 1 FROM browser_sessions WHERE user_id = ? LIMIT 1", userID)
	if errors.Is(err, ErrNotFound) {
		return false, nil
	}
	return err == nil, db.Wrap("read session", err)
}

// unchangedUser returns the relation of a user with the epochs that a sign-in read before it verified anything. Its
// question marks are the id and both epochs. The row is locked: a change of the password either waits, and then ends
// what the sign-in created, or is visible to this statement.
func (s *Store) unchangedUser() string {
	relation := "users WHERE id = ? AND epoch = ? AND sign_in_epoch = ?"
	if s.Engine() == Postgres { // SQLite has one writer
		relation += " FOR SHARE"
	}
	return relation
}

// CreateSession adds a session at sign-in. It returns ErrNotFound when the password changed or everything was ended
// since the sign-in began.
func (s *Store) CreateSession(ctx context.Context, b *BrowserSession) error {
	e := audit.Event{Type: audit.UserSignedIn, UserID: b.UserID}
	row := *b
	if err := row.seal(s); err != nil {
		return db.Wrap("create session", err)
	}
	return db.Wrap("create session", s.Tx(ctx, func(tx *Store) error {
		if err := sessionRow.InsertIf(
			ctx, tx.Write, &row, s.unchangedUser(), b.UserID, b.UserEpoch, b.SignInEpoch,
		); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// RenewSession records that the user of an active session signed in again. The hash of the cookie changes, so that a
// cookie that was known before the sign-in is invalid afterwards; the grants that are bound to the session stay. It
// returns ErrNotFound when the session is not active or belongs to another user, and when the password changed or
// everything was ended since the sign-in began.
func (s *Store) RenewSession(ctx context.Context, b *BrowserSession) error {
	e := audit.Event{Type: audit.UserSignedIn, UserID: b.UserID}
	row := *b
	if err := row.seal(s); err != nil {
		return db.Wrap("renew session", err)
	}
	return db.Wrap("renew session", s.Tx(ctx, func(tx *Store) error {
		amr, err := b.AMR.Value()
		if err != nil {
			return err
		}
		if err := db.ExecOne(ctx, tx.Write,
			`UPDATE browser_sessions SET token_hash = ?, user_epoch = ?, auth_time = ?, acr = ?, amr = ?,
			personal = ?, personal_key = ?, last_seen_at = ?, expires_at = ?, enrolment_postponed_at = NULL
			WHERE id = ? AND user_id = ? AND ended_at IS NULL AND EXISTS (SELECT 1 FROM `+s.unchangedUser()+`)`,
			b.TokenHash, b.UserEpoch, db.Millis(b.AuthTime), b.ACR, amr, row.Personal, row.PersonalKey, db.Millis(b.LastSeenAt),
			db.Millis(b.ExpiresAt), b.ID, b.UserID, b.UserID, b.UserEpoch, b.SignInEpoch); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// RaisedSession is a session that gets a stronger acr, under a new token, without a sign-in.
type RaisedSession struct {
	ID        string
	From      []byte // SHA-256 of the cookie before
	TokenHash []byte // SHA-256 of the new cookie
	ACR       string
	AMR       Strings
}

// raiseSession raises the acr of an active session of the user. The hash of the cookie changes, so that a copy of the
// cookie from before does not get the acr; auth_time stays. It reports false when the session has ended or changed.
func (s *Store) raiseSession(ctx context.Context, userID string, b *RaisedSession) (bool, error) {
	amr, err := b.AMR.Value()
	if err != nil {
		return false, err
	}
	n, err := db.ExecCount(ctx, s.Write, `UPDATE browser_sessions SET token_hash = ?, acr = ?, amr = ?
		WHERE id = ? AND user_id = ? AND token_hash = ? AND ended_at IS NULL`,
		b.TokenHash, b.ACR, amr, b.ID, userID, b.From)
	return n > 0, err
}

// PostponeEnrolment stores that the user of the session adds factors later. It returns ErrNotFound when the session was
// ended.
func (s *Store) PostponeEnrolment(ctx context.Context, userID, sessionID string) error {
	return db.Wrap("postpone enrolment", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write,
			"UPDATE browser_sessions SET enrolment_postponed_at = ? WHERE id = ? AND user_id = ? AND ended_at IS NULL",
			db.Millis(s.Now()), sessionID, userID); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.EnrolmentPostponed, UserID: userID})
	}))
}

// TouchSession stores that the session is used now. Callers do so at most once a minute.
func (s *Store) TouchSession(ctx context.Context, id string) error {
	err := db.Exec(ctx, s.Write, "UPDATE browser_sessions SET last_seen_at = ? WHERE id = ? AND ended_at IS NULL",
		db.Millis(s.Now()), id)
	return db.Wrap("touch session", err)
}

// EndSession ends a session of the user, and with it every grant bound to it that has no offline_access. It queues
// the logout for the clients that were used in it (OIDC Back-Channel Logout §2.3). It returns ErrNotFound when the
// user has no such active session.
func (s *Store) EndSession(ctx context.Context, userID, id string) error {
	e := audit.Event{Type: audit.SessionEnded, UserID: userID}
	return db.Wrap("end session", s.Tx(ctx, func(tx *Store) error {
		if err := db.ExecOne(ctx, tx.Write,
			"UPDATE browser_sessions SET ended_at = ? WHERE id = ? AND user_id = ? AND ended_at IS NULL",
			db.Millis(s.Now()), id, userID); err != nil {
			return err
		}
		if err := tx.queueLogouts(ctx, "grants.session_id = ?", id); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// EndOtherSessions ends the sessions of a user except one, as EndSession does, the remembered browsers, and a link to
// change the address. When the user reports an event of the audit log that another caused, report is its id, otherwise
// empty; the links in emails, except those to undo a change or reset the password, and pending sign-ins end then, too.
// It returns the number of sessions, and ErrSessionEnded when the one that stays has ended.
func (s *Store) EndOtherSessions(ctx context.Context, userID, except, report string) (n int64, err error) {
	return n, db.Wrap("end other sessions", s.Tx(ctx, func(tx *Store) error {
		// Lock the user first: of two sessions that end each other concurrently, only one succeeds.
		if err := db.Lock(ctx, tx.Write, "users", userID); err != nil {
			return err
		}
		if except != "" {
			if err := tx.requireActiveSession(ctx, userID, except); err != nil {
				return err
			}
		}
		if report != "" {
			if err := tx.raiseSignInEpoch(ctx, userID); err != nil {
				return err
			}
		}
		if err := tx.queueLogouts(ctx, `grants.session_id IN (SELECT id FROM browser_sessions
			WHERE user_id = ? AND id <> ? AND ended_at IS NULL)`, userID, except); err != nil {
			return err
		}
		if n, err = db.ExecCount(ctx, tx.Write,
			"UPDATE browser_sessions SET ended_at = ? WHERE user_id = ? AND id <> ? AND ended_at IS NULL",
			db.Millis(s.Now()), userID, except); err != nil {
			return err
		}
		if _, err := tx.deleteRememberedBrowsers(ctx, userID); err != nil {
			return err
		}
		if err := tx.deleteEmailChanges(ctx, userID); err != nil {
			return err
		}
		e := audit.Event{Type: audit.SessionsEnded, UserID: userID, Detail: map[string]any{"sessions": n}}
		if report != "" {
			e.Type = audit.ActivityReported
			e.Detail["reported"] = report
			if err := tx.deleteEmailTokensBySession(ctx, userID); err != nil {
				return err
			}
			if err := db.Exec(ctx, tx.Write, "DELETE FROM pending_sign_ins WHERE user_id = ?", userID); err != nil {
				return err
			}
		}
		return tx.Audit.Record(ctx, e)
	}))
}

// ConfirmActivity records that the user caused an event of the audit log, by its id.
func (s *Store) ConfirmActivity(ctx context.Context, userID, id string) error {
	e := audit.Event{Type: audit.ActivityConfirmed, UserID: userID, Detail: map[string]any{"confirmed": id}}
	return db.Wrap("confirm activity", s.Audit.Record(ctx, e))
}

// seal seals the session's address and user agent for storing.
func (b *BrowserSession) seal(s *Store) (err error) {
	b.PersonalKey, b.Personal, err = s.Audit.SealAddress(b.ID, b.Address, b.UserAgent)
	return err
}

// open fills in the session's address and user agent, unless they were erased or cannot be read.
func (b *BrowserSession) open(s *Store) {
	b.Address, b.UserAgent = s.Audit.OpenAddress(b.ID, b.PersonalKey, b.Personal)
}

// EraseAddresses makes the addresses and user agents in a user's audit rows and browser sessions permanently
// unreadable. It returns the number of rows and sessions.
func (s *Store) EraseAddresses(ctx context.Context, userID string) (int64, error) {
	rows, err := s.Audit.Erase(ctx, userID)
	if err != nil {
		return rows, err
	}
	due := "SELECT id FROM browser_sessions WHERE user_id = ? AND personal_key IS NOT NULL LIMIT " +
		strconv.Itoa(db.BatchRows)
	query := "UPDATE browser_sessions SET personal = NULL, personal_key = NULL WHERE " + s.SkipLocked("id", due)
	sessions, err := db.ExecBatches(ctx, s.Write, query, userID)
	if err != nil {
		return rows, db.Wrap("erase personal data", err)
	}
	if rows+sessions == 0 {
		return 0, nil
	}
	detail := map[string]any{"rows": rows, "sessions": sessions}
	return rows + sessions, s.Audit.Record(ctx, audit.Event{Type: audit.AuditErased, UserID: userID, Detail: detail})
}

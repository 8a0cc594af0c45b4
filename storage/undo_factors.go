package storage

import (
	"context"
	"encoding/hex"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// UndoWindow is how long after a change its link in a mail undoes it, and how long after it was added a factor can be
// removed without it.
const UndoWindow = 7 * 24 * time.Hour

// FactorAddition is who adds a factor, and the link in the notice with which the user undoes it.
type FactorAddition struct {
	AccountSession        // nothing is added if it has ended since the request began
	UndoHash       []byte // of the token in Link; nil: the notice has no link
	Link           string
	// Codes are the hashes of recovery codes that are created with a second factor, in place of others; nil: none. One
	// notice reports both.
	Codes [][]byte
}

// RecentFactor is a factor that can be removed by the link of its notice or at a reset of the password.
type RecentFactor struct {
	Kind    string // one of the constants …Factor
	Name    string // of a passkey
	AddedAt time.Time
}

// The kinds of a RecentFactor.
const (
	PasskeyFactor       = "passkey"
	SecurityKeyFactor   = "security_key"
	TOTPFactor          = "totp"
	RecoveryCodesFactor = "recovery_codes"
)

// secondFactorSince returns since when a user who adds a second factor at a time has had one without interruption.
func (s *Store) secondFactorSince(ctx context.Context, userID string, at time.Time) (time.Time, error) {
	var since int64
	err := db.QueryRow(ctx, s.Write, []any{&since}, `SELECT COALESCE(min(since), CAST(? AS BIGINT)) FROM (
		SELECT second_factor_since AS since FROM totp_secrets WHERE id = ?
		UNION ALL SELECT second_factor_since FROM passkeys WHERE user_id = ? AND second_factor) AS factors`,
		db.Millis(at), userID, userID)
	return db.FromMillis(since), err
}

// factorAdded records that a factor was added, adds its recovery codes and queues a notice, in the current transaction.
func (s *Store) factorAdded(ctx context.Context, e audit.Event, a FactorAddition) error {
	if err := s.Audit.Record(ctx, e); err != nil {
		return err
	}
	change := e.Type
	if a.Codes != nil {
		replaced, err := s.replaceRecoveryCodes(ctx, e.UserID, a.Codes)
		if err != nil {
			return err
		}
		if change += withCodes; replaced {
			change = e.Type + withNewCodes
		}
	}
	return s.queueAddition(ctx, e.UserID, change, a)
}

// queueAddition queues the notice of an added factor with the link that undoes it, in the current transaction. Every
// notice has its own link, so that nothing that an attacker adds later replaces one.
func (s *Store) queueAddition(ctx context.Context, userID, change string, a FactorAddition) error {
	if a.UndoHash == nil || !s.MailEnabled() {
		return s.queueNotice(ctx, MailFactorsChanged, userID, map[string]string{MailValueChange: change})
	}
	u, err := db.Take[User](ctx, s.Write, "id = ?", userID)
	if err != nil {
		return err
	}
	t := EmailToken{
		UserID: u.ID, Purpose: UndoFactors, Slot: hex.EncodeToString(a.UndoHash), Hash: a.UndoHash, Email: u.Email,
		EmailKey: u.EmailKey, CreatedAt: s.Now(), ExpiresAt: s.Now().Add(UndoWindow),
	}
	if err := s.insertEmailToken(ctx, t); err != nil {
		return err
	}
	return s.QueueMail(ctx, Mail{
		Kind: MailFactorAdded, UserID: u.ID, To: u.Email, ExpiresAt: t.ExpiresAt,
		Values: map[string]string{MailValueChange: change, MailLink: a.Link},
	})
}

// recentPasskey is the condition that a passkey was added after a time. Imported ones were added elsewhere.
const recentPasskey = "(created_at > ? AND attestation <> '" + AttestationImported + "')"

// keepsSecondFactors reports whether the second factors of a user that were added after a time must stay, because the
// user has had a second factor for longer and would have none without them. An attacker who reads the user's mails must
// not be able to remove a protection that is older. Passkeys sign in alone, so that those of an attacker never stay.
func (s *Store) keepsSecondFactors(ctx context.Context, userID string, since time.Time) (bool, error) {
	var older, unbroken bool
	at := db.Millis(since)
	err := db.QueryRow(ctx, s.Write, []any{&older, &unbroken}, `SELECT
		EXISTS (SELECT 1 FROM totp_secrets WHERE id = ? AND confirmed_at <= ?)
			OR EXISTS (SELECT 1 FROM passkeys WHERE user_id = ? AND second_factor AND NOT `+recentPasskey+`),
		EXISTS (SELECT 1 FROM totp_secrets WHERE id = ? AND second_factor_since <= ?)
			OR EXISTS (SELECT 1 FROM passkeys WHERE user_id = ? AND second_factor AND second_factor_since <= ?)`,
		userID, at, userID, at, userID, at, userID, at)
	return unbroken && !older, err
}

// RecentFactors returns the factors of a user that were added within UndoWindow and can be removed, the oldest first.
// All recovery codes are one. retained reports that there is a second factor that stays.
func (s *Store) RecentFactors(ctx context.Context, userID string) (out []RecentFactor, retained bool, err error) {
	since := s.Now().Add(-UndoWindow)
	at := db.Millis(since)
	keep, err := s.keepsSecondFactors(ctx, userID, since)
	if err != nil {
		return nil, false, db.Wrap("list recent factors", err)
	}
	err = db.Query(ctx, s.Write, func(scan func(dest ...any) error) error {
		var f RecentFactor
		var added int64
		if err := scan(&f.Kind, &f.Name, &added); err != nil {
			return err
		}
		if keep && (f.Kind == SecurityKeyFactor || f.Kind == TOTPFactor) {
			retained = true
			return nil
		}
		f.AddedAt = db.FromMillis(added)
		out = append(out, f)
		return nil
	}, `SELECT CASE WHEN second_factor THEN '`+SecurityKeyFactor+`' ELSE '`+PasskeyFactor+`' END, name, created_at
			FROM passkeys WHERE user_id = ? AND `+recentPasskey+`
		UNION ALL SELECT '`+TOTPFactor+`', '', confirmed_at FROM totp_secrets WHERE id = ? AND confirmed_at > ?
		UNION ALL SELECT '`+RecoveryCodesFactor+`', '', max(created_at) FROM recovery_codes
			WHERE user_id = ? AND created_at > ? AND used_at IS NULL GROUP BY user_id
		ORDER BY 3`, userID, at, userID, at, userID, at)
	return out, retained, db.Wrap("list recent factors", err)
}

// undoneByLink is the cause of removeRecentFactors that is recorded also when nothing is left to remove.
const undoneByLink = "link"

// removeRecentFactors removes the factors that RecentFactors returns, in the current transaction in which the row of
// the user is locked, and records it with what caused it.
func (s *Store) removeRecentFactors(ctx context.Context, userID, cause string) error {
	since := s.Now().Add(-UndoWindow)
	keep, err := s.keepsSecondFactors(ctx, userID, since)
	if err != nil {
		return err
	}
	removed, total := map[string]any{"cause": cause, "second_factors_retained": keep}, int64(0)
	for _, d := range []struct{ name, query string }{
		{"recovery_codes", "DELETE FROM recovery_codes WHERE user_id = ? AND created_at > ?"},
		{"passkeys", "DELETE FROM passkeys WHERE user_id = ? AND " + recentPasskey + " AND NOT second_factor"},
		{"security_keys", "DELETE FROM passkeys WHERE user_id = ? AND " + recentPasskey + " AND second_factor"},
		{"totp", "DELETE FROM totp_secrets WHERE id = ? AND confirmed_at > ?"},
	} {
		if keep && (d.name == "security_keys" || d.name == "totp") {
			continue
		}
		n, err := db.ExecCount(ctx, s.Write, d.query, userID, db.Millis(since))
		if err != nil {
			return err
		}
		removed[d.name] = n
		total += n
	}
	if err := s.deleteUnneededFactors(ctx, userID); err != nil || total == 0 && cause != undoneByLink {
		return err
	}
	return s.factorsChanged(ctx, audit.Event{Type: audit.UserFactorsUndone, UserID: userID, Detail: removed})
}

// UndoFactors consumes a token of a notice about an added factor, and removes the factors that were added within
// UndoWindow. Because the account may have been taken over, it ends every session, grant and remembered browser, the
// password, and every pending sign-in and link but those that undo. It returns a *RefusalError when the token cannot be
// used.
func (s *Store) UndoFactors(ctx context.Context, hash []byte) (u User, err error) {
	return u, db.Wrap("undo an added factor", s.Tx(ctx, func(tx *Store) error {
		t, err := tx.useEmailToken(ctx, UndoFactors, hash)
		if err != nil {
			return err
		}
		if u, err = tx.lockedUser(ctx, t.UserID); err != nil {
			return err
		}
		if err := tx.endEverything(ctx, u.ID); err != nil {
			return err
		}
		if err := tx.removeRecentFactors(ctx, u.ID, undoneByLink); err != nil {
			return err
		}
		if err := tx.deletePassword(ctx, u.ID); err != nil {
			return err
		}
		// Links to undo a change of address stay: an attacker may have changed it since. So do earlier links of this kind,
		// because this one may be the attacker's, at the changed address.
		if err := db.Exec(ctx, tx.Write, `DELETE FROM email_tokens WHERE user_id = ? AND hash <> ? AND purpose <> ?
			AND (purpose <> ? OR created_at >= ?)`,
			u.ID, hash, UndoEmailChange, UndoFactors, db.Millis(t.CreatedAt)); err != nil {
			return err
		}
		return db.Exec(ctx, tx.Write, "DELETE FROM pending_sign_ins WHERE user_id = ?", u.ID)
	}))
}

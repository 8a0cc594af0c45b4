package storage

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"errors"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Passkey is a credential of WebAuthn with which a user signs in.
type Passkey struct {
	ID             string
	UserID         string
	CredentialID   []byte
	PublicKey      []byte // COSE
	SignCount      int64
	AAGUID         string  `gorm:"column:aaguid"` // the model of the authenticator, or ""
	Transports     Strings // how the authenticator is reached, as it reported
	Attestation    string  // the format of the attestation that was verified, none, or imported
	UserVerified   bool    // at registration
	Discoverable   bool    // it signs in without a username
	SecondFactor   bool    // it is only accepted after a password
	BackupEligible bool    // it can be synced to other devices
	BackedUp       bool    // it is synced, as of its last use
	Name           string
	CreatedAt      time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	LastUsedAt     *time.Time `gorm:"serializer:millis"`
	// SecondFactorSince is since when the user of a second factor has had one without interruption.
	SecondFactorSince time.Time `gorm:"serializer:millis"`
}

// AttestationImported is the attestation of a passkey of another system, which did not store whether it can be synced.
// Its first use decides that; until then BackupEligible is true, so that it does not count as one in hardware.
const AttestationImported = "imported"

// BackupUnknown reports whether the passkey was imported and not used since, so that BackupEligible has no meaning yet.
func (p Passkey) BackupUnknown() bool {
	return p.Attestation == AttestationImported && p.LastUsedAt == nil
}

var passkeyRow = db.NewRecord[Passkey]("passkeys")

// ErrLastFactor is returned when a change would leave a user no way to sign in.
var ErrLastFactor error = db.Outcome("the last way to sign in")

// maxPasskeys is how many passkeys a user can have.
const maxPasskeys = 20

// ErrTooManyPasskeys is returned when a user has as many passkeys as possible.
var ErrTooManyPasskeys error = db.Outcome("too many passkeys")

// Passkeys returns the passkeys of a user, the oldest first.
func (s *Store) Passkeys(ctx context.Context, userID string) ([]Passkey, error) {
	out, err := db.List[Passkey](ctx, s.Write, "created_at, id", "user_id = ?", userID)
	return out, db.Wrap("list passkeys", err)
}

// PasskeyHandle returns the user handle of a user's passkeys, and generates it at the first call. It is random, so that
// an authenticator discloses nothing about the user (WebAuthn §14.6.1).
func (s *Store) PasskeyHandle(ctx context.Context, userID string) (handle []byte, err error) {
	fresh := make([]byte, 32)
	_, _ = rand.Read(fresh) // never fails: the runtime ends the program instead
	err = db.Exec(ctx, s.Write,
		"UPDATE users SET passkey_handle = ? WHERE id = ? AND passkey_handle IS NULL", fresh, userID)
	if err == nil {
		err = db.QueryRow(ctx, s.Write, []any{&handle}, "SELECT passkey_handle FROM users WHERE id = ?", userID)
	}
	return handle, db.Wrap("read passkey handle", err)
}

// CreatePasskey adds a passkey. It returns ErrConflict when the credential is registered, for any user,
// ErrTooManyPasskeys, and ErrSessionEnded.
func (s *Store) CreatePasskey(ctx context.Context, p Passkey, a FactorAddition) error {
	return db.Wrap("create passkey", s.Tx(ctx, func(tx *Store) error {
		if err := tx.requireSession(ctx, p.UserID, a.AccountSession); err != nil {
			return err
		}
		f, err := tx.Factors(ctx, p.UserID)
		if err != nil {
			return err
		}
		if f.Passkeys+f.SecurityKeys >= maxPasskeys {
			return ErrTooManyPasskeys
		}
		p.SecondFactorSince = p.CreatedAt
		if p.SecondFactor {
			if p.SecondFactorSince, err = tx.secondFactorSince(ctx, p.UserID, p.CreatedAt); err != nil {
				return err
			}
		}
		if err := db.Insert(ctx, tx.Write, &p); err != nil {
			return err
		}
		return tx.factorAdded(ctx, passkeyEvent(audit.PasskeyCreated, p), a)
	}))
}

// passkeyEvent returns an event of a passkey.
func passkeyEvent(event string, p Passkey) audit.Event {
	return audit.Event{Type: event, UserID: p.UserID, Detail: map[string]any{
		"passkey": p.ID, "aaguid": p.AAGUID, "synced": p.BackupEligible, "second_factor": p.SecondFactor,
	}}
}

// RenamePasskey changes the name of a passkey of a user. It returns ErrNotFound when the user has no such passkey, and
// ErrSessionEnded.
func (s *Store) RenamePasskey(ctx context.Context, userID, id, name string, by AccountSession) error {
	return db.Wrap("rename passkey", s.Tx(ctx, func(tx *Store) error {
		if err := tx.requireSession(ctx, userID, by); err != nil {
			return err
		}
		p, err := db.Take[Passkey](ctx, tx.Write, "id = ? AND user_id = ?", id, userID)
		if err != nil || p.Name == name {
			return err
		}
		if err := db.ExecOne(ctx, tx.Write, "UPDATE passkeys SET name = ? WHERE id = ? AND user_id = ?",
			name, id, userID); err != nil {
			return err
		}
		return tx.factorsChanged(ctx, passkeyEvent(audit.PasskeyRenamed, p))
	}))
}

// DeletePasskey removes a passkey of a user, and the recovery codes when no second factor is left. It returns
// ErrNotFound when the user has no such passkey, ErrLastFactor when the user could not sign in without it, and
// ErrSessionEnded.
func (s *Store) DeletePasskey(ctx context.Context, userID, id string, by AccountSession) error {
	return db.Wrap("delete passkey", s.Tx(ctx, func(tx *Store) error {
		// The lock keeps two requests from deleting the last two passkeys.
		if err := tx.requireSession(ctx, userID, by); err != nil {
			return err
		}
		p, err := db.Take[Passkey](ctx, tx.Write, "id = ? AND user_id = ?", id, userID)
		if err != nil {
			return err
		}
		f, err := tx.Factors(ctx, userID)
		if err != nil {
			return err
		}
		if !f.Password && !p.SecondFactor && f.Passkeys == 1 {
			return ErrLastFactor
		}
		if err := db.ExecOne(ctx, tx.Write, "DELETE FROM passkeys WHERE id = ?", id); err != nil {
			return err
		}
		if err := tx.deleteUnneededFactors(ctx, userID); err != nil {
			return err
		}
		return tx.factorsChanged(ctx, passkeyEvent(audit.PasskeyDeleted, p))
	}))
}

// PasskeySignIn is what a sign-in with a passkey needs.
type PasskeySignIn struct {
	Passkey      Passkey
	User         User
	BlockedUntil *time.Time // of the count
}

// PasskeySignIn returns the passkey with a credential id, its user, and the time until which the count refuses
// sign-ins, in one query. It returns ErrNotFound for an unknown credential.
func (s *Store) PasskeySignIn(ctx context.Context, credentialID []byte, c SignInCount) (out PasskeySignIn, err error) {
	now := s.Now()
	dest := append(passkeyRow.Targets(&out.Passkey), userRow.Targets(&out.User)...)
	err = db.QueryRow(ctx, s.Write, append(dest, db.ScanNullTime(&out.BlockedUntil)),
		"SELECT "+passkeyRow.QualifiedColumns()+", "+userRow.QualifiedColumns()+`, (SELECT max(blocked_until)
			FROM sign_in_attempts WHERE account = ? AND network = ? AND blocked_until > ? AND last_at <= ?)
		FROM passkeys JOIN users ON users.id = passkeys.user_id WHERE credential_id = ?`,
		c.Account, c.Subnet, db.Millis(now), db.Millis(now.Add(db.MaxClockSkew)), credentialID)
	return out, db.Wrap("read passkey", err)
}

// SecurityKey returns the security key of a user with a credential id, or ErrNotFound.
func (s *Store) SecurityKey(ctx context.Context, userID string, credentialID []byte) (Passkey, error) {
	p, err := db.Take[Passkey](ctx, s.Write, "credential_id = ? AND user_id = ? AND second_factor", credentialID, userID)
	return p, db.Wrap("read security key", err)
}

// PasskeyUse is a use of a passkey.
type PasskeyUse struct {
	Passkey            Passkey
	SignCount          int64
	RefuseCounter      bool // refuse a counter that does not increase
	BackedUp           bool
	Scope, Challenge   string // used once
	ChallengeExpiresAt time.Time
}

// ErrCounter is returned for a signature counter that does not increase: the passkey may have been copied.
var ErrCounter error = db.Outcome("the signature counter did not increase")

const (
	insertUsedOnce = `INSERT INTO used_once (kind, scope_hash, id_hash, expires_at)
		VALUES (?, ?, ?, ?) ON CONFLICT (kind, scope_hash, id_hash) DO NOTHING`
	// The counter only increases; an authenticator without one reports 0 (WebAuthn §6.1.1).
	updateCounter = `UPDATE passkeys SET sign_count = ?, backed_up = ?, backup_eligible = ?, last_used_at = ?
		WHERE id = ? AND (sign_count < ? OR sign_count = 0 AND ? = 0)`
)

// UsePasskey consumes the challenge and stores the use, on PostgreSQL in one statement. It returns ErrConsumed when the
// challenge was used before or the passkey was deleted in the meantime. A signature counter that does not increase is
// recorded, also after a concurrent use; the use is refused with ErrCounter, or stored without the counter.
func (s *Store) UsePasskey(ctx context.Context, use PasskeyUse) error {
	scope, id := sha256.Sum256([]byte(use.Scope)), sha256.Sum256([]byte(use.Challenge))
	used := []any{UseOfPasskeyChallenge, scope[:], id[:], db.Millis(use.ChallengeExpiresAt)}
	changed := []any{
		use.SignCount, use.BackedUp, use.Passkey.BackupEligible, db.Millis(s.Now()), use.Passkey.ID, use.SignCount,
		use.SignCount,
	}
	var fresh, increased bool
	var err error
	if s.Engine() == Postgres {
		query := "WITH used AS (" + insertUsedOnce + " RETURNING kind), changed AS (" + updateCounter +
			" AND EXISTS (SELECT 1 FROM used) RETURNING id) SELECT EXISTS (SELECT 1 FROM used), EXISTS (SELECT 1 FROM changed)"
		err = db.QueryRow(ctx, s.Write, []any{&fresh, &increased}, query, append(used, changed...)...)
	} else {
		err = s.Tx(ctx, func(tx *Store) error {
			n, err := db.ExecCount(ctx, tx.Write, insertUsedOnce, used...)
			if fresh = n > 0; err != nil || !fresh {
				return err
			}
			n, err = db.ExecCount(ctx, tx.Write, updateCounter, changed...)
			increased = n > 0
			return err
		})
	}
	switch {
	case err != nil:
	case !fresh:
		err = ErrConsumed
	case !increased:
		err = s.usePasskeyWithoutCounter(ctx, use)
	}
	return db.Wrap("use passkey", err)
}

// usePasskeyWithoutCounter records that the signature counter of a passkey did not increase (WebAuthn §6.1.1), and
// stores or refuses the use.
func (s *Store) usePasskeyWithoutCounter(ctx context.Context, use PasskeyUse) error {
	err := s.Tx(ctx, func(tx *Store) error {
		if !use.RefuseCounter {
			err := db.ExecOne(ctx, tx.Write,
				"UPDATE passkeys SET backed_up = ?, backup_eligible = ?, last_used_at = ? WHERE id = ?",
				use.BackedUp, use.Passkey.BackupEligible, db.Millis(s.Now()), use.Passkey.ID)
			if errors.Is(err, ErrNotFound) {
				err = ErrConsumed
			}
			if err != nil {
				return err
			}
		}
		return tx.Audit.Record(ctx, passkeyEvent(audit.PasskeyCounterInvalid, use.Passkey))
	})
	if err == nil && use.RefuseCounter {
		err = ErrCounter
	}
	return err
}

// Package vault has the keys of a database: it decides which root key the database belongs to, seals secrets under
// that key, and derives the keys that survive its replacement. What the keys are used for is left to their owners, who
// name a purpose for each.
package vault

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/keyed"
	"gatehouse/storage/db"
)

// ErrOtherKey is returned by UseRootKey when the database belongs to another root key.
var ErrOtherKey = errors.New("the root key does not belong to this database; set GATEHOUSE_SECRET_KEY (or " +
	"secret.key next to an embedded database) to the key that it was created with")

// Vault seals and opens what one database stores. Within a transaction, use WithTx.
type Vault struct {
	db *db.DB
	*state
}

type state struct {
	// inUse are queries that find a row if a key was used. Without its master secret, such a database is damaged.
	inUse  []string
	roots  []RootKey // the root key and, while it is being replaced, the previous one
	master []byte    // the secret that Key derives from
	keys   sync.Map  // by purpose
}

// New returns the vault of a database, which UseRootKey opens. inUse are queries, each of which finds a row when
// something stored depends on a Key: then UseRootKey does not replace a missing master secret.
func New(d *db.DB, inUse ...string) *Vault { return &Vault{d, &state{inUse: inUse}} }

// WithTx returns the vault within a transaction.
func (v *Vault) WithTx(tx *db.DB) *Vault { return &Vault{tx, v.state} }

// UseRootKey ties the database to its root key and reads the master secret, which is sealed under it. The
// fingerprint of the first root key used is stored in the database; any other is refused with ErrOtherKey, before
// anything is generated or sealed under it. While the root key is being replaced there is a previous one too: either
// may open what is stored, and new values are sealed under the one whose fingerprint the database has, so that
// processes that only have that one keep running.
func (v *Vault) UseRootKey(ctx context.Context, root RootKey, previous ...RootKey) error {
	if !v.db.ReadOnly() { // a read-only database already has the fingerprint
		const query = "UPDATE installation SET key_fingerprint = ? WHERE id = 1 AND key_fingerprint IS NULL"
		if err := db.Exec(ctx, v.db.Write, query, root.fingerprint()); err != nil {
			return db.Wrap("check the root key", err)
		}
	}
	stored, err := v.fingerprint(ctx)
	if err != nil {
		return err
	}
	v.roots = append([]RootKey{root}, previous...)
	if _, ok := v.rootByFingerprint(stored); !ok {
		v.roots = nil
		return ErrOtherKey
	}
	v.keys.Clear()
	v.master, err = v.readMaster(ctx)
	return err
}

// IsOpen reports whether UseRootKey succeeded.
func (v *Vault) IsOpen() bool { return v.master != nil }

// Key returns the 32-byte key for a purpose, the same in every process and under every root key.
func (v *Vault) Key(purpose string) []byte {
	if key, ok := v.keys.Load(purpose); ok {
		return key.([]byte)
	}
	if v.master == nil {
		panic("no key for " + purpose) // UseRootKey comes first
	}
	key := derive(v.master, "key/"+purpose)
	v.keys.Store(purpose, key)
	return key
}

// CheckRootKey returns ErrOtherKey when the root key of the database was replaced since this process started.
func (v *Vault) CheckRootKey(ctx context.Context) error {
	stored, err := v.fingerprint(ctx)
	if err != nil {
		return err
	}
	if _, ok := v.rootByFingerprint(stored); !ok {
		return ErrOtherKey
	}
	return nil
}

// HasRootKey reports whether a root key was ever used with this database.
func (v *Vault) HasRootKey(ctx context.Context) (bool, error) {
	var n int64
	err := db.QueryRow(ctx, v.db.Write, []any{&n}, "SELECT count(*) FROM installation WHERE key_fingerprint IS NOT NULL")
	if err != nil {
		return false, fmt.Errorf("check the root key: %w", err)
	}
	return n > 0, nil
}

func (v *Vault) fingerprint(ctx context.Context) (string, error) {
	var stored string
	err := db.QueryRow(ctx, v.db.Write, []any{&stored}, "SELECT key_fingerprint FROM installation WHERE id = 1")
	return stored, db.Wrap("check the root key", err)
}

func (v *Vault) rootByFingerprint(fingerprint string) (RootKey, bool) {
	for _, r := range v.roots {
		if keyed.Equal([]byte(r.fingerprint()), []byte(fingerprint)) {
			return r, true
		}
	}
	return RootKey{}, false
}

// Seal encrypts a value under the root key that the database belongs to, for a purpose and bound to its row. In a
// transaction that has locked the installation it cannot come between a Reseal and its end.
func (v *Vault) Seal(ctx context.Context, purpose, row string, plaintext []byte) ([]byte, error) {
	stored, err := v.fingerprint(ctx)
	if err != nil {
		return nil, err
	}
	root, ok := v.rootByFingerprint(stored)
	if !ok {
		return nil, ErrOtherKey
	}
	return root.Seal(purpose, row, plaintext)
}

// Open decrypts a value that was sealed under any of the root keys.
func (v *Vault) Open(purpose, row string, sealed []byte) ([]byte, error) {
	for _, r := range v.roots {
		if r.hasSealed(sealed) {
			return r.Open(purpose, row, sealed)
		}
	}
	return nil, keyed.ErrDamaged
}

// Secret is a random value that does not change with the root key, so it is sealed rather than derived.
type Secret struct {
	ID        string
	Sealed    []byte
	CreatedAt time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

const (
	// SecretPurpose is the purpose that secrets are sealed for.
	SecretPurpose = "secret"
	masterID      = "master"
)

// readMaster reads the master secret, or creates it in a database that has not used one.
func (v *Vault) readMaster(ctx context.Context) (value []byte, err error) {
	row, err := db.Take[Secret](ctx, v.db.Write, "id = ?", masterID)
	if errors.Is(err, db.ErrNotFound) {
		err = v.db.Tx(ctx, func(tx *db.DB) error {
			// So that only one process creates it, and no rekey misses it.
			if err := db.Lock(ctx, tx.Write, "installation", 1); err != nil {
				return err
			}
			row, err = db.Take[Secret](ctx, tx.Write, "id = ?", masterID)
			if errors.Is(err, db.ErrNotFound) {
				row, err = v.WithTx(tx).createMaster(ctx)
			}
			return err
		})
	}
	if err != nil {
		return nil, db.Wrap("read the master secret", err)
	}
	value, err = v.Open(SecretPurpose, masterID, row.Sealed)
	return value, db.Wrap("open the master secret", err)
}

// createMaster creates the master secret, unless keys derived from it were used: others would make everything
// unreadable that was stored with them.
func (v *Vault) createMaster(ctx context.Context) (Secret, error) {
	for _, query := range v.inUse {
		var one int
		err := db.QueryRow(ctx, v.db.Write, []any{&one}, query)
		if err == nil {
			err = fmt.Errorf("the secret %q is missing from the table secrets although it was in use; restore that row from "+
				"a backup", masterID)
		}
		if !errors.Is(err, db.ErrNotFound) {
			return Secret{}, err
		}
	}
	value := make([]byte, 32)
	if _, err := rand.Read(value); err != nil {
		return Secret{}, err
	}
	sealed, err := v.Seal(ctx, SecretPurpose, masterID, value)
	if err != nil {
		return Secret{}, err
	}
	row := Secret{ID: masterID, Sealed: sealed, CreatedAt: v.db.Now()}
	return row, db.Insert(ctx, v.db.Write, &row)
}

// ErrNoNewRootKey is returned by Reseal when UseRootKey was passed one root key only.
var ErrNoNewRootKey = errors.New("there is no new root key to change to")

type sealedRow struct {
	ID     string
	Sealed []byte
}

// Reseal seals every row of a table, with the columns id and sealed, that is not sealed under the new root key yet. It
// returns how many it changed, and calls done for each row.
func (v *Vault) Reseal(ctx context.Context, table, purpose string, done func()) (n int64, err error) {
	if len(v.roots) < 2 {
		return 0, ErrNoNewRootKey
	}
	for after := ""; ; {
		rows, err := db.Select[sealedRow](ctx, v.db.Write, "SELECT id, sealed FROM "+table+" WHERE id > ? ORDER BY id "+
			"LIMIT 100", after)
		if err != nil {
			return n, err
		}
		for _, row := range rows {
			changed, err := v.resealRow(ctx, table, purpose, row)
			if err != nil {
				return n, err
			}
			after, n = row.ID, n+changed
			done()
		}
		if len(rows) < 100 {
			return n, nil
		}
	}
}

func (v *Vault) resealRow(ctx context.Context, table, purpose string, row sealedRow) (changed int64, err error) {
	if v.roots[0].hasSealed(row.Sealed) {
		return 0, nil
	}
	plaintext, err := v.Open(purpose, row.ID, row.Sealed)
	if err != nil {
		return 0, err
	}
	defer clear(plaintext)
	sealed, err := v.roots[0].Seal(purpose, row.ID, plaintext)
	if err != nil {
		return 0, err
	}
	return db.ExecCount(ctx, v.db.Write, "UPDATE "+table+" SET sealed = ? WHERE id = ? AND sealed = ?", sealed, row.ID,
		row.Sealed)
}

// ReplaceRootKey makes the new root key that of the database, and reports whether it was another.
func (v *Vault) ReplaceRootKey(ctx context.Context) (replaced bool, err error) {
	stored, err := v.fingerprint(ctx)
	if err != nil || stored == v.roots[0].fingerprint() {
		return false, err
	}
	return true, db.Exec(ctx, v.db.Write,
		"UPDATE installation SET key_fingerprint = ? WHERE id = 1", v.roots[0].fingerprint())
}

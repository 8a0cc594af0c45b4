package storage

import (
	"context"
	"errors"

	"gatehouse/storage/db"
)

// sealedTables are those with something sealed under the root key, each with the purpose it is sealed for.
var sealedTables = []struct{ table, purpose string }{
	{"signing_keys", signingKeyPurpose}, {"secrets", secretPurpose},
}

type sealedRow struct {
	ID     string
	Sealed []byte
}

// ErrNoNewRootKey is returned by Rekey when the store was given one root key only.
var ErrNoNewRootKey = errors.New("there is no new root key to change to")

// Rekey seals everything under the first of the two root keys that UseRootKey was given, and then makes that the key of the
// database. Processes that have both go on all the while; those that have the old one alone refuse to make keys from then on
// and do not start again. It may be stopped and run again: what was done stays done. It returns how many rows it sealed;
// done is told of the progress.
func (s *Store) Rekey(ctx context.Context, done func(now, total int64)) (int64, error) {
	if len(s.roots) < 2 {
		return 0, ErrNoNewRootKey
	}
	var total, now, sealed int64
	for _, t := range sealedTables {
		var n int64
		if err := db.QueryRow(ctx, s.Write, []any{&n}, "SELECT count(*) FROM "+t.table); err != nil {
			return 0, db.Wrap("count what is sealed", err)
		}
		total += n
	}
	pass := func(conn db.Conn) error {
		for _, t := range sealedTables {
			n, err := s.reseal(ctx, conn, t.table, t.purpose, func() {
				now++
				done(min(now, total), total)
			})
			sealed += n
			if err != nil {
				return err
			}
		}
		return nil
	}
	if err := pass(s.Write); err != nil {
		return sealed, db.Wrap("rekey", err)
	}
	// Once more with nobody making new ones, which they do under this lock.
	return sealed, db.Wrap("rekey", s.Tx(ctx, func(tx *Store) error {
		if err := db.Lock(ctx, tx.Write, "revision", 1); err != nil {
			return err
		}
		if err := pass(tx.Write); err != nil {
			return err
		}
		stored, err := tx.fingerprint(ctx)
		if err != nil || stored == s.roots[0].fingerprint() {
			return err
		}
		if err := db.Exec(ctx, tx.Write, "UPDATE revision SET key_fingerprint = ? WHERE id = 1", s.roots[0].fingerprint()); err != nil {
			return err
		}
		return tx.record(ctx, Event{Type: RootKeyReplaced, Detail: map[string]any{"rows": sealed}})
	}))
}

// reseal goes through a table in batches and seals each row that is not under the new key yet.
func (s *Store) reseal(ctx context.Context, conn db.Conn, table, purpose string, seen func()) (n int64, err error) {
	for after := ""; ; {
		rows, err := db.Select[sealedRow](ctx, conn, "SELECT id, sealed FROM "+table+" WHERE id > ? ORDER BY id LIMIT 100", after)
		if err != nil {
			return n, err
		}
		for _, row := range rows {
			if after = row.ID; !s.roots[0].sealed(row.Sealed) {
				plain, err := s.unseal(purpose, row.ID, row.Sealed)
				if err != nil {
					return n, err
				}
				fresh, err := s.roots[0].Seal(purpose, row.ID, plain)
				if err != nil {
					return n, err
				}
				clear(plain)
				changed, err := db.ExecCount(ctx, conn, "UPDATE "+table+" SET sealed = ? WHERE id = ? AND sealed = ?", fresh, row.ID, row.Sealed)
				if err != nil {
					return n, err
				}
				n += changed
			}
			seen()
		}
		if len(rows) < 100 {
			return n, nil
		}
	}
}

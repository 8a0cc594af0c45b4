package storage

import (
	"context"
	"errors"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/vault"
)

// sealedTables have a column that is sealed under the root key, for the given purpose.
var sealedTables = []struct{ table, purpose string }{
	{"signing_keys", signingKeyPurpose}, {"secrets", vault.SecretPurpose}, {"totp_secrets", totpPurpose},
}

// Rekey seals everything under the first of the two root keys that UseRootKey was passed, and then makes it the key of
// the database. Processes that have both keep running; those that have only the old one refuse to create keys from
// then on and do not start again. It may be interrupted and run again. It returns how many rows it sealed, and calls
// done with its progress.
func (s *Store) Rekey(ctx context.Context, done func(now, total int64)) (int64, error) {
	var total, now, sealed int64
	for _, t := range sealedTables {
		var n int64
		if err := db.QueryRow(ctx, s.Write, []any{&n}, "SELECT count(*) FROM "+t.table); err != nil {
			return 0, db.Wrap("count sealed rows", err)
		}
		total += n
	}
	resealAll := func(v *vault.Vault) error {
		for _, t := range sealedTables {
			n, err := v.Reseal(ctx, t.table, t.purpose, func() {
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
	if err := resealAll(s.Vault); errors.Is(err, vault.ErrNoNewRootKey) {
		return 0, err
	} else if err != nil {
		return sealed, db.Wrap("rekey", err)
	}
	// Again under the lock under which processes create keys.
	return sealed, db.Wrap("rekey", s.Tx(ctx, func(tx *Store) error {
		if err := db.Lock(ctx, tx.Write, "installation", 1); err != nil {
			return err
		}
		if err := resealAll(tx.Vault); err != nil {
			return err
		}
		replaced, err := tx.Vault.ReplaceRootKey(ctx)
		if err != nil || !replaced {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.RootKeyReplaced, Detail: map[string]any{"rows": sealed}})
	}))
}

package storage

import (
	"context"
	"strings"

	"gatehouse/storage/db"
)

var totpRow = db.NewRecord[TOTPSecret]("totp_secrets")

// addTakenPasskeys adds the credentials of the imported users that are already registered.
func (s *Store) addTakenPasskeys(ctx context.Context, t *takenKeys, users []ImportedUser) error {
	t.passkeys = map[string]bool{}
	var ids []any
	for _, u := range users {
		for _, p := range u.Passkeys {
			ids = append(ids, p.CredentialID)
		}
	}
	if len(ids) == 0 {
		return nil
	}
	return db.Query(ctx, s.Write, func(scan func(dest ...any) error) error {
		var id []byte
		err := scan(&id)
		t.passkeys[string(id)] = true
		return err
	}, "SELECT credential_id FROM passkeys WHERE credential_id IN (?"+strings.Repeat(", ?", len(ids)-1)+")", ids...)
}

// hasPasskeyOf reports whether a credential of a user is taken, also by another one of the same user.
func (t *takenKeys) hasPasskeyOf(u *ImportedUser) bool {
	own := map[string]bool{}
	for _, p := range u.Passkeys {
		id := string(p.CredentialID)
		if t.passkeys[id] || own[id] {
			return true
		}
		own[id] = true
	}
	return false
}

func (t *takenKeys) addPasskeys(u *ImportedUser) {
	for _, p := range u.Passkeys {
		t.passkeys[string(p.CredentialID)] = true
	}
}

// insertImportedFactors adds the TOTP authenticators and passkeys of imported users. Call it with the installation
// locked, so that no replacement of the root key misses a secret.
func (s *Store) insertImportedFactors(ctx context.Context, imported []ImportedUser) error {
	var secrets []TOTPSecret
	var passkeys []Passkey
	for _, u := range imported {
		if u.TOTP != nil {
			t := *u.TOTP
			t.ID, t.ConfirmedAt = u.User.ID, s.Now()
			var err error
			if t.Sealed, err = s.Vault.Seal(ctx, totpPurpose, t.ID, t.Secret); err != nil {
				return err
			}
			secrets = append(secrets, t)
		}
		for _, p := range u.Passkeys {
			p.UserID = u.User.ID
			passkeys = append(passkeys, p)
		}
	}
	if err := totpRow.InsertAll(ctx, s.Write, secrets); err != nil {
		return err
	}
	return passkeyRow.InsertAll(ctx, s.Write, passkeys)
}

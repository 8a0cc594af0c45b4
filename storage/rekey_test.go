package storage_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"path/filepath"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

// rootKey returns a root key that is derived from the string, or that of the tests' stores for "".
func rootKey(t *testing.T, seed string) vault.RootKey {
	t.Helper()
	sum := sha256.Sum256([]byte(seed))
	if seed == "" {
		sum = storagetest.Key
	}
	root, err := vault.NewRootKey(sum[:])
	storagetest.Must(t, err)
	return root
}

// withKeys opens a migrated database with root keys.
func withKeys(t *testing.T, url string, keys ...vault.RootKey) (*storage.Store, error) {
	t.Helper()
	s, err := storage.Open(t.Context(), storage.Options{URL: url, Pool: 2})
	storagetest.Must(t, err)
	t.Cleanup(func() { storagetest.Must(t, s.Close(context.Background())) })
	return s, s.Vault.UseRootKey(t.Context(), keys[0], keys[1:]...)
}

func addKey(ctx context.Context, s *storage.Store, id string) error {
	return s.CreateSigningKeys(ctx, func([]storage.SigningKey) (add, changed []storage.SigningKey, err error) {
		key := storage.SigningKey{ID: id, Algorithm: "ES256", Public: "{}", Private: []byte("private " + id)}
		key.CreatedAt, key.ActiveAt = s.Now(), s.Now()
		return []storage.SigningKey{key}, nil, nil
	})
}

// wantSigningKeys fails the test unless the store has exactly these keys and can open them.
func wantSigningKeys(t *testing.T, s *storage.Store, ids ...string) {
	t.Helper()
	keys, err := s.SigningKeys(t.Context())
	storagetest.Must(t, err)
	if len(keys) != len(ids) {
		t.Fatalf("the store has %d signing keys, want %v", len(keys), ids)
	}
	for _, k := range keys {
		if der, err := s.PrivateKey(k); err != nil || string(der) != "private "+k.ID {
			t.Errorf("PrivateKey(%s) = %q, %v, want %q", k.ID, der, err, "private "+k.ID)
		}
	}
}

// TestRootKeyIsReplacedWhileServing takes the steps of a rekey on many processes, stops it before its end, and finds
// every secret unchanged.
func TestRootKeyIsReplacedWhileServing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		oldKey, newKey := rootKey(t, ""), rootKey(t, "the new root key")
		before := storagetest.Open(t, url, storagetest.NewClock())
		storagetest.Must(t, addKey(t.Context(), before, "first"))
		if _, err := withKeys(t, url, newKey); !errors.Is(err, vault.ErrOtherKey) {
			t.Errorf("UseRootKey with only the new key = %v, want ErrOtherKey", err)
		}
		both, err := withKeys(t, url, newKey, oldKey)
		storagetest.Must(t, err)
		storagetest.Must(t, addKey(t.Context(), both, "second")) // still sealed with the old key
		wantSigningKeys(t, before, "first", "second")
		if _, err := before.Rekey(t.Context(), func(int64, int64) {}); !errors.Is(err, vault.ErrNoNewRootKey) {
			t.Errorf("Rekey with one key = %v, want ErrNoNewRootKey", err)
		}
		rekeyInTwoRuns(t, both)
		wantSigningKeys(t, both, "first", "second")
		storagetest.Must(t, addKey(t.Context(), both, "third"))
		wantOldKeyRefused(t, before, url, oldKey)
		after, err := withKeys(t, url, newKey)
		storagetest.Must(t, err)
		wantSigningKeys(t, after, "first", "second", "third")
		for _, purpose := range []string{"form", "sid"} {
			if !bytes.Equal(after.Vault.Key(purpose), before.Vault.Key(purpose)) {
				t.Errorf("the rekey changed the derived key for %s", purpose)
			}
		}
		if n, err := after.Audit.SealRows(t.Context()); err != nil || n == 0 {
			t.Errorf("SealRows after the rekey = %d, %v, want some rows", n, err)
		}
		if r, err := after.Audit.Verify(t.Context(), audit.Seal{}, func(int64, int64) {}); err != nil || r.Count != 0 {
			t.Errorf("Verify after the rekey = %+v, %v, want no problem", r, err)
		}
	})
}

// rekeyInTwoRuns stops a rekey after two rows and runs it again.
func rekeyInTwoRuns(t *testing.T, s *storage.Store) {
	t.Helper()
	stopped, stop := context.WithCancel(t.Context())
	defer stop()
	n, err := s.Rekey(stopped, func(done, _ int64) {
		if done == 2 {
			stop()
		}
	})
	if err == nil {
		t.Errorf("Rekey whose context ended = %d, nil, want an error", n)
	}
	wantSigningKeys(t, s, "first", "second") // each sealed with either root key
	rows, err := s.Rekey(t.Context(), func(done, total int64) {
		if done > total {
			t.Errorf("Rekey reports %d of %d rows, want at most all", done, total)
		}
	})
	if err != nil || rows == 0 {
		t.Fatalf("Rekey = %d, %v, want some rows", rows, err)
	}
}

// wantOldKeyRefused fails the test unless a process with only the old root key detects the rekey and creates no keys.
func wantOldKeyRefused(t *testing.T, s *storage.Store, url string, oldKey vault.RootKey) {
	t.Helper()
	if err := s.Vault.CheckRootKey(t.Context()); !errors.Is(err, vault.ErrOtherKey) {
		t.Errorf("CheckRootKey with only the old key = %v, want ErrOtherKey", err)
	}
	if err := addKey(t.Context(), s, "of the old key"); !errors.Is(err, vault.ErrOtherKey) {
		t.Errorf("CreateSigningKeys with only the old key = %v, want ErrOtherKey", err)
	}
	if _, err := withKeys(t, url, oldKey); !errors.Is(err, vault.ErrOtherKey) {
		t.Errorf("UseRootKey with only the old key = %v, want ErrOtherKey", err)
	}
}

// TestBackupIsComplete copies the database while it is written to.
func TestBackupIsComplete(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		file := filepath.Join(t.TempDir(), "backup.db")
		if s.Engine() == storage.Postgres {
			if err := s.Backup(t.Context(), file); !errors.Is(err, db.ErrNotEmbedded) {
				t.Errorf("Backup of PostgreSQL = %v, want ErrNotEmbedded", err)
			}
			return
		}
		storagetest.Must(t, addKey(t.Context(), s, "first"))
		other := storagetest.Open(t, url, storagetest.NewClock())
		storagetest.Concurrently(2, func(i int) {
			if i == 0 {
				if err := s.Backup(t.Context(), file); err != nil {
					t.Errorf("Backup = %v, want no error", err)
				}
				return
			}
			for range 50 {
				if err := other.Audit.Record(t.Context(), storagetest.Event("concurrent")); err != nil {
					t.Errorf("Record during the backup = %v, want no error", err)
				}
			}
		})
		if err := s.Backup(t.Context(), file); err == nil {
			t.Error("Backup replaced an existing file")
		}
		restored, err := withKeys(t, "sqlite:"+file, rootKey(t, ""))
		storagetest.Must(t, err)
		wantSigningKeys(t, restored, "first")
	})
}

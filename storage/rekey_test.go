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

func rootKey(t *testing.T, text string) vault.RootKey {
	t.Helper()
	sum := sha256.Sum256([]byte(text))
	if text == "" {
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
		return []storage.SigningKey{{ID: id, Algorithm: "ES256", Public: "{}", Private: []byte("private " + id), CreatedAt: s.Now(), ActiveAt: s.Now()}}, nil, nil
	})
}

func opens(t *testing.T, s *storage.Store, ids ...string) {
	t.Helper()
	keys, err := s.SigningKeys(t.Context())
	storagetest.Must(t, err)
	if len(keys) != len(ids) {
		t.Fatalf("%d keys, want %v", len(keys), ids)
	}
	for _, k := range keys {
		if der, err := s.PrivateKey(k); err != nil || string(der) != "private "+k.ID {
			t.Errorf("key %s: %q %v", k.ID, der, err)
		}
	}
}

// TestRootKeyIsReplacedWhileServing goes through the steps of a rekey on many processes, stops it half-way, and finds
// every secret as it was.
func TestRootKeyIsReplacedWhileServing(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		old, fresh := rootKey(t, ""), rootKey(t, "the new root key")
		before := storagetest.Open(t, url, storagetest.NewClock())
		storagetest.Must(t, addKey(t.Context(), before, "first"))
		if _, err := withKeys(t, url, fresh); !errors.Is(err, vault.ErrOtherKey) {
			t.Errorf("the new key alone: %v", err)
		}
		both, err := withKeys(t, url, fresh, old)
		storagetest.Must(t, err)
		storagetest.Must(t, addKey(t.Context(), both, "second")) // under the old one still
		opens(t, before, "first", "second")
		if _, err := before.Rekey(t.Context(), func(int64, int64) {}); !errors.Is(err, vault.ErrNoNewRootKey) {
			t.Errorf("with one key: %v", err)
		}

		stopped, stop := context.WithCancel(t.Context())
		if n, err := both.Rekey(stopped, func(now, _ int64) {
			if now == 2 {
				stop()
			}
		}); err == nil {
			t.Errorf("it was not stopped: %d", n)
		}
		opens(t, both, "first", "second") // some under either
		rows, err := both.Rekey(t.Context(), func(now, total int64) {
			if now > total {
				t.Errorf("%d of %d", now, total)
			}
		})
		if err != nil || rows == 0 {
			t.Fatalf("%d rows: %v", rows, err)
		}
		opens(t, both, "first", "second")
		storagetest.Must(t, addKey(t.Context(), both, "third"))
		if err := before.Vault.CheckRootKey(t.Context()); !errors.Is(err, vault.ErrOtherKey) {
			t.Errorf("a process with the old key alone does not notice: %v", err)
		}
		if err := addKey(t.Context(), before, "of the old key"); !errors.Is(err, vault.ErrOtherKey) {
			t.Errorf("a process with the old key alone makes keys: %v", err)
		}
		if _, err := withKeys(t, url, old); !errors.Is(err, vault.ErrOtherKey) {
			t.Errorf("the old key alone: %v", err)
		}
		after, err := withKeys(t, url, fresh)
		storagetest.Must(t, err)
		opens(t, after, "first", "second", "third")
		for _, purpose := range []string{"form", "sid"} {
			if !bytes.Equal(after.Vault.Key(purpose), before.Vault.Key(purpose)) {
				t.Errorf("the key for %s is another one", purpose)
			}
		}
		if n, err := after.Audit.SealRows(t.Context()); err != nil || n == 0 {
			t.Errorf("%d %v", n, err)
		}
		if r, err := after.Audit.Verify(t.Context(), audit.Seal{}, func(int64, int64) {}); err != nil || r.Count != 0 {
			t.Errorf("verify: got %+v, %v, want no problem", r, err)
		}
	})
}

// TestBackupIsComplete copies the database while it is written to.
func TestBackupIsComplete(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		s := storagetest.Open(t, url, storagetest.NewClock())
		file := filepath.Join(t.TempDir(), "backup.db")
		if s.Engine() == storage.Postgres {
			if err := s.Backup(t.Context(), file); !errors.Is(err, db.ErrNotEmbedded) {
				t.Errorf("%v", err)
			}
			return
		}
		storagetest.Must(t, addKey(t.Context(), s, "first"))
		other := storagetest.Open(t, url, storagetest.NewClock())
		storagetest.Concurrently(2, func(i int) {
			if i == 0 {
				if err := s.Backup(t.Context(), file); err != nil {
					t.Error(err)
				}
				return
			}
			for range 50 {
				if err := other.Audit.Record(t.Context(), storagetest.Event("concurrent")); err != nil {
					t.Error(err)
				}
			}
		})
		if err := s.Backup(t.Context(), file); err == nil {
			t.Error("it replaced a file")
		}
		restored, err := withKeys(t, "sqlite:"+file, rootKey(t, ""))
		storagetest.Must(t, err)
		opens(t, restored, "first")
	})
}

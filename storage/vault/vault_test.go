package vault_test

import (
	"bytes"
	"context"
	"errors"
	"testing"

	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/storage/vault"
)

func TestSealedValuesOpenOnlyInTheirRow(t *testing.T) {
	t.Parallel()
	root, err := vault.NewRootKey(storagetest.Key[:])
	storagetest.Must(t, err)
	sealed, err := root.Seal("purpose", "row", []byte("a secret"))
	storagetest.Must(t, err)
	if got, err := root.Open("purpose", "row", sealed); err != nil || string(got) != "a secret" {
		t.Errorf("Open = %q, %v, want %q", got, err, "a secret")
	}
	other, err := vault.NewRootKey(make([]byte, 32))
	storagetest.Must(t, err)
	for name, open := range map[string]func() ([]byte, error){
		"another row":     func() ([]byte, error) { return root.Open("purpose", "other", sealed) },
		"another purpose": func() ([]byte, error) { return root.Open("other", "row", sealed) },
		"another key":     func() ([]byte, error) { return other.Open("purpose", "row", sealed) },
		"truncated":       func() ([]byte, error) { return root.Open("purpose", "row", sealed[:10]) },
		"altered": func() ([]byte, error) {
			altered := append([]byte{}, sealed...)
			altered[len(altered)-1] ^= 1
			return root.Open("purpose", "row", altered)
		},
	} {
		if got, err := open(); err == nil {
			t.Errorf("%s: Open = %q, nil, want an error", name, got)
		}
	}
}

// TestKeysAreEqualInEveryProcess creates the master secret in several processes concurrently.
func TestKeysAreEqualInEveryProcess(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		clock := storagetest.NewClock()
		first, err := storage.Open(t.Context(), storage.Options{URL: url, Pool: 2, Now: clock.Now})
		storagetest.Must(t, err)
		t.Cleanup(func() { storagetest.Must(t, first.ClosePools()) })
		_, err = first.Migrate(t.Context())
		storagetest.Must(t, err)
		root, err := vault.NewRootKey(storagetest.Key[:])
		storagetest.Must(t, err)
		keys := make([][]byte, 6)
		storagetest.Concurrently(len(keys), func(i int) {
			s, err := storage.Open(context.Background(), storage.Options{URL: url, Pool: 2, Now: clock.Now})
			if err == nil {
				if err = s.Vault.UseRootKey(context.Background(), root); err == nil {
					keys[i] = s.Vault.Key("purpose")
				}
				err = errors.Join(err, s.ClosePools())
			}
			if err != nil {
				t.Errorf("process %d: %v, want no error", i, err)
			}
		})
		for i, key := range keys {
			if len(key) != 32 || !bytes.Equal(key, keys[0]) {
				t.Errorf("process %d: got %x, want %x", i, key, keys[0])
			}
		}
		storagetest.Must(t, first.Vault.UseRootKey(t.Context(), root))
		if bytes.Equal(first.Vault.Key("another purpose"), keys[0]) {
			t.Error("two purposes have the same key")
		}
	})
}

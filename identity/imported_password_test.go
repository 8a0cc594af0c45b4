package identity_test

import (
	"context"
	"errors"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/audit"
	"gatehouse/storage/db"
	"gatehouse/storage/storagetest"
)

// The hashes of other systems that users have in these tests, all of the same password.
const (
	importedPassword = "test123"
	importedPBKDF2   = "$pbkdf2-sha256$i=1000$c2FsdHNhbHQ$XsBWPdQlFlxj6vKNK2cgXNPuC/Ei9ylbFwT7+RsVpRE"
	importedSSHA     = "{SSHA}JFZFs0oHzxbMwkSJmYVeI8MnTDy/276a"
)

// importHash replaces the password of a user by the hash of another system.
func importHash(t *testing.T, s *storage.Store, userID, kind, hash string, expires *time.Time) {
	t.Helper()
	var millis *int64
	if expires != nil {
		v := db.Millis(*expires)
		millis = &v
	}
	storagetest.Must(t, db.ExecOne(t.Context(), s.Write,
		"UPDATE passwords SET kind = ?, hash = ?, expires_at = ? WHERE user_id = ?", kind, hash, millis, userID))
}

func wantPassword(t *testing.T, s *storage.Store, userID, kind, prefix string) {
	t.Helper()
	stored, err := s.Password(t.Context(), userID)
	storagetest.Must(t, err)
	if stored.Kind != kind || !strings.HasPrefix(stored.Hash, prefix) {
		t.Errorf("stored password = %q %.20q…, want %q %q…", stored.Kind, stored.Hash, kind, prefix)
	}
}

func wantUpgrades(t *testing.T, s *storage.Store, userID string, want int64) {
	t.Helper()
	n, err := s.Audit.CountRows(t.Context(), audit.Filter{Event: audit.UserPasswordUpgraded, UserID: userID})
	storagetest.Must(t, err)
	if n != want {
		t.Errorf("%d rows %s, want %d", n, audit.UserPasswordUpgraded, want)
	}
}

// TestImportedHashIsUpgraded checks that the first correct sign-in replaces the hash of another system, and no other
// attempt does (PE56).
func TestImportedHashIsUpgraded(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice := user(t, p, "alice")
		importHash(t, s, alice.ID, "pbkdf2-sha256", importedPBKDF2, nil)
		signIn := func(password string) error {
			_, err := p.SignIn(t.Context(), "alice", password, identity.Device{})
			return err
		}
		for _, wrong := range []string{"", "test124", password, strings.Repeat("x", 2000)} {
			if err := signIn(wrong); !errors.Is(err, identity.ErrInvalidCredentials) {
				t.Errorf("sign-in with %.10q = %v, want it refused", wrong, err)
			}
		}
		storagetest.Must(t, s.DisableUser(t.Context(), alice.ID))
		if err := signIn(importedPassword); !errors.Is(err, identity.ErrInvalidCredentials) {
			t.Errorf("sign-in of the disabled user = %v, want it refused", err)
		}
		storagetest.Must(t, s.EnableUser(t.Context(), alice.ID))
		clock.Advance(time.Hour) // until when too many sign-ins failed
		wantPassword(t, s, alice.ID, "pbkdf2-sha256", importedPBKDF2)
		wantUpgrades(t, s, alice.ID, 0)
		before, err := s.User(t.Context(), alice.ID)
		storagetest.Must(t, err)

		var failed atomic.Int64
		storagetest.Concurrently(4, func(int) {
			if signIn(importedPassword) != nil {
				failed.Add(1)
			}
		})
		if failed.Load() > 0 {
			t.Errorf("%d of 4 concurrent correct sign-ins failed, want none", failed.Load())
		}
		wantPassword(t, s, alice.ID, "", "$argon2id$v=19$m=19456,t=2,p=1$")
		wantUpgrades(t, s, alice.ID, 1)
		storagetest.Must(t, signIn(importedPassword))
		after, err := s.User(t.Context(), alice.ID)
		if err != nil || after.Epoch != before.Epoch || after.SignInEpoch != before.SignInEpoch {
			t.Errorf("User after the upgrade = %+v, %v, want the epochs %d and %d: sessions and known browsers stay valid",
				after, err, before.Epoch, before.SignInEpoch)
		}
	})
}

// TestLongPasswordUpgradesNoBcryptHash signs in with a password whose part after the 72 bytes that bcrypt reads is
// wrong: it must not become the password (PE56).
func TestLongPasswordUpgradesNoBcryptHash(t *testing.T) {
	t.Parallel()
	p, s, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	alice := user(t, p, "alice")
	const hash = "$2a$05$abcdefghijklmnopqrstuu5s2v8.iXieOjg/.AySBTTZIIVFJeBui" // of crypt_blowfish, wrapper.c
	const read = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
	importHash(t, s, alice.ID, "bcrypt", hash, nil)
	_, err := p.SignIn(t.Context(), "alice", read+" a wrong end", identity.Device{})
	storagetest.Must(t, err)
	wantPassword(t, s, alice.ID, "bcrypt", hash)
	_, err = p.SignIn(t.Context(), "alice", read, identity.Device{})
	storagetest.Must(t, err)
	wantPassword(t, s, alice.ID, "", "$argon2id$")
}

// TestUpgradeDoesNotUndoAChange changes the password while a sign-in with the imported one waits for its slot (PE56).
func TestUpgradeDoesNotUndoAChange(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, _ := newUsers(t, url)
		alice := user(t, p, "alice")
		own, err := s.Password(t.Context(), alice.ID)
		storagetest.Must(t, err)
		importHash(t, s, alice.ID, "pbkdf2-sha256", importedPBKDF2, nil)
		release := p.AcquireAllSlots()
		result := make(chan error, 1)
		go func() {
			_, err := p.SignIn(t.Context(), "alice", importedPassword, identity.Device{})
			result <- err
		}()
		storagetest.Eventually(t, "the sign-in waits", func() bool { return p.QueueLength() == 1 })
		storagetest.Must(t, s.SetPassword(t.Context(), alice.ID, own.Hash))
		release()
		if err := <-result; !errors.Is(err, identity.ErrInvalidCredentials) {
			t.Errorf("sign-in with the password that was replaced in the meantime = %v, want it refused", err)
		}
		wantPassword(t, s, alice.ID, "", own.Hash)
		wantUpgrades(t, s, alice.ID, 0)
	})
}

// TestWeakImportedHashExpires checks that a weak hash is invalid after its time, and that a change of the password ends
// that (PE56).
func TestWeakImportedHashExpires(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, url string) {
		p, s, clock := newUsers(t, url)
		alice, bob := user(t, p, "alice"), user(t, p, "bob")
		expires := clock.Now().Add(90 * 24 * time.Hour)
		for _, u := range []storage.User{alice, bob} {
			importHash(t, s, u.ID, "ssha", importedSSHA, &expires)
		}
		clock.Advance(90*24*time.Hour - time.Minute)
		_, err := p.SignIn(t.Context(), "alice", importedPassword, identity.Device{})
		storagetest.Must(t, err)
		wantPassword(t, s, alice.ID, "", "$argon2id$")
		clock.Advance(time.Minute)
		_, err = p.SignIn(t.Context(), "alice", importedPassword, identity.Device{})
		storagetest.Must(t, err)
		_, err = p.SignIn(t.Context(), "bob", importedPassword, identity.Device{})
		if !errors.Is(err, identity.ErrInvalidCredentials) {
			t.Errorf("sign-in with an expired hash = %v, want it refused", err)
		}
		storagetest.Must(t, p.SetPassword(t.Context(), bob, password))
		clock.Advance(90 * 24 * time.Hour)
		_, err = p.SignIn(t.Context(), "bob", password, identity.Device{})
		storagetest.Must(t, err)
	})
}

// TestFastImportedHashCostsAsMuch checks that a wrong password of a user with a fast hash costs no less than that of a
// user who does not exist: the memory of Argon2, which is most of the cost. It is not parallel, so that no other test
// of the package allocates concurrently.
func TestFastImportedHashCostsAsMuch(t *testing.T) {
	p, s, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	importHash(t, s, user(t, p, "alice").ID, "ssha", importedSSHA, nil)
	allocated := func(name string) uint64 {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, err := p.SignIn(t.Context(), name, "a guess", identity.Device{})
		if !errors.Is(err, identity.ErrInvalidCredentials) {
			t.Fatalf("sign-in of %s = %v, want ErrInvalidCredentials", name, err)
		}
		runtime.ReadMemStats(&after)
		return after.TotalAlloc - before.TotalAlloc
	}
	if known, unknown := allocated("alice"), allocated("unknown"); known < unknown/10*9 || unknown < 1<<20 {
		t.Errorf("a wrong password allocates %d bytes, and %d for an unknown user, want no less", known, unknown)
	}
}

// TestImportedHashesShareTheMemory checks that the hash of another system waits for the memory that it needs (PE56).
func TestImportedHashesShareTheMemory(t *testing.T) {
	t.Parallel()
	p, s, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	const large = "$argon2id$v=19$m=262144,t=1,p=1$c2FsdHNhbHQ$QJxzfvdbHYBpydCbHoFg3GJEqMFULwskiuqiJctoYpI"
	importHash(t, s, user(t, p, "alice").ID, "argon2id", large, nil)
	release, err := p.AcquireAllMemory(t.Context())
	storagetest.Must(t, err)
	defer release()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := p.SignIn(ctx, "alice", "a guess", identity.Device{}); !errors.Is(err, identity.ErrBusy) {
		t.Errorf("sign-in without free memory = %v, want ErrBusy", err)
	}
}

// TestSecretHashesShareTheMemory checks that hashes of client secrets wait for the memory of all hashes, that at most
// four per client and network wait, and that they delay another caller by one hash only.
func TestSecretHashesShareTheMemory(t *testing.T) {
	t.Parallel()
	p, _, _ := newUsers(t, storagetest.URL(t, storage.SQLite))
	release, err := p.AcquireAllMemory(t.Context())
	storagetest.Must(t, err)
	var mu sync.Mutex
	var order []string
	var wait sync.WaitGroup
	run := func(from string) {
		wait.Go(func() {
			storagetest.Must(t, p.RunSecretHash(t.Context(), from, 1, func() error {
				mu.Lock()
				defer mu.Unlock()
				order = append(order, from)
				return nil
			}))
		})
	}
	run("first")
	storagetest.Eventually(t, "the first has the slot", func() bool { return p.SecretSlotsFree() == 0 })
	for n := range 4 {
		run("flood")
		storagetest.Eventually(t, "it waits", func() bool { return p.SecretsWaiting() == n+1 })
	}
	if err := p.RunSecretHash(t.Context(), "flood", 1, nil); !errors.Is(err, identity.ErrBusy) {
		t.Errorf("a fifth of one caller = %v, want ErrBusy", err)
	}
	run("other")
	storagetest.Eventually(t, "the other waits", func() bool { return p.SecretsWaiting() == 5 })
	release()
	wait.Wait()
	if want := []string{"first", "flood", "other", "flood", "flood", "flood"}; !slices.Equal(order, want) {
		t.Errorf("the hashes were computed in the order %v, want %v", order, want)
	}
}

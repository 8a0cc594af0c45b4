package identity

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/identity/migration"
	"gatehouse/storage"
)

// Migration are the settings of the old server whose users move here at their first sign-in.
type Migration struct {
	Server        migration.Server // nil: there is none
	Source        string           // the name of the old server in external_ids
	Until         time.Time        // when it is called no more
	Groups        []string         // that every user gets
	MatchedGroups []string         // that a user gets who has a group with the name at the old server
}

const (
	// maxOldServerCalls is how many sign-ins call the old server concurrently, and maxOldServerPerSubnet how many of them
	// from one subnet: while the old server is slow, no network keeps all others waiting.
	maxOldServerCalls     = 16
	maxOldServerPerSubnet = 4
	// maxTypedName is the maximum size of a name for the old server: of the longest address (RFC 5321 §4.5.3.1).
	maxTypedName = 320 // bytes
	// maxOldServerTime is longer than the timeout of the old server and the transaction that creates a user.
	maxOldServerTime = time.Minute
)

// ErrOldServer is returned when the old server could not decide whether a password is correct.
var ErrOldServer = errors.New("the old server could not check the password")

// oldServer is the state of the calls to the old server.
type oldServer struct {
	slots *slots
	state atomic.Int32 // of the last call: 0 for none, or one of the constants
}

const (
	oldServerUp   = 1
	oldServerDown = 2
)

// OldServerUp reports whether the old server responded to the last call. ok is false when there is no old server, or
// it was not called.
func (u *Users) OldServerUp() (up, ok bool) {
	state := u.oldServer.state.Load()
	return state == oldServerUp, u.migrates() && state != 0
}

// migrates reports whether the old server is called.
func (u *Users) migrates() bool {
	m := u.options.Migration
	return m.Server != nil && u.store.Now().Before(m.Until)
}

// countBefore counts a failure before the old server is called. Otherwise an attacker could try passwords of users here
// without a limit while the old server does not respond, or by closing the connection before it does.
func (u *Users) countBefore(ctx context.Context, a attempt, blocked bool) error {
	if blocked {
		return nil
	}
	_, err := u.store.CountSignInFailures(ctx, a.before, nil)
	return err
}

// verifyThere checks a password at the old server, and creates the user there as a user here. A user here never signs
// in by the old server. So that the time and the result do not show whether a name has an account here, the old server
// is then called with a random name. It returns ErrOldServer, which counts no failure of a name without an account.
func (u *Users) verifyThere(
	ctx context.Context, a attempt, user storage.User, typed, password string,
) (result verification, err error) {
	err = u.oldServer.slots.run(ctx, a.caller, func() error {
		if err := u.checkLimits(ctx, a); err != nil {
			return err
		}
		// From here on the attempt is counted, also if the client closes the connection.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), maxOldServerTime)
		defer cancel()
		if result.blocked, err = u.accountBlocked(ctx, a); err != nil {
			return err
		}
		// A name that no user here can have may be another spelling of one at the old server, with counts of its own.
		_, invalid := key(typed)
		if user.ID != "" || result.blocked || invalid != nil || len(typed) > maxTypedName || password == "" ||
			len(password) > maxPassword {
			typed, password = rand.Text(), rand.Text()
		}
		old, err := u.callOldServer(ctx, strings.TrimSpace(typed), password)
		if errors.Is(err, migration.ErrIncorrect) {
			return u.countAfter(ctx, a, &result)
		}
		if err != nil {
			return err
		}
		return u.migrate(ctx, a, old, typed, password, &result)
	})
	return result, err
}

// countAfter counts what countBefore did not.
func (u *Users) countAfter(ctx context.Context, a attempt, result *verification) (err error) {
	counts := a.visible
	if !result.blocked {
		counts = slices.Concat(a.visible, a.after)
	}
	result.names, err = u.store.CountSignInFailures(ctx, counts, a.names)
	return err
}

// callOldServer returns the user with a name and password, migration.ErrIncorrect or ErrOldServer.
func (u *Users) callOldServer(ctx context.Context, name, password string) (migration.User, error) {
	old, err := u.options.Migration.Server.Authenticate(ctx, name, password)
	if err == nil || errors.Is(err, migration.ErrIncorrect) {
		u.oldServer.state.Store(oldServerUp)
		return old, err
	}
	u.oldServer.state.Store(oldServerDown)
	return old, fmt.Errorf("%w: %w", ErrOldServer, err)
}

// migrate creates a user of the old server here. A user who was created in the meantime, by another sign-in, signs in
// with the password here.
func (u *Users) migrate(
	ctx context.Context, a attempt, old migration.User, typed, password string, result *verification,
) error {
	if !isNameOf(old, typed) {
		result.reason = "the name is neither the username nor the email address of the old server's user"
		return u.countAfter(ctx, a, result)
	}
	record, err := u.migratedRecord(ctx, old, password)
	if err != nil {
		if !errors.As(err, new(*InputError)) {
			return err
		}
		// Without the values, which are personal.
		result.reason = "the old server's user has no valid username or email address"
		return u.countAfter(ctx, a, result)
	}
	imported, err := u.importMigrated(ctx, record)
	if err != nil {
		return err
	}
	switch imported {
	case storage.ImportCreated:
		result.user, err = u.store.User(ctx, record.User.ID) // the username may be the second one
		result.correct = err == nil
		return err
	case storage.ImportUnchanged:
		if result.user, result.correct, err = u.verifyMigrated(ctx, a, typed, password); err != nil || result.correct {
			return err
		}
		result.reason = "the old server's user has moved here under another name"
	default:
		result.reason = "the old server's user: " + string(imported)
	}
	return u.countAfter(ctx, a, result)
}

// isNameOf reports whether a user of the old server has a name. Guesses are counted by the name: with other names that
// the old server accepts for the same user, an attacker would have more of them.
func isNameOf(old migration.User, typed string) bool {
	k, err := key(typed)
	return err == nil && slices.ContainsFunc([]string{old.Username, old.Email}, func(name string) bool {
		known, err := key(name)
		return err == nil && known == k
	})
}

// importMigrated adds a user, unless the username is that of a deleted user: who was deleted here must not get another
// username.
func (u *Users) importMigrated(ctx context.Context, record storage.ImportedUser) (storage.ImportResult, error) {
	retired, err := u.store.IsRetiredName(ctx, record.User.UsernameKey)
	if err != nil || retired {
		return storage.ImportUsernameTaken, err
	}
	results, err := u.store.ImportUsers(ctx, u.options.Migration.Source, []storage.ImportedUser{record}, false)
	if err != nil {
		return "", err
	}
	return results[0], nil
}

// verifyMigrated checks a password of the user with a name.
func (u *Users) verifyMigrated(
	ctx context.Context, a attempt, typed, password string,
) (user storage.User, correct bool, err error) {
	k, err := key(typed)
	if err != nil {
		return user, false, nil
	}
	if user, err = u.store.UserByKey(ctx, k); errors.Is(err, storage.ErrNotFound) {
		return user, false, nil
	} else if err != nil {
		return user, false, err
	}
	stored, err := u.password(ctx, user.ID)
	if err != nil {
		return user, false, err
	}
	err = u.hasher.runInSlot(ctx, a.caller, func() error {
		correct, err = u.verifyPassword(ctx, user, stored, password)
		return err
	})
	return user, correct, err
}

// migratedRecord returns the record of a user of the old server with a verified password. It returns an *InputError for
// a user who cannot have an account here.
func (u *Users) migratedRecord(
	ctx context.Context, old migration.User, password string,
) (record storage.ImportedUser, err error) {
	record = storage.ImportedUser{ExternalID: old.ID, Migrated: true}
	n := NewUser{Email: old.Email, EmailVerified: old.EmailVerified, Name: old.Name, Profile: old.Profile}
	name := old.Username
	if name == "" {
		name = old.Email
	}
	if n.Username, record.OtherUsername, record.OtherUsernameKey, err = ImportedName(name, old.ID); err != nil {
		return record, err
	}
	if record.User, _, err = ImportedRecord(n, ImportedSub(old.ID), u.store.Now()); err != nil {
		return record, err
	}
	if record.OtherUsername == "" { // two users of the old server may have names that are the same here
		if _, record.OtherUsername, record.OtherUsernameKey, err = ImportedName(n.Username+"@", old.ID); err != nil {
			return record, err
		}
	}
	groups, err := u.store.Groups(ctx)
	if err != nil {
		return record, err
	}
	for _, g := range groups {
		if u.options.Migration.hasGroup(g, old.Groups) {
			record.Groups = append(record.Groups, g.Name)
		}
	}
	hash, err := u.hasher.hash(ctx, password)
	record.Password = &storage.Password{Hash: hash, ChangedAt: u.store.Now()}
	return record, err
}

// hasGroup reports whether a user gets a group.
func (m Migration) hasGroup(g storage.Group, atOldServer []string) bool {
	has := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return strings.EqualFold(n, g.Name) })
	}
	return has(m.Groups) || has(m.MatchedGroups) && has(atOldServer)
}

package storage

import (
	"context"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// User is an account that can sign in.
type User struct {
	ID          string // a random UUIDv4: the sub of tokens
	Username    string // as typed, never with an @
	UsernameKey string // normalized, unique
	Email       string
	EmailKey    string // normalized, unique
	Name        string
	Profile     Profile `gorm:"serializer:json"`
	Admin       bool
	Epoch       int64
	SignInEpoch int64      // raised when the password changes, and when the user reports an event of another
	CreatedAt   time.Time  `gorm:"serializer:millis;autoCreateTime:false"`
	UpdatedAt   time.Time  `gorm:"serializer:millis;autoUpdateTime:false"`
	DisabledAt  *time.Time `gorm:"serializer:millis"`

	EmailVerifiedAt *time.Time `gorm:"serializer:millis"`
	PhoneVerifiedAt *time.Time `gorm:"serializer:millis"`

	PasskeyHandle []byte // the user handle of passkeys, random; nil before the first one

	TermsVersion string     // that the user accepted last; empty: none
	DeletionAt   *time.Time `gorm:"serializer:millis"` // when the account is deleted, unless the user signs in before
}

var userRow = db.NewRecord[User]("users")

// Profile has the claims of OIDC Core §5.1 that a user can set. They have no effect.
type Profile struct {
	GivenName   string  `json:"given_name,omitempty"`
	FamilyName  string  `json:"family_name,omitempty"`
	MiddleName  string  `json:"middle_name,omitempty"`
	Nickname    string  `json:"nickname,omitempty"`
	Profile     string  `json:"profile,omitempty"` // URL of a profile page
	Picture     string  `json:"picture,omitempty"` // URL
	Website     string  `json:"website,omitempty"` // URL
	Gender      string  `json:"gender,omitempty"`
	Birthdate   string  `json:"birthdate,omitempty"` // YYYY-MM-DD, YYYY or 0000-MM-DD
	Zoneinfo    string  `json:"zoneinfo,omitempty"`  // IANA time zone
	Locale      string  `json:"locale,omitempty"`    // BCP 47
	PhoneNumber string  `json:"phone_number,omitempty"`
	Address     Address `json:"address,omitzero"`
}

// profileFields are the fields of a Profile by the claim that has their value.
var profileFields = fieldsByClaim(reflect.TypeFor[Profile]())

func fieldsByClaim(t reflect.Type) map[string][]int {
	out := map[string][]int{}
	for i := range t.NumField() {
		f := t.Field(i)
		if f.Type.Kind() == reflect.Struct {
			for claim, index := range fieldsByClaim(f.Type) {
				out[claim] = append([]int{i}, index...)
			}
			continue
		}
		claim, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		out[claim] = []int{i}
	}
	return out
}

// ProfileClaims returns the claims of a Profile and of its address, in alphabetical order.
func ProfileClaims() []string { return slices.Sorted(maps.Keys(profileFields)) }

// Field returns the field with the value of one of ProfileClaims, or nil for another name.
func (p *Profile) Field(claim string) *string {
	index, ok := profileFields[claim]
	if !ok {
		return nil
	}
	return reflect.ValueOf(p).Elem().FieldByIndex(index).Addr().Interface().(*string)
}

// Address is a postal address (OIDC Core §5.1.1).
type Address struct {
	Street     string `json:"street_address,omitempty"`
	Locality   string `json:"locality,omitempty"`
	Region     string `json:"region,omitempty"`
	PostalCode string `json:"postal_code,omitempty"`
	Country    string `json:"country,omitempty"`
}

// User returns a user by id, or ErrNotFound.
func (s *Store) User(ctx context.Context, id string) (User, error) {
	u, err := db.Take[User](ctx, s.Read, "id = ?", id)
	return u, db.Wrap("read user", err)
}

// UserByKey returns a user by normalized username or email address, which share one namespace, or ErrNotFound.
func (s *Store) UserByKey(ctx context.Context, key string) (User, error) {
	u, err := db.Take[User](ctx, s.Read, "username_key = ? OR email_key = ?", key, key)
	return u, db.Wrap("read user", err)
}

// ErrIDOfClient is returned for a user with the client_id of a client.
var ErrIDOfClient error = db.Outcome("the sub is the client_id of a client")

// CreateUser adds a user with a password and values of attributes, as JSON by their names. It returns ErrConflict when
// the username or email address is taken, and ErrIDOfClient.
func (s *Store) CreateUser(ctx context.Context, u *User, passwordHash string, values map[string]string) error {
	return db.Wrap("create user", s.Tx(ctx, func(tx *Store) error {
		if err := tx.insertUser(ctx, u, passwordHash); err != nil {
			return err
		}
		if _, err := tx.setUserAttributes(ctx, u.ID, values); err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: audit.UserCreated, UserID: u.ID})
	}))
}

// insertUser adds a user in the current transaction. It returns ErrConflict when a name is taken, and ErrIDOfClient.
func (s *Store) insertUser(ctx context.Context, u *User, passwordHash string) error {
	// The id of a user and the client_id of a service are the sub of tokens, and must differ. Ids that are not imported
	// are random, so no lock is needed.
	_, err := db.Take[Client](ctx, s.Write, "id = ?", u.ID)
	if err == nil {
		return ErrIDOfClient
	}
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	if err := s.checkNamesFree(ctx, u.ID, u.UsernameKey, u.EmailKey); err != nil {
		return err
	}
	if err := db.Insert(ctx, s.Write, u); err != nil {
		return err
	}
	if err := s.setUserTerms(ctx, u); err != nil {
		return err
	}
	return db.Insert(ctx, s.Write, &Password{UserID: u.ID, Hash: passwordHash, ChangedAt: s.Now()})
}

// UpdateUser calls change with the stored user, and stores the name, the profile, the email address and what is
// verified. change may refuse by returning an error, which UpdateUser returns as it is. It returns ErrNotFound, or
// ErrConflict when the address is taken.
func (s *Store) UpdateUser(ctx context.Context, id string, change func(u *User) error) (User, error) {
	return s.UpdateUserWithAttributes(ctx, id, change, nil)
}

// UpdateUserWithAttributes does the same as UpdateUser, and stores the values of attributes, as JSON by their names; an
// empty value is removed. The audit row has the names of those that changed.
func (s *Store) UpdateUserWithAttributes(
	ctx context.Context, id string, change func(u *User) error, values map[string]string,
) (User, error) {
	var u User
	var refused error // by change
	err := s.Tx(ctx, func(tx *Store) error {
		refused = nil
		if err := db.Lock(ctx, tx.Write, "users", id); err != nil {
			return err
		}
		var err error
		if u, err = db.Take[User](ctx, tx.Write, "id = ?", id); err != nil {
			return err
		}
		before := u.EmailKey
		if refused = change(&u); refused != nil {
			return refused
		}
		if err := tx.checkNamesFree(ctx, id, u.EmailKey); err != nil {
			return err
		}
		if u.EmailKey != before {
			// The links in emails to the previous address, also those that change or restore an address, end.
			if err := db.Exec(ctx, tx.Write, "DELETE FROM email_tokens WHERE user_id = ?", id); err != nil {
				return err
			}
		}
		u.UpdatedAt = s.Now()
		columns := []string{"email", "email_key", "name", "profile", "email_verified_at", "phone_verified_at", "updated_at"}
		if err := db.Update(ctx, tx.Write, &u, columns, "id = ?", id); err != nil {
			return err
		}
		if err := tx.setUserTerms(ctx, &u); err != nil {
			return err
		}
		e := audit.Event{Type: audit.UserUpdated, UserID: id}
		changed, err := tx.setUserAttributes(ctx, id, values)
		if err != nil {
			return err
		}
		if len(changed) > 0 {
			e.Detail = map[string]any{"attributes": changed}
		}
		return tx.Audit.Record(ctx, e)
	})
	if refused != nil {
		return User{}, refused
	}
	return u, db.Wrap("update user", err)
}

// DisableUser refuses the user until EnableUser, and ends every session, grant and token of the user permanently by
// incrementing the epoch. It returns ErrNotFound when there is no such user, and changes nothing when the user is
// already disabled.
func (s *Store) DisableUser(ctx context.Context, id string) error {
	now := db.Millis(s.Now())
	return s.changeUserEndingSessions(
		ctx, id, audit.UserDisabled,
		"UPDATE users SET disabled_at = ?, epoch = epoch + 1, updated_at = ? WHERE id = ? AND disabled_at IS NULL", now,
		now, id,
	)
}

// EnableUser lets a disabled user sign in again. Sessions, grants and tokens from before DisableUser stay ended.
func (s *Store) EnableUser(ctx context.Context, id string) error {
	return s.changeUser(
		ctx, id, audit.UserEnabled, nil,
		"UPDATE users SET disabled_at = NULL, updated_at = ? WHERE id = ? AND disabled_at IS NOT NULL", db.Millis(s.Now()),
		id,
	)
}

// RevokeUserTokens ends every session of the user and revokes every grant and token.
func (s *Store) RevokeUserTokens(ctx context.Context, id string) error {
	return s.changeUserEndingSessions(
		ctx, id, audit.UserTokensRevoked, "UPDATE users SET epoch = epoch + 1, updated_at = ? WHERE id = ?",
		db.Millis(s.Now()), id,
	)
}

// changeUserEndingSessions calls changeUser for a change that ends every session of the user.
func (s *Store) changeUserEndingSessions(ctx context.Context, id, event, query string, args ...any) error {
	return s.changeUser(ctx, id, event, func(tx *Store) error { return tx.endSessions(ctx, id) }, query, args...)
}

// endSessions ends every session of the user and queues the back-channel logouts of the clients that were used in
// them.
func (s *Store) endSessions(ctx context.Context, userID string) error {
	if err := db.Exec(ctx, s.Write,
		"UPDATE browser_sessions SET ended_at = ? WHERE user_id = ? AND ended_at IS NULL",
		db.Millis(s.Now()), userID); err != nil {
		return err
	}
	return s.queueUserLogouts(ctx, userID)
}

// changeUser executes one statement on a user and calls then, unless it is nil, in one transaction with the audit row.
// It returns ErrNotFound when there is no such user. When the user is already in that state, it changes nothing and
// writes no event. Users are never cached, so no change is recorded.
func (s *Store) changeUser(
	ctx context.Context, id, event string, then func(tx *Store) error, query string, args ...any,
) error {
	return db.Wrap("change user", s.Tx(ctx, func(tx *Store) error {
		err := db.ExecOne(ctx, tx.Write, query, args...)
		if errors.Is(err, ErrNotFound) {
			_, err = db.Take[User](ctx, tx.Write, "id = ?", id)
			return err
		}
		if err == nil && then != nil {
			err = then(tx)
		}
		if err != nil {
			return err
		}
		return tx.Audit.Record(ctx, audit.Event{Type: event, UserID: id})
	}))
}

package storage

import (
	"context"
	"errors"
	"slices"
	"strings"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// ImportedUser is a user of another system.
type ImportedUser struct {
	User       User
	ExternalID string
	Migrated   bool              // by a sign-in, instead of an import
	Password   *Password         // without UserID; nil for none
	Groups     []string          // names
	Roles      []Role            // resources and names
	Attributes map[string]string // as JSON by their names
	TOTP       *TOTPSecret       // with the secret in clear, without ID; nil for none
	Passkeys   []Passkey         // without UserID; the user handle is in User
	// Another username, and its normal form, if that of User is taken; empty for none.
	OtherUsername, OtherUsernameKey string
}

// ImportResult is what ImportUsers did with a user.
type ImportResult string

// The results of ImportUsers. Users with any other than ImportCreated were not changed.
const (
	ImportCreated       ImportResult = "created"
	ImportUnchanged     ImportResult = "imported before"
	ImportIDTaken       ImportResult = "the sub is that of another user"
	ImportIDOfClient    ImportResult = "the sub is the client_id of a client"
	ImportUsernameTaken ImportResult = "the username is taken"
	ImportEmailTaken    ImportResult = "the email address is taken"
	ImportPasskeyTaken  ImportResult = "a WebAuthn credential is that of another user"
)

// maxImportAttempts is how often ImportUsers runs when other changes take a name between its check and its insert.
const maxImportAttempts = 3

// ImportUsers adds the users of a source that were not imported before and do not conflict with others, in one
// transaction, and returns what it did with each. Groups, roles and attributes must exist. A user gets the other
// username if the first is taken. Of a dry run, it only returns what it would do.
func (s *Store) ImportUsers(
	ctx context.Context, source string, users []ImportedUser, dryRun bool,
) (results []ImportResult, err error) {
	for attempt := 1; ; attempt++ {
		err = s.Tx(ctx, func(tx *Store) error {
			// Imports run one after the other, so that no user and client are imported with the same id.
			if err := db.Lock(ctx, tx.Write, "installation", 1); err != nil {
				return err
			}
			taken, err := tx.takenBy(ctx, source, users)
			if err != nil {
				return err
			}
			results = make([]ImportResult, len(users))
			var created []ImportedUser
			for i := range users {
				u := users[i]
				if results[i] = taken.add(&u); results[i] == ImportCreated {
					created = append(created, u)
				}
			}
			if dryRun || len(created) == 0 {
				return nil
			}
			return tx.insertImported(ctx, source, created)
		})
		if !errors.Is(err, ErrConflict) || attempt >= maxImportAttempts {
			return results, db.Wrap("import users", err)
		}
	}
}

// takenKeys are what users cannot have because others have it.
type takenKeys struct{ externalIDs, ids, clients, usernames, emails, passkeys map[string]bool }

// takenBy returns which of the ids and names of users are taken.
func (s *Store) takenBy(ctx context.Context, source string, users []ImportedUser) (takenKeys, error) {
	var externalIDs, ids, usernames, emails []string
	for _, u := range users {
		externalIDs, ids = append(externalIDs, u.ExternalID), append(ids, u.User.ID)
		usernames = append(usernames, u.User.UsernameKey, u.OtherUsernameKey)
		emails = append(emails, u.User.EmailKey)
	}
	var t takenKeys
	for _, q := range []struct {
		found  *map[string]bool
		table  string
		column string
		values []string
		and    string
		args   []any
	}{
		{&t.externalIDs, "external_ids", "external_id", externalIDs, " AND source = ?", []any{source}},
		{&t.ids, "users", "id", ids, "", nil},
		{&t.clients, "clients", "id", ids, "", nil},
		{&t.usernames, "users", "username_key", usernames, "", nil},
		{&t.emails, "users", "email_key", emails, "", nil},
	} {
		condition, arg := s.Write.In(q.column, q.values)
		query := "SELECT " + q.column + " FROM " + q.table + " WHERE " + condition + q.and
		found := map[string]bool{}
		err := db.Query(ctx, s.Write, func(scan func(dest ...any) error) error {
			var value string
			err := scan(&value)
			found[value] = true
			return err
		}, query, append([]any{arg}, q.args...)...)
		if err != nil {
			return t, err
		}
		*q.found = found
	}
	if err := s.addTakenPasskeys(ctx, &t, users); err != nil {
		return t, err
	}
	return t, s.addRetired(ctx, &t, users)
}

// addRetired adds the names that are reserved for users who were deleted or changed their address.
func (s *Store) addRetired(ctx context.Context, t *takenKeys, users []ImportedUser) error {
	byMAC := map[string]string{}
	var macs []any
	for _, u := range users {
		for _, key := range []string{u.User.UsernameKey, u.OtherUsernameKey, u.User.EmailKey} {
			mac := s.nameMAC(key)
			byMAC[string(mac)] = key
			macs = append(macs, mac)
		}
	}
	var one int
	err := db.QueryRow(ctx, s.Write, []any{&one}, "SELECT 1 FROM retired_names LIMIT 1")
	if errors.Is(err, ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	return db.Query(ctx, s.Write, func(scan func(dest ...any) error) error {
		var mac []byte
		err := scan(&mac)
		key := byMAC[string(mac)]
		t.usernames[key], t.emails[key] = true, true // a name with an @ is an address
		return err
	}, "SELECT name_mac FROM retired_names WHERE name_mac IN (?"+strings.Repeat(", ?", len(macs)-1)+") AND until > ?",
		append(macs, db.Millis(s.Now()))...)
}

// add returns the result for a user and, if it is created, adds the ids and names to the taken ones.
func (t *takenKeys) add(u *ImportedUser) ImportResult {
	if t.usernames[u.User.UsernameKey] && u.OtherUsernameKey != "" {
		u.User.Username, u.User.UsernameKey = u.OtherUsername, u.OtherUsernameKey
	}
	switch {
	case t.externalIDs[u.ExternalID]:
		return ImportUnchanged
	case t.ids[u.User.ID]:
		return ImportIDTaken
	case t.clients[u.User.ID]:
		return ImportIDOfClient
	case t.usernames[u.User.UsernameKey]:
		return ImportUsernameTaken
	case t.emails[u.User.EmailKey]:
		return ImportEmailTaken
	case t.hasPasskeyOf(u):
		return ImportPasskeyTaken
	}
	t.addPasskeys(u)
	t.externalIDs[u.ExternalID], t.ids[u.User.ID] = true, true
	t.usernames[u.User.UsernameKey], t.emails[u.User.EmailKey] = true, true
	return ImportCreated
}

var (
	passwordRow      = db.NewRecord[Password]("passwords")
	groupMemberRow   = db.NewRecord[GroupMember]("group_members")
	roleUserRow      = db.NewRecord[RoleUser]("role_users")
	userAttributeRow = db.NewRecord[UserAttribute]("user_attributes")
)

// insertImported adds users with a few statements, whatever their number.
func (s *Store) insertImported(ctx context.Context, source string, imported []ImportedUser) error {
	var (
		now        = s.Now()
		users      = make([]User, len(imported))
		events     = make([]audit.Event, len(imported))
		external   = make([]ExternalID, len(imported))
		passwords  []Password
		members    []GroupMember
		roles      []RoleUser
		attributes []UserAttribute
		words      []searchTerm
	)
	for i, u := range imported {
		id := u.User.ID
		users[i] = u.User
		words = append(words, searchTerms(id, userTerms(&u.User))...)
		external[i] = ExternalID{Source: source, ExternalID: u.ExternalID, UserID: id, CreatedAt: now}
		events[i] = importEvent(source, u)
		if u.Password != nil {
			p := *u.Password
			p.UserID = id
			passwords = append(passwords, p)
		}
		for _, name := range u.Groups {
			members = append(members, GroupMember{UserID: id, GroupName: name, CreatedAt: now})
		}
		for _, r := range u.Roles {
			roles = append(roles, RoleUser{UserID: id, Resource: r.Resource, Role: r.Name, CreatedAt: now})
		}
		for name, value := range u.Attributes {
			attributes = append(attributes, UserAttribute{UserID: id, Attribute: name, Value: value})
		}
	}
	for _, insert := range []func() error{
		func() error { return userRow.InsertAll(ctx, s.Write, users) },
		func() error { return termRows[userList.terms].InsertAll(ctx, s.Write, words) },
		func() error { return passwordRow.InsertAll(ctx, s.Write, passwords) },
		func() error { return externalIDRow.InsertAll(ctx, s.Write, external) },
		func() error { return groupMemberRow.InsertAll(ctx, s.Write, members) },
		func() error { return roleUserRow.InsertAll(ctx, s.Write, roles) },
		func() error { return userAttributeRow.InsertAll(ctx, s.Write, attributes) },
		func() error { return s.insertImportedFactors(ctx, imported) },
		func() error { return s.Audit.RecordAll(ctx, events) },
	} {
		if err := insert(); err != nil {
			return err
		}
	}
	return nil
}

// importEvent returns the event of an imported user, with the groups and roles that it got.
func importEvent(source string, u ImportedUser) audit.Event {
	detail := map[string]any{"source": source}
	if len(u.Groups) > 0 {
		detail["groups"] = u.Groups
	}
	if len(u.Roles) > 0 {
		names := make([]string, len(u.Roles))
		for i, r := range u.Roles {
			names[i] = r.Resource + "#" + r.Name
		}
		slices.Sort(names)
		detail["roles"] = names
	}
	if u.TOTP != nil {
		detail["totp"] = true
	}
	if len(u.Passkeys) > 0 {
		detail["passkeys"] = len(u.Passkeys)
	}
	e := audit.Event{Type: audit.UserImported, UserID: u.User.ID, Detail: detail}
	if u.Migrated {
		e.Type = audit.UserMigrated
	}
	return e
}

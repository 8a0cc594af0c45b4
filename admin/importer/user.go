package importer

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"gatehouse/identity"
	"gatehouse/identity/passwordhash"
	"gatehouse/storage"
)

// user is a user as a format has it.
type user struct {
	location   string // the file with the line or entry
	invalid    error  // why the format does not accept it; nil if it does
	id         string // the sub if it is a UUID, and the external id
	new        identity.NewUser
	disabled   bool
	hash       passwordhash.Hash // nil for none
	hashError  error             // why the password is not imported
	groups     []sourceGroup
	roles      []storage.Role // by their resources and names
	attributes map[string][]string
	totp       *storage.TOTPSecret // with the secret in clear; nil for none
	passkeys   []storage.Passkey
	lostFactor bool // the user has a second factor that is not imported
}

// add queues a user, after the checks that need no other users.
func (im *Importer) add(ctx context.Context, u user) error {
	im.report.Users.Read++
	if u.new.Username != "" {
		u.location += " (" + u.new.Username + ")"
	}
	if u.id == "" {
		u.id = strings.TrimSpace(u.new.Username)
	}
	if err := cmp.Or(u.invalid, checkID(u.id)); err != nil {
		return im.invalid(u, err)
	}
	imported := storage.ImportedUser{ExternalID: u.id}
	if u.new.Email == "" && strings.Contains(u.new.Username, "@") {
		u.new.Email = u.new.Username
	}
	if u.new.Email == "" && im.options.MissingEmailDomain != "" {
		u.new.Email = identity.UsernameFrom(u.new.Username) + "@" + im.options.MissingEmailDomain
		im.report.lose("email address (a placeholder was stored)")
	}
	if err := im.nameUser(&u, &imported); err != nil {
		return im.invalid(u, err)
	}
	record, dropped, err := identity.ImportedRecord(u.new, identity.ImportedSub(u.id), im.store.Now())
	if err != nil {
		return im.invalid(u, err)
	}
	for _, claim := range dropped {
		im.report.lose("profile claim %s with a value that is not accepted", claim)
	}
	if record.ID != strings.ToLower(u.id) {
		im.report.lose("sub (the id is not a UUID; the user gets a new sub)")
	}
	if u.disabled {
		at := im.store.Now()
		record.DisabledAt = &at
	}
	if len(u.passkeys) > 0 {
		record.PasskeyHandle = []byte(u.id)
	}
	imported.User, imported.TOTP, imported.Passkeys = record, u.totp, u.passkeys
	imported.Password = im.password(u)
	q := queued{location: u.location, groups: u.groups, roles: u.roles}
	if imported.Password != nil && u.lostFactor && !u.hasSecondFactor() {
		q.fix = im.withoutFactor(&imported)
	}
	imported.Attributes = im.encodeAttributes(u)
	im.batch, im.queued = append(im.batch, imported), append(im.queued, q)
	if len(im.batch) >= batchSize {
		return im.flush(ctx)
	}
	return nil
}

// hasSecondFactor reports whether a second factor is imported.
func (u user) hasSecondFactor() bool {
	return u.totp != nil || slices.ContainsFunc(u.passkeys, func(p storage.Passkey) bool { return p.SecondFactor })
}

// withoutFactor removes the password of a user whose second factors are lost, unless the options allow it: an attacker
// who has the password could sign in after the import, and could not before. It returns what to do.
func (im *Importer) withoutFactor(u *storage.ImportedUser) string {
	if im.options.AllowLostFactors {
		return fmt.Sprintf("user %s: no second factor was imported; the password alone signs in", u.User.Username)
	}
	u.Password = nil
	return fmt.Sprintf("user %s: no second factor was imported, so the password was not either: the user resets it by "+
		"email (--allow-lost-factors imports it)", u.User.Username)
}

// invalid reports a user that cannot be imported.
func (im *Importer) invalid(u user, err error) error {
	reason := err.Error()
	switch {
	case errors.As(err, new(*recordError)):
	case !errors.As(err, new(*identity.InputError)):
		return err
	case u.new.Email == "":
		reason = "the user has no email address; --missing-email-domain sets a placeholder"
	}
	im.report.Users.Invalid++
	im.report.problem(u.location, reason)
	return nil
}

// nameUser replaces a username that Gatehouse does not accept. Users who have an email address as their name keep it
// for the sign-in.
func (im *Importer) nameUser(u *user, imported *storage.ImportedUser) (err error) {
	name := u.new.Username
	u.new.Username, imported.OtherUsername, imported.OtherUsernameKey, err = identity.ImportedName(name, u.id)
	if err == nil && imported.OtherUsername != "" && !strings.EqualFold(name, u.new.Email) {
		im.report.lose("username (the user signs in with the email address, or with a name that is like it)")
	}
	return err
}

// password returns the password of a user, or nil.
func (im *Importer) password(u user) *storage.Password {
	now := im.store.Now()
	switch {
	case u.hashError != nil:
		im.report.lose("password: %v", u.hashError)
		return nil
	case u.hash == nil:
		return nil
	case u.hash.IsWeak() && !slices.Contains(im.options.AllowWeak, u.hash.Kind()):
		im.report.lose("password: a weak hash of the kind %s; --allow-weak-hashes %[1]s imports it for 90 days",
			u.hash.Kind())
		return nil
	}
	p := &storage.Password{Hash: u.hash.String(), Kind: string(u.hash.Kind()), ChangedAt: now}
	if u.hash.IsWeak() {
		expires := now.Add(weakHashLifetime)
		p.ExpiresAt = &expires
	}
	return p
}

// encodeAttributes returns the values of the attributes that are defined, as JSON.
func (im *Importer) encodeAttributes(u user) map[string]string {
	values := map[string]string{}
	for name, list := range u.attributes {
		if a, ok := im.attributes[name]; ok && a.HasUserValues() {
			if value, err := identity.EncodeAttribute(a, list); err == nil {
				if value != "" {
					values[name] = value
				}
				continue
			}
			im.report.lose("attribute %s with a value that is not accepted", name)
			continue
		}
		im.report.lose("attribute %s, which is not defined (`gatehouse attribute create`)", name)
	}
	return values
}

// parseHash sets the password of a user to a notation; an empty one is no password.
func (u *user) parseHash(notation string) {
	if notation = strings.TrimSpace(notation); notation != "" {
		u.hash, u.hashError = passwordhash.Parse(notation)
	}
}

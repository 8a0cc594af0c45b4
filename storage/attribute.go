package storage

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/storage/audit"
	"gatehouse/storage/db"
)

// Attribute is a property of users that the operator defined. Clients get it as a claim with a scope.
type Attribute struct {
	Name       string    `gorm:"primaryKey"`
	Label      string    // what pages call it
	Type       string    // one of AttributeTypes; never changes
	UserAccess string    // one of AttributeAccess
	Claim      string    // the name of the claim, unique in lower case
	ClaimKey   string    // the claim in lower case
	Scope      string    // that contains the claim
	Constant   string    // the value of every user, as JSON; empty unless it is a constant
	Template   string    // with properties of the user, such as {given_name}; empty unless it is a template
	CreatedAt  time.Time `gorm:"serializer:millis;autoCreateTime:false"`
}

// The types of attributes.
const (
	AttributeString  = "string"
	AttributeNumber  = "number"
	AttributeBoolean = "boolean"
	AttributeStrings = "strings" // a list of strings
)

// What a user may do with an attribute.
const (
	AccessNone = "none" // it is for the operator and for clients
	AccessRead = "read"
	AccessEdit = "edit"
)

// AttributeTypes returns the types of attributes.
func AttributeTypes() []string {
	return []string{AttributeString, AttributeNumber, AttributeBoolean, AttributeStrings}
}

// AttributeAccess returns what a user may do with an attribute, in increasing order.
func AttributeAccess() []string { return []string{AccessNone, AccessRead, AccessEdit} }

// UserAttribute is the value of an attribute that a user has.
type UserAttribute struct {
	UserID    string `gorm:"primaryKey"`
	Attribute string `gorm:"primaryKey"` // its name
	Value     string // JSON
}

// MaxAttributes is the number of attributes that there can be, so that a user's values fit into a response.
const MaxAttributes = 50

// ErrTooManyAttributes is returned by CreateAttribute when there are MaxAttributes.
var ErrTooManyAttributes = errors.New("there are already 50 attributes, which is the maximum; delete one first")

// Parse returns the value of stored JSON: a string, float64, bool or []string. It returns nil for one of another
// type.
func (a *Attribute) Parse(stored string) any {
	switch a.Type {
	case AttributeString:
		return parseAs[string](stored)
	case AttributeNumber:
		return parseAs[float64](stored)
	case AttributeBoolean:
		return parseAs[bool](stored)
	default:
		return parseAs[[]string](stored)
	}
}

// HasUserValues reports whether each user has a separate value, which is stored.
func (a *Attribute) HasUserValues() bool { return a.Constant == "" && a.Template == "" }

// Value returns the value of a user in the types of Parse, or nil. stored has the values that are stored for the user,
// as JSON by the names of the attributes.
func (a *Attribute) Value(u *User, stored map[string]string) any {
	if a.Template == "" {
		return a.Parse(cmp.Or(a.Constant, stored[a.Name]))
	}
	missing := false
	text := placeholder.ReplaceAllStringFunc(a.Template, func(name string) string {
		value := u.property(name[1 : len(name)-1])
		missing = missing || value == ""
		return value
	})
	if missing {
		return nil
	}
	return text
}

// placeholder matches the name of a property in a template.
var placeholder = regexp.MustCompile(`\{[a-z_]*\}`)

// CheckTemplate returns an error unless a template has 1 to 5 properties of users in braces, no other braces, and at
// most 200 characters.
func CheckTemplate(template string) error {
	names := placeholder.FindAllString(template, -1)
	switch {
	case len(names) == 0 || len(names) > 5 || utf8.RuneCountInString(template) > 200:
		return errors.New("a template must have at most 200 characters, and 1 to 5 properties such as {given_name}")
	case strings.ContainsAny(placeholder.ReplaceAllString(template, ""), "{}"):
		return errors.New("a template must have braces only around the names of properties, such as {given_name}")
	}
	for _, name := range names {
		if properties := TemplateProperties(); !slices.Contains(properties, name[1:len(name)-1]) {
			return errors.New("a template has no property " + name + "; the properties are " + strings.Join(properties, ", "))
		}
	}
	return nil
}

// TemplateProperties returns the names of the properties of users that templates can have, sorted.
func TemplateProperties() []string {
	return slices.Sorted(slices.Values(append(slices.Collect(maps.Keys(profileFields)), "username", "name", "email")))
}

// property returns a property of TemplateProperties, or "" when the user has none.
func (u *User) property(name string) string {
	switch name {
	case "username":
		return u.Username
	case "name":
		return u.Name
	case "email":
		return u.Email
	}
	if field := u.Profile.Field(name); field != nil {
		return *field
	}
	return ""
}

func parseAs[T any](stored string) any {
	var v T
	if stored == "null" || json.Unmarshal([]byte(stored), &v) != nil {
		return nil
	}
	return v
}

// Attributes returns every attribute by its name. The map is shared: do not change it.
func (s *Store) Attributes(ctx context.Context) (map[string]Attribute, error) {
	return cached(s,
		func(c *cache) (map[string]Attribute, bool) { return c.attributes, c.attributes != nil },
		func() (map[string]Attribute, error) {
			all, err := db.List[Attribute](ctx, s.Read, "name", "1 = 1")
			out := make(map[string]Attribute, len(all))
			for _, a := range all {
				out[a.Name] = a
			}
			return out, db.Wrap("list attributes", err)
		},
		func(c *cache, v map[string]Attribute) { c.attributes = v })
}

// UserAttributes returns the values that a user has, as JSON by the names of the attributes.
func (s *Store) UserAttributes(ctx context.Context, userID string) (map[string]string, error) {
	all, err := db.List[UserAttribute](ctx, s.Read, "attribute", "user_id = ?", userID)
	return valuesByName(all), db.Wrap("read attributes of a user", err)
}

func valuesByName(all []UserAttribute) map[string]string {
	out := make(map[string]string, len(all))
	for _, v := range all {
		out[v.Attribute] = v.Value
	}
	return out
}

func attributeEvent(event string, a Attribute) audit.Event {
	return audit.Event{Type: event, Scopes: a.Scope, Detail: map[string]any{
		"attribute": a.Name, "claim": a.Claim, "user_access": a.UserAccess,
	}}
}

// changeAttribute holds the lock of the installation while it calls change, so that the number of attributes cannot
// exceed MaxAttributes, and records the event with the attribute that change returns.
func (s *Store) changeAttribute(
	ctx context.Context, event string, change func(tx *Store) (Attribute, error),
) error {
	return s.Tx(ctx, func(tx *Store) error {
		if err := db.Lock(ctx, tx.Write, "installation", 1); err != nil {
			return err
		}
		a, err := change(tx)
		if err != nil {
			return err
		}
		tx.recordSharedChange()
		return tx.Audit.Record(ctx, attributeEvent(event, a))
	})
}

// CreateAttribute adds an attribute. It returns ErrConflict when there is one with the name or the claim, and
// ErrTooManyAttributes when there can be no more.
func (s *Store) CreateAttribute(ctx context.Context, a Attribute) error {
	a.ClaimKey = strings.ToLower(a.Claim)
	var refused error
	err := s.changeAttribute(ctx, audit.AttributeCreated, func(tx *Store) (Attribute, error) {
		refused = nil
		var n int
		if err := db.QueryRow(ctx, tx.Write, []any{&n}, "SELECT count(*) FROM attributes"); err != nil {
			return a, err
		}
		if n >= MaxAttributes {
			refused = ErrTooManyAttributes
			return a, refused
		}
		return a, db.Insert(ctx, tx.Write, &a)
	})
	if refused != nil {
		return refused
	}
	return db.Wrap("create attribute", err)
}

// UpdateAttribute calls change with the stored attribute and stores the result, except its name and type. It returns
// ErrNotFound, or ErrConflict when another attribute has the claim. change may refuse by returning an error, which
// UpdateAttribute returns as it is.
func (s *Store) UpdateAttribute(ctx context.Context, name string, change func(a *Attribute) error) error {
	var refused error // by change
	err := s.changeAttribute(ctx, audit.AttributeUpdated, func(tx *Store) (Attribute, error) {
		refused = nil
		a, err := db.Take[Attribute](ctx, tx.Write, "name = ?", name)
		if err != nil {
			return a, err
		}
		if refused = change(&a); refused != nil {
			return a, refused
		}
		a.ClaimKey = strings.ToLower(a.Claim)
		changed := []string{"label", "user_access", "claim", "claim_key", "scope", "constant", "template"}
		return a, db.Update(ctx, tx.Write, &a, changed, "name = ?", name)
	})
	if refused != nil {
		return refused
	}
	return db.Wrap("update attribute", err)
}

// DeleteAttribute removes an attribute with the values of all users, or returns ErrNotFound.
func (s *Store) DeleteAttribute(ctx context.Context, name string) error {
	return db.Wrap("delete attribute", s.changeAttribute(ctx, audit.AttributeDeleted, func(tx *Store) (Attribute, error) {
		a, err := db.Take[Attribute](ctx, tx.Write, "name = ?", name)
		if err != nil {
			return a, err
		}
		return a, db.ExecOne(ctx, tx.Write, "DELETE FROM attributes WHERE name = ?", name)
	}))
}

// setUserAttributes stores the values, as JSON by the names of the attributes, and removes those that are empty. It
// returns the names of what changed, sorted. An attribute that was deleted in the meantime, or that is a constant or a
// template, gets no value.
func (s *Store) setUserAttributes(
	ctx context.Context, userID string, values map[string]string,
) (changed []string, err error) {
	if len(values) == 0 {
		return nil, nil
	}
	stored, err := db.List[UserAttribute](ctx, s.Write, "attribute", "user_id = ?", userID)
	if err != nil {
		return nil, err
	}
	before := valuesByName(stored)
	for name, value := range values {
		switch value {
		case before[name]:
			continue
		case "":
			err = db.ExecOne(
				ctx, s.Write, "DELETE FROM user_attributes WHERE user_id = ? AND attribute = ?", userID, name,
			)
		default:
			err = db.ExecOne(ctx, s.Write, `INSERT INTO user_attributes (user_id, attribute, value)
				SELECT CAST(? AS TEXT), name, CAST(? AS TEXT) FROM attributes
				WHERE name = ? AND constant = '' AND template = ''
				ON CONFLICT (user_id, attribute) DO UPDATE SET value = excluded.value`, userID, value, name)
		}
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		changed = append(changed, name)
	}
	slices.Sort(changed)
	return changed, nil
}

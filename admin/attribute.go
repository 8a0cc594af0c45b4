package admin

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// AttributeInformation is an attribute of users as commands print it.
type AttributeInformation struct {
	Name       string          `json:"name"`
	Label      string          `json:"label,omitempty"`
	Type       string          `json:"type"`
	Claim      string          `json:"claim"`
	Scope      string          `json:"scope"`
	UserAccess string          `json:"user_access"`
	Constant   json.RawMessage `json:"constant,omitempty"`
	Template   string          `json:"template,omitempty"`
	CreatedAt  time.Time       `json:"created_at"`
}

func attributeInformationOf(a storage.Attribute) AttributeInformation {
	return AttributeInformation{
		Name: a.Name, Label: a.Label, Type: a.Type, Claim: a.Claim, Scope: a.Scope, UserAccess: a.UserAccess,
		Constant: json.RawMessage(a.Constant), Template: a.Template, CreatedAt: a.CreatedAt,
	}
}

// AttributeChanges are new properties of an attribute; nil leaves one unchanged.
type AttributeChanges struct {
	Label, Claim, Scope, UserAccess, Template *string

	Constant []string // the items of a list, or a single value
}

var attributeName = regexp.MustCompile(`^[a-z][a-z0-9_]{0,49}$`)

// CheckAttributeName returns an error unless an attribute can have the name, which is used in flags and form fields.
func CheckAttributeName(name string) error {
	if !attributeName.MatchString(name) {
		return errors.New("the name of an attribute must have 1 to 50 lower-case letters, digits and underscores, " +
			"and begin with a letter")
	}
	return nil
}

// Attributes returns all attributes, sorted by name.
func (a *Admin) Attributes(ctx context.Context) ([]AttributeInformation, error) {
	byName, err := a.store.Attributes(ctx)
	if err != nil {
		return nil, err
	}
	out := []AttributeInformation{}
	for _, v := range sortedValues(byName) {
		out = append(out, attributeInformationOf(v))
	}
	return out, nil
}

// CreateAttribute creates an attribute of a type. The claim has the name of the attribute unless the changes set
// another. It returns storage.ErrConflict when there is one with the name, and storage.ErrTooManyAttributes.
func (a *Admin) CreateAttribute(
	ctx context.Context, name, attributeType string, c AttributeChanges,
) (AttributeInformation, error) {
	v := storage.Attribute{
		Name: name, Type: attributeType, Claim: name, UserAccess: storage.AccessNone, CreatedAt: a.store.Now(),
	}
	if err := CheckAttributeName(name); err != nil {
		return AttributeInformation{}, err
	}
	if !slices.Contains(storage.AttributeTypes(), attributeType) {
		return AttributeInformation{}, oneOfError("--type", storage.AttributeTypes())
	}
	if err := cmp.Or(a.checkAttributeReferences(ctx, name, c), c.apply(&v)); err != nil {
		return AttributeInformation{}, err
	}
	return attributeInformationOf(v), a.store.CreateAttribute(ctx, v)
}

// UpdateAttribute changes an attribute. Its name and type never change: values have the type. It returns
// storage.ErrNotFound when there is none.
func (a *Admin) UpdateAttribute(ctx context.Context, name string, c AttributeChanges) (AttributeInformation, error) {
	if err := a.checkAttributeReferences(ctx, name, c); err != nil {
		return AttributeInformation{}, err
	}
	var updated storage.Attribute
	err := a.store.UpdateAttribute(ctx, name, func(v *storage.Attribute) error {
		if v.HasUserValues() && (len(c.Constant) > 0 || c.Template != nil) {
			return errors.New("an attribute with a value for each user cannot become a constant or a template; " +
				"create another attribute with --constant or --template")
		}
		err := c.apply(v)
		updated = *v
		return err
	})
	return attributeInformationOf(updated), err
}

// DeleteAttribute deletes an attribute with the values of all users. It returns storage.ErrNotFound when there is none.
func (a *Admin) DeleteAttribute(ctx context.Context, name string) error {
	return a.store.DeleteAttribute(ctx, name)
}

// apply changes an attribute and checks the result.
func (c AttributeChanges) apply(v *storage.Attribute) error {
	for field, changed := range map[*string]*string{
		&v.Label: c.Label, &v.Claim: c.Claim, &v.Scope: c.Scope, &v.UserAccess: c.UserAccess,
	} {
		if changed != nil {
			*field = *changed
		}
	}
	if c.Template != nil {
		if err := c.applyTemplate(v); err != nil {
			return err
		}
	}
	if len(c.Constant) > 0 {
		var err error
		if v.Template != "" {
			return errors.New("a template cannot become a constant; create another attribute with --constant")
		}
		if v.Constant, err = identity.EncodeAttribute(*v, c.Constant); err != nil {
			return err
		}
		if v.Constant == "" {
			return errors.New("--constant must not be empty")
		}
	}
	switch {
	case CheckDisplayable(v.Label) != nil || len(v.Label) > 200:
		return errors.New("--label must have at most 200 bytes and no invisible characters")
	case !slices.Contains(storage.AttributeAccess(), v.UserAccess):
		return oneOfError("--user-access", storage.AttributeAccess())
	case !v.HasUserValues() && v.UserAccess == storage.AccessEdit:
		return errors.New("users cannot edit a constant or a template; set --user-access to none or read")
	case v.Scope == "":
		return errors.New("--scope must not be empty")
	case v.Scope == protocol.ScopeOpenID || v.Scope == protocol.ScopeOfflineAccess:
		return fmt.Errorf("attributes cannot be claims of the scope %s; choose another scope", v.Scope)
	case !client.IsClaimName(v.Claim):
		return fmt.Errorf("%q cannot be the claim of an attribute: "+
			"a claim must have 1 to 100 printable ASCII characters without spaces, double quotes and backslashes, "+
			"and must not be the name of another claim", v.Claim)
	case protocol.IsReservedAttribute(v.Claim):
		return fmt.Errorf("%q cannot be the claim of an attribute: "+
			"clients and APIs authorize users by this claim; choose another name with --claim", v.Claim)
	}
	return nil
}

// applyTemplate makes an attribute a template.
func (c AttributeChanges) applyTemplate(v *storage.Attribute) error {
	switch {
	case len(c.Constant) > 0:
		return errors.New("--template and --constant exclude each other")
	case v.Type != storage.AttributeString:
		return errors.New("--template needs the type string")
	case v.Constant != "":
		return errors.New("a constant cannot become a template; create another attribute with --template")
	}
	v.Template = *c.Template
	return cmp.Or(storage.CheckTemplate(v.Template), CheckDisplayable(v.Template))
}

// checkAttributeReferences checks that the scope exists and that no other attribute has the claim in any case. It runs
// before the transaction; a unique key refuses a claim that is created concurrently.
func (a *Admin) checkAttributeReferences(ctx context.Context, name string, c AttributeChanges) error {
	if c.Scope != nil {
		scopes, err := a.store.Scopes(ctx)
		if err != nil {
			return err
		}
		if _, ok := scopes[*c.Scope]; !ok {
			return errors.New(unknownRecord("scope", *c.Scope))
		}
	}
	all, err := a.store.Attributes(ctx)
	claim := name
	if c.Claim != nil {
		claim = *c.Claim
	} else if own, ok := all[name]; ok {
		claim = own.Claim
	}
	for _, other := range all {
		if other.Name != name && strings.EqualFold(other.Claim, claim) {
			return fmt.Errorf("the attribute %s already has the claim %s; choose another name with --claim",
				other.Name, other.Claim)
		}
	}
	return err
}

func oneOfError(what string, values []string) error {
	return errors.New(what + " must be one of " + strings.Join(values, ", "))
}

package account

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"gatehouse/identity"
	"gatehouse/storage"
)

// attributesInput is the name of the input with the names of the attributes in the form: without it, a form that was
// opened before an attribute was created would remove its value.
const attributesInput = "attributes"

// attributeInput returns the name of the input for an attribute.
func attributeInput(name string) string { return "attribute." + name }

// attributeSection has the attributes on the profile page.
type attributeSection struct {
	Names  string           // of the fields, separated by spaces
	Fields []attributeField // that the user may edit
	Facts  []attributeFact  // that the user may only read
}

type attributeField struct {
	Input, Label, Type, Value, Problem string
}

type attributeFact struct{ Label, Value string }

// attributes returns what the user may see of the attributes, with what was entered instead of stored values.
func (p *Pages) attributes(
	r *http.Request, user storage.User, input profileInput,
) (section attributeSection, err error) {
	ctx := r.Context()
	all, err := p.store.Attributes(ctx)
	if err != nil || len(all) == 0 {
		return section, err
	}
	values, err := p.store.UserAttributes(ctx, user.ID)
	var names []string
	for _, name := range slices.Sorted(maps.Keys(all)) {
		a := all[name]
		value, label := a.Value(&user, values), identity.AttributeLabel(a)
		switch {
		case isEditable(a):
			text := strings.Join(enteredStrings(value), "\n")
			if entered, ok := input.attributes[name]; ok {
				text = strings.Join(entered, "\n")
			}
			field := attributeField{Input: attributeInput(name), Label: label, Type: a.Type, Value: text}
			if name == input.attribute {
				field.Problem = input.attributeProblem
			}
			names, section.Fields = append(names, name), append(section.Fields, field)
		case a.UserAccess == storage.AccessRead && value != nil:
			section.Facts = append(section.Facts, attributeFact{label, p.attributeText(r, value)})
		}
	}
	section.Names = strings.Join(names, " ")
	return section, err
}

func isEditable(a storage.Attribute) bool {
	return a.UserAccess == storage.AccessEdit && a.HasUserValues()
}

// attributeText returns a value as users read it.
func (p *Pages) attributeText(r *http.Request, value any) string {
	if v, ok := value.(bool); ok {
		return p.pages.Text(r, "profile."+strconv.FormatBool(v))
	}
	return strings.Join(enteredStrings(value), ", ")
}

// enteredStrings returns a value as the strings that a user would enter.
func enteredStrings(value any) []string {
	switch v := value.(type) {
	case nil:
		return nil
	case []string:
		return v
	case string:
		return []string{v}
	default: // a number or boolean
		text, err := json.Marshal(v)
		if err != nil {
			return nil
		}
		return []string{string(text)}
	}
}

// enteredAttributes returns what was entered for the attributes of the form that the user may edit.
func (p *Pages) enteredAttributes(ctx context.Context, form url.Values) (map[string][]string, error) {
	all, err := p.store.Attributes(ctx)
	entered := map[string][]string{}
	for _, name := range strings.Fields(form.Get(attributesInput)) {
		if a := all[name]; isEditable(a) && entered[name] == nil {
			entered[name] = []string{form.Get(attributeInput(name))}
			if a.Type == storage.AttributeStrings {
				entered[name] = strings.Split(form.Get(attributeInput(name)), "\n")
			}
		}
	}
	return entered, err
}

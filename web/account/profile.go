package account

import (
	"errors"
	"net/http"
	"strings"

	"gatehouse/identity"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

type profilePage struct {
	page.Layout
	FormToken, Email, Username, Problem string
	Groups                              []profileGroup
	Attributes                          attributeSection
}

type profileGroup struct {
	Title  string
	Fields []profileField
}

type profileField struct {
	Name, Label, Value, Hint, Kind, Autocomplete string
}

// profileForm has the fields of the form. Their names are the claims of OIDC Core §5.1.
var profileForm = []struct {
	title  string
	fields [][3]string // name, input type, autocomplete
}{
	{"profile.names", [][3]string{
		{"name", "text", "name"}, {"given_name", "text", "given-name"}, {"middle_name", "text", "additional-name"},
		{"family_name", "text", "family-name"}, {"nickname", "text", "nickname"},
	}},
	{"profile.about", [][3]string{
		{"picture", "url", "photo"}, {"profile", "url", "url"}, {"website", "url", "off"}, {"gender", "text", "sex"},
		{"birthdate", "text", "bday"}, {"zoneinfo", "text", "off"}, {"locale", "text", "language"},
	}},
	{"profile.contact", [][3]string{
		{"phone_number", "tel", "tel"}, {"street_address", "text", "street-address"}, {"postal_code", "text", "postal-code"},
		{"locality", "text", "address-level2"}, {"region", "text", "address-level1"}, {"country", "text", "country-name"},
	}},
}

// fieldOf returns the part of a profile that an input is for, or nil.
func fieldOf(name *string, p *storage.Profile, input string) *string {
	if input == "name" {
		return name
	}
	return p.Field(input)
}

// ShowProfile serves GET /account/profile.
func (p *Pages) ShowProfile(w http.ResponseWriter, r *http.Request) error {
	user, err := p.currentUser(r)
	if err != nil {
		return err
	}
	return p.renderProfile(w, r, user, profileInput{name: user.User.Name, profile: user.User.Profile})
}

// profileInput is the content of the profile form, with what is wrong in it.
type profileInput struct {
	name       string
	profile    storage.Profile
	attributes map[string][]string // what was entered
	problem    string
	attribute  string // that the problem is about, or ""
}

func (p *Pages) renderProfile(
	w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, input profileInput,
) error {
	data := profilePage{
		Layout: p.pages.NewLayout(r, "profile.title"), FormToken: p.formToken(user, "profile", ""),
		Email: user.User.Email, Username: user.User.Username,
	}
	if input.problem != "" {
		data.Problem = p.pages.Text(r, "profile.problem", input.problem)
	}
	for _, group := range profileForm {
		fields := make([]profileField, 0, len(group.fields))
		for _, f := range group.fields {
			fields = append(fields, profileField{
				Name: f[0], Kind: f[1], Autocomplete: f[2], Label: p.pages.Text(r, "profile."+f[0]),
				Hint: p.pages.Text(r, "profile."+f[0]+".hint"), Value: *fieldOf(&input.name, &input.profile, f[0]),
			})
		}
		data.Groups = append(data.Groups, profileGroup{Title: p.pages.Text(r, group.title), Fields: fields})
	}
	var err error
	if data.Attributes, err = p.attributes(r, user.User, input); err != nil {
		return err
	}
	status := http.StatusOK
	if input.problem != "" {
		status = http.StatusBadRequest
	}
	return p.pages.Render(w, status, "profile", data)
}

// UpdateProfile serves POST /account/profile.
func (p *Pages) UpdateProfile(w http.ResponseWriter, r *http.Request) error {
	user, form, err := p.readForm(r, "profile", "")
	if err != nil {
		return err
	}
	var input profileInput
	for _, group := range profileForm {
		for _, f := range group.fields {
			*fieldOf(&input.name, &input.profile, f[0]) = strings.TrimSpace(form.Get(f[0]))
		}
	}
	if input.attributes, err = p.enteredAttributes(r.Context(), form); err != nil {
		return err
	}
	_, err = p.users.Update(r.Context(), user.User, identity.Changes{
		Name: &input.name, Profile: &input.profile, Attributes: input.attributes,
	})
	var problem *identity.InputError
	if errors.As(err, &problem) {
		reqevent.FromContext(r.Context()).Err = problem
		input.problem = problem.Message
		if attributeErr := (*identity.AttributeError)(nil); errors.As(err, &attributeErr) {
			input.attribute = attributeErr.Attribute
		}
		return p.renderProfile(w, r, user, input)
	}
	if err != nil {
		return err
	}
	return page.RedirectTo(homePath + "?saved")
}

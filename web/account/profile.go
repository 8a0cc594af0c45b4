package account

import (
	"errors"
	"net/http"
	"strings"

	"gatehouse/identity"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

type profilePage struct {
	accountLayout
	FormToken, Username, Problem string
	EmailVerified                bool
	Deletion                     string // what a deletion of the account does
	Groups                       []profileGroup
	Attributes                   attributeSection
	PasskeyUser                  string // after a change: what the browser signals to password managers, as JSON
}

type profileGroup struct {
	Title  string
	Fields []profileField
}

type profileField struct {
	Name, Label, Value, Hint, Kind, Autocomplete, Problem string
	Options                                               []profileOption // of a select
}

type profileOption struct{ Value, Label string }

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
		{"birthdate", "text", "bday"}, {"zoneinfo", "zone", "off"}, {"locale", "select", "language"},
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
	problem    string              // what is wrong with no single field
	problems   map[string]string   // by the name of the claim
	attribute  string              // that attributeProblem is about, or ""

	attributeProblem string
}

// isInvalid reports whether the form was refused.
func (i profileInput) isInvalid() bool {
	return i.problem != "" || len(i.problems) > 0 || i.attribute != ""
}

func (p *Pages) renderProfile(
	w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, input profileInput,
) error {
	data := profilePage{
		FormToken: p.formToken(user, "profile", ""), Username: user.User.Username,
		EmailVerified: user.User.EmailVerifiedAt != nil,
	}
	var err error
	if data.accountLayout, err = p.newLayout(r, user, profilePath, "account.profile"); err != nil {
		return err
	}
	data.Deletion = p.pages.Text(r, "profile.delete.message.now")
	if grace := p.users.DeletionGrace(); grace > 0 {
		data.Deletion = p.pages.Text(r, "profile.delete.message", p.pages.Wait(r, grace))
	}
	if data.Notice != "" {
		data.PasskeyUser = p.users.PasskeyUser(user.User)
	}
	if input.isInvalid() {
		data.Problem = p.pages.Text(r, "profile.problem")
		if input.problem != "" {
			data.Problem += " " + input.problem
		}
	}
	for _, group := range profileForm {
		fields := make([]profileField, 0, len(group.fields))
		for _, f := range group.fields {
			fields = append(fields, profileField{
				Name: f[0], Kind: f[1], Autocomplete: f[2], Label: p.pages.Text(r, "profile."+f[0]),
				Hint: p.pages.Text(r, "profile."+f[0]+".hint"), Value: *fieldOf(&input.name, &input.profile, f[0]),
				Problem: input.problems[f[0]],
			})
			if f[0] == "locale" {
				fields[len(fields)-1].Options = p.locales(input.profile.Locale)
			}
		}
		data.Groups = append(data.Groups, profileGroup{Title: p.pages.Text(r, group.title), Fields: fields})
	}
	if data.Attributes, err = p.attributes(r, user.User, input); err != nil {
		return err
	}
	status := http.StatusOK
	if input.isInvalid() {
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
	// Not the count of the user's factors, which a session that may not change them must not use up.
	count := ratelimit.Count{Limit: ratelimit.AccountChange, Key: "profile " + user.User.ID}
	decision := p.limiter.Count(r.Context(), count)
	if err := protocol.LimitError(decision, "Too many changes of your account."); err != nil {
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
		reqevent.FromContext(r.Context()).Err = err
		if err := p.explainProblem(r, &input, err); err != nil {
			return err
		}
		return p.renderProfile(w, r, user, input)
	}
	if err != nil {
		return err
	}
	return page.RedirectTo(profilePath + "?saved")
}

// explainProblem stores at each field what is wrong with it.
func (p *Pages) explainProblem(r *http.Request, input *profileInput, err error) error {
	var claims identity.ProfileErrors
	var attribute *identity.AttributeError
	switch {
	case errors.As(err, &claims):
		input.problems = map[string]string{}
		for _, e := range claims {
			input.problems[e.Claim] = p.pages.Text(r, "profile.problem."+e.Kind)
		}
	case errors.As(err, &attribute):
		all, err := p.store.Attributes(r.Context())
		if err != nil {
			return err
		}
		input.attribute = attribute.Attribute
		input.attributeProblem = p.pages.Text(r, "profile.problem."+all[attribute.Attribute].Type)
	default:
		input.problem = p.pages.Text(r, "profile.problem.other")
	}
	return nil
}

// locales returns the languages to choose from: those of the pages, and the one that is set.
func (p *Pages) locales(current string) []profileOption {
	options := []profileOption{}
	for _, l := range p.pages.Languages() {
		options = append(options, profileOption{l.Tag, l.Name})
		if l.Tag == current {
			current = ""
		}
	}
	if current != "" {
		options = append(options, profileOption{current, current})
	}
	return options
}

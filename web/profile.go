package web

import (
	"errors"
	"net/http"
	"strings"

	"gatehouse/identity"
	"gatehouse/storage"
)

type profilePage struct {
	basePage
	FormToken, Email, Username, Problem string
	Groups                              []profileGroup
}

type profileGroup struct {
	Title  string
	Fields []profileField
}

type profileField struct {
	Name, Label, Value, Hint, Kind, Autocomplete string
}

// profileForm is what people tell of themselves, in the words of OIDC Core §5.1.
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
	{"profile.reach", [][3]string{
		{"phone_number", "tel", "tel"}, {"street_address", "text", "street-address"}, {"postal_code", "text", "postal-code"},
		{"locality", "text", "address-level2"}, {"region", "text", "address-level1"}, {"country", "text", "country-name"},
	}},
}

// fieldOf is the field of a person that an input is for, or nil.
func fieldOf(name *string, p *storage.Profile, input string) *string {
	return map[string]*string{
		"name": name, "given_name": &p.GivenName, "middle_name": &p.MiddleName, "family_name": &p.FamilyName, "nickname": &p.Nickname,
		"picture": &p.Picture, "profile": &p.Profile, "website": &p.Website, "gender": &p.Gender, "birthdate": &p.Birthdate,
		"zoneinfo": &p.Zoneinfo, "locale": &p.Locale, "phone_number": &p.PhoneNumber, "street_address": &p.Address.Street,
		"postal_code": &p.Address.PostalCode, "locality": &p.Address.Locality, "region": &p.Address.Region, "country": &p.Address.Country,
	}[input]
}

// showProfile serves GET /account/profile.
func (s *Server) showProfile(w http.ResponseWriter, r *http.Request) error {
	who, err := s.requireUser(w, r)
	if err != nil || who == nil {
		return err
	}
	return s.profilePage(w, r, http.StatusOK, who, who.User.Name, who.User.Profile, "")
}

func (s *Server) profilePage(w http.ResponseWriter, r *http.Request, status int, who *identity.SignedInUser, name string, profile storage.Profile, problem string) error {
	p := profilePage{
		basePage: s.newBasePage(r, s.pages.message("profile.title")), FormToken: s.accountToken(who, "profile", ""),
		Email: who.User.Email, Username: who.User.Username, Problem: problem,
	}
	for _, g := range profileForm {
		group := profileGroup{Title: s.pages.message(g.title)}
		for _, f := range g.fields {
			group.Fields = append(group.Fields, profileField{
				Name: f[0], Kind: f[1], Autocomplete: f[2], Label: s.pages.message("profile." + f[0]), Hint: s.pages.texts["profile."+f[0]+".hint"],
				Value: *fieldOf(&name, &profile, f[0]),
			})
		}
		p.Groups = append(p.Groups, group)
	}
	return s.render(w, status, "profile", p)
}

// changeProfile serves POST /account/profile.
func (s *Server) changeProfile(w http.ResponseWriter, r *http.Request) error {
	who, form, err := s.changing(w, r, "profile", "")
	if err != nil || who == nil {
		return err
	}
	name, profile := "", storage.Profile{}
	for _, g := range profileForm {
		for _, f := range g.fields {
			*fieldOf(&name, &profile, f[0]) = strings.TrimSpace(form.Get(f[0]))
		}
	}
	_, err = s.users.Update(r.Context(), who.User, identity.Changes{Name: &name, Profile: &profile})
	var problem *identity.InputError
	if errors.As(err, &problem) {
		return s.profilePage(w, r, http.StatusBadRequest, who, name, profile, s.pages.message("profile.problem", problem.Message))
	}
	if err != nil {
		return err
	}
	return s.redirectTo(w, "/account?saved")
}

package web

import (
	"crypto/hmac"
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

type consentPage struct {
	basePage
	clientView
	Owner, Person, Destination string
	Request, FormToken         string
	Warnings                   []string
	Required, Optional         []consentGroup
}

// consentGroup is what a client requests at the same APIs, or at no API when APIs is empty.
type consentGroup struct {
	APIs   []apiView
	Scopes []consentScope
}

// apiView describes an API on a page.
type apiView struct{ Name, Host string }

type consentScope struct {
	Name, Description string
	New, Ticked       bool
}

// pending returns the request that a consent page is about, who decides and what they allowed before, or nothing when its next step is another one: then the
// browser has been sent there.
func (s *Server) pending(w http.ResponseWriter, r *http.Request, request string) (*oauth.AuthorizationRequest, *identity.SignedInUser, *storage.Consent, error) {
	a, err := s.oauth.Resume(r.Context(), request, s.users.Browser(r), false)
	if err != nil {
		return nil, nil, nil, s.redirectWithError(w, r, err)
	}
	in, next, _, err := s.decide(r, a)
	if err != nil {
		return nil, nil, nil, err
	}
	if next != oauth.Consent {
		return nil, nil, nil, s.redirectTo(w, "/oauth2/authorize/"+a.ID)
	}
	s.allowLeaving(w)
	return a, in.Candidate, in.Consent, nil
}

// showConsent serves GET /consent: who asks, for what, and where the answer goes.
func (s *Server) showConsent(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	a, who, before, err := s.pending(w, r, form.Get("request"))
	if err != nil || a == nil {
		return err
	}
	known, err := s.store.Scopes(r.Context())
	if err != nil {
		return err
	}
	resources, err := s.store.Resources(r.Context())
	if err != nil {
		return err
	}
	p := consentPage{
		basePage: s.newBasePage(r, clientName(a.Client)), clientView: s.newClientView(a), Owner: display.NameOr(a.Client.Owner, ""),
		Person: userName(who), Destination: s.pages.destination(a.RedirectURI), Request: a.ID, FormToken: s.consentToken(a, who, resources),
	}
	if a.Client.IsSelfRegistered() {
		unverified := s.pages.message("consent.unverified", p.Destination)
		if redirect.DestinationOf(a.RedirectURI).Scheme != "" {
			unverified = s.pages.message("consent.unverified.device")
		}
		p.Warnings = append(p.Warnings, unverified)
	}
	if redirect.AllowsImpersonation(a.RedirectURI) && a.Client.IsPublic() {
		p.Warnings = append(p.Warnings, s.pages.message("consent.impersonable"))
	}
	for _, item := range a.Permissions {
		row := consentScope{Name: item.Name, Description: s.describe(known, item.Name), Ticked: a.Selected(item, before)}
		row.New = before != nil && !a.Allowed(item, before) && !a.Refused(item, before)
		list := &p.Required
		if item.Optional {
			list = &p.Optional
		}
		*list = addToGroup(*list, apiViews(resources, item.Resources), row)
	}
	return s.render(w, http.StatusOK, "consent", p)
}

// addToGroup adds the row to the group of its APIs. Rows without an API come first.
func addToGroup(groups []consentGroup, apis []apiView, row consentScope) []consentGroup {
	i := slices.IndexFunc(groups, func(g consentGroup) bool { return slices.Equal(g.APIs, apis) })
	switch {
	case i >= 0:
		groups[i].Scopes = append(groups[i].Scopes, row)
		return groups
	case len(apis) == 0:
		return append([]consentGroup{{Scopes: []consentScope{row}}}, groups...)
	}
	return append(groups, consentGroup{APIs: apis, Scopes: []consentScope{row}})
}

// apiViews returns what pages show of APIs: what the operator calls them and the host that their identifier names, or
// without a name the identifier.
func apiViews(known map[string]storage.Resource, identifiers []string) []apiView {
	var out []apiView
	for _, identifier := range identifiers {
		v := apiView{Name: display.NameOr(known[identifier].Name, ""), Host: redirect.DestinationOf(identifier).Host}
		if v.Name == "" || v.Host == "" { // the identifier alone distinguishes it from others at the host, or is a URN
			v.Host = strings.TrimPrefix(identifier, "https://")
		}
		out = append(out, v)
	}
	return out
}

// describe says in words what a scope, or a claim asked for by itself, lets an app do.
func (s *Server) describe(known map[string]storage.Scope, name string) string {
	if claim, ok := oauth.ClaimOf(name); ok {
		return s.pages.message("claim." + claim)
	}
	if name == "" {
		return s.pages.message("consent.api")
	}
	return display.NameOr(known[name].Description, name)
}

// consentToken binds the form to the session, the request, the user, the scopes and APIs on the page and the
// description of the client, so that a client cannot change them between the page and the response.
func (s *Server) consentToken(a *oauth.AuthorizationRequest, who *identity.SignedInUser, known map[string]storage.Resource) string {
	described := ""
	if at := a.Client.DescribedAt; at != nil {
		described = at.String()
	}
	parts := []string{"consent", who.Session.ID, a.ID, who.User.ID, described}
	for _, p := range a.Permissions {
		parts = append(parts, p.Name, strconv.FormatBool(p.Optional), strconv.Itoa(len(p.Resources)))
		for _, identifier := range p.Resources {
			parts = append(parts, identifier, known[identifier].Name)
		}
	}
	return s.formToken(parts...)
}

// consent serves POST /consent. Granted are the required scopes and the optional ones that are ticked, of this request.
func (s *Server) consent(w http.ResponseWriter, r *http.Request) error {
	form, ticked, err := consentForm(w, r)
	if err != nil {
		return err
	}
	a, who, _, err := s.pending(w, r, form.request)
	if err != nil || a == nil {
		return err
	}
	resources, err := s.store.Resources(r.Context())
	if err != nil {
		return err
	}
	if !hmac.Equal([]byte(form.token), []byte(s.consentToken(a, who, resources))) {
		return &pageError{status: http.StatusForbidden, text: "error.form", message: s.pages.message("consent.stale")}
	}
	switch form.decision {
	case "approve":
		answer := oauth.ConsentDecision{Prompted: true}
		for _, p := range a.Permissions {
			if p.Optional && !slices.Contains(ticked, p.Name) {
				answer.Refused = append(answer.Refused, p.Name)
			}
		}
		if a.SignInTooOld(who, s.store.Now()) {
			if err := s.oauth.RecordApproval(r.Context(), a, who, answer); err != nil && !errors.Is(err, oauth.ErrConsentStale) {
				return err
			}
			return s.redirectTo(w, "/oauth2/authorize/"+a.ID)
		}
		response, err := s.oauth.Approve(r.Context(), a, who, answer)
		if errors.Is(err, oauth.ErrConsentStale) { // the app calls itself something else since: ask again
			return s.redirectTo(w, "/oauth2/authorize/"+a.ID)
		}
		if err != nil {
			return err
		}
		return s.respond(w, r, response)
	case "deny":
		response, err := s.oauth.Deny(r.Context(), a, who)
		if err != nil {
			return err
		}
		return s.respond(w, r, response)
	}
	return &pageError{status: http.StatusBadRequest, text: "error.form"}
}

type consentAnswer struct{ request, token, decision string }

// consentForm reads the form: one scope field per ticked box, everything else once.
func consentForm(w http.ResponseWriter, r *http.Request) (consentAnswer, []string, error) {
	r.Body = http.MaxBytesReader(w, r.Body, params.MaxBodySize)
	if kind := r.Header.Get("Content-Type"); !strings.HasPrefix(kind, "application/x-www-form-urlencoded") {
		return consentAnswer{}, nil, &pageError{status: http.StatusUnsupportedMediaType, text: "error.form"}
	}
	if err := r.ParseForm(); err != nil {
		return consentAnswer{}, nil, &pageError{status: http.StatusBadRequest, text: "error.form", cause: err}
	}
	f := r.PostForm
	for _, name := range []string{"request", "form_token", "decision"} {
		if len(f[name]) > 1 {
			return consentAnswer{}, nil, &pageError{status: http.StatusBadRequest, text: "error.form"}
		}
	}
	return consentAnswer{f.Get("request"), f.Get("form_token"), f.Get("decision")}, f["scope"], nil
}

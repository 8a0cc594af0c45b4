package interaction

import (
	"errors"
	"net/http"
	"slices"
	"strconv"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
	"gatehouse/web/page"
)

// MaxConsentFields is the largest number of fields of the consent form, which has one for each scope and claim.
const MaxConsentFields = 300

type consentPage struct {
	page.Layout
	clientView
	Owner, UserName, Destination string
	Request, FormToken           string
	Warnings                     []string
	Required, Optional           []consentGroup
	Existing                     []consentGroup // what the client can do already, when it requests more than that
}

// consentGroup is what a client requests at the same APIs, or at no API when APIs is empty.
type consentGroup struct {
	APIs   []page.API
	Scopes []consentScope
}

type consentScope struct {
	Name, Description string
	New, Selected     bool
	Optional          bool
}

// pendingConsent is a request whose next step is the consent page.
type pendingConsent struct {
	*oauth.AuthorizationRequest
	user      *identity.SignedInUser
	before    *storage.Consent // what the user allowed the client before, or nil
	resources map[string]storage.Resource
	stepUp    bool // see isStepUp
}

// pendingConsent returns the request that a consent page is about. When its next step is another one, it returns a
// redirect to the request.
func (p *Pages) pendingConsent(r *http.Request, id string) (pendingConsent, error) {
	a, in, err := p.requestAt(r, id, oauth.Consent)
	if err != nil {
		return pendingConsent{}, err
	}
	resources, err := p.store.Resources(r.Context())
	if err != nil {
		return pendingConsent{}, err
	}
	c := pendingConsent{AuthorizationRequest: a, user: in.Candidate, before: in.Consent, resources: resources}
	c.stepUp = c.isStepUp()
	return c, nil
}

// ShowConsent serves GET /consent: which client requests what, and where the response goes. The permissions on the page
// are those of resolvePermissions in package oauth.
func (p *Pages) ShowConsent(w http.ResponseWriter, r *http.Request) error {
	form, err := params.Query(r)
	if err != nil {
		return err
	}
	pending, err := p.pendingConsent(r, form.Get("request"))
	if err != nil {
		return err
	}
	registered, err := p.store.Scopes(r.Context())
	if err != nil {
		return err
	}
	data := consentPage{
		Layout:     p.pages.NewLayout(r, "consent.title", pending.Client.DisplayName()),
		clientView: p.newClientView(r, pending.AuthorizationRequest),
		Owner:      display.NameOr(pending.Client.Owner, ""), UserName: userName(pending.user),
		Destination: p.pages.Destination(r, pending.RedirectURI), Request: pending.ID,
		FormToken: p.pages.FormToken(pending.tokenParts()...), Warnings: p.consentWarnings(r, pending.AuthorizationRequest),
	}
	for _, item := range pending.Permissions {
		row := consentScope{
			Name: item.Name, Optional: item.Optional,
			Description: p.pages.DescribeScope(r, page.NewScope(item.Name, registered[item.Name].Description)),
			Selected:    pending.IsSelected(item, pending.before),
			New:         pending.isNew(item),
		}
		list := &data.Required
		switch {
		case pending.isExisting(item):
			list = &data.Existing
		case item.Optional:
			list = &data.Optional
		}
		*list = addToGroup(*list, pending.apis(item), row)
	}
	page.AllowFormRedirects(w.Header())
	return p.pages.Render(w, http.StatusOK, "consent", data)
}

// isNew reports whether the user was never prompted for the permission before.
func (c pendingConsent) isNew(item oauth.Permission) bool {
	return c.before != nil && !c.IsAllowed(item, c.before) && !c.WasRefused(item, c.before)
}

// isStepUp reports whether the client requests more than the user has allowed it. The page is then about what is new.
// A client that requests the page again with prompt=consent lets the user change everything, and for a client that
// another application can impersonate the page has everything that this application would get.
func (c pendingConsent) isStepUp() bool {
	return !slices.Contains(c.Prompt, "consent") && !c.CanBeImpersonated() &&
		slices.ContainsFunc(c.Permissions, c.isNew)
}

// isExisting reports whether the page shows the permission as one that the user has already given.
func (c pendingConsent) isExisting(item oauth.Permission) bool {
	return c.stepUp && c.IsAllowed(item, c.before)
}

// consentWarnings returns the warnings about a client that the operator has not verified.
func (p *Pages) consentWarnings(r *http.Request, a *oauth.AuthorizationRequest) []string {
	var warnings []string
	switch {
	case p.oauth.Clients.IsTrusted(a.Client):
	case a.Client.IsDocument():
		warnings = append(warnings, p.pages.Text(r, "consent.document", redirect.DestinationOf(a.Client.ID).Host))
	default:
		unverified := p.pages.Text(r, "consent.unverified", p.pages.Destination(r, a.RedirectURI))
		if redirect.DestinationOf(a.RedirectURI).OnDevice {
			unverified = p.pages.Text(r, "consent.unverified.device")
		}
		warnings = append(warnings, unverified)
	}
	if a.CanBeImpersonated() {
		warnings = append(warnings, p.pages.Text(r, "consent.impersonation"))
	}
	return warnings
}

// addToGroup adds the row to the group of its APIs. Rows without an API come first.
func addToGroup(groups []consentGroup, apis []page.API, row consentScope) []consentGroup {
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

// apis returns the APIs that a permission is for.
func (c pendingConsent) apis(item oauth.Permission) []page.API {
	var views []page.API
	for _, identifier := range item.Resources {
		views = append(views, page.NewAPI(identifier, c.resources[identifier].Name))
	}
	return views
}

// tokenParts binds the form to the session, the request, the user, the scopes and APIs on the page and the description
// of the client, so that a client cannot change them between the page and the decision.
func (c pendingConsent) tokenParts() []string {
	parts := []string{"consent", c.user.Session.ID, c.ID, c.user.User.ID, describedAt(c.Client)}
	for _, item := range c.Permissions {
		parts = append(parts, item.Name, strconv.FormatBool(item.Optional), strconv.FormatBool(c.isExisting(item)),
			strconv.Itoa(len(item.Resources)))
		for _, identifier := range item.Resources {
			parts = append(parts, identifier, c.resources[identifier].Name)
		}
	}
	return parts
}

// describedAt returns which description a client has, for a form token.
func describedAt(c *storage.Client) string {
	if c.DescribedAt == nil {
		return ""
	}
	return c.DescribedAt.String()
}

// DecideConsent serves POST /consent. It grants the required scopes and the selected optional ones of this
// request.
func (p *Pages) DecideConsent(w http.ResponseWriter, r *http.Request) error {
	form, err := params.FormWithLists(r, MaxConsentFields, "scope")
	if err != nil {
		return invalidForm(err)
	}
	pending, err := p.pendingConsent(r, form.Get("request"))
	if err != nil {
		return err
	}
	page.AllowFormRedirects(w.Header())
	if !p.pages.HasFormToken(form, pending.tokenParts()...) {
		return &page.Error{Status: http.StatusForbidden, Key: "error.form", Message: p.pages.Text(r, "consent.expired")}
	}
	switch form.Get("decision") {
	case "approve":
		return p.approve(w, r, pending, form["scope"])
	case "deny":
		response, err := p.oauth.Deny(r.Context(), pending.AuthorizationRequest, pending.user)
		if err != nil {
			return err
		}
		return p.writeResponse(w, r, response)
	}
	return &page.Error{Status: http.StatusBadRequest, Key: "error.form"}
}

// approve records the approval and issues a code, unless the user has to sign in again first.
func (p *Pages) approve(w http.ResponseWriter, r *http.Request, pending pendingConsent, selected []string) error {
	a, decision := pending.AuthorizationRequest, oauth.ConsentDecision{Prompted: true}
	for _, item := range a.Permissions {
		if item.Optional && !slices.Contains(selected, item.Name) {
			decision.Refused = append(decision.Refused, item.Name)
		}
	}
	if a.IsSignInTooOld(pending.user, p.store.Now()) {
		err := p.oauth.RecordApproval(r.Context(), a, pending.user, decision)
		if err != nil && !errors.Is(err, oauth.ErrConsentStale) {
			return err
		}
		return page.RedirectTo(requestPath(a))
	}
	response, err := p.oauth.Approve(r.Context(), a, pending.user, decision)
	if errors.Is(err, oauth.ErrConsentStale) { // the client has changed its description: prompt again
		return page.RedirectTo(requestPath(a))
	}
	if err != nil {
		return err
	}
	return p.writeResponse(w, r, response)
}

// invalidForm returns the error of a form that cannot be read.
func invalidForm(err error) error {
	if e := (*params.Error)(nil); errors.As(err, &e) {
		return &page.Error{Status: e.Status, Key: "error.form", Err: err}
	}
	return err
}

// Package interaction serves the authorization and logout endpoints as a browser sees them: the pages of a stored
// request (sign-in, account chooser, consent) and sign-out. oauth decides which page comes next; a page never links to
// another one but returns to the request.
package interaction

import (
	"context"
	"net/http"
	"net/url"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// Pages are the pages of authorization and logout requests.
type Pages struct {
	store   *storage.Store // for reading
	users   *identity.Users
	oauth   *oauth.Server
	limiter *ratelimit.Limiter
	pages   *page.Renderer

	termsURL string
}

// New returns the pages. termsURL is that of the terms that users accept. It fails when a template is invalid.
func New(
	store *storage.Store, users *identity.Users, server *oauth.Server, limiter *ratelimit.Limiter, renderer *page.Renderer,
	termsURL string,
) (*Pages, error) {
	if err := renderer.DeclareAll(map[string]any{
		"login": loginPage{}, "login_code": codePage{}, "terms": termsPage{},
		"factor": factorPage{}, "select": selectPage{}, "no_access": noAccessPage{},
		"confirm": confirmPage{}, "consent": consentPage{}, "form_post": formPostPage{}, "logout": logoutPage{},
		"signed_out": signedOutPage{}, "enrol": enrolPage{},
		"deletion_cancelled": deletionCancelledPage{},
	}); err != nil {
		return nil, err
	}
	return &Pages{store: store, users: users, oauth: server, limiter: limiter, pages: renderer, termsURL: termsURL}, nil
}

// resume returns the stored request with this ID, and makes the languages of its client a preference of the page.
func (p *Pages) resume(
	r *http.Request, id string, browser []byte, claim bool,
) (*oauth.AuthorizationRequest, error) {
	a, err := p.oauth.Resume(r.Context(), id, browser, claim)
	if err == nil {
		page.SetUILocales(r, a.UILocales)
	}
	return a, err
}

// checkLimit counts the request against a limit of its network.
func (p *Pages) checkLimit(r *http.Request, limit string) error {
	ctx := r.Context()
	decision := p.limiter.Count(ctx, ratelimit.Count{Limit: limit, Key: reqevent.FromContext(ctx).Network()})
	return protocol.LimitError(decision, "Too many sign-ins from your network.")
}

// setActor makes the user the actor of the request.
func setActor(ctx context.Context, user storage.User) { reqevent.FromContext(ctx).SetUser(user.ID) }

// requestPath returns the path where the browser continues with a stored request.
func requestPath(a *oauth.AuthorizationRequest) string { return "/oauth2/authorize/" + a.ID }

// clientView is the client on a page.
type clientView struct {
	ClientName, ClientHost, Logo, PolicyURI, TosURI string
	DocumentHost                                    string // of the client_id, if it is the URL of a document
	PolicyHost, TosHost                             string // of an unverified client
}

func (p *Pages) newClientView(r *http.Request, a *oauth.AuthorizationRequest) clientView {
	client := a.Client
	view := clientView{
		ClientName: client.DisplayName(), ClientHost: redirect.DestinationOf(client.URI).Host,
		PolicyURI: client.PolicyURI, TosURI: client.TosURI,
	}
	if client.IsDocument() {
		view.DocumentHost = redirect.DestinationOf(client.ID).Host
	}
	if client.IsUnverified() { // its home page is unverified; only the destination of the response is known
		view.ClientHost = p.pages.Destination(r, a.RedirectURI)
		view.PolicyHost = redirect.DestinationOf(client.PolicyURI).Host
		view.TosHost = redirect.DestinationOf(client.TosURI).Host
	}
	if client.LogoURI != "" && (!client.IsDocument() || p.oauth.Clients.IsTrusted(client)) {
		view.Logo = p.pages.Path("/logo/" + url.PathEscape(client.ID))
	}
	return view
}

// userView is a signed-in user on a page.
type userView struct {
	Session, Name, Email string
	Selected             bool
}

func userViews(users []*identity.SignedInUser) []userView {
	views := make([]userView, 0, len(users))
	for _, user := range users {
		views = append(views, userView{
			Session: user.Session.ID, Name: userName(user), Email: user.User.Email, Selected: true,
		})
	}
	return views
}

// userName returns the name of a user for a page, or the username when the name is not printable.
func userName(user *identity.SignedInUser) string {
	return display.NameOr(user.User.Name, user.User.Username)
}

package logout

import (
	"context"
	"errors"
	"net/url"
	"slices"

	"gatehouse/identity"
	"gatehouse/oauth/claims"
	"gatehouse/oauth/client"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// Request is a validated logout request (OIDC RP-Initiated Logout §2).
type Request struct {
	Client *storage.Client // that sent the request; nil: unknown
	// RedirectURI is where the browser goes afterwards, with the state; empty: a page of this server. Without a valid
	// id_token_hint the user must confirm first.
	RedirectURI string
	State       string
	InvalidHint bool // the request had an id_token_hint that is not a valid one
	hint        *claims.Hint
}

// HasValidHint reports whether the request has an ID token of this server as its hint.
func (r *Request) HasValidHint() bool { return r.hint != nil }

// Location returns the URL to which the browser is redirected afterwards, or "".
func (r *Request) Location() string {
	if r.RedirectURI == "" {
		return ""
	}
	v := url.Values{}
	if r.State != "" {
		v.Set("state", r.State)
	}
	return redirect.AddQuery(r.RedirectURI, v)
}

// Begin validates a logout request. A *protocol.Error is shown to the user: no session was ended, and the browser is
// not redirected.
func (p *Provider) Begin(ctx context.Context, form url.Values) (*Request, error) {
	r := &Request{RedirectURI: form.Get("post_logout_redirect_uri"), State: form.Get("state")}
	clientID, err := p.resolveHint(ctx, r, form)
	if err != nil {
		return nil, err
	}
	if clientID != "" {
		if r.Client, err = p.client(ctx, clientID); err != nil {
			return nil, err
		}
	}
	if r.RedirectURI == "" {
		return r, nil
	}
	if r.Client == nil {
		return nil, protocol.NewError(protocol.InvalidRequest,
			"post_logout_redirect_uri requires id_token_hint or client_id.")
	}
	if !slices.Contains(r.Client.PostLogoutRedirectURIs, r.RedirectURI) {
		e := protocol.NewError(protocol.InvalidRequest, "post_logout_redirect_uri must match a registered URI exactly.")
		cause := p.clients.RecordRefusedRedirect(ctx, clientID, "post_logout_redirect_uri", r.RedirectURI)
		return nil, e.WithCause(cause)
	}
	return r, nil
}

// resolveHint reads the id_token_hint and returns the client that the hint or client_id names, or "".
func (p *Provider) resolveHint(ctx context.Context, r *Request, form url.Values) (clientID string, err error) {
	clientID = form.Get("client_id")
	token := form.Get("id_token_hint")
	if token == "" {
		return clientID, nil
	}
	hint, err := p.claims.ParseHint(ctx, token)
	if errors.Is(err, claims.ErrInvalidHint) {
		r.InvalidHint = true
		if clientID == "" {
			r.RedirectURI = "" // the client is unknown, so the user is prompted and not redirected
		}
		return clientID, nil
	}
	if err != nil {
		return "", err
	}
	r.hint = &hint
	if clientID != "" && clientID != hint.ClientID() {
		return "", protocol.NewError(protocol.InvalidRequest, "client_id is not the client that id_token_hint was issued to.")
	}
	return hint.ClientID(), nil
}

// client returns the client of a request.
func (p *Provider) client(ctx context.Context, id string) (*storage.Client, error) {
	unknown := protocol.NewError(protocol.InvalidRequest, "client_id is not registered with this server.")
	if !client.IsWellFormedID(id) {
		return nil, unknown
	}
	c, err := p.store.Client(ctx, id)
	if cause := client.UnusableCause(c, err); cause != nil {
		return nil, unknown.WithCause(cause)
	}
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	if !p.clients.AllowsDocument(c) {
		return nil, unknown.WithCause(errors.New("the policy does not allow the document of the client"))
	}
	return c, nil
}

// TargetSession returns the session of the browser that the request ends without a page: the hint was issued in exactly
// this session, and the user still allows the client. Any other hint only proves that the client once had this user, so
// the user is prompted and the session is nil.
func (p *Provider) TargetSession(
	ctx context.Context, r *Request, users []*identity.SignedInUser,
) (*identity.SignedInUser, error) {
	if r.hint == nil || r.hint.SessionID == "" {
		return nil, nil //nolint:nilnil // the hint has no session
	}
	i := slices.IndexFunc(users, func(u *identity.SignedInUser) bool {
		return r.hint.SessionID == p.claims.SessionID(r.Client, u.Session.ID)
	})
	if i < 0 {
		return nil, nil //nolint:nilnil // of an ended session, or of another browser
	}
	_, err := p.store.Consent(ctx, users[i].User.ID, r.Client.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil //nolint:nilnil // the user withdrew the consent
	}
	if err != nil {
		return nil, protocol.UnavailableError(err)
	}
	return users[i], nil
}

// HintMatches reports whether the hint identifies the user, by session or subject. It is not a proof.
func (p *Provider) HintMatches(r *Request, user *identity.SignedInUser) bool {
	return r.hint != nil && (r.hint.SessionID == p.claims.SessionID(r.Client, user.Session.ID) ||
		r.hint.Subject == p.claims.Subject(r.Client, user.User.ID))
}

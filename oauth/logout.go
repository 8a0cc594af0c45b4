package oauth

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"time"

	"gatehouse/identity"
	"gatehouse/keyed"
	"gatehouse/oauth/claims"
	"gatehouse/oauth/client"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// LogoutRequest is a valid logout request (OIDC RP-Initiated Logout §2).
type LogoutRequest struct {
	Client *storage.Client // that sent the request; nil: not known
	// RedirectURI is where the browser goes afterwards, with the state; empty: a page of this server. Without a valid
	// id_token_hint the user must confirm first.
	RedirectURI string
	State       string
	InvalidHint bool // the request had an id_token_hint that is not a valid one
	hint        *claims.Hint
}

// BeginLogout validates a logout request. A *protocol.Error is shown to the user: no session was ended, and the browser
// is not redirected.
func (s *Server) BeginLogout(ctx context.Context, form url.Values) (*LogoutRequest, error) {
	l := &LogoutRequest{RedirectURI: form.Get("post_logout_redirect_uri"), State: form.Get("state")}
	id := form.Get("client_id")
	if token := form.Get("id_token_hint"); token != "" {
		hint, err := s.Claims.ParseHint(ctx, token)
		switch {
		case errors.Is(err, claims.ErrInvalidHint):
			l.InvalidHint = true
		case err != nil:
			return nil, err
		default:
			l.hint = &hint
		}
		switch {
		case l.hint == nil && id == "":
			l.RedirectURI = "" // the client is unknown, so the user is prompted and not redirected
		case l.hint == nil:
		case id != "" && id != l.hint.ClientID():
			return nil, protocol.NewError(protocol.InvalidRequest, "client_id is not the client that id_token_hint was issued to.")
		default:
			id = l.hint.ClientID()
		}
	}
	if id != "" {
		if !client.IsWellFormedID(id) {
			return nil, protocol.NewError(protocol.InvalidRequest, "client_id is not registered with this server.")
		}
		c, err := s.store.Client(ctx, id)
		if cause := notServed(c, err); cause != nil {
			return nil, protocol.NewError(protocol.InvalidRequest, "client_id is not registered with this server.").WithClient(id).WithCause(cause)
		}
		if err != nil {
			return nil, protocol.Unavailable(err)
		}
		l.Client = c
	}
	if l.RedirectURI == "" {
		return l, nil
	}
	if l.Client == nil {
		return nil, protocol.NewError(protocol.InvalidRequest, "post_logout_redirect_uri requires id_token_hint or client_id.")
	}
	if !slices.Contains(l.Client.PostLogoutRedirectURIs, l.RedirectURI) {
		cause := s.recordRefusedRedirect(ctx, l.Client.ID, "post_logout_redirect_uri", l.RedirectURI)
		return nil, protocol.NewError(protocol.InvalidRequest, "post_logout_redirect_uri must match a registered URI exactly.").WithClient(l.Client.ID).WithCause(cause)
	}
	return l, nil
}

// TargetSession returns the session of the browser that the request ends without a page: the hint was issued in exactly this
// session, and the user still allows the client. Any other hint only proves that the client once had this user, so the
// user is prompted.
func (s *Server) TargetSession(ctx context.Context, l *LogoutRequest, users []*identity.SignedInUser) (*identity.SignedInUser, error) {
	if l.hint == nil || l.hint.SessionID == "" {
		return nil, nil //nolint:nilnil // the hint has no session
	}
	i := slices.IndexFunc(users, func(u *identity.SignedInUser) bool {
		return l.hint.SessionID == s.Claims.SessionID(l.Client, u.Session.ID)
	})
	if i < 0 {
		return nil, nil //nolint:nilnil // of an ended session, or of another browser
	}
	_, err := s.store.Consent(ctx, users[i].User.ID, l.Client.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil //nolint:nilnil // the user withdrew the consent
	}
	if err != nil {
		return nil, protocol.Unavailable(err)
	}
	return users[i], nil
}

// HintMatches reports whether the hint identifies the user, by session or subject. It is not a proof.
func (s *Server) HintMatches(l *LogoutRequest, user *identity.SignedInUser) bool {
	return l.hint != nil && (l.hint.SessionID == s.Claims.SessionID(l.Client, user.Session.ID) || l.hint.Subject == s.Claims.Subject(l.Client, user.User.ID))
}

// HasValidHint reports whether the request has an ID token of this server as its hint.
func (l *LogoutRequest) HasValidHint() bool { return l.hint != nil }

// Location returns the URL to which the browser is redirected afterwards, or "".
func (l *LogoutRequest) Location() string {
	if l.RedirectURI == "" {
		return ""
	}
	v := url.Values{}
	if l.State != "" {
		v.Set("state", l.State)
	}
	return addQuery(l.RedirectURI, v)
}

// sealedLogoutTTL is the lifetime of a sealed logout request.
const sealedLogoutTTL = 10 * time.Minute

// sealedLogoutRequest is a logout request in a URL or a form of this server.
type sealedLogoutRequest struct {
	Form    url.Values `json:"form"`
	Expires int64      `json:"exp"`
}

// SealLogoutRequest returns a logout request encrypted, so that a URL and a form can carry it without revealing its ID
// token. It returns invalid_request when the request is larger than 16 KiB.
func (s *Server) SealLogoutRequest(form url.Values) (string, error) {
	request := sealedLogoutRequest{Form: url.Values{}, Expires: s.store.Now().Add(sealedLogoutTTL).Unix()}
	for _, name := range []string{"id_token_hint", "client_id", "post_logout_redirect_uri", "state"} {
		if form.Has(name) {
			request.Form.Set(name, form.Get(name))
		}
	}
	plain, err := json.Marshal(request)
	if err != nil {
		return "", err
	}
	if len(plain) > 16<<10 {
		return "", protocol.NewError(protocol.InvalidRequest, "The request is larger than 16 KiB.")
	}
	sealed, err := keyed.Seal(s.logoutKey, plain, "")
	if err != nil {
		return "", err
	}
	return base64url(sealed), nil
}

// OpenLogoutRequest returns the request that SealLogoutRequest sealed. A *protocol.Error means that it is damaged or has
// expired.
func (s *Server) OpenLogoutRequest(sealed string) (url.Values, error) {
	refuse := protocol.NewError(protocol.InvalidRequest, "The sign-out request has expired. Sign out again in the app.")
	raw, err := jwt.DecodeBase64(sealed)
	if err != nil {
		return nil, refuse
	}
	plain, err := keyed.Open(s.logoutKey, raw, "")
	if err != nil {
		return nil, refuse
	}
	var request sealedLogoutRequest
	if err := json.Unmarshal(plain, &request); err != nil || s.store.Now().Unix() >= request.Expires {
		return nil, refuse
	}
	return request.Form, nil
}

// InitiateLoginURL returns the URL at which a client starts a sign-in (OIDC Core §4), or "" when it does not support that.
// The URL has no login_hint for a client with pairwise subjects, because a username would identify the user, nor for one
// whose scopes do not include it.
//
// The URL of a self-registered client must have the origin that the user agreed to, unchanged since.
func (s *Server) InitiateLoginURL(c *storage.Client, consent storage.Consent, loginHint string) string {
	if c.InitiateLoginURI == "" || c.IsSelfRegistered() && (Redescribed(c, consent) || !client.IsSameOrigin(AgreedRedirectURI(c, consent), c.InitiateLoginURI)) {
		return ""
	}
	allowed := consent.Scopes
	v := url.Values{"iss": {s.options.Issuer}}
	if !c.IsPairwise() && (allowed.Has("profile") || allowed.Has("email")) {
		v.Set("login_hint", loginHint)
	}
	return addQuery(c.InitiateLoginURI, v)
}

// AgreedRedirectURI returns the redirect URI that the consent page showed when the user agreed. For a consent without
// this record it returns a redirect URI of the client if all have the same destination, or "".
func AgreedRedirectURI(c *storage.Client, consent storage.Consent) string {
	if consent.RedirectURI != "" {
		return consent.RedirectURI
	}
	for _, uri := range c.RedirectURIs {
		if redirect.DestinationOf(uri) != redirect.DestinationOf(c.RedirectURIs[0]) {
			return ""
		}
	}
	if len(c.RedirectURIs) == 0 {
		return ""
	}
	return c.RedirectURIs[0]
}

// Redescribed reports whether a self-registered client has changed the description that users see since the user
// agreed.
func Redescribed(c *storage.Client, consent storage.Consent) bool {
	return c.DescribedAt != nil && consent.UpdatedAt.Before(*c.DescribedAt)
}

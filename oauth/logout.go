package oauth

import (
	"context"
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/json"
	"errors"
	"net/url"
	"slices"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth/client"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// LogoutRequest is a valid logout request (OIDC RP-Initiated Logout §2).
type LogoutRequest struct {
	Client *storage.Client // who asks, nil when unknown
	// RedirectURI is where to go afterwards, with the state; empty: a page of ours. When the request had no id_token_hint
	// it is followed only after the person said yes.
	RedirectURI string
	State       string
	InvalidHint bool // the request had an id_token_hint that proves nothing
	hint        *idTokenHint
}

// BeginLogout checks a logout request. An *protocol.Error is for the person's eyes: nobody was signed out, and nothing that cannot
// be trusted is followed.
func (s *Server) BeginLogout(ctx context.Context, form url.Values) (*LogoutRequest, error) {
	l := &LogoutRequest{RedirectURI: form.Get("post_logout_redirect_uri"), State: form.Get("state")}
	id := form.Get("client_id")
	if token := form.Get("id_token_hint"); token != "" {
		var err error
		if l.hint, err = s.idTokenHint(ctx, token); err != nil {
			return nil, err
		}
		l.InvalidHint = l.hint == nil
		switch {
		case l.hint == nil && id == "":
			l.RedirectURI = "" // it proves nothing, so the person is asked and nobody is sent anywhere
		case l.hint == nil:
		case id != "" && id != l.hint.ClientID():
			return nil, protocol.NewError(protocol.InvalidRequest, "The client_id is not the one that the id_token_hint was issued to.")
		default:
			id = l.hint.ClientID()
		}
	}
	if id != "" {
		if !client.IsWellFormedID(id) {
			return nil, protocol.NewError(protocol.InvalidRequest, "The client_id is none of this server's.")
		}
		c, err := s.store.Client(ctx, id)
		if cause := notServed(c, err); cause != nil {
			return nil, protocol.NewError(protocol.InvalidRequest, "No app is registered here under the client_id.").WithClient(id).WithCause(cause)
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
		return nil, protocol.NewError(protocol.InvalidRequest, "A post_logout_redirect_uri needs an id_token_hint or a client_id.")
	}
	if !slices.Contains(l.Client.PostLogoutRedirectURIs, l.RedirectURI) {
		cause := s.recordRefusedRedirect(ctx, l.Client.ID, "post_logout_redirect_uri", l.RedirectURI)
		return nil, protocol.NewError(protocol.InvalidRequest, "The post_logout_redirect_uri is not one the app is registered with. They must be equal to the letter.").WithClient(l.Client.ID).WithCause(cause)
	}
	return l, nil
}

// TargetSession returns the session of the browser that the request ends without a page: the hint was issued in exactly this
// session, and the user still allows the client. Any other hint only proves that the client once had this user, so the
// user is prompted.
func (s *Server) TargetSession(ctx context.Context, l *LogoutRequest, users []*identity.SignedInUser) (*identity.SignedInUser, error) {
	if l.hint == nil || l.hint.SID == "" {
		return nil, nil //nolint:nilnil // the hint has no session
	}
	i := slices.IndexFunc(users, func(u *identity.SignedInUser) bool { return l.hint.SID == s.sid(l.Client, u.Session.ID) })
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
	return l.hint != nil && (l.hint.SID == s.sid(l.Client, user.Session.ID) || l.hint.Subject == s.Subject(l.Client, user.User.ID))
}

// HasValidHint reports whether the request proves by its hint that it comes from an app that signed somebody in here.
func (l *LogoutRequest) HasValidHint() bool { return l.hint != nil }

// Location is where the browser goes afterwards, or "".
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

// sealedLogoutTTL is how long a kept logout request waits.
const sealedLogoutTTL = 10 * time.Minute

// sealedLogoutRequest is a logout request on its way through an address or a form of ours.
type sealedLogoutRequest struct {
	Form    url.Values `json:"form"`
	Expires int64      `json:"exp"`
}

// SealLogoutRequest seals a logout request, so that it can go through an address and a form without showing its ID token.
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
	aead, err := s.logoutCipher()
	if err != nil {
		return "", err
	}
	nonce := make([]byte, aead.NonceSize())
	if _, err := rand.Read(nonce); err != nil {
		return "", err
	}
	return base64url(aead.Seal(nonce, nonce, plain, nil)), nil
}

// OpenLogoutRequest opens what KeepLogout sealed. An *protocol.Error means that it is damaged or waited too long.
func (s *Server) OpenLogoutRequest(sealed string) (url.Values, error) {
	refuse := protocol.NewError(protocol.InvalidRequest, "The request waited for too long. Sign out again in the app.")
	raw, err := jwt.DecodeBase64(sealed)
	if err != nil {
		return nil, refuse
	}
	aead, err := s.logoutCipher()
	if err != nil {
		return nil, err
	}
	n := aead.NonceSize()
	if len(raw) < n {
		return nil, refuse
	}
	plain, err := aead.Open(nil, raw[:n], raw[n:], nil)
	if err != nil {
		return nil, refuse
	}
	var request sealedLogoutRequest
	if err := json.Unmarshal(plain, &request); err != nil || s.store.Now().Unix() >= request.Expires {
		return nil, refuse
	}
	return request.Form, nil
}

func (s *Server) logoutCipher() (cipher.AEAD, error) {
	block, err := aes.NewCipher(s.logoutKey)
	if err != nil {
		return nil, err
	}
	return cipher.NewGCM(block)
}

// InitiateLoginURL is the address by which this server makes an app begin a sign-in (OIDC Core §4), "" when the app does not
// take that. A client with pairwise subjects gets no hint, for a username would tell it who that is, and none gets one that
// may not know it by its scopes.
//
// A self-registered client gets a link only to the destination that the user agreed to, if it has not changed since.
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

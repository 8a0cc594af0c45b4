package oauth

import (
	"net/url"

	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// InitiateLoginURL returns the URL at which a client starts a sign-in (OIDC Core §4), or "" when it does not support
// that. The URL has no login_hint for a client with pairwise subjects, because a username would identify the user, nor
// for one whose scopes do not include it.
//
// The URL of an unverified client must have the origin that the user agreed to, unchanged since.
func (s *Server) InitiateLoginURL(c *storage.Client, consent storage.Consent, loginHint string) string {
	if c.InitiateLoginURI == "" {
		return ""
	}
	agreed := !HasChangedDescription(c, consent) &&
		redirect.IsSameOrigin(AgreedRedirectURI(c, consent), c.InitiateLoginURI)
	if c.IsUnverified() && !agreed {
		return ""
	}
	allowed := consent.Scopes
	v := url.Values{"iss": {s.options.Issuer}}
	if !c.IsPairwise() && (allowed.Has(protocol.ScopeProfile) || allowed.Has(protocol.ScopeEmail)) {
		v.Set("login_hint", loginHint)
	}
	return redirect.AddQuery(c.InitiateLoginURI, v)
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

// HasChangedDescription reports whether an unverified client has changed the description that users see since the
// user agreed.
func HasChangedDescription(c *storage.Client, consent storage.Consent) bool {
	return consent.PredatesDescription(c.DescribedAt)
}

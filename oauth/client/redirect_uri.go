package client

import (
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// MatchesRedirectURI reports whether uri is one of the redirect URIs of the client (RFC 9700 §2.1). Command-line
// clients listen on a free port and register http://localhost, although RFC 8252 §8.3 advises against it. So the port
// of localhost may differ as that of an IP literal does, for public clients that are native or that the operator did
// not register.
func MatchesRedirectURI(c *storage.Client, uri string) bool {
	anyLocalhostPort := c.IsPublic() && (c.ApplicationType == applicationNative || c.IsUnverified())
	return redirect.Match(c.RedirectURIs, uri, anyLocalhostPort)
}

// useNativeForPrivateSchemes makes a self-registered client with a private-use scheme a native one, whatever it sent as
// application_type: Cursor sends web. It returns invalid_redirect_uri for a scheme that names no domain unless the
// client is public: nothing then relies on a secret in an application that every user has.
func (m *Metadata) useNativeForPrivateSchemes() error {
	for _, uri := range m.RedirectURIs {
		scheme, hasDomain := redirect.PrivateUseScheme(uri)
		if scheme == "" {
			continue
		}
		if !hasDomain && !m.isPublic() {
			return protocol.NewError(protocol.InvalidRedirectURI, "The redirect URI "+params.Sanitize(uri)+
				" has a private-use scheme without a dot, which only a public client can register: "+
				"send token_endpoint_auth_method none, or use a scheme like com.example.app (RFC 8252 section 7.1).")
		}
		m.ApplicationType = applicationNative
	}
	return nil
}

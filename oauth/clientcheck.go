package oauth

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/display"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// complete fills in the defaults of RFC 7591 §2 and ours, and returns what is wrong with the rest.
func (m *Metadata) complete() error {
	if m.TokenEndpointAuthMethod == "" {
		m.TokenEndpointAuthMethod = storage.AuthBasic
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = List{protocol.GrantAuthorizationCode}
	}
	people := slices.Contains(m.GrantTypes, protocol.GrantAuthorizationCode)
	if len(m.ResponseTypes) == 0 && people {
		m.ResponseTypes = List{"code"}
	}
	if m.ApplicationType == "" {
		m.ApplicationType = "web"
	}
	if m.IDTokenAlg == "" {
		m.IDTokenAlg = jwt.RS256
	}
	if m.SubjectType == "" {
		m.SubjectType = storage.SubjectPublic
	}
	if m.RequirePKCE == nil {
		m.RequirePKCE = ptr(true)
	}
	if m.RefreshRotation == nil {
		m.RefreshRotation = ptr(true)
	}
	public := m.TokenEndpointAuthMethod == storage.AuthNone
	for _, wrong := range []struct {
		when bool
		text string
	}{
		{!slices.Contains(authMethods, m.TokenEndpointAuthMethod), "token_endpoint_auth_method must be " + oneOf(authMethods)},
		{m.TokenEndpointAuthMethod == storage.AuthPrivateKey && m.JWKS == nil && m.JWKSURI == "", "private_key_jwt needs jwks or jwks_uri"},
		{m.JWKS != nil && m.JWKSURI != "", "jwks and jwks_uri exclude each other"},
		{!validAlg(m.IDTokenAlg), "id_token_signed_response_alg must be " + oneOf(jwt.Algorithms)},
		{m.UserinfoAlg != "" && !validAlg(m.UserinfoAlg), "userinfo_signed_response_alg must be " + oneOf(jwt.Algorithms) + ", or left out"},
		{m.RequestObjectAlg != "" && !validAlg(m.RequestObjectAlg), "request_object_signing_alg must be " + oneOf(jwt.Algorithms)},
		{m.RequireSignedRequestObject && m.JWKS == nil && m.JWKSURI == "", "require_signed_request_object needs jwks or jwks_uri"},
		{m.TokenEndpointAuthAlg != "" && !validAlg(m.TokenEndpointAuthAlg), "token_endpoint_auth_signing_alg must be " + oneOf(jwt.Algorithms)},
		{m.ApplicationType != "web" && m.ApplicationType != "native", "application_type must be web or native"},
		{m.SubjectType != storage.SubjectPublic && m.SubjectType != storage.SubjectPairwise, "subject_type must be public or pairwise"},
		{outOfBounds(m.DefaultMaxAge, 0, maxLife), "default_max_age must be a number of seconds"},
		{len(m.SoftwareID) > 200 || len(m.SoftwareVersion) > 200, "software_id and software_version may have 200 characters"},
		{slices.ContainsFunc(m.GrantTypes, func(g string) bool {
			return !slices.Contains([]string{protocol.GrantAuthorizationCode, protocol.GrantRefreshToken, protocol.GrantClientCredentials}, g)
		}), "grant_types may have authorization_code, refresh_token and client_credentials"},
		{slices.ContainsFunc(m.ResponseTypes, func(r string) bool { return r != "code" }), "response_types may have only code"},
		{!people && len(m.ResponseTypes) > 0, "response_types needs the grant type authorization_code"},
		{!people && slices.Contains(m.GrantTypes, protocol.GrantRefreshToken), "the grant type refresh_token needs authorization_code"},
		{public && slices.Contains(m.GrantTypes, protocol.GrantClientCredentials), "a public client (token_endpoint_auth_method none) cannot use client_credentials"},
		{people && len(m.RedirectURIs) == 0, "authorization_code needs at least one of redirect_uris"},
		{public && !*m.RequirePKCE, "gatehouse_require_pkce can be false only for a confidential client"},
		{public && !*m.RefreshRotation, "gatehouse_refresh_rotation can be false only for a confidential client"},
		{utf8.RuneCountInString(m.ClientName) > 100 || utf8.RuneCountInString(m.Owner) > 100, "client_name and gatehouse_owner may have 100 characters"},
		{public && len(m.AllowedNetworks) > 0, "gatehouse_allowed_networks needs a client with credentials: one that has none is used from everywhere"},
		{len(m.AllowedNetworks) > 100, "gatehouse_allowed_networks may have 100 networks"},
		{outOfBounds(m.AccessTokenTTL, time.Second, 24*time.Hour), "gatehouse_access_token_ttl must be 1 second to 24 hours"},
		{outOfBounds(m.RefreshIdleTTL, time.Second, maxLife), "gatehouse_refresh_idle_ttl must be 1 second to 10 years"},
		{outOfBounds(m.RefreshMaxTTL, time.Second, maxLife), "gatehouse_refresh_max_ttl must be 1 second to 10 years"},
		{outOfBounds(m.RefreshGrace, 0, storage.MaxRefreshGrace), "gatehouse_refresh_grace must be 0 (off) to 10 minutes"},
		{slices.ContainsFunc(m.OptionalScopes, func(name string) bool { return !slices.Contains(m.Scope, name) }), "gatehouse_optional_scopes must be among the scopes of scope"},
		{m.DefaultScopes != nil && slices.ContainsFunc(*m.DefaultScopes, func(name string) bool { return !slices.Contains(m.Scope, name) }), "gatehouse_default_scopes must be among the scopes of scope"},
	} {
		if wrong.when {
			return protocol.NewError(protocol.InvalidClientMetadata, wrong.text+".")
		}
	}
	var err error
	if m.AllowedNetworks, err = networks(m.AllowedNetworks); err != nil {
		return err
	}
	return m.checkTexts()
}

var authMethods = []string{storage.AuthBasic, storage.AuthPost, storage.AuthPrivateKey, storage.AuthNone}

func validAlg(alg string) bool { return slices.Contains(jwt.Algorithms, alg) }

func oneOf(values []string) string {
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}

func (m *Metadata) checkTexts() error {
	for name, value := range map[string]string{
		"client_name": m.ClientName, "gatehouse_owner": m.Owner, "software_id": m.SoftwareID, "software_version": m.SoftwareVersion,
	} {
		if value == "" {
			continue
		}
		if err := display.CheckName(value); err != nil {
			return protocol.NewError(protocol.InvalidClientMetadata, name+" "+err.Error()+".")
		}
	}
	for _, uri := range m.RedirectURIs {
		if err := redirect.Validate(uri); err != nil {
			return protocol.NewError(protocol.InvalidRedirectURI, fmt.Sprintf("The redirect URI %s %s.", params.Sanitize(uri), err))
		}
	}
	for _, name := range m.Scope {
		if !ValidScope(name) {
			return protocol.NewError(protocol.InvalidClientMetadata, fmt.Sprintf("The scope %s has a character that a scope must not have (RFC 6749 section 3.3), is longer than 100, or begins with claim:, which is ours.", params.Sanitize(name)))
		}
	}
	for name, uri := range map[string]string{"client_uri": m.ClientURI, "tos_uri": m.TosURI, "policy_uri": m.PolicyURI, "initiate_login_uri": m.InitiateLoginURI} {
		u, err := url.Parse(uri)
		if strings.ContainsFunc(uri, func(r rune) bool { return r == ' ' || !display.IsPrintable(r) }) {
			return protocol.NewError(protocol.InvalidClientMetadata, name+" must not have spaces or invisible characters.")
		}
		if name == "initiate_login_uri" && err == nil && u.Scheme == "http" && !redirect.IsLoopback(u.Hostname()) && u.Hostname() != "localhost" {
			return protocol.NewError(protocol.InvalidClientMetadata, "initiate_login_uri must be https, which only 127.0.0.1, [::1] and localhost can do without.")
		}
		if uri != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil) {
			return protocol.NewError(protocol.InvalidClientMetadata, name+" must be an absolute http or https URL.")
		}
		if uri != "" {
			if err := redirect.CheckHost(uri); err != nil {
				return protocol.NewError(protocol.InvalidClientMetadata, name+" "+err.Error()+".")
			}
		}
	}
	for _, uri := range m.PostLogoutRedirectURIs {
		if err := redirect.Validate(uri); err != nil {
			return protocol.NewError(protocol.InvalidClientMetadata, fmt.Sprintf("The post-logout redirect URI %s %s.", params.Sanitize(uri), err))
		}
	}
	if m.JWKS != nil {
		keys, err := jwt.ParseJWKS(m.JWKS)
		if err != nil {
			return protocol.NewError(protocol.InvalidClientMetadata, "The member jwks "+err.Error()+".")
		}
		if len(keys) == 0 {
			return protocol.NewError(protocol.InvalidClientMetadata, "The member jwks has no key that can be used: RSA of 2048 to 4096 bits with an exponent of at most 131072, P-256 or Ed25519.")
		}
	}
	for _, list := range [][]string{m.Audience, deref(m.Resources)} {
		for _, identifier := range list {
			if err := ValidResource(identifier); err != nil {
				return protocol.NewError(protocol.InvalidClientMetadata, fmt.Sprintf("The audience or resource %s %s.", params.Sanitize(identifier), err))
			}
		}
	}
	for name, list := range map[string][]string{
		"contacts": m.Contacts, "redirect_uris": m.RedirectURIs, "request_uris": m.RequestURIs, "default_acr_values": m.DefaultACRValues, "post_logout_redirect_uris": m.PostLogoutRedirectURIs,
	} {
		if most := longestList(name); len(list) > most {
			return protocol.NewError(protocol.InvalidClientMetadata, fmt.Sprintf("%s may have %d items.", name, most))
		}
		if slices.ContainsFunc(list, func(s string) bool { return display.CheckName(s) != nil || strings.Contains(s, " ") }) {
			return protocol.NewError(protocol.InvalidClientMetadata, "Lists of URIs, contacts and acr values must not have empty items, spaces or invisible characters.")
		}
	}
	return nil
}

// longestList is how many items a list may have: of what this server fetches fewer than it keeps for a client.
func longestList(name string) int {
	switch name {
	case "redirect_uris", "post_logout_redirect_uris":
		return maxItems
	case "contacts", "request_uris", "default_acr_values", "grant_types", "response_types":
		return 20
	}
	return params.MaxValues
}

// maxItems is the maximum length of a list in client metadata.
const maxItems = 200

// checkLists refuses a list that is too long, as an array or a space-separated string, before it is parsed.
func checkLists(members map[string]json.RawMessage) error {
	for _, name := range listMembers() {
		var text string
		var items []json.RawMessage
		n := 0
		if raw := members[name]; json.Unmarshal(raw, &text) == nil {
			n = params.CountSeparators(text) + 1
		} else if json.Unmarshal(raw, &items) == nil {
			n = len(items)
		}
		if most := longestList(name); n > most {
			return protocol.NewError(protocol.InvalidClientMetadata, fmt.Sprintf("%s may have %d items.", name, most))
		}
	}
	return nil
}

// ValidScope reports whether name is a scope-token (RFC 6749 §3.3) of at most 100 characters, and not one of the words by
// which consents remember claims.
func ValidScope(name string) bool {
	if _, claim := ClaimOf(name); claim {
		return false
	}
	return name != "" && len(name) <= 100 && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' })
}

// ValidResource says why identifier cannot name a resource (RFC 8707 §2), or nil.
func ValidResource(identifier string) error {
	u, err := url.Parse(identifier)
	if err != nil || !u.IsAbs() || strings.Contains(identifier, "#") || strings.ContainsFunc(identifier, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return errors.New("is not an absolute URI without fragment and spaces")
	}
	return nil
}

func outOfBounds(s *Seconds, low, high time.Duration) bool {
	return s != nil && (time.Duration(*s) < low || time.Duration(*s) > high)
}

func ptr[T any](v T) *T { return &v }

func deref[T any](v *T) T {
	if v == nil {
		return *new(T)
	}
	return *v
}

package client

import (
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/display"
	"gatehouse/identity"
	"gatehouse/loopback"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// applyDefaultsAndValidate sets the defaults of RFC 7591 §2 and of this server, and returns invalid_client_metadata or
// invalid_redirect_uri for the first invalid member.
func (m *Metadata) applyDefaultsAndValidate() error {
	m.applyDefaults()
	for _, rules := range [][]rule{m.authenticationRules(), m.grantRules(), m.openIDRules(), m.operatorRules()} {
		for _, r := range rules {
			if r.violated {
				return protocol.NewError(protocol.InvalidClientMetadata, r.description+".")
			}
		}
	}
	var err error
	if m.AllowedNetworks, err = normalizeNetworks(m.AllowedNetworks); err != nil {
		return err
	}
	for _, check := range []func() error{
		m.checkNames, m.checkRedirectURIs, m.checkScopesAndResources, m.checkPageURIs, m.checkJWKS, m.checkLists,
	} {
		if err := check(); err != nil {
			return err
		}
	}
	return nil
}

func (m *Metadata) applyDefaults() {
	if m.TokenEndpointAuthMethod == "" {
		m.TokenEndpointAuthMethod = storage.AuthBasic
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = List{granttype.AuthorizationCode}
	}
	if len(m.ResponseTypes) == 0 && m.usesCodes() {
		m.ResponseTypes = List{"code"}
	}
	if m.ApplicationType == "" {
		m.ApplicationType = applicationWeb
	}
	if m.IDTokenAlg == "" {
		m.IDTokenAlg = jwt.RS256
	}
	if m.SubjectType == "" {
		m.SubjectType = storage.SubjectPublic
	}
	if acr, err := identity.ParseRequiredACR(m.RequiredACR); err == nil {
		m.RequiredACR = acr
	}
	if m.RequirePKCE == nil {
		m.RequirePKCE = new(true)
	}
	if m.RefreshRotation == nil {
		m.RefreshRotation = new(true)
	}
}

// Values of application_type (OIDC Registration §2).
const (
	applicationWeb    = "web"
	applicationNative = "native"
)

// usesCodes reports whether the client uses the authorization endpoint.
func (m *Metadata) usesCodes() bool {
	return slices.Contains(m.GrantTypes, granttype.AuthorizationCode)
}

func (m *Metadata) isPublic() bool { return m.TokenEndpointAuthMethod == storage.AuthNone }

// hasKeys reports whether the client registers keys by value or by reference.
func (m *Metadata) hasKeys() bool { return m.JWKS != nil || m.JWKSURI != "" }

// rule is a condition on metadata, with the description for the client if it is violated.
type rule struct {
	violated    bool
	description string
}

func (m *Metadata) authenticationRules() []rule {
	return []rule{
		{
			!slices.Contains(authMethods(), m.TokenEndpointAuthMethod),
			"token_endpoint_auth_method must be " + oneOf(authMethods()),
		},
		{m.TokenEndpointAuthMethod == storage.AuthPrivateKey && !m.hasKeys(), "private_key_jwt requires jwks or jwks_uri"},
		{m.JWKS != nil && m.JWKSURI != "", "jwks and jwks_uri must not be used together"},
		{isInvalidAlg(m.TokenEndpointAuthAlg), "token_endpoint_auth_signing_alg must be " + oneOf(jwt.Algorithms)},
	}
}

func (m *Metadata) grantRules() []rule {
	unsupported := func(g string) bool { return !granttype.IsSupported(g) }
	uses := func(g string) bool { return slices.Contains(m.GrantTypes, g) }
	return []rule{
		{
			slices.ContainsFunc(m.GrantTypes, unsupported),
			"grant_types must be among " + joinWith(granttype.All(), "and"),
		},
		{slices.ContainsFunc(m.ResponseTypes, func(r string) bool { return r != "code" }), "response_types must be code"},
		{!m.usesCodes() && len(m.ResponseTypes) > 0, "response_types requires the grant type authorization_code"},
		{
			!granttype.HasUsers(m.GrantTypes) && slices.Contains(m.GrantTypes, granttype.RefreshToken),
			"the grant type refresh_token requires " + oneOf(granttype.OfUsers()),
		},
		{
			m.isPublic() && slices.ContainsFunc(granttype.ConfidentialOnly(), uses),
			"a public client (token_endpoint_auth_method none) cannot use " + oneOf(granttype.ConfidentialOnly()),
		},
		{m.usesCodes() && len(m.RedirectURIs) == 0, "authorization_code requires at least one of redirect_uris"},
	}
}

func (m *Metadata) openIDRules() []rule {
	return []rule{
		{isInvalidAlg(m.IDTokenAlg), "id_token_signed_response_alg must be " + oneOf(jwt.Algorithms)},
		{isInvalidAlg(m.UserinfoAlg), "userinfo_signed_response_alg must be absent or " + oneOf(jwt.Algorithms)},
		{isInvalidAlg(m.RequestObjectAlg), "request_object_signing_alg must be " + oneOf(jwt.Algorithms)},
		{m.RequireSignedRequestObject && !m.hasKeys(), "require_signed_request_object requires jwks or jwks_uri"},
		{
			m.ApplicationType != applicationWeb && m.ApplicationType != applicationNative,
			"application_type must be web or native",
		},
		{
			m.SubjectType != storage.SubjectPublic && m.SubjectType != storage.SubjectPairwise,
			"subject_type must be public or pairwise",
		},
		{isOutside(m.DefaultMaxAge, 0, maxDuration), "default_max_age must be a number of seconds"},
		{
			len(m.SoftwareID) > 200 || len(m.SoftwareVersion) > 200,
			"software_id and software_version must have at most 200 characters",
		},
	}
}

func isInvalidACR(acr string) bool {
	_, err := identity.ParseRequiredACR(acr)
	return err != nil
}

func (m *Metadata) operatorRules() []rule {
	unregistered := func(name string) bool { return !slices.Contains(m.Scope, name) }
	return []rule{
		{
			utf8.RuneCountInString(m.ClientName) > 100 || utf8.RuneCountInString(m.Owner) > 100,
			"client_name and gatehouse_owner must have at most 100 characters",
		},
		{
			m.GroupsClaimName != "" && !IsClaimName(m.GroupsClaimName),
			"gatehouse_groups_claim_name must have at most 100 printable ASCII characters without quotation marks and " +
				"backslashes, and must not be the name of another claim",
		},
		{
			m.GroupsPrefix != "" && (len(m.GroupsPrefix) > 100 || display.CheckName(m.GroupsPrefix) != nil),
			"gatehouse_groups_prefix must have at most 100 bytes, without invisible characters",
		},
		{isInvalidACR(m.RequiredACR), "gatehouse_required_acr must be mfa, phr or none"},
		{m.isPublic() && !*m.RequirePKCE, "gatehouse_require_pkce can be false only for a confidential client"},
		{m.isPublic() && !*m.RefreshRotation, "gatehouse_refresh_rotation can be false only for a confidential client"},
		{m.isPublic() && len(m.AllowedNetworks) > 0, "gatehouse_allowed_networks requires a confidential client"},
		{len(m.AllowedNetworks) > 100, "gatehouse_allowed_networks must have at most 100 networks"},
		{isOutside(m.AccessTokenTTL, time.Second, 24*time.Hour), "gatehouse_access_token_ttl must be 1 second to 24 hours"},
		{isOutside(m.RefreshIdleTTL, time.Second, maxDuration), "gatehouse_refresh_idle_ttl must be 1 second to 10 years"},
		{isOutside(m.RefreshMaxTTL, time.Second, maxDuration), "gatehouse_refresh_max_ttl must be 1 second to 10 years"},
		{isOutside(m.RefreshGrace, 0, storage.MaxRefreshGrace), "gatehouse_refresh_grace must be 0 (off) to 10 minutes"},
		{slices.ContainsFunc(m.OptionalScopes, unregistered), "gatehouse_optional_scopes must be among the scopes of scope"},
		{
			slices.ContainsFunc(valueOf(m.DefaultScopes), unregistered),
			"gatehouse_default_scopes must be among the scopes of scope",
		},
	}
}

func authMethods() []string {
	return []string{storage.AuthBasic, storage.AuthPost, storage.AuthPrivateKey, storage.AuthNone}
}

// isInvalidAlg reports whether alg is present and not supported.
func isInvalidAlg(alg string) bool { return alg != "" && !slices.Contains(jwt.Algorithms, alg) }

func oneOf(values []string) string { return joinWith(values, "or") }

// joinWith returns the values as a list of words, with the conjunction before the last one.
func joinWith(values []string, conjunction string) string {
	if len(values) < 2 {
		return strings.Join(values, "")
	}
	last := len(values) - 1
	return strings.Join(values[:last], ", ") + " " + conjunction + " " + values[last]
}

func (m *Metadata) checkNames() error {
	for _, f := range []struct{ member, value string }{
		{"client_name", m.ClientName}, {"gatehouse_owner", m.Owner},
		{"software_id", m.SoftwareID}, {"software_version", m.SoftwareVersion},
	} {
		if f.value == "" {
			continue
		}
		if err := display.CheckName(f.value); err != nil {
			return invalid("%s %w.", f.member, err)
		}
	}
	return nil
}

func (m *Metadata) checkRedirectURIs() error {
	for _, uri := range m.RedirectURIs {
		if err := redirect.Validate(uri); err != nil {
			return protocol.NewError(
				protocol.InvalidRedirectURI, fmt.Sprintf("The redirect URI %s %s.", params.Sanitize(uri), err),
			)
		}
	}
	for _, uri := range m.PostLogoutRedirectURIs {
		if err := redirect.Validate(uri); err != nil {
			return invalid("The post-logout redirect URI %s %w.", params.Sanitize(uri), err)
		}
	}
	return nil
}

func (m *Metadata) checkScopesAndResources() error {
	for _, name := range m.Scope {
		if !IsValidScope(name) {
			return invalid(
				"scope %s must have 1 to 100 of the characters that RFC 6749 section 3.3 allows, and must not begin with claim:.",
				params.Sanitize(name),
			)
		}
	}
	identifiers := append(slices.Clone(m.Audience), valueOf(m.Resources)...)
	if m.DefaultResource != "" {
		identifiers = append(identifiers, m.DefaultResource)
	}
	for _, identifier := range identifiers {
		if err := CheckResource(identifier); err != nil {
			return invalid("The audience or resource %s %w.", params.Sanitize(identifier), err)
		}
	}
	return nil
}

// checkPageURIs checks the URIs that a browser is sent to, or that a page links to.
func (m *Metadata) checkPageURIs() error {
	for _, f := range []struct{ member, uri string }{
		{"client_uri", m.ClientURI}, {"tos_uri", m.TosURI}, {"policy_uri", m.PolicyURI},
		{"initiate_login_uri", m.InitiateLoginURI},
	} {
		if f.uri == "" {
			continue
		}
		u, err := url.Parse(f.uri)
		switch {
		case strings.ContainsFunc(f.uri, func(r rune) bool { return r == ' ' || !display.IsPrintable(r) }):
			return invalid("%s must not have spaces or invisible characters.", f.member)
		case f.member == "initiate_login_uri" && err == nil && u.Scheme == "http" && !loopback.IsHost(u.Hostname()):
			return invalid("initiate_login_uri must use https, unless its host is 127.0.0.1, [::1] or localhost.")
		case err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil:
			return invalid("%s must be an absolute http or https URL.", f.member)
		}
		if err := redirect.CheckHost(f.uri); err != nil {
			return invalid("%s %w.", f.member, err)
		}
	}
	return nil
}

func (m *Metadata) checkJWKS() error {
	if m.JWKS == nil {
		return nil
	}
	keys, err := jwt.ParseJWKS(m.JWKS)
	if err != nil {
		return invalid("jwks %w.", err)
	}
	if len(keys) == 0 {
		return invalid(
			"jwks must have a supported key: RSA of 2048 to 4096 bits with an exponent of at most 131072, P-256 or Ed25519.",
		)
	}
	return nil
}

func (m *Metadata) checkLists() error {
	for _, f := range []struct {
		member string
		items  []string
	}{
		{"contacts", m.Contacts}, {"redirect_uris", m.RedirectURIs}, {"request_uris", m.RequestURIs},
		{"default_acr_values", m.DefaultACRValues}, {"post_logout_redirect_uris", m.PostLogoutRedirectURIs},
		{"gatehouse_claim_groups", m.ClaimGroups}, {"gatehouse_required_groups", m.RequiredGroups},
	} {
		if limit := maxItems(f.member); len(f.items) > limit {
			return tooManyItems(f.member, limit)
		}
		isMalformed := func(s string) bool { return display.CheckName(s) != nil || strings.Contains(s, " ") }
		if slices.ContainsFunc(f.items, isMalformed) {
			return invalid("%s must not have empty items, spaces or invisible characters.", f.member)
		}
	}
	return nil
}

// invalid returns invalid_client_metadata with a formatted description.
func invalid(format string, args ...any) error {
	return protocol.NewError(protocol.InvalidClientMetadata, fmt.Errorf(format, args...).Error())
}

// IsClaimName reports whether a claim with a configurable name can have this one.
func IsClaimName(name string) bool {
	return name != "" && len(name) <= 100 && display.IsVisibleASCII(name) && !strings.ContainsAny(name, `"\`) &&
		!protocol.IsReservedClaim(name)
}

// IsValidScope reports whether name is a scope-token (RFC 6749 §3.3) of at most 100 characters that is not one of the
// values that a consent stores for a claim.
func IsValidScope(name string) bool {
	return name != "" && len(name) <= 100 && !strings.HasPrefix(name, protocol.ClaimPrefix) &&
		display.IsVisibleASCII(name) && !strings.ContainsAny(name, `"\`)
}

// CheckResource returns the reason why identifier cannot name a resource (RFC 8707 §2), or nil.
func CheckResource(identifier string) error {
	u, err := url.Parse(identifier)
	if err != nil || !u.IsAbs() || strings.Contains(identifier, "#") ||
		!display.IsVisibleASCII(identifier) {
		return errors.New("must be an absolute URI without a fragment and spaces")
	}
	return nil
}

func isOutside(s *Seconds, low, high time.Duration) bool {
	return s != nil && (time.Duration(*s) < low || time.Duration(*s) > high)
}

// valueOf returns what v points to, or the zero value.
func valueOf[T any](v *T) T {
	if v == nil {
		return *new(T)
	}
	return *v
}

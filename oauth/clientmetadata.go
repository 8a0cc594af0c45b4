package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode"
	"unicode/utf8"

	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// Metadata is client metadata (RFC 7591 §2), with members of ours that only the operator may set. In JSON, a list may be
// written as an array or as words with spaces between, and a duration as seconds or like "15m".
type Metadata struct {
	RedirectURIs            List   `json:"redirect_uris,omitempty"`
	TokenEndpointAuthMethod string `json:"token_endpoint_auth_method,omitempty"`
	TokenEndpointAuthAlg    string `json:"token_endpoint_auth_signing_alg,omitempty"`
	GrantTypes              List   `json:"grant_types,omitempty"`
	ResponseTypes           List   `json:"response_types,omitempty"`
	ClientName              string `json:"client_name,omitempty"`
	ClientURI               string `json:"client_uri,omitempty"`
	Scope                   Words  `json:"scope,omitempty"`
	Contacts                List   `json:"contacts,omitempty"`
	TosURI                  string `json:"tos_uri,omitempty"`
	PolicyURI               string `json:"policy_uri,omitempty"`
	LogoURI                 string `json:"logo_uri,omitempty"`
	ApplicationType         string `json:"application_type,omitempty"`
	SoftwareID              string `json:"software_id,omitempty"`
	SoftwareVersion         string `json:"software_version,omitempty"`

	JWKS                       json.RawMessage `json:"jwks,omitempty"`
	JWKSURI                    string          `json:"jwks_uri,omitempty"`
	IDTokenAlg                 string          `json:"id_token_signed_response_alg,omitempty"`
	UserinfoAlg                string          `json:"userinfo_signed_response_alg,omitempty"`
	RequestObjectAlg           string          `json:"request_object_signing_alg,omitempty"`
	RequestURIs                List            `json:"request_uris,omitempty"`
	SubjectType                string          `json:"subject_type,omitempty"`
	SectorIdentifierURI        string          `json:"sector_identifier_uri,omitempty"`
	DefaultMaxAge              *Seconds        `json:"default_max_age,omitempty"`
	RequireAuthTime            bool            `json:"require_auth_time,omitempty"`
	DefaultACRValues           List            `json:"default_acr_values,omitempty"`
	InitiateLoginURI           string          `json:"initiate_login_uri,omitempty"`
	PostLogoutRedirectURIs     List            `json:"post_logout_redirect_uris,omitempty"`
	BackchannelLogoutURI       string          `json:"backchannel_logout_uri,omitempty"`
	BackchannelSessionRequired bool            `json:"backchannel_logout_session_required,omitempty"`

	Owner           string   `json:"gatehouse_owner,omitempty"`
	RequirePKCE     *bool    `json:"gatehouse_require_pkce,omitempty"`
	SkipConsent     bool     `json:"gatehouse_skip_consent,omitempty"`
	DefaultScopes   *List    `json:"gatehouse_default_scopes,omitempty"`
	OptionalScopes  List     `json:"gatehouse_optional_scopes,omitempty"`
	Audience        List     `json:"gatehouse_audience,omitempty"`
	Resources       *List    `json:"gatehouse_resources,omitempty"`
	AccessTokenTTL  *Seconds `json:"gatehouse_access_token_ttl,omitempty"`
	RefreshIdleTTL  *Seconds `json:"gatehouse_refresh_idle_ttl,omitempty"`
	RefreshMaxTTL   *Seconds `json:"gatehouse_refresh_max_ttl,omitempty"`
	RefreshRotation *bool    `json:"gatehouse_refresh_rotation,omitempty"`
	IDTokenClaims   bool     `json:"gatehouse_id_token_claims,omitempty"`

	TokenEndpointAudience bool `json:"gatehouse_token_endpoint_audience,omitempty"`
}

// ClientInformation is a registered client as the operator sees it (RFC 7591 §3.2.1). The secret is there only when it
// has just been made.
type ClientInformation struct {
	ClientID        string `json:"client_id"`
	ClientSecret    string `json:"client_secret,omitempty"`
	IssuedAt        int64  `json:"client_id_issued_at"`
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	Metadata
	DisabledAt     *time.Time `json:"gatehouse_disabled_at,omitempty"`
	SelfRegistered bool       `json:"gatehouse_self_registered,omitempty"`
}

// List reads an array or words with spaces between, and writes an array.
type List []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *List) UnmarshalJSON(b []byte) error {
	var words string
	if json.Unmarshal(b, &words) == nil {
		*l = strings.Fields(words)
		return nil
	}
	var items []string
	if err := json.Unmarshal(b, &items); err != nil {
		return errors.New("must be an array of strings, or words with spaces between")
	}
	*l = items
	return nil
}

// Words reads like List and writes words with spaces between, as RFC 7591 has scope.
type Words []string

// UnmarshalJSON implements json.Unmarshaler.
func (w *Words) UnmarshalJSON(b []byte) error { return (*List)(w).UnmarshalJSON(b) }

// MarshalJSON implements json.Marshaler.
func (w Words) MarshalJSON() ([]byte, error) { return json.Marshal(strings.Join(w, " ")) }

// Seconds is a duration: in JSON a number of seconds, or text like "15m".
type Seconds time.Duration

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n int64
	if json.Unmarshal(b, &n) == nil {
		if n < 0 || n > int64(maxLife/time.Second) {
			n = -1 // out of every bound, and no overflow
		}
		*s = Seconds(time.Duration(n) * time.Second)
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New("must be a number of seconds or a duration of whole seconds like 15m")
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return s.UnmarshalJSON(strconv.AppendInt(nil, n, 10))
	}
	d, err := time.ParseDuration(text)
	if err != nil || d%time.Second != 0 {
		return errors.New("must be a number of seconds or a duration of whole seconds like 15m")
	}
	*s = Seconds(d)
	return nil
}

// maxLife is the longest duration that any member may have.
const maxLife = 10 * 365 * 24 * time.Hour

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(int64(time.Duration(s) / time.Second))
}

// ParseMetadata reads client metadata. Unknown members are ignored, as RFC 7591 §2 says, but for ours: a gatehouse_
// member that does not exist is a mistake nobody would notice otherwise.
func ParseMetadata(b []byte) (Metadata, error) {
	var m Metadata
	if err := m.Merge(b); err != nil {
		return Metadata{}, err
	}
	return m, nil
}

// Merge changes the members that the JSON object has; null takes a member away (RFC 7396).
func (m *Metadata) Merge(patch []byte) error {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(patch, &members); err != nil {
		return fail(InvalidClientMetadata, "The client metadata is not a JSON object.")
	}
	current, err := json.Marshal(m)
	if err != nil {
		return err
	}
	all := map[string]json.RawMessage{}
	if err := json.Unmarshal(current, &all); err != nil {
		return err
	}
	for name, value := range members {
		if slices.Contains(encryption, name) && !bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
			return fail(InvalidClientMetadata, "Nothing is encrypted to clients here; leave out "+name+".")
		}
		if strings.HasPrefix(name, "gatehouse_") && !slices.Contains(ownMembers, name) {
			return fail(InvalidClientMetadata, "There is no "+name+"; ours are "+strings.Join(ownMembers, ", ")+".")
		}
		switch {
		case !slices.Contains(memberNames(), name):
			// Ignored here, and not left to encoding/json, which takes a name in other letters for the same.
		case bytes.Equal(bytes.TrimSpace(value), []byte("null")):
			delete(all, name)
		default:
			all[name] = value
		}
	}
	merged, err := json.Marshal(all)
	if err != nil {
		return err
	}
	var out Metadata
	if err := json.Unmarshal(merged, &out); err != nil {
		return wrongType(err)
	}
	*m = out
	return nil
}

// memberNames are the names of all members, to the letter.
var memberNames = sync.OnceValue(func() (names []string) {
	for field := range reflect.TypeFor[Metadata]().Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		names = append(names, name)
	}
	return names
})

// UnknownMembers lists the members of client metadata that mean nothing here. A server ignores them (RFC 7591 §2); who
// types them may want to know.
func UnknownMembers(raw []byte) []string {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(members)), func(name string) bool { return slices.Contains(memberNames(), name) })
}

// forgetOwn takes away what only the operator may set.
func (m *Metadata) forgetOwn() {
	m.Owner, m.RequirePKCE, m.SkipConsent, m.DefaultScopes, m.OptionalScopes, m.Audience, m.Resources = "", nil, false, nil, nil, nil, nil
	m.AccessTokenTTL, m.RefreshIdleTTL, m.RefreshMaxTTL, m.RefreshRotation = nil, nil, nil, nil
	m.IDTokenClaims, m.TokenEndpointAudience = false, false
}

// wrongType says which member has the wrong type. What encoding/json says would name our own types.
func wrongType(err error) error {
	name := ""
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		name = t.Field[strings.LastIndexByte(t.Field, '.')+1:]
	}
	text := "The client metadata has a member of the wrong type: " + err.Error() + "."
	if name != "" {
		text = "The member " + name + " of the client metadata has the wrong type."
	}
	return &Error{Code: InvalidClientMetadata, Description: text, Err: err}
}

// encryption are the members by which a client asks for encrypted answers (OIDC Registration §2). To ignore one would give
// it plain ones.
var encryption = []string{"id_token_encrypted_response_alg", "id_token_encrypted_response_enc", "userinfo_encrypted_response_alg", "userinfo_encrypted_response_enc"}

var ownMembers = []string{
	"gatehouse_owner", "gatehouse_require_pkce", "gatehouse_skip_consent", "gatehouse_default_scopes", "gatehouse_optional_scopes",
	"gatehouse_audience", "gatehouse_resources", "gatehouse_access_token_ttl", "gatehouse_refresh_idle_ttl", "gatehouse_refresh_max_ttl",
	"gatehouse_refresh_rotation", "gatehouse_id_token_claims", "gatehouse_token_endpoint_audience",
}

// complete fills in the defaults of RFC 7591 §2 and ours, and returns what is wrong with the rest.
func (m *Metadata) complete() error {
	if m.TokenEndpointAuthMethod == "" {
		m.TokenEndpointAuthMethod = storage.AuthBasic
	}
	if len(m.GrantTypes) == 0 {
		m.GrantTypes = List{grantCode}
	}
	people := slices.Contains(m.GrantTypes, grantCode)
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
		{m.TokenEndpointAuthAlg != "" && !validAlg(m.TokenEndpointAuthAlg), "token_endpoint_auth_signing_alg must be " + oneOf(jwt.Algorithms)},
		{m.ApplicationType != "web" && m.ApplicationType != "native", "application_type must be web or native"},
		{m.SubjectType != storage.SubjectPublic && m.SubjectType != storage.SubjectPairwise, "subject_type must be public or pairwise"},
		{outOfBounds(m.DefaultMaxAge, 0, maxLife), "default_max_age must be a number of seconds"},
		{len(m.SoftwareID) > 200 || len(m.SoftwareVersion) > 200, "software_id and software_version may have 200 characters"},
		{slices.ContainsFunc(m.GrantTypes, func(g string) bool {
			return !slices.Contains([]string{grantCode, grantRefresh, grantClientCredentials}, g)
		}), "grant_types may have authorization_code, refresh_token and client_credentials"},
		{slices.ContainsFunc(m.ResponseTypes, func(r string) bool { return r != "code" }), "response_types may have only code"},
		{!people && len(m.ResponseTypes) > 0, "response_types needs the grant type authorization_code"},
		{!people && slices.Contains(m.GrantTypes, grantRefresh), "the grant type refresh_token needs authorization_code"},
		{public && slices.Contains(m.GrantTypes, grantClientCredentials), "a public client (token_endpoint_auth_method none) cannot use client_credentials"},
		{people && len(m.RedirectURIs) == 0, "authorization_code needs at least one of redirect_uris"},
		{public && !*m.RequirePKCE, "gatehouse_require_pkce can be false only for a confidential client"},
		{public && !*m.RefreshRotation, "gatehouse_refresh_rotation can be false only for a confidential client"},
		{utf8.RuneCountInString(m.ClientName) > 100 || utf8.RuneCountInString(m.Owner) > 100, "client_name and gatehouse_owner may have 100 characters"},
		{strings.ContainsFunc(m.ClientName+m.Owner+m.SoftwareID+m.SoftwareVersion, unprintable), "client_name, software_id, software_version and gatehouse_owner must not have control or direction characters"},
		{outOfBounds(m.AccessTokenTTL, time.Second, 24*time.Hour), "gatehouse_access_token_ttl must be 1 second to 24 hours"},
		{outOfBounds(m.RefreshIdleTTL, time.Second, maxLife), "gatehouse_refresh_idle_ttl must be 1 second to 10 years"},
		{outOfBounds(m.RefreshMaxTTL, time.Second, maxLife), "gatehouse_refresh_max_ttl must be 1 second to 10 years"},
		{slices.ContainsFunc(m.OptionalScopes, func(name string) bool { return !slices.Contains(m.Scope, name) }), "gatehouse_optional_scopes must be among the scopes of scope"},
		{m.DefaultScopes != nil && slices.ContainsFunc(*m.DefaultScopes, func(name string) bool { return !slices.Contains(m.Scope, name) }), "gatehouse_default_scopes must be among the scopes of scope"},
	} {
		if wrong.when {
			return fail(InvalidClientMetadata, wrong.text+".")
		}
	}
	return m.checkTexts()
}

var authMethods = []string{storage.AuthBasic, storage.AuthPost, storage.AuthPrivateKey, storage.AuthNone}

func validAlg(alg string) bool { return slices.Contains(jwt.Algorithms, alg) }

func oneOf(values []string) string {
	return strings.Join(values[:len(values)-1], ", ") + " or " + values[len(values)-1]
}

func (m *Metadata) checkTexts() error {
	for _, uri := range m.RedirectURIs {
		if err := redirect.Validate(uri); err != nil {
			return &Error{Code: InvalidRedirectURI, Description: fmt.Sprintf("The redirect URI %s %s.", params.Printable(uri), err)}
		}
	}
	for _, name := range m.Scope {
		if !ValidScope(name) {
			return fail(InvalidClientMetadata, fmt.Sprintf("The scope %s has a character that a scope must not have (RFC 6749 section 3.3), or is longer than 100.", params.Printable(name)))
		}
	}
	for name, uri := range map[string]string{"client_uri": m.ClientURI, "tos_uri": m.TosURI, "policy_uri": m.PolicyURI, "initiate_login_uri": m.InitiateLoginURI} {
		u, err := url.Parse(uri)
		if name == "initiate_login_uri" && err == nil && u.Scheme == "http" && !redirect.Loopback(u.Hostname()) && u.Hostname() != "localhost" {
			return fail(InvalidClientMetadata, "initiate_login_uri must be https, which only 127.0.0.1, [::1] and localhost can do without.")
		}
		if uri != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil) {
			return fail(InvalidClientMetadata, name+" must be an absolute http or https URL.")
		}
	}
	for _, uri := range m.PostLogoutRedirectURIs {
		if err := redirect.Validate(uri); err != nil {
			return fail(InvalidClientMetadata, fmt.Sprintf("The post-logout redirect URI %s %s.", params.Printable(uri), err))
		}
	}
	if m.JWKS != nil {
		keys, err := jwt.ParseKeys(m.JWKS)
		if err != nil {
			return fail(InvalidClientMetadata, "The member jwks "+err.Error()+".")
		}
		if len(keys) == 0 {
			return fail(InvalidClientMetadata, "The member jwks has no key that can be used: RSA of 2048 bits at least, P-256 or Ed25519.")
		}
	}
	for _, list := range [][]string{m.Audience, deref(m.Resources)} {
		for _, identifier := range list {
			if err := ValidResource(identifier); err != nil {
				return fail(InvalidClientMetadata, fmt.Sprintf("The audience or resource %s %s.", params.Printable(identifier), err))
			}
		}
	}
	for _, list := range [][]string{m.Contacts, m.RedirectURIs, m.RequestURIs, m.DefaultACRValues, m.PostLogoutRedirectURIs} {
		if slices.ContainsFunc(list, func(s string) bool {
			return s == "" || strings.ContainsFunc(s, func(r rune) bool { return unicode.IsSpace(r) || unprintable(r) })
		}) {
			return fail(InvalidClientMetadata, "Lists of URIs, contacts and acr values must not have empty items, spaces or control characters.")
		}
	}
	return nil
}

// ValidScope reports whether name is a scope-token (RFC 6749 §3.3) of at most 100 characters.
func ValidScope(name string) bool {
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

// unprintable finds what could make a name on the consent page read as something else.
func unprintable(r rune) bool {
	return r < 0x20 || r == 0x7f || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0x200e || r == 0x200f || r == utf8.RuneError
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

// fill copies valid metadata into the record.
func (m *Metadata) fill(c *storage.Client) {
	c.Name, c.Owner, c.URI, c.PolicyURI, c.TosURI = m.ClientName, m.Owner, m.ClientURI, m.PolicyURI, m.TosURI
	if c.Name == "" {
		c.Name = c.ID
	}
	c.AuthMethod, c.AuthAlg, c.TokenEndpointAudience = m.TokenEndpointAuthMethod, m.TokenEndpointAuthAlg, m.TokenEndpointAudience
	c.LogoURI, c.ApplicationType, c.SoftwareID, c.SoftwareVersion = m.LogoURI, m.ApplicationType, m.SoftwareID, m.SoftwareVersion
	c.JWKS, c.JWKSURI = string(m.JWKS), m.JWKSURI
	c.IDTokenAlg, c.UserinfoAlg, c.RequestObjectAlg, c.IDTokenClaims = m.IDTokenAlg, m.UserinfoAlg, m.RequestObjectAlg, m.IDTokenClaims
	c.RequestURIs, c.DefaultACRValues = storage.Strings(m.RequestURIs), storage.Strings(m.DefaultACRValues)
	c.SubjectType, c.SectorIdentifierURI = m.SubjectType, m.SectorIdentifierURI
	c.DefaultMaxAge, c.RequireAuthTime, c.InitiateLoginURI = (*time.Duration)(m.DefaultMaxAge), m.RequireAuthTime, m.InitiateLoginURI
	c.PostLogoutRedirectURIs = storage.Strings(m.PostLogoutRedirectURIs)
	c.BackchannelLogoutURI, c.BackchannelSessionRequired = m.BackchannelLogoutURI, m.BackchannelSessionRequired
	c.Contacts, c.GrantTypes, c.RedirectURIs = storage.Strings(m.Contacts), storage.Strings(m.GrantTypes), storage.Strings(m.RedirectURIs)
	c.Scopes, c.OptionalScopes, c.Audience = storage.Strings(m.Scope), storage.Strings(m.OptionalScopes), storage.Strings(m.Audience)
	c.DefaultScopes, c.Resources = (*storage.Strings)(m.DefaultScopes), (*storage.Strings)(m.Resources)
	c.RequirePKCE, c.SkipConsent, c.RefreshRotation = *m.RequirePKCE, m.SkipConsent, *m.RefreshRotation
	c.AccessTokenTTL, c.RefreshIdleTTL, c.RefreshMaxTTL = (*time.Duration)(m.AccessTokenTTL), (*time.Duration)(m.RefreshIdleTTL), (*time.Duration)(m.RefreshMaxTTL)
}

// Information is the record in the words of RFC 7591, without the secret.
func Information(c *storage.Client) ClientInformation {
	m := Metadata{
		RedirectURIs: List(c.RedirectURIs), TokenEndpointAuthMethod: c.AuthMethod, GrantTypes: List(c.GrantTypes), ClientName: c.Name,
		ClientURI: c.URI, Scope: Words(c.Scopes), Contacts: List(c.Contacts), TosURI: c.TosURI, PolicyURI: c.PolicyURI,
		Owner: c.Owner, RequirePKCE: ptr(c.RequirePKCE), SkipConsent: c.SkipConsent, DefaultScopes: (*List)(c.DefaultScopes),
		OptionalScopes: List(c.OptionalScopes), Audience: List(c.Audience), Resources: (*List)(c.Resources),
		AccessTokenTTL: (*Seconds)(c.AccessTokenTTL), RefreshIdleTTL: (*Seconds)(c.RefreshIdleTTL), RefreshMaxTTL: (*Seconds)(c.RefreshMaxTTL),
		RefreshRotation: ptr(c.RefreshRotation), IDTokenClaims: c.IDTokenClaims, TokenEndpointAudience: c.TokenEndpointAudience,
		TokenEndpointAuthAlg: c.AuthAlg, LogoURI: c.LogoURI, ApplicationType: c.ApplicationType, SoftwareID: c.SoftwareID,
		SoftwareVersion: c.SoftwareVersion, JWKSURI: c.JWKSURI, IDTokenAlg: c.IDTokenAlg, UserinfoAlg: c.UserinfoAlg,
		RequestObjectAlg: c.RequestObjectAlg, RequestURIs: List(c.RequestURIs), SubjectType: c.SubjectType,
		SectorIdentifierURI: c.SectorIdentifierURI, DefaultMaxAge: (*Seconds)(c.DefaultMaxAge), RequireAuthTime: c.RequireAuthTime,
		DefaultACRValues: List(c.DefaultACRValues), InitiateLoginURI: c.InitiateLoginURI,
		PostLogoutRedirectURIs: List(c.PostLogoutRedirectURIs), BackchannelLogoutURI: c.BackchannelLogoutURI,
		BackchannelSessionRequired: c.BackchannelSessionRequired,
	}
	if c.JWKS != "" {
		m.JWKS = json.RawMessage(c.JWKS)
	}
	if c.GrantTypes.Has(grantCode) {
		m.ResponseTypes = List{"code"}
	}
	return ClientInformation{ClientID: c.ID, IssuedAt: c.CreatedAt.Unix(), Metadata: m, DisabledAt: c.DisabledAt, SelfRegistered: c.SelfRegistered()}
}

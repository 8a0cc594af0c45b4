package oauth

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"gatehouse/display"
	"gatehouse/duration"
	"gatehouse/oauth/protocol"
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
	RequireSignedRequestObject bool            `json:"require_signed_request_object,omitempty"`
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

	Owner          string `json:"gatehouse_owner,omitempty"`
	RequirePKCE    *bool  `json:"gatehouse_require_pkce,omitempty"`
	SkipConsent    bool   `json:"gatehouse_skip_consent,omitempty"`
	DefaultScopes  *List  `json:"gatehouse_default_scopes,omitempty"`
	OptionalScopes List   `json:"gatehouse_optional_scopes,omitempty"`
	// Whether they are initially ticked on the consent page (default: true, but false for a self-registered client).
	OptionalScopesSelected *bool `json:"gatehouse_optional_scopes_selected,omitempty"`

	Audience        List     `json:"gatehouse_audience,omitempty"`
	Resources       *List    `json:"gatehouse_resources,omitempty"`
	AccessTokenTTL  *Seconds `json:"gatehouse_access_token_ttl,omitempty"`
	RefreshIdleTTL  *Seconds `json:"gatehouse_refresh_idle_ttl,omitempty"`
	RefreshMaxTTL   *Seconds `json:"gatehouse_refresh_max_ttl,omitempty"`
	RefreshGrace    *Seconds `json:"gatehouse_refresh_grace,omitempty"`
	RefreshRotation *bool    `json:"gatehouse_refresh_rotation,omitempty"`
	IDTokenClaims   bool     `json:"gatehouse_id_token_claims,omitempty"`

	TokenEndpointAudience bool `json:"gatehouse_token_endpoint_audience,omitempty"`
	AllowedNetworks       List `json:"gatehouse_allowed_networks,omitempty"`
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

// errShape is what a member must be, in words for the developer.
type errShape string

func (e errShape) Error() string { return string(e) }

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
		return errShape("must be an array of strings, or words with spaces between")
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
		return errShape("must be a number of seconds or a duration of whole seconds like 15m")
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return s.UnmarshalJSON(strconv.AppendInt(nil, n, 10))
	}
	d, err := duration.Parse(text)
	if err != nil || d%time.Second != 0 {
		return errShape("must be a number of seconds or a duration of whole seconds like 15m")
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
		return protocol.NewError(protocol.InvalidClientMetadata, "The client metadata is not a JSON object.")
	}
	if err := checkLists(members); err != nil {
		return err
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
			return protocol.NewError(protocol.InvalidClientMetadata, "Nothing is encrypted to clients here; leave out "+name+".")
		}
		if strings.HasPrefix(name, "gatehouse_") && !slices.Contains(ownMembers, name) {
			return protocol.NewError(protocol.InvalidClientMetadata, "There is no "+name+"; ours are "+strings.Join(ownMembers, ", ")+".")
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

// listMembers are the names of the members that are lists.
var listMembers = sync.OnceValue(func() (names []string) {
	for field := range reflect.TypeFor[Metadata]().Fields() {
		if t := field.Type; t == reflect.TypeFor[List]() || t == reflect.TypeFor[*List]() || t == reflect.TypeFor[Words]() {
			name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
			names = append(names, name)
		}
	}
	return names
})

// UnknownMembers lists the members of client metadata that are not supported. A server ignores them (RFC 7591 §2), but
// a warning helps an operator who mistyped one. A name similar to a member is followed by that member.
func UnknownMembers(raw []byte) []string {
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		return nil
	}
	known := memberNames()
	unknown := slices.DeleteFunc(slices.Sorted(maps.Keys(members)), func(name string) bool { return slices.Contains(known, name) })
	for i, name := range unknown {
		if near := display.Nearest(name, known); near != "" {
			unknown[i] = name + " (did you mean " + near + "?)"
		}
	}
	return unknown
}

// forgetOwn takes away what only the operator may set.
func (m *Metadata) forgetOwn() {
	m.Owner, m.RequirePKCE, m.SkipConsent, m.DefaultScopes, m.OptionalScopes, m.Audience, m.Resources = "", nil, false, nil, nil, nil, nil
	m.OptionalScopesSelected = nil
	m.AccessTokenTTL, m.RefreshIdleTTL, m.RefreshMaxTTL, m.RefreshGrace, m.RefreshRotation = nil, nil, nil, nil, nil
	m.IDTokenClaims, m.TokenEndpointAudience, m.AllowedNetworks = false, false, nil
}

// wrongType says which member has the wrong type. What encoding/json says would name our own types.
func wrongType(err error) error {
	name := ""
	if t := (*json.UnmarshalTypeError)(nil); errors.As(err, &t) {
		name = t.Field[strings.LastIndexByte(t.Field, '.')+1:]
	}
	text := "The client metadata has a member of the wrong type."
	if name != "" {
		text = "The member " + name + " of the client metadata has the wrong type."
	}
	if shape := errShape(""); errors.As(err, &shape) {
		text = "A member of the client metadata " + shape.Error() + "."
	}
	return protocol.NewError(protocol.InvalidClientMetadata, text).WithCause(err)
}

// encryption are the members by which a client asks for encrypted answers (OIDC Registration §2). To ignore one would give
// it plain ones.
var encryption = []string{"id_token_encrypted_response_alg", "id_token_encrypted_response_enc", "userinfo_encrypted_response_alg", "userinfo_encrypted_response_enc"}

var ownMembers = []string{
	"gatehouse_owner", "gatehouse_require_pkce", "gatehouse_skip_consent", "gatehouse_default_scopes", "gatehouse_optional_scopes", "gatehouse_optional_scopes_selected",
	"gatehouse_audience", "gatehouse_resources", "gatehouse_access_token_ttl", "gatehouse_refresh_idle_ttl", "gatehouse_refresh_max_ttl",
	"gatehouse_refresh_grace", "gatehouse_refresh_rotation", "gatehouse_id_token_claims", "gatehouse_token_endpoint_audience", "gatehouse_allowed_networks",
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
	c.RequireSignedRequestObject = m.RequireSignedRequestObject
	c.RequestURIs, c.DefaultACRValues = storage.Strings(m.RequestURIs), storage.Strings(m.DefaultACRValues)
	c.SubjectType, c.SectorIdentifierURI = m.SubjectType, m.SectorIdentifierURI
	c.DefaultMaxAge, c.RequireAuthTime, c.InitiateLoginURI = (*time.Duration)(m.DefaultMaxAge), m.RequireAuthTime, m.InitiateLoginURI
	c.PostLogoutRedirectURIs = storage.Strings(m.PostLogoutRedirectURIs)
	c.BackchannelLogoutURI, c.BackchannelSessionRequired = m.BackchannelLogoutURI, m.BackchannelSessionRequired
	c.Contacts, c.GrantTypes, c.RedirectURIs = storage.Strings(m.Contacts), storage.Strings(m.GrantTypes), storage.Strings(m.RedirectURIs)
	c.Scopes, c.OptionalScopes, c.Audience = storage.Strings(m.Scope), storage.Strings(m.OptionalScopes), storage.Strings(m.Audience)
	c.OptionalScopesSelected = m.OptionalScopesSelected
	c.DefaultScopes, c.Resources = (*storage.Strings)(m.DefaultScopes), (*storage.Strings)(m.Resources)
	c.AllowedNetworks = storage.Strings(m.AllowedNetworks)
	c.RequirePKCE, c.SkipConsent, c.RefreshRotation = *m.RequirePKCE, m.SkipConsent, *m.RefreshRotation
	c.AccessTokenTTL, c.RefreshIdleTTL, c.RefreshMaxTTL = (*time.Duration)(m.AccessTokenTTL), (*time.Duration)(m.RefreshIdleTTL), (*time.Duration)(m.RefreshMaxTTL)
	c.RefreshGrace = (*time.Duration)(m.RefreshGrace)
}

// Information is the record in the words of RFC 7591, without the secret.
func Information(c *storage.Client) ClientInformation {
	m := Metadata{
		RedirectURIs: List(c.RedirectURIs), TokenEndpointAuthMethod: c.AuthMethod, GrantTypes: List(c.GrantTypes), ClientName: c.Name,
		ClientURI: c.URI, Scope: Words(c.Scopes), Contacts: List(c.Contacts), TosURI: c.TosURI, PolicyURI: c.PolicyURI,
		Owner: c.Owner, RequirePKCE: ptr(c.RequirePKCE), SkipConsent: c.SkipConsent, DefaultScopes: (*List)(c.DefaultScopes),
		OptionalScopes: List(c.OptionalScopes), OptionalScopesSelected: c.OptionalScopesSelected, Audience: List(c.Audience), Resources: (*List)(c.Resources),
		AccessTokenTTL: (*Seconds)(c.AccessTokenTTL), RefreshIdleTTL: (*Seconds)(c.RefreshIdleTTL), RefreshMaxTTL: (*Seconds)(c.RefreshMaxTTL),
		RefreshGrace:    (*Seconds)(c.RefreshGrace),
		RefreshRotation: ptr(c.RefreshRotation), IDTokenClaims: c.IDTokenClaims, TokenEndpointAudience: c.TokenEndpointAudience, AllowedNetworks: List(c.AllowedNetworks),
		TokenEndpointAuthAlg: c.AuthAlg, LogoURI: c.LogoURI, ApplicationType: c.ApplicationType, SoftwareID: c.SoftwareID,
		SoftwareVersion: c.SoftwareVersion, JWKSURI: c.JWKSURI, IDTokenAlg: c.IDTokenAlg, UserinfoAlg: c.UserinfoAlg,
		RequestObjectAlg: c.RequestObjectAlg, RequestURIs: List(c.RequestURIs), SubjectType: c.SubjectType,
		SectorIdentifierURI: c.SectorIdentifierURI, DefaultMaxAge: (*Seconds)(c.DefaultMaxAge), RequireAuthTime: c.RequireAuthTime,
		DefaultACRValues: List(c.DefaultACRValues), InitiateLoginURI: c.InitiateLoginURI,
		PostLogoutRedirectURIs: List(c.PostLogoutRedirectURIs), BackchannelLogoutURI: c.BackchannelLogoutURI,
		BackchannelSessionRequired: c.BackchannelSessionRequired, RequireSignedRequestObject: c.RequireSignedRequestObject,
	}
	if c.JWKS != "" {
		m.JWKS = json.RawMessage(c.JWKS)
	}
	if c.GrantTypes.Has(protocol.GrantAuthorizationCode) {
		m.ResponseTypes = List{"code"}
	}
	return ClientInformation{ClientID: c.ID, IssuedAt: c.CreatedAt.Unix(), Metadata: m, DisabledAt: c.DisabledAt, SelfRegistered: c.IsSelfRegistered()}
}

package oauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/google/uuid"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// Metadata is client metadata (RFC 7591 §2), with members of ours that only the operator may set. In JSON, a list may be
// written as an array or as words with spaces between, and a duration as seconds or like "15m".
type Metadata struct {
	RedirectURIs            List   `json:"redirect_uris,omitempty"`
	TokenEndpointAuthMethod string `json:"token_endpoint_auth_method,omitempty"`
	GrantTypes              List   `json:"grant_types,omitempty"`
	ResponseTypes           List   `json:"response_types,omitempty"`
	ClientName              string `json:"client_name,omitempty"`
	ClientURI               string `json:"client_uri,omitempty"`
	Scope                   Words  `json:"scope,omitempty"`
	Contacts                List   `json:"contacts,omitempty"`
	TosURI                  string `json:"tos_uri,omitempty"`
	PolicyURI               string `json:"policy_uri,omitempty"`

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
}

// ClientInformation is a registered client as the operator sees it (RFC 7591 §3.2.1). The secret is there only when it
// has just been made.
type ClientInformation struct {
	ClientID        string `json:"client_id"`
	ClientSecret    string `json:"client_secret,omitempty"`
	IssuedAt        int64  `json:"client_id_issued_at"`
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	Metadata
	DisabledAt *time.Time `json:"gatehouse_disabled_at,omitempty"`
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
			n = 0 // out of every bound, and no overflow
		}
		*s = Seconds(time.Duration(n) * time.Second)
		return nil
	}
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return errors.New("must be a number of seconds or a duration like \"15m\"")
	}
	d, err := time.ParseDuration(text)
	if err == nil && d%time.Second != 0 {
		return errors.New("must be whole seconds")
	}
	*s = Seconds(d)
	return err
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
		if strings.HasPrefix(name, "gatehouse_") && !slices.Contains(ownMembers, name) {
			return fail(InvalidClientMetadata, "There is no "+name+"; ours are "+strings.Join(ownMembers, ", ")+".")
		}
		if bytes.Equal(bytes.TrimSpace(value), []byte("null")) {
			delete(all, name)
		} else {
			all[name] = value
		}
	}
	merged, err := json.Marshal(all)
	if err != nil {
		return err
	}
	var out Metadata
	if err := json.Unmarshal(merged, &out); err != nil {
		return &Error{Code: InvalidClientMetadata, Description: "The client metadata has a member of the wrong type: " + err.Error() + ".", Err: err}
	}
	*m = out
	return nil
}

var ownMembers = []string{
	"gatehouse_owner", "gatehouse_require_pkce", "gatehouse_skip_consent", "gatehouse_default_scopes", "gatehouse_optional_scopes",
	"gatehouse_audience", "gatehouse_resources", "gatehouse_access_token_ttl", "gatehouse_refresh_idle_ttl", "gatehouse_refresh_max_ttl",
	"gatehouse_refresh_rotation",
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
		{!slices.Contains([]string{storage.AuthBasic, storage.AuthPost, storage.AuthNone}, m.TokenEndpointAuthMethod),
			"token_endpoint_auth_method must be client_secret_basic, client_secret_post or none"},
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
		{strings.ContainsFunc(m.ClientName+m.Owner, unprintable), "client_name and gatehouse_owner must not have control or direction characters"},
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

func (m *Metadata) checkTexts() error {
	for _, uri := range m.RedirectURIs {
		if err := redirect.Validate(uri); err != nil {
			return &Error{Code: InvalidRedirectURI, Description: fmt.Sprintf("The redirect URI %q %s.", uri, err)}
		}
	}
	for _, name := range m.Scope {
		if !ValidScope(name) {
			return fail(InvalidClientMetadata, fmt.Sprintf("The scope %q has a character that a scope must not have (RFC 6749 section 3.3), or is longer than 100.", name))
		}
	}
	for name, uri := range map[string]string{"client_uri": m.ClientURI, "tos_uri": m.TosURI, "policy_uri": m.PolicyURI} {
		if u, err := url.Parse(uri); uri != "" && (err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil) {
			return fail(InvalidClientMetadata, name+" must be an absolute http or https URL.")
		}
	}
	for _, list := range [][]string{m.Audience, deref(m.Resources)} {
		for _, identifier := range list {
			if err := ValidResource(identifier); err != nil {
				return fail(InvalidClientMetadata, fmt.Sprintf("The audience or resource %q %s.", identifier, err))
			}
		}
	}
	for _, list := range [][]string{m.Contacts, m.RedirectURIs} {
		if slices.ContainsFunc(list, func(s string) bool { return s == "" || strings.ContainsAny(s, " \t\r\n") }) {
			return fail(InvalidClientMetadata, "contacts and redirect_uris must not have empty items or spaces.")
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
	c.AuthMethod = m.TokenEndpointAuthMethod
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
		RefreshRotation: ptr(c.RefreshRotation),
	}
	if c.GrantTypes.Has(grantCode) {
		m.ResponseTypes = List{"code"}
	}
	return ClientInformation{ClientID: c.ID, IssuedAt: c.CreatedAt.Unix(), Metadata: m, DisabledAt: c.DisabledAt}
}

// CreateClient registers a client with a generated id and, if confidential, a generated secret, which is in the answer
// and nowhere else. Scopes that do not exist are registered and returned too. The error is an *Error when the metadata
// is at fault.
func (s *Server) CreateClient(ctx context.Context, m Metadata) (ClientInformation, []string, error) {
	if err := m.complete(); err != nil {
		return ClientInformation{}, nil, err
	}
	now := s.store.Now()
	c := &storage.Client{ID: "gc" + credential.Random(20), Epoch: 1, CreatedAt: now, UpdatedAt: now}
	m.fill(c)
	secret := ""
	if !c.Public() {
		secret = s.format.New(credential.ClientSecret)
		c.Secrets = []storage.ClientSecret{{ID: uuid.NewString(), ClientID: c.ID, Hash: credential.Hash(secret), CreatedAt: now}}
	}
	var added []string
	err := s.store.Tx(ctx, func(tx *storage.Store) error {
		var err error
		if added, err = tx.EnsureScopes(ctx, c.Scopes); err != nil {
			return err
		}
		return tx.CreateClient(ctx, c, storage.Event{Type: storage.ClientCreated, Scopes: c.Scopes.String()})
	})
	if err != nil {
		return ClientInformation{}, nil, err
	}
	info := Information(c)
	if secret != "" {
		info.ClientSecret, info.SecretExpiresAt = secret, ptr(int64(0))
	}
	return info, added, nil
}

// UpdateClient changes what the patch has (RFC 7396). Taking scopes or resources away from the client makes its tokens
// and grants useless. It returns scopes that were registered, or storage.ErrNotFound.
func (s *Server) UpdateClient(ctx context.Context, id string, patch []byte) (ClientInformation, []string, error) {
	var info ClientInformation
	var added []string
	err := s.store.Tx(ctx, func(tx *storage.Store) error {
		return tx.UpdateClient(ctx, id, storage.Event{Type: storage.ClientUpdated}, func(c *storage.Client) (bool, error) {
			m := Information(c).Metadata
			if err := m.Merge(patch); err != nil {
				return false, err
			}
			if slices.Contains(m.GrantTypes, grantCode) != c.GrantTypes.Has(grantCode) && !bytes.Contains(patch, []byte(`"response_types"`)) {
				m.ResponseTypes = nil
			}
			if err := m.complete(); err != nil {
				return false, err
			}
			if (m.TokenEndpointAuthMethod == storage.AuthNone) != c.Public() {
				return false, fail(InvalidClientMetadata, "A public client cannot become confidential or the reverse; register a new one.")
			}
			before := *c
			m.fill(c)
			var err error
			if added, err = tx.EnsureScopes(ctx, c.Scopes); err != nil {
				return false, err
			}
			info = Information(c)
			return narrowed(&before, c), nil
		})
	})
	return info, added, err
}

// narrowed reports whether the client lost a scope, resource or audience that tokens out may have.
func narrowed(before, after *storage.Client) bool {
	lost := func(a, b []string) bool {
		return slices.ContainsFunc(a, func(item string) bool { return !slices.Contains(b, item) })
	}
	if after.Resources != nil && (before.Resources == nil || lost(*before.Resources, *after.Resources)) {
		return true
	}
	return lost(before.Scopes, after.Scopes) || lost(before.Audience, after.Audience) || before.Resources != nil && after.Resources == nil
}

// RotateSecret adds a secret and returns it. The others stay valid for overlap; with none they end at once, and every
// token the client has with them.
func (s *Server) RotateSecret(ctx context.Context, id string, overlap time.Duration) (ClientInformation, error) {
	c, err := s.store.Client(ctx, id)
	if err != nil {
		return ClientInformation{}, err
	}
	if c.Public() {
		return ClientInformation{}, fail(InvalidClientMetadata, "A public client has no secret.")
	}
	now := s.store.Now()
	secret := s.format.New(credential.ClientSecret)
	row := &storage.ClientSecret{ID: uuid.NewString(), ClientID: id, Hash: credential.Hash(secret), CreatedAt: now}
	event := storage.Event{Type: storage.ClientSecretAdded, Detail: map[string]any{"overlap_seconds": int64(overlap / time.Second)}}
	if err := s.store.AddClientSecret(ctx, row, ptr(now.Add(overlap)), overlap <= 0, event); err != nil {
		return ClientInformation{}, err
	}
	info := Information(c)
	info.ClientSecret, info.SecretExpiresAt = secret, ptr(int64(0))
	return info, nil
}

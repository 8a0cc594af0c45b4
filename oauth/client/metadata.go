package client

import (
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"gatehouse/duration"
	"gatehouse/oauth/granttype"
	"gatehouse/storage"
)

// Metadata is client metadata (RFC 7591 §2). A member is declared here and as a field of storage.Client; which fields
// belong together, the names of members, lists and changed members are derived from this struct.
//
// The tag record names the field of storage.Client where it is not the name of the field here, "-" is none. The tag max
// is how many items a list may have, and audit:"values" adds the values, not only the name, to the audit event of a
// change, because they decide where responses are sent and what the client receives.
//
// In JSON, a list may be an array or a space-separated string, and a duration a number of seconds or like "15m".
type Metadata struct {
	RedirectURIs            List      `json:"redirect_uris,omitempty" max:"200" audit:"values"`
	TokenEndpointAuthMethod string    `json:"token_endpoint_auth_method,omitempty" record:"AuthMethod" audit:"values"`
	TokenEndpointAuthAlg    string    `json:"token_endpoint_auth_signing_alg,omitempty" record:"AuthAlg"`
	GrantTypes              List      `json:"grant_types,omitempty" max:"20" audit:"values"`
	ResponseTypes           List      `json:"response_types,omitempty" max:"20" record:"-"`
	ClientName              string    `json:"client_name,omitempty" record:"Name"`
	ClientURI               string    `json:"client_uri,omitempty" record:"URI"`
	Scope                   ScopeList `json:"scope,omitempty" record:"Scopes" audit:"values"`
	Contacts                List      `json:"contacts,omitempty" max:"20"`
	TosURI                  string    `json:"tos_uri,omitempty"`
	PolicyURI               string    `json:"policy_uri,omitempty"`
	LogoURI                 string    `json:"logo_uri,omitempty"`
	ApplicationType         string    `json:"application_type,omitempty"`
	SoftwareID              string    `json:"software_id,omitempty"`
	SoftwareVersion         string    `json:"software_version,omitempty"`

	JWKS                       json.RawMessage `json:"jwks,omitempty"`
	JWKSURI                    string          `json:"jwks_uri,omitempty" audit:"values"`
	IDTokenAlg                 string          `json:"id_token_signed_response_alg,omitempty"`
	UserinfoAlg                string          `json:"userinfo_signed_response_alg,omitempty"`
	RequestObjectAlg           string          `json:"request_object_signing_alg,omitempty"`
	RequireSignedRequestObject bool            `json:"require_signed_request_object,omitempty"`
	RequestURIs                List            `json:"request_uris,omitempty" max:"20"`
	SubjectType                string          `json:"subject_type,omitempty"`
	SectorIdentifierURI        string          `json:"sector_identifier_uri,omitempty"`
	DefaultMaxAge              *Seconds        `json:"default_max_age,omitempty"`
	RequireAuthTime            bool            `json:"require_auth_time,omitempty"`
	DefaultACRValues           List            `json:"default_acr_values,omitempty" max:"20"`
	InitiateLoginURI           string          `json:"initiate_login_uri,omitempty"`
	PostLogoutRedirectURIs     List            `json:"post_logout_redirect_uris,omitempty" max:"200"`
	BackchannelLogoutURI       string          `json:"backchannel_logout_uri,omitempty"`
	BackchannelSessionRequired bool            `json:"backchannel_logout_session_required,omitempty"`

	OperatorMetadata
}

// OperatorMetadata has the members that only the operator can set.
type OperatorMetadata struct {
	Owner          string `json:"gatehouse_owner,omitempty"`
	RequirePKCE    *bool  `json:"gatehouse_require_pkce,omitempty" audit:"values"`
	SkipConsent    bool   `json:"gatehouse_skip_consent,omitempty" audit:"values"`
	Vouched        bool   `json:"gatehouse_vouched,omitempty" audit:"values"`
	DefaultScopes  *List  `json:"gatehouse_default_scopes,omitempty"`
	OptionalScopes List   `json:"gatehouse_optional_scopes,omitempty"`
	// Whether optional scopes are initially selected on the consent page; absent: unless the client is self-registered.
	OptionalScopesSelected *bool `json:"gatehouse_optional_scopes_selected,omitempty"`

	Audience        List     `json:"gatehouse_audience,omitempty"`
	DefaultResource string   `json:"gatehouse_default_resource,omitempty"`
	Resources       *List    `json:"gatehouse_resources,omitempty"`
	AccessTokenTTL  *Seconds `json:"gatehouse_access_token_ttl,omitempty"`
	RefreshIdleTTL  *Seconds `json:"gatehouse_refresh_idle_ttl,omitempty"`
	RefreshMaxTTL   *Seconds `json:"gatehouse_refresh_max_ttl,omitempty"`
	RefreshGrace    *Seconds `json:"gatehouse_refresh_grace,omitempty"`
	RefreshRotation *bool    `json:"gatehouse_refresh_rotation,omitempty"`
	IDTokenClaims   bool     `json:"gatehouse_id_token_claims,omitempty"`

	ClaimGroups     List   `json:"gatehouse_claim_groups,omitempty" max:"200" audit:"values"`
	GroupsClaimName string `json:"gatehouse_groups_claim_name,omitempty" audit:"values"`
	GroupsPrefix    string `json:"gatehouse_groups_prefix,omitempty" audit:"values"`
	RequiredGroups  List   `json:"gatehouse_required_groups,omitempty" max:"50" audit:"values"`
	RequiredACR     string `json:"gatehouse_required_acr,omitempty" audit:"values"`

	TokenEndpointAudience bool `json:"gatehouse_token_endpoint_audience,omitempty"`
	AllowedNetworks       List `json:"gatehouse_allowed_networks,omitempty" audit:"values"`
}

// Information is a registered client as the operator sees it (RFC 7591 §3.2.1). The secret is included only in the
// response to its creation.
type Information struct {
	ClientID        string `json:"client_id"`
	ClientSecret    string `json:"client_secret,omitempty"`
	IssuedAt        int64  `json:"client_id_issued_at"`
	SecretExpiresAt *int64 `json:"client_secret_expires_at,omitempty"` // 0: never
	Metadata
	DisabledAt     *time.Time `json:"gatehouse_disabled_at,omitempty"`
	SelfRegistered bool       `json:"gatehouse_self_registered,omitempty"`
	Document       bool       `json:"gatehouse_document,omitempty"` // made from a client ID metadata document
	// Whether the operator registered the client of a document in advance.
	Preregistered bool `json:"gatehouse_preregistered,omitempty"`
	// Names of the document's members that the operator has set; they stay when the document changes.
	OperatorMembers List `json:"gatehouse_operator_members,omitempty"`
}

// InformationOf returns the record of a client in the form of RFC 7591 §3.2.1, without the secret.
func InformationOf(c *storage.Client) Information {
	var m Metadata
	copyFromRecord(&m, c)
	if c.GrantTypes.Has(granttype.AuthorizationCode) {
		m.ResponseTypes = List{"code"}
	}
	return Information{
		ClientID: c.ID, IssuedAt: c.CreatedAt.Unix(), Metadata: m,
		DisabledAt: c.DisabledAt, SelfRegistered: c.IsSelfRegistered(), Document: c.IsDocument(),
		Preregistered: c.Preregistered, OperatorMembers: List(c.OperatorMembers),
	}
}

// withSecret returns the information with a secret that was just created.
func (i Information) withSecret(secret string) Information {
	if secret != "" {
		i.ClientSecret, i.SecretExpiresAt = secret, new(int64)
	}
	return i
}

// typeError is the error of a member with the wrong JSON; it continues a sentence that begins with the member.
type typeError string

func (e typeError) Error() string { return string(e) }

// List is an array of strings; in JSON it may also be a space-separated string.
type List []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *List) UnmarshalJSON(b []byte) error {
	var joined string
	if json.Unmarshal(b, &joined) == nil {
		*l = strings.Fields(joined)
		return nil
	}
	var items []string
	if err := json.Unmarshal(b, &items); err != nil {
		return typeError("must be an array of strings or a space-separated string")
	}
	*l = items
	return nil
}

// ScopeList reads like List and is written as a space-separated string, as RFC 7591 defines scope.
type ScopeList []string

// UnmarshalJSON implements json.Unmarshaler.
func (l *ScopeList) UnmarshalJSON(b []byte) error { return (*List)(l).UnmarshalJSON(b) }

// MarshalJSON implements json.Marshaler.
func (l ScopeList) MarshalJSON() ([]byte, error) { return json.Marshal(strings.Join(l, " ")) }

// Seconds is a duration of whole seconds; in JSON it may also be a string like "15m".
type Seconds time.Duration

// maxDuration is the longest duration that any member may have.
const maxDuration = 10 * 365 * 24 * time.Hour

// UnmarshalJSON implements json.Unmarshaler.
func (s *Seconds) UnmarshalJSON(b []byte) error {
	var n int64
	if json.Unmarshal(b, &n) == nil {
		if n < 0 || n > int64(maxDuration/time.Second) {
			n = -1 // out of every bound, and no overflow
		}
		*s = Seconds(time.Duration(n) * time.Second)
		return nil
	}
	const wrongType = typeError("must be a number of seconds or a duration of whole seconds like 15m")
	var text string
	if err := json.Unmarshal(b, &text); err != nil {
		return wrongType
	}
	if n, err := strconv.ParseInt(text, 10, 64); err == nil {
		return s.UnmarshalJSON(strconv.AppendInt(nil, n, 10))
	}
	d, err := duration.Parse(text)
	if err != nil || d%time.Second != 0 {
		return wrongType
	}
	*s = Seconds(d)
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s Seconds) MarshalJSON() ([]byte, error) {
	return json.Marshal(int64(time.Duration(s) / time.Second))
}

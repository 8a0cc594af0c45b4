package oauth

import (
	"context"
	"net/http"
	"sync"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth/claims"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
)

// Metadata serves the one metadata document at both of its URLs: GET /.well-known/oauth-authorization-server (RFC 8414
// §3) and /.well-known/openid-configuration (OIDC Discovery §4).
func (s *Server) Metadata(w http.ResponseWriter, r *http.Request) error {
	s.metadata.current(r.Context(), s).ServeHTTP(w, r)
	return nil
}

// metadata is the metadata document, including the claims of attributes.
type metadata struct {
	mu         sync.Mutex
	generation uint64 // of the cache that the attributes come from
	document   protocol.Document
}

// metadataTimeout is how long one read of the attributes may take.
const metadataTimeout = 2 * time.Second

// current returns the document. While the attributes cannot be read it returns the last one, or one without their
// claims, because clients need the metadata to verify tokens. It does not query a database that is already known to be
// unavailable.
func (m *metadata) current(ctx context.Context, s *Server) protocol.Document {
	m.mu.Lock()
	defer m.mu.Unlock()
	generation, fresh := s.store.CacheGeneration()
	if !m.document.IsEmpty() && (!fresh || generation == m.generation) {
		return m.document
	}
	ctx, cancel := context.WithTimeout(ctx, metadataTimeout)
	defer cancel()
	attributes, err := s.Claims.AttributeClaims(ctx)
	if err != nil && !m.document.IsEmpty() {
		return m.document
	}
	d := s.serverMetadata()
	d.Claims = append(d.Claims, attributes...)
	document := protocol.NewDocument(d, time.Hour)
	if err == nil && fresh {
		m.generation, m.document = generation, document
	}
	return document
}

// metadataDocument is the JSON of the metadata (RFC 8414 §2, OIDC Discovery §3). It lists exactly what works.
type metadataDocument struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	UserinfoEndpoint      string   `json:"userinfo_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	RegistrationEndpoint  string   `json:"registration_endpoint,omitempty"`
	ClientDocuments       bool     `json:"client_id_metadata_document_supported,omitempty"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	EndSessionEndpoint    string   `json:"end_session_endpoint"`
	Scopes                []string `json:"scopes_supported"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	ACRValues             []string `json:"acr_values_supported"`
	SubjectTypes          []string `json:"subject_types_supported"`
	IDTokenAlgs           []string `json:"id_token_signing_alg_values_supported"`
	AccessTokenAlgs       []string `json:"access_token_signing_alg_values_supported"` // set per resource
	UserinfoAlgs          []string `json:"userinfo_signing_alg_values_supported"`
	RequestObjectAlgs     []string `json:"request_object_signing_alg_values_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	TokenAuthAlgs         []string `json:"token_endpoint_auth_signing_alg_values_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	RevocationAuthAlgs    []string `json:"revocation_endpoint_auth_signing_alg_values_supported"`
	IntrospectAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	IntrospectAuthAlgs    []string `json:"introspection_endpoint_auth_signing_alg_values_supported"`
	DisplayValues         []string `json:"display_values_supported"`
	ClaimTypes            []string `json:"claim_types_supported"`
	Claims                []string `json:"claims_supported"`
	ClaimsParameter       bool     `json:"claims_parameter_supported"`
	UILocales             []string `json:"ui_locales_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	IssParameter          bool     `json:"authorization_response_iss_parameter_supported"`
	RequestParameter      bool     `json:"request_parameter_supported"`
	RequestURIParameter   bool     `json:"request_uri_parameter_supported"`
	RequestURIRegistered  bool     `json:"require_request_uri_registration"`
	RequestObjectRequired bool     `json:"require_signed_request_object"` // set per client (RFC 9101 §10.5)
	PromptValues          []string `json:"prompt_values_supported"`
	BackchannelLogout     bool     `json:"backchannel_logout_supported"`
	BackchannelSession    bool     `json:"backchannel_logout_session_supported"`
}

func (s *Server) serverMetadata() metadataDocument {
	confidential := []string{storage.AuthBasic, storage.AuthPost, storage.AuthPrivateKey}
	all := append(append([]string{}, confidential...), storage.AuthNone)
	iss := s.options.Issuer
	d := metadataDocument{
		Issuer:                iss,
		AuthorizationEndpoint: iss + "/oauth2/authorize",
		TokenEndpoint:         iss + "/oauth2/token",
		UserinfoEndpoint:      iss + "/oauth2/userinfo",
		JWKSURI:               iss + "/.well-known/jwks.json",
		RevocationEndpoint:    iss + "/oauth2/revoke",
		IntrospectionEndpoint: iss + "/oauth2/introspect",
		EndSessionEndpoint:    iss + "/oauth2/logout",
		Scopes:                protocol.StandardScopes(),
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{modeQuery, modeFormPost},
		GrantTypes:            granttype.All(),
		ACRValues:             identity.ACRValues(),
		SubjectTypes:          []string{storage.SubjectPublic, storage.SubjectPairwise},
		IDTokenAlgs:           jwt.Algorithms,
		AccessTokenAlgs:       jwt.Algorithms,
		UserinfoAlgs:          jwt.Algorithms,
		RequestObjectAlgs:     jwt.Algorithms,
		TokenAuthMethods:      all,
		TokenAuthAlgs:         jwt.Algorithms,
		RevocationAuthMethods: all,
		RevocationAuthAlgs:    jwt.Algorithms,
		IntrospectAuthMethods: confidential,
		IntrospectAuthAlgs:    jwt.Algorithms,
		DisplayValues:         []string{"page"},
		ClaimTypes:            []string{"normal"},
		Claims:                append(claims.IDTokenClaims(), claims.Names()...),
		ClaimsParameter:       true,
		UILocales:             s.options.UILocales,
		ChallengeMethods:      []string{"S256"},
		IssParameter:          true,
		RequestParameter:      true,
		RequestURIParameter:   true,
		RequestURIRegistered:  true,
		PromptValues:          prompts,
		BackchannelLogout:     true,
		BackchannelSession:    true,
		ClientDocuments:       s.options.ClientDocuments.IsEnabled(),
	}
	if s.options.Registration.IsEnabled() {
		d.RegistrationEndpoint = iss + "/oauth2/register"
	}
	return d
}

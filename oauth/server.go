package oauth

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"time"

	"github.com/ory/fosite"

	"gatehouse/oauth/credential"
	"gatehouse/storage"
)

// Options are the settings of this package.
type Options struct {
	Issuer            string
	Environment       string // "live" or "test"
	AccessTokenTTL    time.Duration
	CodeTTL           time.Duration
	RefreshIdleTTL    time.Duration
	RefreshMaxTTL     time.Duration
	RefreshGrace      time.Duration
	RequestTTL        time.Duration
	KeyRotationPeriod time.Duration
	Log               *slog.Logger // alerts, discarded when nil
}

// Server is the authorization server on one store.
type Server struct {
	options  Options
	store    *storage.Store
	format   credential.Format
	keys     *keys
	config   *fosite.Config
	provider *fosite.Fosite
	metadata document
	// What the keys of sealed successors are derived with, besides the token that was replaced.
	successorSalt []byte
}

// New returns a server. The store must have its schema and root key; the first signing key is made if there is none.
func New(ctx context.Context, store *storage.Store, o Options) (*Server, error) {
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{options: o, store: store, format: credential.Format{Env: o.Environment}}
	s.keys = newKeys(store, o)
	s.config = s.fositeConfig()
	s.provider = fosite.NewOAuth2Provider(clientManager{s}, s.config)
	s.successorSalt = store.Root().Derive("refresh-successor")
	s.metadata = newDocument(s.describe(), time.Hour)
	if err := s.keys.ensure(ctx); err != nil {
		return nil, err
	}
	return s, nil
}

// Issuer is the issuer URL.
func (s *Server) Issuer() string { return s.options.Issuer }

// Metadata serves GET /.well-known/oauth-authorization-server (RFC 8414 §3).
func (s *Server) Metadata(w http.ResponseWriter, r *http.Request) error {
	s.metadata.serve(w, r)
	return nil
}

// description is the metadata document. It says exactly what works (RFC 8414 §2).
type description struct {
	Issuer                string   `json:"issuer"`
	AuthorizationEndpoint string   `json:"authorization_endpoint"`
	TokenEndpoint         string   `json:"token_endpoint"`
	JWKSURI               string   `json:"jwks_uri"`
	RevocationEndpoint    string   `json:"revocation_endpoint"`
	IntrospectionEndpoint string   `json:"introspection_endpoint"`
	ResponseTypes         []string `json:"response_types_supported"`
	ResponseModes         []string `json:"response_modes_supported"`
	GrantTypes            []string `json:"grant_types_supported"`
	TokenAuthMethods      []string `json:"token_endpoint_auth_methods_supported"`
	RevocationAuthMethods []string `json:"revocation_endpoint_auth_methods_supported"`
	IntrospectAuthMethods []string `json:"introspection_endpoint_auth_methods_supported"`
	ChallengeMethods      []string `json:"code_challenge_methods_supported"`
	IssParameter          bool     `json:"authorization_response_iss_parameter_supported"`
	RequestParameter      bool     `json:"request_parameter_supported"`
	RequestURIParameter   bool     `json:"request_uri_parameter_supported"`
	PromptValues          []string `json:"prompt_values_supported"`
}

func (s *Server) describe() description {
	secret := []string{storage.AuthBasic, storage.AuthPost}
	any := append(append([]string{}, secret...), storage.AuthNone)
	iss := s.options.Issuer
	return description{
		Issuer:                iss,
		AuthorizationEndpoint: iss + "/oauth2/authorize",
		TokenEndpoint:         iss + "/oauth2/token",
		JWKSURI:               iss + "/.well-known/jwks.json",
		RevocationEndpoint:    iss + "/oauth2/revoke",
		IntrospectionEndpoint: iss + "/oauth2/introspect",
		ResponseTypes:         []string{"code"},
		ResponseModes:         []string{"query"},
		GrantTypes:            []string{grantCode, grantRefresh, grantClientCredentials},
		TokenAuthMethods:      any,
		RevocationAuthMethods: any,
		IntrospectAuthMethods: secret,
		ChallengeMethods:      []string{"S256"},
		IssParameter:          true,
		PromptValues:          []string{"none", "login", "consent", "select_account"},
	}
}

// newDocument marshals once what is served often.
func newDocument(body any, maxAge time.Duration) document {
	b, err := json.Marshal(body)
	if err != nil {
		panic("marshal a document: " + err.Error()) // our own structs always marshal
	}
	return documentOf(b, maxAge)
}

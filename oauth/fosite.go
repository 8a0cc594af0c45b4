package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/ory/fosite"

	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage"
)

// This file is all that fosite is given: clients to look up, how they authenticate, and our handlers.

// fositeConfig fills in every part that fosite would otherwise make on first use, which is a data race.
func (s *Server) fositeConfig() *fosite.Config {
	return &fosite.Config{
		ClientAuthenticationStrategy: s.authenticateForFosite,
		ScopeStrategy:                fosite.ExactScopeStrategy,
		AudienceMatchingStrategy:     anyAudience,
		MinParameterEntropy:          1,
		EnforcePKCE:                  true,                                                 // a second line: our handlers decide
		RedirectSecureChecker:        func(context.Context, *url.URL) bool { return true }, // package redirect decided
		ClientSecretsHasher:          noHasher{},
		JWKSFetcherStrategy:          noFetcher{},
		TokenEndpointHandlers: fosite.TokenEndpointHandlers{
			clientCredentials{grantHandler{s, protocol.GrantClientCredentials}}, authorizationCode{grantHandler{s, protocol.GrantAuthorizationCode}}, refreshToken{grantHandler{s, protocol.GrantRefreshToken}},
		},
		AuthorizeEndpointHandlers: fosite.AuthorizeEndpointHandlers{issueCode{s}},
		RevocationHandlers:        fosite.RevocationHandlers{revoker{s}},
	}
}

// authenticateForFosite is fosite's client authentication.
func (s *Server) authenticateForFosite(ctx context.Context, r *http.Request, form url.Values) (fosite.Client, error) {
	c, err := s.Clients.Authenticate(ctx, r, form)
	if err != nil {
		return nil, err
	}
	return fositeClient{c}, nil
}

// client reads a request to a protocol endpoint and authenticates its client.
func (s *Server) client(r *http.Request) (*storage.Client, url.Values, error) {
	form, err := params.Form(r)
	if err != nil {
		return nil, nil, err
	}
	if err := params.CheckListLengths(form); err != nil {
		return nil, nil, err
	}
	c, err := s.Clients.Authenticate(r.Context(), withForm(r, form), form)
	return c, form, err
}

// anyAudience lets fosite's own audience parameter pass unseen: resource decides (RFC 8707).
func anyAudience([]string, []string) error { return nil }

// clientManager is the one storage contract fosite has.
type clientManager struct{ *Server }

func (m clientManager) GetClient(ctx context.Context, id string) (fosite.Client, error) {
	c, err := m.store.Client(ctx, id)
	if err != nil {
		return nil, err
	}
	return fositeClient{c}, nil
}

func (clientManager) ClientAssertionJWTValid(context.Context, string) error { return errNotUsed }
func (clientManager) SetClientAssertionJWT(context.Context, string, time.Time) error {
	return errNotUsed
}

// oneClient is a clientManager for a request whose client is known already.
type oneClient struct {
	clientManager
	fositeClient
}

func (o oneClient) GetClient(context.Context, string) (fosite.Client, error) {
	return o.fositeClient, nil
}

// fositeClient shows a client to fosite. It does not implement fosite.OpenIDConnectClient, which would wake fosite's own
// request objects, fetches and assertions.
type fositeClient struct{ *storage.Client }

func (c fositeClient) GetID() string                      { return c.ID }
func (c fositeClient) GetHashedSecret() []byte            { return nil }
func (c fositeClient) GetRedirectURIs() []string          { return c.RedirectURIs }
func (c fositeClient) GetGrantTypes() fosite.Arguments    { return fosite.Arguments(c.GrantTypes) }
func (c fositeClient) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }
func (c fositeClient) GetScopes() fosite.Arguments        { return fosite.Arguments(c.Scopes) }
func (c fositeClient) IsPublic() bool                     { return c.IsPublic() }
func (c fositeClient) GetAudience() fosite.Arguments      { return nil }

var errNotUsed = errors.New("gatehouse does not use this part of fosite")

// noHasher and noFetcher refuse: secrets are compared, and later keys fetched, by our own code.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return errNotUsed }
func (noHasher) Hash(context.Context, []byte) ([]byte, error)  { return nil, errNotUsed }

type noFetcher struct{ fosite.JWKSFetcherStrategy }

// tokenState is what fosite calls a session: the token being made, from handler to response.
type tokenState struct {
	form      url.Values // of the request
	subject   string
	grant     storage.Grant // of a person's token; empty for a machine's
	audience  []string
	scopes    []string
	ttl       time.Duration
	refresh   string             // the refresh token to hand out
	idToken   string             // the ID token to hand out
	recorded  bool               // whether the transaction of a state change told of this token
	detail    map[string]any     // of the audit row where recorded is false
	decision  ratelimit.Decision // of the rate limits
	expiresAt map[fosite.TokenType]time.Time
}

func (t *tokenState) SetExpiresAt(kind fosite.TokenType, at time.Time) {
	if t.expiresAt == nil {
		t.expiresAt = map[fosite.TokenType]time.Time{}
	}
	t.expiresAt[kind] = at
}
func (t *tokenState) GetExpiresAt(kind fosite.TokenType) time.Time { return t.expiresAt[kind] }
func (t *tokenState) GetUsername() string                          { return "" }
func (t *tokenState) GetSubject() string                           { return t.subject }
func (t *tokenState) Clone() fosite.Session                        { c := *t; return &c }

var (
	_ fosite.ClientManager            = clientManager{}
	_ fosite.Storage                  = oneClient{}
	_ fosite.Client                   = fositeClient{}
	_ fosite.Session                  = (*tokenState)(nil)
	_ fosite.Hasher                   = noHasher{}
	_ fosite.TokenEndpointHandler     = clientCredentials{}
	_ fosite.TokenEndpointHandler     = authorizationCode{}
	_ fosite.TokenEndpointHandler     = refreshToken{}
	_ fosite.AuthorizeEndpointHandler = issueCode{}
	_ fosite.RevocationHandler        = revoker{}
)

// clientOf is the client that authenticate put in the request.
func clientOf(r fosite.Requester) *storage.Client { return r.GetClient().(fositeClient).Client }

// clientIDOf is the client of a request that may have failed before it had one.
func clientIDOf(r fosite.Requester) string {
	if c, ok := r.GetClient().(fositeClient); ok {
		return c.ID
	}
	return ""
}

// stateOf is the state that Token gave the request.
func stateOf(r fosite.Requester) *tokenState { return r.GetSession().(*tokenState) }

// fositeParameters returns the parameters that are passed to fosite: client authentication, grant type and the token
// to revoke. It would parse the lists in other parameters before it authenticates the client; only our handlers read
// those.
func fositeParameters(form url.Values) url.Values {
	out := url.Values{}
	for _, name := range []string{"grant_type", "client_id", "client_secret", "client_assertion", "client_assertion_type", "token", "token_type_hint"} {
		if form.Has(name) {
			out.Set(name, form.Get(name))
		}
	}
	return out
}

// withForm returns r with its parameters replaced by the ones that were read strictly, so that nothing downstream
// parses the body again, or differently.
func withForm(r *http.Request, form url.Values) *http.Request {
	r.Form, r.PostForm = form, form
	return r
}

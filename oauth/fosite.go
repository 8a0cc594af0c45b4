package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/ory/fosite"

	"gatehouse/oauth/credential"
	"gatehouse/oauth/grant"
	"gatehouse/storage"
)

// This file is the fosite adapter: the only code that sees fosite, besides fromFosite. fosite dispatches a token
// request to the handler of its grant type and an approved authorization request to the handler of its response type.
// Everything that it could decide is decided before it is called.

// newFosite returns fosite with these handlers. It sets every part of the configuration that fosite would otherwise
// create on first use, which is a data race.
func newFosite(handlers map[string]grant.Handler, codes codeIssuer) *fosite.Fosite {
	config := &fosite.Config{
		ClientAuthenticationStrategy: authenticatedClient,
		ScopeStrategy:                fosite.ExactScopeStrategy,
		AudienceMatchingStrategy:     func([]string, []string) error { return nil }, // resource decides (RFC 8707)
		MinParameterEntropy:          1,
		EnforcePKCE:                  true, // Begin and the code's row decide
		RedirectSecureChecker:        anyRedirectURI,
		ClientSecretsHasher:          noHasher{},
		JWKSFetcherStrategy:          noFetcher{},
		AuthorizeEndpointHandlers:    fosite.AuthorizeEndpointHandlers{codes},
	}
	for grantType, handler := range handlers {
		config.TokenEndpointHandlers = append(config.TokenEndpointHandlers, grantAdapter{handler, grantType})
	}
	return fosite.NewOAuth2Provider(noClients{}, config)
}

// anyRedirectURI accepts every redirect URI: package redirect decides.
func anyRedirectURI(context.Context, *url.URL) bool { return true }

// authorizeGrant returns what the handler of the request's grant type decides.
func (s *Server) authorizeGrant(ctx context.Context, request *grant.Request) (*grant.Result, error) {
	session := &grantSession{request: request}
	form := url.Values{"grant_type": {request.GrantType}}
	// The one call of fosite at the token endpoint: it returns here from grantAdapter.HandleTokenEndpointRequest.
	if _, err := s.fosite.NewAccessRequest(ctx, fositeRequest(form), session); err != nil {
		return nil, err
	}
	return session.result, nil
}

// fositeRequest returns a request with the parameters that fosite needs and no others. It would parse the lists in
// them before it dispatches.
func fositeRequest(form url.Values) *http.Request {
	return &http.Request{Method: http.MethodPost, Header: http.Header{}, URL: &url.URL{}, Form: form, PostForm: form}
}

// grantAdapter is a grant.Handler as fosite's handler.
type grantAdapter struct {
	handler   grant.Handler
	grantType string
}

func (a grantAdapter) CanSkipClientAuth(context.Context, fosite.AccessRequester) bool { return false }

func (a grantAdapter) CanHandleTokenEndpointRequest(_ context.Context, r fosite.AccessRequester) bool {
	return r.GetGrantTypes().ExactOne(a.grantType)
}

func (a grantAdapter) HandleTokenEndpointRequest(ctx context.Context, r fosite.AccessRequester) (err error) {
	session, ok := r.GetSession().(*grantSession)
	if !ok {
		return errNotUsed
	}
	session.result, err = a.handler.Authorize(ctx, session.request)
	return err
}

func (a grantAdapter) PopulateTokenEndpointResponse(
	context.Context, fosite.AccessRequester, fosite.AccessResponder,
) error {
	return errNotUsed // Token issues
}

// grantSession carries a token request through fosite, which calls it a session.
type grantSession struct {
	noSession
	request *grant.Request
	result  *grant.Result
}

func (g *grantSession) Clone() fosite.Session { c := *g; return &c }

// authenticatedClient returns the client that Token has authenticated. It is fosite's client authentication.
func authenticatedClient(ctx context.Context, _ *http.Request, _ url.Values) (fosite.Client, error) {
	access, ok := ctx.Value(fosite.AccessRequestContextKey).(*fosite.AccessRequest)
	if !ok {
		return nil, errNotUsed
	}
	session, ok := access.Session.(*grantSession)
	if !ok {
		return nil, errNotUsed
	}
	return fositeClient{session.request.Client}, nil
}

// issueCode stores a code for the approval and returns it.
func (s *Server) issueCode(ctx context.Context, a *AuthorizationRequest, approval storage.Approval) (string, error) {
	form := url.Values{
		"client_id": {a.Client.ID}, "redirect_uri": {a.RedirectURI}, "response_type": {"code"},
		"scope": {strings.Join(a.Scopes, " ")}, "state": {"-"}, // fosite requires a state
	}
	client := *a.Client
	client.RedirectURIs, client.Scopes = storage.Strings{a.RedirectURI}, a.Scopes // Begin has checked them
	provider := fosite.NewOAuth2Provider(oneClient{client: fositeClient{&client}}, s.fosite.Config)
	request, err := provider.NewAuthorizeRequest(ctx, fositeRequest(form))
	if err != nil {
		return "", err
	}
	request.SetResponseTypeHandled("code")
	response, err := provider.NewAuthorizeResponse(ctx, request, &codeSession{approval: approval})
	if err != nil {
		return "", err
	}
	return response.GetCode(), nil
}

// codeIssuer is fosite's handler of the authorization endpoint. It stores the code with all that its grant consists of.
type codeIssuer struct {
	store  *storage.Store
	format credential.Format
}

func (i codeIssuer) HandleAuthorizeEndpointRequest(
	ctx context.Context, r fosite.AuthorizeRequester, response fosite.AuthorizeResponder,
) error {
	session, ok := r.GetSession().(*codeSession)
	if !ok {
		return errNotUsed
	}
	code := i.format.New(credential.Code)
	session.approval.Code.Hash = credential.Hash(code)
	if err := i.store.IssueCode(ctx, session.approval); err != nil {
		return err
	}
	response.AddParameter("code", code)
	return nil
}

// codeSession carries an approval through fosite.
type codeSession struct {
	noSession
	approval storage.Approval
}

func (c *codeSession) Clone() fosite.Session { clone := *c; return &clone }

// noSession implements the parts of fosite.Session that Gatehouse does not use.
type noSession struct{}

func (noSession) SetExpiresAt(fosite.TokenType, time.Time)    {}
func (noSession) GetExpiresAt(fosite.TokenType) (t time.Time) { return t }
func (noSession) GetUsername() string                         { return "" }
func (noSession) GetSubject() string                          { return "" }

// noClients is fosite's store at the token endpoint, where Token has authenticated the client.
type noClients struct{}

func (noClients) GetClient(context.Context, string) (fosite.Client, error)       { return nil, errNotUsed }
func (noClients) ClientAssertionJWTValid(context.Context, string) error          { return errNotUsed }
func (noClients) SetClientAssertionJWT(context.Context, string, time.Time) error { return errNotUsed }

// oneClient is fosite's store for an authorization request, whose client Begin has found.
type oneClient struct {
	noClients
	client fositeClient
}

func (o oneClient) GetClient(context.Context, string) (fosite.Client, error) { return o.client, nil }

// fositeClient is a client as fosite sees it. It does not implement fosite.OpenIDConnectClient, which would enable
// fosite's own request objects, fetches and assertions.
type fositeClient struct{ *storage.Client }

func (c fositeClient) GetID() string                      { return c.ID }
func (c fositeClient) GetHashedSecret() []byte            { return nil }
func (c fositeClient) GetRedirectURIs() []string          { return c.RedirectURIs }
func (c fositeClient) GetGrantTypes() fosite.Arguments    { return fosite.Arguments(c.GrantTypes) }
func (c fositeClient) GetResponseTypes() fosite.Arguments { return fosite.Arguments{"code"} }
func (c fositeClient) GetScopes() fosite.Arguments        { return fosite.Arguments(c.Scopes) }
func (c fositeClient) GetAudience() fosite.Arguments      { return nil }

var errNotUsed = errors.New("gatehouse does not use this part of fosite")

// noHasher and noFetcher refuse: package client compares secrets and fetches keys.
type noHasher struct{}

func (noHasher) Compare(context.Context, []byte, []byte) error { return errNotUsed }
func (noHasher) Hash(context.Context, []byte) ([]byte, error)  { return nil, errNotUsed }

type noFetcher struct{ fosite.JWKSFetcherStrategy }

var (
	_ fosite.Storage                  = oneClient{}
	_ fosite.Client                   = fositeClient{}
	_ fosite.Session                  = (*grantSession)(nil)
	_ fosite.Session                  = (*codeSession)(nil)
	_ fosite.Hasher                   = noHasher{}
	_ fosite.TokenEndpointHandler     = grantAdapter{}
	_ fosite.AuthorizeEndpointHandler = codeIssuer{}
)

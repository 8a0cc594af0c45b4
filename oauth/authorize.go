package oauth

import (
	"context"
	"errors"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/oauth/claims"
	"gatehouse/oauth/client"
	"gatehouse/oauth/granttype"
	"gatehouse/oauth/jwt"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/reqevent"
)

// AuthorizationRequest is a validated authorization request (RFC 6749 §4.1.1).
type AuthorizationRequest struct {
	ID              string // of the stored request; empty before StoreRequest
	Client          *storage.Client
	RedirectURI     string
	State           string
	Scopes          []string
	Resources       []string
	Claims          []string     // requested by name, as a consent stores them
	Permissions     []Permission // what the user is prompted to allow
	Prompt          []string
	MaxAge          *time.Duration
	ACRValues       []string // supported acr values that the client requests, in order of preference
	ACREssential    bool     // the client accepts no other acr
	RequiredACR     string   // that the operator requires for the client and its resources; empty: any
	LoginHint       string
	UILocales       string // languages that the client prefers, separated by spaces
	RequiredSubject string // the only user that may sign in, by the subject that the client has; empty: any
	SessionID       string // of the user chosen or signed in on a page of this request; empty: none yet
	SignedIn        bool   // that user signed in for this request
	Approved        bool   // that user already allowed it on its consent page and only had to sign in again
	Confirmed       bool   // that user confirmed that they want to continue with a client that is not verified
	CreatedAt       time.Time
	responseMode    string
	nonce           string
	claims          claims.Request
	redirectURISent bool
	challenge       string
	form            url.Values
}

// asRedirectError returns e as an error that is sent to the client by redirect.
func (a *AuthorizationRequest) asRedirectError(e *protocol.Error) *protocol.Error {
	return e.WithRedirect(protocol.Redirect{URI: a.RedirectURI, State: a.State, ResponseMode: a.responseMode})
}

// isOpenID reports whether this is an OpenID Connect request.
func (a *AuthorizationRequest) isOpenID() bool {
	return slices.Contains(a.Scopes, protocol.ScopeOpenID)
}

// Begin validates an authorization request. It returns an error with Redirect when the client and its redirect URI are
// valid, and one for the user when either is not.
func (s *Server) Begin(ctx context.Context, form url.Values) (*AuthorizationRequest, error) {
	parameters, failure := form, error(nil)
	signed := form.Has("request") || form.Has("request_uri")
	if signed {
		if parameters, failure = s.requestObject(ctx, form); failure != nil {
			if AsError(failure).Code == protocol.RateLimited {
				return nil, failure // shown to the user: OAuth has no error code for it
			}
			parameters = form // to resolve the redirect URI for the error
		}
	}
	return s.validateRequest(ctx, form, parameters, signed, failure)
}

// validateRequest checks the parameters of a request that was sent as form. If failure is not nil, the request has
// already failed and only the redirect URI for the error is resolved. signed reports whether the parameters are from a
// verified request object.
func (s *Server) validateRequest(
	ctx context.Context, form, parameters url.Values, signed bool, failure error,
) (*AuthorizationRequest, error) {
	a, err := s.resolveClient(ctx, parameters)
	if err != nil {
		return nil, err
	}
	if failure == nil && a.Client.ID != form.Get("client_id") {
		failure = requestObjectError("client_id differs from the one in the request object.", nil)
	}
	if failure == nil && a.Client.RequireSignedRequestObject && !signed {
		failure = protocol.NewError(protocol.InvalidRequest,
			"A signed request object is required: the client is registered with require_signed_request_object (RFC 9101).")
	}
	if failure == nil {
		failure = s.checkParameters(ctx, a)
	}
	if failure != nil {
		s.recordRefusedRequest(ctx, a.Client.ID, parameters, failure)
		return nil, a.asRedirectError(AsError(failure))
	}
	return a, nil
}

// resolveClient validates the client and its redirect URI, which decide whether errors may be redirected.
func (s *Server) resolveClient(ctx context.Context, form url.Values) (*AuthorizationRequest, error) {
	id, uri := form.Get("client_id"), form.Get("redirect_uri")
	if !client.IsWellFormedID(id) {
		return nil, protocol.NewError(protocol.InvalidRequest, "client_id is missing or not registered with this server.")
	}
	c, err := s.Clients.Client(ctx, id)
	if cause := client.UnusableCause(c, err); cause != nil {
		return nil, s.unusableClientError(ctx, id, cause)
	}
	if err != nil {
		return nil, err
	}
	reqevent.FromContext(ctx).ClientID = c.ID
	a := &AuthorizationRequest{
		Client: c, RedirectURI: uri, State: form.Get("state"), LoginHint: form.Get("login_hint"),
		UILocales: form.Get("ui_locales"),
		CreatedAt: s.store.Now(), redirectURISent: uri != "", form: form, nonce: form.Get("nonce"),
	}
	switch {
	case uri == "" && len(c.RedirectURIs) == 1 &&
		!slices.Contains(strings.Fields(form.Get("scope")), protocol.ScopeOpenID):
		a.RedirectURI = c.RedirectURIs[0]
	case uri == "":
		return nil, protocol.NewError(protocol.InvalidRequest, "redirect_uri is missing.")
	case !client.MatchesRedirectURI(c, uri):
		e := protocol.NewError(protocol.InvalidRequest, "redirect_uri must match a registered URI exactly.")
		return nil, e.WithCause(s.Clients.RecordRefusedRedirect(ctx, id, "redirect_uri", uri))
	}
	web := strings.HasPrefix(a.RedirectURI, "https://") || strings.HasPrefix(a.RedirectURI, "http://")
	if web && form.Get("response_mode") == modeFormPost { // a form cannot be posted to a private scheme
		a.responseMode = modeFormPost
	}
	return a, nil
}

// checkParameters validates the request. All its errors are sent to the client by redirect.
func (s *Server) checkParameters(ctx context.Context, a *AuthorizationRequest) error {
	form, c := a.form, a.Client
	if err := params.CheckListLengths(form); err != nil {
		return AsError(err)
	}
	switch {
	case form.Has("registration"):
		return protocol.NewError(protocol.RegistrationNotSupported, "registration is not supported.")
	case !form.Has("response_type"):
		return protocol.NewError(protocol.InvalidRequest, "response_type is missing.")
	case form.Get("response_type") != "code":
		return protocol.NewError(protocol.UnsupportedResponseType, "response_type must be code.")
	case form.Has("response_mode") && form.Get("response_mode") != modeQuery && a.responseMode == "":
		return protocol.NewError(protocol.InvalidRequest,
			"response_mode must be query, or form_post with an http or https redirect_uri.")
	case !c.GrantTypes.Has(granttype.AuthorizationCode):
		return protocol.NewError(protocol.UnauthorizedClient,
			"The client is not registered for the grant type authorization_code.")
	case len(a.nonce) > 1000:
		return protocol.NewError(protocol.InvalidRequest, "nonce must have at most 1000 characters.")
	}
	if err := a.checkPKCE(); err != nil {
		return err
	}
	if err := a.checkPrompt(); err != nil {
		return err
	}
	var err error
	if a.Resources, err = s.Clients.Resources(ctx, c, form["resource"]); err != nil {
		return err
	}
	if a.Scopes, err = s.Clients.Scopes(ctx, c, form.Get("scope"), a.Resources); err != nil {
		return err
	}
	if !c.GrantTypes.Has(granttype.RefreshToken) { // no refresh token that could be used offline
		isOffline := func(name string) bool { return name == protocol.ScopeOfflineAccess }
		a.Scopes = slices.DeleteFunc(slices.Clone(a.Scopes), isOffline)
	}
	if a.claims, err = claims.ParseRequest(form.Get("claims")); err != nil {
		return err
	}
	if a.isOpenID() {
		if err := s.checkOpenID(ctx, a); err != nil {
			return err
		}
	}
	if err := a.resolveACR(); err != nil {
		return err
	}
	if err := s.resolvePermissions(ctx, a); err != nil {
		return err
	}
	return s.resolveRequiredSignIn(ctx, a)
}

// checkPKCE refuses a missing challenge where PKCE is required, and any method but S256 (RFC 7636, RFC 9700 §2.1.1).
func (a *AuthorizationRequest) checkPKCE() error {
	a.challenge = a.form.Get("code_challenge")
	method := a.form.Get("code_challenge_method")
	if a.challenge == "" {
		if method != "" {
			return protocol.NewError(protocol.InvalidRequest, "code_challenge_method was sent without code_challenge.")
		}
		if a.Client.IsPublic() || a.Client.RequirePKCE {
			return protocol.NewError(protocol.InvalidRequest, "code_challenge is missing: PKCE is required (RFC 7636).")
		}
		return nil
	}
	if method != "S256" {
		return protocol.NewError(protocol.InvalidRequest,
			"code_challenge_method must be S256; if omitted it means plain, which is not supported.")
	}
	if len(a.challenge) != 43 || !jwt.IsCanonicalBase64(a.challenge) { // no code_verifier matches another encoding
		return protocol.NewError(protocol.InvalidRequest,
			"code_challenge must be the base64url encoding of a SHA-256 hash, 43 characters (RFC 7636 section 4.2).")
	}
	return nil
}

// prompts are the values of the parameter prompt (OIDC Core §3.1.2.1).
var prompts = []string{"none", "login", "consent", "select_account"}

// checkPrompt reads prompt and max_age (OIDC Core §3.1.2.1).
func (a *AuthorizationRequest) checkPrompt() error {
	a.Prompt = strings.Fields(a.form.Get("prompt"))
	for _, p := range a.Prompt {
		if !slices.Contains(prompts, p) {
			return protocol.NewError(protocol.InvalidRequest, "prompt "+params.Sanitize(p)+" is not supported.")
		}
	}
	if slices.Contains(a.Prompt, "none") && len(a.Prompt) > 1 {
		return protocol.NewError(protocol.InvalidRequest, "prompt none cannot be combined with other values.")
	}
	a.MaxAge = a.Client.DefaultMaxAge
	if v := a.form.Get("max_age"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return protocol.NewError(protocol.InvalidRequest, "max_age must be a number of seconds.")
		}
		d := time.Duration(n) * time.Second
		a.MaxAge = &d
	}
	return nil
}

// checkOpenID validates the parameters of OpenID Connect alone: claims and id_token_hint. Both may require a user.
func (s *Server) checkOpenID(ctx context.Context, a *AuthorizationRequest) error {
	var err error
	if a.claims, err = s.Claims.WithAttributes(ctx, a.claims); err != nil {
		return protocol.UnavailableError(err)
	}
	a.Claims = a.claims.ConsentValues(a.Client, a.Scopes)
	if a.RequiredSubject, err = a.claims.Subject(); err != nil {
		return err
	}
	hint := a.form.Get("id_token_hint")
	if hint == "" {
		return nil
	}
	h, err := s.Claims.ParseHint(ctx, hint)
	if err != nil && !errors.Is(err, claims.ErrInvalidHint) {
		return err
	}
	if err != nil || h.ClientID() != a.Client.ID {
		return protocol.NewError(protocol.InvalidRequest,
			"id_token_hint is not an ID token that this server issued to the client, or its key was deleted; omit it.")
	}
	if a.RequiredSubject != "" && a.RequiredSubject != h.Subject {
		return protocol.NewError(protocol.InvalidRequest, "id_token_hint and claims name different users.")
	}
	a.RequiredSubject = h.Subject
	return nil
}

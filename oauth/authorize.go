package oauth

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ory/fosite"

	"gatehouse/identity"
	"gatehouse/oauth/credential"
	"gatehouse/oauth/params"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// Authorization is a valid authorization request (RFC 6749 §4.1.1).
type Authorization struct {
	ID           string // of the stored request, empty before Store
	Client       *storage.Client
	RedirectURI  string
	State        string
	Scopes       []string
	Resources    []string
	Prompt       []string
	MaxAge       *time.Duration
	LoginHint    string
	CreatedAt    time.Time
	redirectSent bool
	challenge    string
	form         url.Values
	request      fosite.AuthorizeRequester
}

// RedirectError is an error of an authorization request whose client and redirect URI are good, so that it is told to
// the client by redirect. An *Error that is not in one must not leave this server (RFC 6749 §4.1.2.1).
type RedirectError struct {
	Cause              *Error
	RedirectURI, State string
}

func (e *RedirectError) Error() string { return e.Cause.Error() }
func (e *RedirectError) Unwrap() error { return e.Cause }

// Begin checks an authorization request. It returns a *RedirectError when the client may be told, and an *Error for the
// person's eyes when the client or its redirect URI is in doubt.
func (s *Server) Begin(ctx context.Context, form url.Values) (*Authorization, error) {
	a, err := s.resolveClient(ctx, form)
	if err != nil {
		return nil, err
	}
	if err := s.check(ctx, a); err != nil {
		e := AsError(err)
		e.ClientID = a.Client.ID
		return nil, &RedirectError{Cause: e, RedirectURI: a.RedirectURI, State: a.State}
	}
	return a, nil
}

// resolveClient settles the two things that decide whether anything may be redirected: the client and its redirect URI.
func (s *Server) resolveClient(ctx context.Context, form url.Values) (*Authorization, error) {
	id, uri := form.Get("client_id"), form.Get("redirect_uri")
	if !plausibleID(id) {
		return nil, fail(InvalidRequest, "The parameter client_id is missing or is none of this server's.")
	}
	c, err := s.store.Client(ctx, id)
	if errors.Is(err, storage.ErrNotFound) || err == nil && c.DisabledAt != nil {
		return nil, fail(InvalidClient, "No app is registered here under the client_id "+params.Printable(id)+".")
	}
	if err != nil {
		return nil, unavailable(err)
	}
	a := &Authorization{
		Client: c, RedirectURI: uri, State: form.Get("state"), LoginHint: form.Get("login_hint"),
		CreatedAt: s.store.Now(), redirectSent: uri != "", form: form,
	}
	switch {
	case uri == "" && len(c.RedirectURIs) == 1 && !slices.Contains(strings.Fields(form.Get("scope")), "openid"):
		a.RedirectURI = c.RedirectURIs[0]
	case uri == "":
		return nil, &Error{Code: InvalidRequest, Description: "The parameter redirect_uri is missing.", ClientID: id}
	case !redirect.Match(c.RedirectURIs, uri):
		return nil, &Error{Code: InvalidRequest, Description: "The redirect_uri is not one the app is registered with. They must be equal to the letter.", ClientID: id}
	}
	return a, nil
}

// check is everything that the client may be told by redirect.
func (s *Server) check(ctx context.Context, a *Authorization) error {
	form, c := a.form, a.Client
	switch {
	case form.Has("request"):
		return fail(RequestNotSupported, "Request objects are not supported.")
	case form.Has("request_uri"):
		return fail(RequestURINotSupported, "The parameter request_uri is not supported.")
	case !form.Has("response_type"):
		return fail(InvalidRequest, "The parameter response_type is missing.")
	case form.Get("response_type") != "code":
		return fail(UnsupportedResponseType, "The only response_type is code.")
	case form.Has("response_mode") && form.Get("response_mode") != "query":
		return fail(InvalidRequest, "The only response_mode is query.")
	case !c.GrantTypes.Has(grantCode):
		return fail(UnauthorizedClient, "The client is not registered for authorization_code.")
	}
	if err := a.checkPKCE(); err != nil {
		return err
	}
	if err := a.checkPrompt(); err != nil {
		return err
	}
	var err error
	if a.Scopes, err = s.scopes(ctx, c, form.Get("scope")); err != nil {
		return err
	}
	if !c.GrantTypes.Has(grantRefresh) { // nothing that could be used offline
		a.Scopes = slices.DeleteFunc(slices.Clone(a.Scopes), func(name string) bool { return name == OfflineAccess })
	}
	if a.Resources, err = s.resources(ctx, c, form["resource"]); err != nil {
		return err
	}
	a.request, err = s.fositeRequest(ctx, a)
	return err
}

// checkPKCE refuses what RFC 7636 and RFC 9700 §2.1.1 do not allow: no challenge where one is due, and any but S256.
func (a *Authorization) checkPKCE() error {
	a.challenge = a.form.Get("code_challenge")
	method := a.form.Get("code_challenge_method")
	if a.challenge == "" {
		if method != "" {
			return fail(InvalidRequest, "There is a code_challenge_method but no code_challenge.")
		}
		if a.Client.Public() || a.Client.RequirePKCE {
			return fail(InvalidRequest, "The parameter code_challenge is missing: PKCE is required (RFC 7636).")
		}
		return nil
	}
	if method != "S256" {
		return fail(InvalidRequest, "The code_challenge_method must be S256; left out, it means plain, which is refused.")
	}
	if len(a.challenge) != 43 || strings.ContainsFunc(a.challenge, func(r rune) bool { return notUnreserved(r) || r == '.' || r == '~' }) {
		return fail(InvalidRequest, "The code_challenge must be 43 characters of base64url (RFC 7636 section 4.2).")
	}
	return nil
}

// checkPrompt reads prompt and max_age (OIDC Core §3.1.2.1).
func (a *Authorization) checkPrompt() error {
	a.Prompt = strings.Fields(a.form.Get("prompt"))
	for _, p := range a.Prompt {
		if !slices.Contains([]string{"none", "login", "consent", "select_account"}, p) {
			return fail(InvalidRequest, "The prompt "+params.Printable(p)+" is not supported.")
		}
	}
	if slices.Contains(a.Prompt, "none") && len(a.Prompt) > 1 {
		return fail(InvalidRequest, "The prompt none cannot be combined with others.")
	}
	if v := a.form.Get("max_age"); v != "" {
		n, err := strconv.ParseInt(v, 10, 32)
		if err != nil || n < 0 {
			return fail(InvalidRequest, "The max_age must be a number of seconds.")
		}
		d := time.Duration(n) * time.Second
		a.MaxAge = &d
	}
	return nil
}

// fositeRequest has fosite parse the request too, as the object that its response dispatch takes. It gets the one
// redirect URI that was settled, and a state of its own, for it insists on one.
func (s *Server) fositeRequest(ctx context.Context, a *Authorization) (fosite.AuthorizeRequester, error) {
	form := url.Values{
		"client_id": {a.Client.ID}, "redirect_uri": {a.RedirectURI}, "response_type": {"code"}, "state": {"-"},
		"scope": {strings.Join(a.Scopes, " ")},
	}
	only := *a.Client
	only.RedirectURIs = storage.Strings{a.RedirectURI}
	provider := fosite.NewOAuth2Provider(oneClient{clientManager{s}, fositeClient{&only}}, s.config)
	r := withForm((&http.Request{Method: http.MethodPost, Header: http.Header{}, URL: &url.URL{}}).WithContext(ctx), form)
	return provider.NewAuthorizeRequest(ctx, r)
}

const (
	requestIDSize = 32
	maxStored     = 16 << 10
)

// Store keeps a request that waits for a person and gives it its ID.
func (s *Server) Store(ctx context.Context, a *Authorization) error {
	parameters := a.form.Encode()
	if len(parameters) > maxStored {
		return &Error{Code: InvalidRequest, Description: "The request is larger than 16 KiB.", ClientID: a.Client.ID, status: http.StatusRequestEntityTooLarge}
	}
	a.ID = credential.Random(requestIDSize)
	r := storage.AuthorizationRequest{
		ID: a.ID, ClientID: a.Client.ID, Parameters: parameters, CreatedAt: a.CreatedAt, ExpiresAt: a.CreatedAt.Add(s.options.RequestTTL),
	}
	if err := s.store.CreateRequest(ctx, &r); err != nil {
		return unavailable(err)
	}
	return nil
}

// ErrExpired is returned by Resume, with the request's client if it still exists, for a request that waited too long or
// was answered already.
type ErrExpired struct {
	Client   *storage.Client
	Answered bool
}

func (e *ErrExpired) Error() string { return "the authorization request has expired or was answered" }

// Resume returns a stored request to the browser with that cookie hash. With claim, the first browser to come gets it.
// It returns storage.ErrOtherBrowser, storage.ErrNotFound, *ErrExpired, or what Begin returns: a client that changed
// meanwhile is checked again.
func (s *Server) Resume(ctx context.Context, id string, browser []byte, claim bool) (*Authorization, error) {
	read := s.store.ClaimedRequest
	if claim {
		read = s.store.ClaimRequest
	}
	if len(id) != requestIDSize || !plausibleID(id) {
		return nil, storage.ErrNotFound
	}
	r, err := read(ctx, id, browser)
	if err != nil {
		return nil, err
	}
	if r.DecidedAt != nil || !s.store.Now().Before(r.ExpiresAt) {
		expired := &ErrExpired{Answered: r.DecidedAt != nil}
		if c, err := s.store.Client(ctx, r.ClientID); err == nil {
			expired.Client = c
		}
		return nil, expired
	}
	form, err := url.ParseQuery(r.Parameters)
	if err != nil {
		return nil, err
	}
	a, err := s.Begin(ctx, form)
	if err != nil {
		return nil, err
	}
	a.ID, a.CreatedAt = r.ID, r.CreatedAt
	return a, nil
}

// Consent returns what the person allowed the client before, or nil.
func (s *Server) Consent(ctx context.Context, a *Authorization, who *identity.SignedIn) (*storage.Consent, error) {
	if who == nil {
		return nil, nil //nolint:nilnil // nobody has allowed anything
	}
	c, err := s.store.Consent(ctx, who.User.ID, a.Client.ID)
	if errors.Is(err, storage.ErrNotFound) {
		return nil, nil //nolint:nilnil // as above
	}
	if err != nil {
		return nil, unavailable(err)
	}
	return &c, nil
}

// Answer is a yes to an authorization request.
type Answer struct {
	Granted []string         // the required scopes, and the optional ones that were left ticked
	Asked   bool             // whether the person said so on the consent page just now
	Consent *storage.Consent // otherwise, what they said before, on which Decide relied; nil when the operator vouches
}

// ErrConsentGone is returned by Approve when the consent it relied on was withdrawn meanwhile: the person must be asked.
var ErrConsentGone = errors.New("the consent was withdrawn")

// Approve issues a code for the person and returns where to send the browser. A stored request is answered once; the
// second answer is *ErrExpired.
func (s *Server) Approve(ctx context.Context, a *Authorization, who *identity.SignedIn, answer Answer) (string, error) {
	a.request.SetResponseTypeHandled("code")
	approval := &approval{Authorization: a, who: who, answer: answer}
	response, err := fosite.NewOAuth2Provider(clientManager{s}, s.config).NewAuthorizeResponse(ctx, a.request, approval)
	if errors.Is(err, storage.ErrConsumed) {
		return "", &ErrExpired{Client: a.Client, Answered: true}
	}
	if errors.Is(err, storage.ErrConsentGone) {
		return "", ErrConsentGone
	}
	if err != nil {
		return "", err
	}
	return s.location(a.RedirectURI, a.State, url.Values{"code": {response.GetCode()}}), nil
}

// approval is what issueCode is handed as fosite's session.
type approval struct {
	*Authorization
	tokenState

	who    *identity.SignedIn
	answer Answer
}

func (a *approval) Clone() fosite.Session { c := *a; return &c }

// issueCode is the handler of the authorization endpoint: it stores the code with all its grant will be made of.
type issueCode struct{ *Server }

func (h issueCode) HandleAuthorizeEndpointRequest(ctx context.Context, r fosite.AuthorizeRequester, response fosite.AuthorizeResponder) error {
	a, ok := r.GetSession().(*approval)
	if !ok {
		return errNotUsed
	}
	now, granted := h.store.Now(), a.answer.Granted
	code := h.format.New(credential.Code)
	row := storage.AuthorizationCode{
		Hash: credential.Hash(code), ClientID: a.Client.ID, UserID: a.who.User.ID, ClientEpoch: a.Client.Epoch, UserEpoch: a.who.User.Epoch,
		Scopes: granted, Resources: a.Resources, SessionID: a.who.Session.ID, Offline: slices.Contains(granted, OfflineAccess),
		AuthTime: a.who.Session.AuthTime, ACR: a.who.Session.ACR, AMR: a.who.Session.AMR,
		RedirectURI: a.RedirectURI, RedirectSent: a.redirectSent, CreatedAt: now, ExpiresAt: now.Add(h.options.CodeTTL),
	}
	if a.challenge != "" {
		row.Challenge = &a.challenge
	}
	refused := slices.DeleteFunc(slices.Clone(a.Scopes), func(name string) bool { return slices.Contains(granted, name) })
	approval := storage.Approval{RequestID: a.ID, Refused: refused, Code: row, Asked: a.answer.Asked}
	if c := a.answer.Consent; c != nil && !a.Client.SkipConsent {
		approval.ConsentID = c.ID
	}
	err := h.store.IssueCode(ctx, approval, storage.Event{Type: storage.CodeIssued})
	if err != nil {
		return err
	}
	response.AddParameter("code", code)
	return nil
}

// Deny answers a request with access_denied and returns where to send the browser.
func (s *Server) Deny(ctx context.Context, a *Authorization, who *identity.SignedIn) (string, error) {
	event := storage.Event{Type: storage.ConsentDenied, ClientID: a.Client.ID, Scopes: strings.Join(a.Scopes, " ")}
	if who != nil {
		event.UserID = who.User.ID
	}
	err := s.store.DecideRequest(ctx, a.ID, &event)
	if errors.Is(err, storage.ErrConsumed) {
		return "", &ErrExpired{Client: a.Client, Answered: true}
	}
	if err != nil {
		return "", unavailable(err)
	}
	return s.ErrorLocation(&RedirectError{Cause: fail(AccessDenied, "The person did not allow it."), RedirectURI: a.RedirectURI, State: a.State}), nil
}

// ErrorLocation is where to send the browser with an error.
func (s *Server) ErrorLocation(e *RedirectError) string {
	return s.location(e.RedirectURI, e.State, url.Values{"error": {e.Cause.Code}, "error_description": {e.Cause.Description}})
}

// location adds the response to the redirect URI, whose own query stays as it is. state comes back byte for byte, and
// iss says who answers (RFC 9207 §2).
func (s *Server) location(uri, state string, response url.Values) string {
	if state != "" {
		response.Set("state", state)
	}
	response.Set("iss", s.options.Issuer)
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
		if strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&") {
			separator = ""
		}
	}
	return uri + separator + response.Encode()
}

// Withdraw ends a person's consent, and with it every grant and token of the client for them. It returns
// storage.ErrNotFound when they have no such consent.
func (s *Server) Withdraw(ctx context.Context, userID, consentID string) error {
	return s.store.WithdrawConsent(ctx, userID, consentID, storage.Event{Type: storage.ConsentWithdrawn})
}

package interaction

import (
	"errors"
	"net/http"
	"net/url"

	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
	"gatehouse/storage/reqevent"
	"gatehouse/web/page"
)

// Authorize serves GET and POST /oauth2/authorize (RFC 6749 §3.1). A POST comes from another site, without the cookies
// of this server, so it is always stored and redirected to its own page. A GET that needs no page gets its response
// immediately and is never stored.
func (p *Pages) Authorize(w http.ResponseWriter, r *http.Request) error {
	if err := p.checkLimit(r, ratelimit.Authorize); err != nil {
		return err
	}
	event := reqevent.FromContext(r.Context())
	form, err := authorizeForm(r)
	if err != nil {
		event.ClaimedClientID = r.URL.Query().Get("client_id")
		return oauth.AsError(err)
	}
	event.ClaimedClientID = form.Get("client_id")
	page.SetUILocales(r, form.Get("ui_locales"))
	a, err := p.oauth.Begin(r.Context(), form)
	if err != nil {
		return err
	}
	if r.Method == http.MethodPost {
		return p.storeRequest(r, a)
	}
	return p.continueRequest(w, r, a)
}

func authorizeForm(r *http.Request) (url.Values, error) {
	if r.Method == http.MethodPost {
		return params.Form(r)
	}
	return params.Query(r)
}

// ResumeRequest serves GET /oauth2/authorize/{id}, where the browser returns after every page.
func (p *Pages) ResumeRequest(w http.ResponseWriter, r *http.Request) error {
	a, err := p.resume(r, r.PathValue("id"), p.users.EnsureBrowser(w, r), true)
	if err != nil {
		return err
	}
	return p.continueRequest(w, r, a)
}

// continueRequest takes the next step that oauth.Decide chooses.
func (p *Pages) continueRequest(w http.ResponseWriter, r *http.Request, a *oauth.AuthorizationRequest) error {
	in, next, refusal, err := p.decide(r, a)
	if err != nil {
		return err
	}
	switch next {
	case oauth.Refuse:
		return refusal
	case oauth.Issue:
		decision := oauth.ConsentDecision{Refused: a.RefusedBefore(in.Consent), Consent: in.Consent}
		response, err := p.oauth.Approve(r.Context(), a, in.Candidate, decision)
		if errors.Is(err, oauth.ErrConsentStale) { // it has just been withdrawn
			next = oauth.Consent
			break
		}
		if err != nil {
			return err
		}
		return p.writeResponse(w, r, response)
	}
	if a.ID == "" {
		return p.storeRequest(r, a)
	}
	switch next {
	case oauth.Login:
		return page.RedirectTo("/login?request=" + a.ID)
	case oauth.Terms:
		return page.RedirectTo(page.TermsPath + "?request=" + a.ID)
	case oauth.Enrol:
		return page.RedirectTo(page.EnrolPath + "?request=" + a.ID)
	case oauth.SelectAccount:
		return page.RedirectTo("/select?request=" + a.ID)
	case oauth.NoAccess:
		return page.RedirectTo("/no-access?request=" + a.ID)
	case oauth.Confirm:
		return page.RedirectTo("/confirm?request=" + a.ID)
	case oauth.Consent:
		return page.RedirectTo("/consent?request=" + a.ID)
	}
	return errors.New("unknown step of an authorization request")
}

// requestAt returns the stored request that the page of a step is about. When its next step is another one, it returns
// a redirect to the request.
func (p *Pages) requestAt(
	r *http.Request, id string, step oauth.Step,
) (*oauth.AuthorizationRequest, oauth.DecisionInput, error) {
	a, err := p.resume(r, id, p.users.Browser(r), false)
	if err != nil {
		return nil, oauth.DecisionInput{}, err
	}
	in, next, _, err := p.decide(r, a)
	if err != nil {
		return nil, oauth.DecisionInput{}, err
	}
	if next != step {
		return nil, oauth.DecisionInput{}, page.RedirectTo(requestPath(a))
	}
	return a, in, nil
}

// decide finds the user that the request is about, who becomes its actor, and returns the next step.
func (p *Pages) decide(
	r *http.Request, a *oauth.AuthorizationRequest,
) (in oauth.DecisionInput, next oauth.Step, refusal *protocol.Error, err error) {
	users, err := p.users.SignedIn(r)
	if err != nil {
		return oauth.DecisionInput{}, 0, nil, err
	}
	in = p.oauth.DecisionInput(a, users)
	if in.Consent, err = p.oauth.Consent(r.Context(), a, in.Candidate); err != nil {
		return oauth.DecisionInput{}, 0, nil, err
	}
	if in.LacksGroup, err = p.oauth.LacksGroup(r.Context(), a, in.Candidate); err != nil {
		return oauth.DecisionInput{}, 0, nil, err
	}
	if in.NeedsConfirmation, err = p.oauth.NeedsConfirmation(r.Context(), a, in.Candidate, in.Consent); err != nil {
		return oauth.DecisionInput{}, 0, nil, err
	}
	if in.Candidate != nil {
		setActor(r.Context(), in.Candidate.User)
		in.MustAcceptTerms = p.users.MustAcceptTerms(in.Candidate.User)
		if in.Policy, err = p.users.ACRPolicy(r.Context(), in.Candidate.User); err != nil {
			return oauth.DecisionInput{}, 0, nil, err
		}
		if err := p.users.TouchSession(r, in.Candidate); err != nil {
			return oauth.DecisionInput{}, 0, nil, err
		}
	}
	if a.DependsOnFactors(in) {
		if in.StrongestACR, err = p.users.StrongestACR(r.Context(), in.Candidate.User.ID); err != nil {
			return oauth.DecisionInput{}, 0, nil, err
		}
	}
	next, refusal = oauth.Decide(a, in, p.store.Now())
	return in, next, refusal, nil
}

// storedRequestUnit is how many bytes of a stored request count as one event.
const storedRequestUnit = 2 << 10

// storeRequest stores a request that needs a page, and redirects the browser to it.
func (p *Pages) storeRequest(r *http.Request, a *oauth.AuthorizationRequest) error {
	if err := p.checkLimit(r, ratelimit.StoredRequest); err != nil {
		return err
	}
	for size := 0; size <= a.Size(); size += storedRequestUnit {
		decision := p.limiter.Count(r.Context(), ratelimit.Count{Limit: ratelimit.AllStoredRequests})
		if err := protocol.LimitError(decision, "Too many sign-ins in progress."); err != nil {
			return err
		}
	}
	if err := p.oauth.StoreRequest(r.Context(), a); err != nil {
		return err
	}
	return page.RedirectTo(requestPath(a))
}

// formPostPage is the data of the page that posts a response to the client.
type formPostPage struct {
	page.Layout
	Destination, Action string
	Fields              url.Values
}

// writeResponse sends an authorization response to the client: by a redirect, or by a form that submits itself (OAuth
// 2.0 Form Post Response Mode).
func (p *Pages) writeResponse(w http.ResponseWriter, r *http.Request, response oauth.Response) error {
	if !response.FormPost {
		page.SeeOther(w, response.Location())
		return nil
	}
	page.SetHeaders(w.Header())
	page.AllowFormRedirects(w.Header())
	return p.pages.Render(w, http.StatusOK, "form_post", formPostPage{
		Layout:      p.pages.NewLayout(r, "form_post.title"),
		Destination: p.pages.Destination(r, response.RedirectURI), Action: response.RedirectURI,
		Fields: response.Parameters,
	})
}

// WriteErrorResponse sends the error of an authorization request to the client.
func (p *Pages) WriteErrorResponse(w http.ResponseWriter, r *http.Request, e *protocol.Error) error {
	return p.writeResponse(w, r, p.oauth.ErrorResponse(e))
}

package web

import (
	"errors"
	"net/http"
	"net/url"

	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/oauth/protocol"
	"gatehouse/ratelimit"
)

// authorize serves GET and POST /oauth2/authorize (RFC 6749 §3.1). A POST comes from another site, without our cookies,
// so it is always kept and answered with a redirect to its own page. A GET that needs no page is answered at once and
// never stored.
func (s *Server) authorize(w http.ResponseWriter, r *http.Request) error {
	if err := s.limitPage(r, ratelimit.Authorize); err != nil {
		return err
	}
	form, err := s.authorizeForm(r)
	if err != nil {
		r.Form = r.URL.Query() // the log names the client
		return oauth.AsError(err)
	}
	r.Form = form
	a, err := s.oauth.Begin(r.Context(), form)
	if err != nil {
		return s.redirectWithError(w, r, err)
	}
	if r.Method == http.MethodPost {
		return s.saveRequest(w, r, a)
	}
	return s.continueRequest(w, r, a)
}

// limitPage is limitNetwork for pages.
func (s *Server) limitPage(r *http.Request, name string) error {
	return protocol.LimitError(s.limitNetwork(r, name), "Too many sign-ins from your network.")
}

func (s *Server) authorizeForm(r *http.Request) (url.Values, error) {
	if r.Method == http.MethodPost {
		return params.Form(r)
	}
	return params.Query(r)
}

// tell sends an error to the client where it may be told, and else to the person.
func (s *Server) redirectWithError(w http.ResponseWriter, r *http.Request, err error) error {
	var e *protocol.Error
	if errors.As(err, &e) && e.Redirect != nil {
		_ = s.respond(w, r, s.oauth.ErrorResponse(e))
	}
	return err // for the log, and for the page where nothing was answered
}

type formPostPage struct {
	basePage
	App, Action, Script string
	Fields              url.Values
}

// answer brings an answer to the client: by a redirect, or by a form that posts itself (OAuth 2.0 Form Post Response Mode).
func (s *Server) respond(w http.ResponseWriter, r *http.Request, a oauth.Response) error {
	if !a.FormPost {
		return s.seeOther(w, a.Location())
	}
	s.pageHeaders(w)
	w.Header().Set("Content-Security-Policy", policy+"; script-src 'self'") // without form-action, see allowLeaving
	return s.render(w, http.StatusOK, "form_post", formPostPage{
		basePage: s.newBasePage(r, s.pages.message("form_post.title")), App: s.pages.destination(a.RedirectURI), Action: a.RedirectURI,
		Script: s.pages.script, Fields: a.Parameters,
	})
}

// storedPiece is how many bytes of a stored request count as one.
const storedPiece = 2 << 10

func (s *Server) saveRequest(w http.ResponseWriter, r *http.Request, a *oauth.AuthorizationRequest) error {
	if err := s.limitPage(r, ratelimit.StoredRequest); err != nil {
		return err
	}
	for size := 0; size <= a.Size(); size += storedPiece {
		if err := protocol.LimitError(s.limiter.Count(r.Context(), ratelimit.Count{Limit: ratelimit.AllStoredRequests}), "Too many sign-ins at once."); err != nil {
			return err
		}
	}
	if err := s.oauth.StoreRequest(r.Context(), a); err != nil {
		return err
	}
	return s.redirectTo(w, "/oauth2/authorize/"+a.ID)
}

// resume serves GET /oauth2/authorize/{id}, where every page comes back to.
func (s *Server) resume(w http.ResponseWriter, r *http.Request) error {
	a, err := s.oauth.Resume(r.Context(), r.PathValue("id"), s.users.EnsureBrowser(w, r), true)
	if err != nil {
		return s.redirectWithError(w, r, err)
	}
	return s.continueRequest(w, r, a)
}

// continueRequest does what oauth.Decide says.
func (s *Server) continueRequest(w http.ResponseWriter, r *http.Request, a *oauth.AuthorizationRequest) error {
	in, next, refusal, err := s.decide(r, a)
	if err != nil {
		return err
	}
	switch next {
	case oauth.Refuse:
		return s.redirectWithError(w, r, refusal)
	case oauth.Issue:
		response, err := s.oauth.Approve(r.Context(), a, in.Candidate, oauth.ConsentDecision{Refused: a.RefusedBefore(in.Consent), Consent: in.Consent})
		if errors.Is(err, oauth.ErrConsentStale) { // withdrawn a moment ago: ask
			next = oauth.Consent
			break
		}
		if err != nil {
			return err
		}
		return s.respond(w, r, response)
	}
	if a.ID == "" {
		return s.saveRequest(w, r, a)
	}
	switch next {
	case oauth.Login:
		return s.redirectTo(w, "/login?request="+a.ID)
	case oauth.SelectAccount:
		return s.redirectTo(w, "/select?request="+a.ID)
	case oauth.Consent:
		return s.redirectTo(w, "/consent?request="+a.ID)
	}
	return errors.New("unknown step")
}

// decide finds out who the request is about and what comes next, and makes that person the actor of it.
func (s *Server) decide(r *http.Request, a *oauth.AuthorizationRequest) (oauth.DecisionInput, oauth.Step, *protocol.Error, error) {
	people, err := s.users.SignedIn(r)
	if err != nil {
		return oauth.DecisionInput{}, 0, nil, err
	}
	in := s.oauth.DecisionInput(a, people)
	if in.Consent, err = s.oauth.Consent(r.Context(), a, in.Candidate); err != nil {
		return oauth.DecisionInput{}, 0, nil, err
	}
	if in.Candidate != nil {
		setActor(r, in.Candidate)
		if err := s.users.TouchSession(r, in.Candidate); err != nil {
			return oauth.DecisionInput{}, 0, nil, err
		}
	}
	next, refusal := oauth.Decide(a, in, s.store.Now())
	return in, next, refusal, nil
}

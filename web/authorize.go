package web

import (
	"errors"
	"net/http"
	"net/url"
	"strconv"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/oauth/params"
	"gatehouse/storage"
)

// authorize serves GET and POST /oauth2/authorize (RFC 6749 §3.1). A POST comes from another site, without our cookies,
// so it is always kept and answered with a redirect to its own page. A GET that needs no page is answered at once and
// never stored.
func (s *Site) authorize(w http.ResponseWriter, r *http.Request) error {
	form, err := s.authorizeForm(w, r)
	if err != nil {
		return err
	}
	r.Form = form
	a, err := s.oauth.Begin(r.Context(), form)
	if err != nil {
		return s.tell(w, err)
	}
	if r.Method == http.MethodPost {
		return s.keep(w, r, a)
	}
	return s.step(w, r, a)
}

func (s *Site) authorizeForm(w http.ResponseWriter, r *http.Request) (url.Values, error) {
	if r.Method == http.MethodPost {
		return params.Form(w, r)
	}
	return params.Query(r)
}

// tell sends an error to the client where it may be told, and else to the person.
func (s *Site) tell(w http.ResponseWriter, err error) error {
	var e *oauth.RedirectError
	if errors.As(err, &e) {
		_ = s.redirect(w, s.oauth.ErrorLocation(e))
	}
	return err // for the log, and for the page where nothing was answered
}

func (s *Site) keep(w http.ResponseWriter, r *http.Request, a *oauth.Authorization) error {
	if ok, wait := s.limits.Take("stored_request", networkOf(storage.OriginOf(r.Context()).Address)); !ok {
		w.Header().Set("Retry-After", strconv.Itoa(int(wait.Seconds())+1))
		return &pageError{status: http.StatusTooManyRequests, text: "error.limit"}
	}
	if err := s.oauth.Store(r.Context(), a); err != nil {
		return err
	}
	return s.to(w, "/oauth2/authorize/"+a.ID)
}

// resume serves GET /oauth2/authorize/{id}, where every page comes back to.
func (s *Site) resume(w http.ResponseWriter, r *http.Request) error {
	a, err := s.oauth.Resume(r.Context(), r.PathValue("id"), s.people.Browser(w, r), true)
	if err != nil {
		return s.tell(w, err)
	}
	return s.step(w, r, a)
}

// step does what oauth.Decide says.
func (s *Site) step(w http.ResponseWriter, r *http.Request, a *oauth.Authorization) error {
	who, consent, next, refusal, err := s.decide(r, a)
	if err != nil {
		return err
	}
	switch next {
	case oauth.Refuse:
		return s.tell(w, refusal)
	case oauth.Issue:
		location, err := s.oauth.Approve(r.Context(), a, who, oauth.Answer{Granted: a.Scopes, Consent: consent})
		if errors.Is(err, oauth.ErrConsentGone) { // withdrawn a moment ago: ask
			next = oauth.Consent
			break
		}
		if err != nil {
			return err
		}
		return s.redirect(w, location)
	}
	switch next {
	case oauth.Login, oauth.Consent:
		if a.ID == "" {
			return s.keep(w, r, a)
		}
		if next == oauth.Login {
			return s.to(w, "/login?request="+a.ID)
		}
		return s.to(w, "/consent?request="+a.ID)
	}
	return errors.New("unknown step")
}

func (s *Site) decide(r *http.Request, a *oauth.Authorization) (*identity.SignedIn, *storage.Consent, oauth.Step, *oauth.RedirectError, error) {
	who, err := s.people.Current(r)
	if err != nil {
		return nil, nil, 0, nil, err
	}
	consent, err := s.oauth.Consent(r.Context(), a, who)
	if err != nil {
		return nil, nil, 0, nil, err
	}
	next, refusal := oauth.Decide(a, who, consent, s.store.Now())
	return who, consent, next, refusal, nil
}

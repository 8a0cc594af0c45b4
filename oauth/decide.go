package oauth

import (
	"slices"
	"strings"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth/protocol"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// Step is what happens next with an authorization request.
type Step int

// The steps.
const (
	Login         Step = iota // the person signs in, perhaps again
	SelectAccount             // the person says which of the people signed in here they are
	Consent                   // the person decides
	Issue                     // a code is issued without asking
	Refuse                    // the request cannot be met
)

// SelectSubject finds, among the people signed in to the browser, who the request is about: the one who was chosen on the way,
// the one whom id_token_hint or the claims parameter name, or the only one; of several, the one whom login_hint names.
// It is nil when there is none, or when of several it is not clear which.
func (s *Server) SelectSubject(a *AuthorizationRequest, people []*identity.SignedInUser) *identity.SignedInUser {
	find := func(is func(p *identity.SignedInUser) bool) *identity.SignedInUser {
		if i := slices.IndexFunc(people, is); i >= 0 {
			return people[i]
		}
		return nil
	}
	switch {
	case a.SessionID != "":
		return find(func(p *identity.SignedInUser) bool { return p.Session.ID == a.SessionID })
	case a.Subject != "":
		return find(func(p *identity.SignedInUser) bool { return s.isSubject(a, p) })
	case len(people) == 1:
		return people[0]
	case a.LoginHint != "":
		return find(func(p *identity.SignedInUser) bool {
			return strings.EqualFold(a.LoginHint, p.User.Username) || strings.EqualFold(a.LoginHint, p.User.Email)
		})
	}
	return nil
}

func (s *Server) isSubject(a *AuthorizationRequest, who *identity.SignedInUser) bool {
	return a.Subject == s.Subject(a.Client, who.User.ID)
}

// DecisionInput is what Decide looks at.
type DecisionInput struct {
	Users           int                    // signed in to the browser
	Candidate       *identity.SignedInUser // of whom Choose chose this one, or nil
	SubjectMismatch bool                   // Who is not whom the request demands
	ByLoginHint     bool                   // Who was found by login_hint among several, which anybody can write
	Consent         *storage.Consent       // what Who allowed the client before, or nil
}

// Decide is the only place that chooses the next step, and a pure function. With Refuse comes the error to tell the
// client.
func Decide(a *AuthorizationRequest, in DecisionInput, now time.Time) (Step, *protocol.Error) {
	silent := slices.Contains(a.Prompt, "none")
	refuse := func(code, description string) (Step, *protocol.Error) {
		return Refuse, a.refuse(protocol.NewError(code, description))
	}
	if in.SubjectMismatch { // chosen or signed in on the way: asking again would go round for ever
		return refuse(protocol.LoginRequired, "Another person signed in than the one whom the request names.")
	}
	if silent && in.Candidate != nil {
		// Consent is checked first: a client that the user does not allow must not learn when the user signed in. Only
		// a code discloses whether the user that the request names is signed in; otherwise the response is the same as
		// without a session.
		refused := needsConsent(a, in.Consent)
		named := a.Subject != "" || in.ByLoginHint
		if refused && !named {
			return refuse(protocol.ConsentRequired, "The person must be asked first.")
		}
		if named && (refused || needsLogin(a, in.Candidate, now)) {
			in.Candidate = nil
		}
	}
	if needsSelection(a, in) {
		if silent {
			return refuse(protocol.AccountSelectionRequired, "Several people are signed in; name one with id_token_hint or login_hint, or ask without prompt=none.")
		}
		return SelectAccount, nil
	}
	if needsLogin(a, in.Candidate, now) {
		if silent {
			return refuse(protocol.LoginRequired, "The person must sign in first.")
		}
		return Login, nil
	}
	if needsConsent(a, in.Consent) {
		return Consent, nil
	}
	if a.SignInTooOld(in.Candidate, now) { // while a page was open
		if silent {
			return refuse(protocol.LoginRequired, "The person must sign in first.")
		}
		return Login, nil
	}
	return Issue, nil
}

// needsSelection: nobody was chosen on the way, and the request wants somebody to be, or several could be meant.
func needsSelection(a *AuthorizationRequest, in DecisionInput) bool {
	if a.SessionID != "" || in.Users == 0 {
		return false
	}
	if slices.Contains(a.Prompt, "select_account") {
		return true
	}
	return in.Candidate == nil && in.Users > 1 && a.Subject == "" && !slices.Contains(a.Prompt, "login")
}

// needsLogin reports whether the user must sign in before a page is shown. Only a sign-in for this request satisfies
// prompt=login. Any sign-in that is recent enough satisfies max_age. A sign-in for this request may become too old
// while its pages are open, which is checked before a code is issued.
func needsLogin(a *AuthorizationRequest, who *identity.SignedInUser, now time.Time) bool {
	if who == nil {
		return true
	}
	return !a.SignedIn && (slices.Contains(a.Prompt, "login") || a.SignInTooOld(who, now))
}

// SignInTooOld reports whether the user must sign in again before a code is issued, because of max_age. max_age=0 means
// prompt=login (OIDC Core §3.1.2.1), because no sign-in time satisfies it.
func (a *AuthorizationRequest) SignInTooOld(who *identity.SignedInUser, now time.Time) bool {
	if a.MaxAge == nil || a.SignedIn && *a.MaxAge == 0 {
		return false
	}
	return now.Sub(who.Session.AuthTime) >= *a.MaxAge
}

// needsConsent reports whether the consent page must be shown. It is skipped when the user allowed everything required
// before, at the same APIs, or when the operator trusts the client. It is never skipped for a public client whose
// response any app on the device could receive (RFC 8252 §8.6).
func needsConsent(a *AuthorizationRequest, consent *storage.Consent) bool {
	if !a.Approved && (slices.Contains(a.Prompt, "consent") || a.Client.IsPublic() && redirect.Impersonable(a.RedirectURI)) {
		return true
	}
	if a.Client.SkipConsent {
		return false
	}
	// A consent without scopes may be one that the operator vouched for, which nobody was asked about.
	if consent == nil || a.stale(consent) || len(consent.Scopes) == 0 {
		return true
	}
	refused := a.RefusedBefore(consent)
	if len(refused) > 0 && !slices.ContainsFunc(a.Scopes, func(name string) bool { return !slices.Contains(refused, name) }) {
		return true // otherwise the client would get nothing, every time, without a page
	}
	return slices.ContainsFunc(a.Permissions, func(p Permission) bool { return !p.allowedBy(consent) && !p.refusedBy(consent) })
}

// DecisionInput tells Decide who is there, and Approve whom it is about.
func (s *Server) DecisionInput(a *AuthorizationRequest, people []*identity.SignedInUser) DecisionInput {
	in := DecisionInput{Users: len(people), Candidate: s.SelectSubject(a, people)}
	in.ByLoginHint = in.Candidate != nil && len(people) > 1 && a.SessionID == "" && a.Subject == ""
	in.SubjectMismatch = in.Candidate != nil && a.Subject != "" && !s.isSubject(a, in.Candidate)
	return in
}

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
	Login         Step = iota // the user signs in, or signs in again
	Terms                     // the user accepts the current terms of use, or returns to the client
	Enrol                     // the user adds factors to the account, or postpones that
	SelectAccount             // the user chooses one of the accounts signed in to the browser
	NoAccess                  // the user reads that a group is required, and returns to the client
	Confirm                   // the user reads that the client is not verified, and confirms or returns to it
	Consent                   // the user decides on the consent page
	Issue                     // a code is issued without a page
	Refuse                    // the client gets an error
)

// SelectSubject returns the user that the request is about, of those signed in to the browser: the one chosen on a
// page, the one that id_token_hint or the claims parameter names, the only one, or of several the one that login_hint
// names. It returns nil when there is none, or when several are possible.
func (s *Server) SelectSubject(a *AuthorizationRequest, users []*identity.SignedInUser) *identity.SignedInUser {
	find := func(matches func(u *identity.SignedInUser) bool) *identity.SignedInUser {
		if i := slices.IndexFunc(users, matches); i >= 0 {
			return users[i]
		}
		return nil
	}
	switch {
	case a.SessionID != "":
		return find(func(u *identity.SignedInUser) bool { return u.Session.ID == a.SessionID })
	case a.RequiredSubject != "":
		return find(func(u *identity.SignedInUser) bool { return s.isSubject(a, u) })
	case len(users) == 1:
		return users[0]
	case a.LoginHint != "":
		return find(func(u *identity.SignedInUser) bool {
			return strings.EqualFold(a.LoginHint, u.User.Username) || strings.EqualFold(a.LoginHint, u.User.Email)
		})
	}
	return nil
}

func (s *Server) isSubject(a *AuthorizationRequest, user *identity.SignedInUser) bool {
	return a.RequiredSubject == s.Claims.Subject(a.Client, user.User.ID)
}

// DecisionInput is the state of the browser that Decide depends on.
type DecisionInput struct {
	Users           int                    // how many users are signed in to the browser
	Candidate       *identity.SignedInUser // the user that SelectSubject returned, or nil
	SubjectMismatch bool                   // Candidate is not the user that the request requires
	ByLoginHint     bool                   // Candidate is one of several, selected by login_hint, which is unauthenticated
	LacksGroup      bool                   // Candidate is in none of the groups that the client requires
	// Candidate must confirm that they want to continue with a client that is not verified.
	NeedsConfirmation bool
	MustAcceptTerms   bool               // Candidate has not accepted the current terms of use
	StrongestACR      string             // the strongest acr that Candidate can sign in with; needed if DependsOnFactors
	Policy            identity.ACRPolicy // of Candidate
	Consent           *storage.Consent   // what Candidate allowed the client before, or nil
}

// descriptionNoAccess is the error description for a user who is in none of the groups that the client requires.
const descriptionNoAccess = "The user is in none of the groups that have access to this client."

// Decide returns the next step of an authorization request, and with Refuse the error for the client. It is the only
// place that chooses the step, and a pure function.
func Decide(a *AuthorizationRequest, in DecisionInput, now time.Time) (Step, *protocol.Error) {
	if in.SubjectMismatch { // chosen or signed in for this request: prompting again would be an infinite loop
		return a.refuse(protocol.LoginRequired, "The user who signed in is not the one that the request requires.")
	}
	// Consent is checked first: a client that the user does not allow must not learn when the user signed in.
	if a.isSilent() && in.Candidate != nil {
		refused, named := needsConsent(a, in.Consent), a.RequiredSubject != "" || in.ByLoginHint
		if refused && !named {
			return a.refuse(protocol.ConsentRequired,
				"The user has not allowed this yet, and prompt=none forbids the consent page.")
		}
		// Only a code discloses whether the user that the request names is signed in; otherwise the response is the same
		// as without a session.
		if named && (refused || in.LacksGroup || in.MustAcceptTerms || needsLogin(a, in.Candidate, now) ||
			a.authenticationStep(in) != Issue) {
			in.Candidate = nil
		}
	}
	if needsSelection(a, in) {
		if a.isSilent() {
			return a.refuse(protocol.AccountSelectionRequired,
				"Several users are signed in. Send id_token_hint or login_hint to select one, or omit prompt=none.")
		}
		return SelectAccount, nil
	}
	if needsLogin(a, in.Candidate, now) {
		return a.login("")
	}
	return a.decideForCandidate(in, now)
}

// decideForCandidate returns the next step for the user that the request is about.
func (a *AuthorizationRequest) decideForCandidate(in DecisionInput, now time.Time) (Step, *protocol.Error) {
	if in.LacksGroup {
		if a.isSilent() {
			return a.refuse(protocol.AccessDenied, descriptionNoAccess)
		}
		return NoAccess, nil
	}
	authentication := a.authenticationStep(in)
	if in.MustAcceptTerms && authentication != Login { // after the sign-in that the request needs
		if a.isSilent() {
			return a.refuse(protocol.InteractionRequired,
				"The user must accept the terms of use, and prompt=none forbids that page.")
		}
		return Terms, nil
	}
	if authentication == Login || authentication == Enrol && a.isSilent() {
		return a.login(" with the acr " + a.SignInACR(in))
	}
	if authentication == Enrol {
		return Enrol, nil
	}
	if needsConsent(a, in.Consent) {
		if in.NeedsConfirmation && !a.Confirmed {
			return Confirm, nil
		}
		return Consent, nil
	}
	if authentication == Refuse { // only now: it discloses that the user is signed in, and with which factors
		return Refuse, a.unmetACRError()
	}
	if a.IsSignInTooOld(in.Candidate, now) { // while a page was open
		return a.login("")
	}
	return Issue, nil
}

// isSilent reports whether the request forbids pages (OIDC Core §3.1.2.1).
func (a *AuthorizationRequest) isSilent() bool { return slices.Contains(a.Prompt, "none") }

// login returns the step Login or, of a silent request, its error.
func (a *AuthorizationRequest) login(how string) (Step, *protocol.Error) {
	if a.isSilent() {
		return a.refuse(protocol.LoginRequired, "The user must sign in"+how+", and prompt=none forbids the sign-in page.")
	}
	return Login, nil
}

func (a *AuthorizationRequest) refuse(code, description string) (Step, *protocol.Error) {
	return Refuse, a.asRedirectError(protocol.NewError(code, description))
}

// needsSelection reports whether the account chooser must be shown: no account was chosen for this request, and the
// request requires it or several accounts are possible.
func needsSelection(a *AuthorizationRequest, in DecisionInput) bool {
	if a.SessionID != "" || in.Users == 0 {
		return false
	}
	if slices.Contains(a.Prompt, "select_account") {
		return true
	}
	return in.Candidate == nil && in.Users > 1 && a.RequiredSubject == "" && !slices.Contains(a.Prompt, "login")
}

// needsLogin reports whether the user must sign in before a page is shown. Only a sign-in for this request satisfies
// prompt=login. Any sign-in that is recent enough satisfies max_age. A sign-in for this request may become too old
// while its pages are open, which is checked before a code is issued.
func needsLogin(a *AuthorizationRequest, user *identity.SignedInUser, now time.Time) bool {
	if user == nil {
		return true
	}
	return !a.SignedIn && (slices.Contains(a.Prompt, "login") || a.IsSignInTooOld(user, now))
}

// IsSignInTooOld reports whether the user must sign in again before a code is issued, because of max_age. max_age=0
// means prompt=login (OIDC Core §3.1.2.1), because no sign-in time satisfies it.
func (a *AuthorizationRequest) IsSignInTooOld(user *identity.SignedInUser, now time.Time) bool {
	if a.MaxAge == nil || a.SignedIn && *a.MaxAge == 0 {
		return false
	}
	return now.Sub(user.Session.AuthTime) >= *a.MaxAge
}

// CanBeImpersonated reports whether another application on the user's device could receive the response and redeem it
// (RFC 8252 §8.6): that of a public client, or of any client with a private-use scheme, because a secret that every
// copy of an application contains is not confidential (§8.5).
func (a *AuthorizationRequest) CanBeImpersonated() bool {
	scheme, _ := redirect.PrivateUseScheme(a.RedirectURI)
	return scheme != "" || a.Client.IsPublic() && redirect.AllowsImpersonation(a.RedirectURI)
}

// needsConsent reports whether the consent page must be shown. It is skipped when the user allowed everything required
// before, at the same APIs, or when the operator skips consent for the client. It is never skipped for a client that
// another application on the device can impersonate.
func needsConsent(a *AuthorizationRequest, consent *storage.Consent) bool {
	if !a.Approved && (a.CanBeImpersonated() || slices.Contains(a.Prompt, "consent")) {
		return true
	}
	if a.Client.SkipConsent {
		return false
	}
	// A consent without scopes may be one that the operator skipped, so the user has not seen a page.
	if consent == nil || a.isStale(consent) || len(consent.Scopes) == 0 {
		return true
	}
	refused := a.RefusedBefore(consent)
	notRefused := func(name string) bool { return !slices.Contains(refused, name) }
	if len(refused) > 0 && !slices.ContainsFunc(a.Scopes, notRefused) {
		return true // otherwise the client would get nothing, every time, without a page
	}
	return slices.ContainsFunc(a.Permissions, func(p Permission) bool {
		return !p.allowedBy(consent) && !p.refusedBy(consent)
	})
}

// DecisionInput returns the input of Decide for the users signed in to the browser, without the consent.
func (s *Server) DecisionInput(a *AuthorizationRequest, users []*identity.SignedInUser) DecisionInput {
	in := DecisionInput{Users: len(users), Candidate: s.SelectSubject(a, users)}
	in.ByLoginHint = in.Candidate != nil && len(users) > 1 && a.SessionID == "" && a.RequiredSubject == ""
	in.SubjectMismatch = in.Candidate != nil && a.RequiredSubject != "" && !s.isSubject(a, in.Candidate)
	return in
}

package oauth

import (
	"context"
	"slices"
	"strings"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth/protocol"
)

// resolveACR reads which acr values the client requests, in order of preference: in the claims parameter, in
// acr_values, or as its default_acr_values (OIDC Core §3.1.2.1, §5.5.1.1, RFC 9470 §4). Unsupported ones are
// ignored, unless the client accepts no other.
func (a *AuthorizationRequest) resolveACR() error {
	var values []string
	essential := false
	if a.isOpenID() {
		values, essential = a.claims.ACR()
	}
	if len(values) == 0 {
		values, essential = strings.Fields(a.form.Get("acr_values")), false
	}
	if len(values) == 0 {
		values = a.Client.DefaultACRValues
	}
	for _, v := range values {
		if identity.IsACR(v) && !slices.Contains(a.ACRValues, v) {
			a.ACRValues = append(a.ACRValues, v)
		}
	}
	if a.ACREssential = essential; essential && len(a.ACRValues) == 0 {
		return protocol.NewError(protocol.UnmetAuthenticationRequirements,
			"No essential acr value is supported; the metadata lists the supported ones.")
	}
	return nil
}

// requestedACR returns the first requested acr value, in order of preference, that an authentication of the class
// satisfies. It returns "" when there is none.
func (a *AuthorizationRequest) requestedACR(acr string) string {
	for _, v := range a.ACRValues {
		if identity.ACRSatisfies(acr, v) {
			return v
		}
	}
	return ""
}

// grantedACR returns the acr of the tokens for a user whose session has the class acr: the requested one that it
// satisfies, because clients and APIs compare it with the one that they requested (OIDC Core §5.5.1.1, RFC 9470 §5),
// otherwise that of the session.
func (a *AuthorizationRequest) grantedACR(acr string) string {
	if v := a.requestedACR(acr); v != "" {
		return v
	}
	return acr
}

// resolveRequiredSignIn reads which sign-in the operator requires for the client and for the resources that the tokens
// will be for: its acr, and how long ago it may have been (RFC 9470).
func (s *Server) resolveRequiredSignIn(ctx context.Context, a *AuthorizationRequest) error {
	resources, err := s.store.Resources(ctx)
	if err != nil {
		return protocol.UnavailableError(err)
	}
	intended := intendedResources(a, resources)
	if a.isOpenID() && len(a.Resources) == 0 {
		intended = append(intended, s.options.Issuer) // for userinfo
	}
	a.RequiredACR = a.Client.RequiredACR
	for _, identifier := range intended {
		r := resources[identifier]
		a.RequiredACR = identity.StrongerACR(a.RequiredACR, r.RequiredACR)
		if maxAge := r.AuthAge(); maxAge > 0 && (a.MaxAge == nil || *a.MaxAge > maxAge) {
			a.MaxAge = &maxAge
		}
	}
	a.ACRValues = slices.DeleteFunc(a.ACRValues, func(v string) bool { return !identity.ACRSatisfies(v, a.RequiredACR) })
	if a.ACREssential && len(a.ACRValues) == 0 {
		return protocol.NewError(protocol.UnmetAuthenticationRequirements,
			"The client or a resource requires the acr "+a.RequiredACR+"; the essential acr of the request must include it.")
	}
	return nil
}

// requiredACR returns the weakest acr without which the user cannot continue.
func (a *AuthorizationRequest) requiredACR(in DecisionInput) string {
	return identity.StrongerACR(a.RequiredACR, in.Policy.Required)
}

// DependsOnFactors reports whether Decide needs the strongest acr of the candidate: the session does not have the acr
// that is required, announced or requested.
func (a *AuthorizationRequest) DependsOnFactors(in DecisionInput) bool {
	if in.Candidate == nil {
		return false
	}
	acr := in.Candidate.Session.ACR
	return !identity.ACRSatisfies(acr, identity.StrongerACR(a.requiredACR(in), in.Policy.Announced)) ||
		len(a.ACRValues) > 0 && a.requestedACR(acr) == ""
}

// authenticationStep returns the step by which the user reaches the acr that the request needs: Issue when the user
// has it, Login, Enrol, or Refuse.
func (a *AuthorizationRequest) authenticationStep(in DecisionInput) Step {
	acr, required := in.Candidate.Session.ACR, a.requiredACR(in)
	switch {
	case !identity.ACRSatisfies(acr, required) && identity.ACRSatisfies(in.StrongestACR, required):
		return Login
	case !identity.ACRSatisfies(acr, required):
		return Enrol
	case len(a.ACRValues) == 0 || a.requestedACR(acr) != "":
	case a.requestedACR(in.StrongestACR) != "":
		return Login
	case a.ACREssential:
		return Refuse
	} // voluntary acr values that the user cannot reach are ignored (OIDC Core §5.5.1.1)
	announced := !identity.ACRSatisfies(identity.StrongerACR(in.StrongestACR, acr), in.Policy.Announced)
	if announced && in.Candidate.Session.EnrolmentPostponedAt == nil && !a.isSilent() {
		return Enrol
	}
	return Issue
}

// IsStepUp reports whether the step Login is only because of the acr of a user who is signed in. With any other reason,
// such as prompt=login or max_age, the user signs in from the beginning.
func (a *AuthorizationRequest) IsStepUp(in DecisionInput, now time.Time) bool {
	return in.Candidate != nil && !in.SubjectMismatch && !needsLogin(a, in.Candidate, now) &&
		a.authenticationStep(in) == Login
}

// PrefersPasskey reports whether the sign-in page should lead with passkeys before a user is signed in: no password is
// enough for users who have a passkey.
func (a *AuthorizationRequest) PrefersPasskey() bool {
	return !identity.ACRSatisfies(identity.ACRSecondFactor, a.RequiredACR) ||
		len(a.ACRValues) > 0 && a.requestedACR(identity.ACRSecondFactor) == ""
}

// NeedsPasskey reports whether the candidate must sign in with a passkey: after a sign-in with a password, which
// reaches the class byPassword, the sign-in page would be the next step again.
func (a *AuthorizationRequest) NeedsPasskey(in DecisionInput, byPassword string) bool {
	signedIn := *in.Candidate
	signedIn.Session.ACR = byPassword
	in.Candidate = &signedIn
	return a.authenticationStep(in) == Login
}

// SignInACR returns the acr that the sign-in of a user must have who can reach in.StrongestACR: the required one, or
// the most preferred requested one within reach. It returns "" when any sign-in is enough.
func (a *AuthorizationRequest) SignInACR(in DecisionInput) string {
	return identity.StrongerACR(a.requiredACR(in), a.requestedACR(in.StrongestACR))
}

// Enrolment is what a user must add to the account, or will have to.
type Enrolment struct {
	ACR         string    // that the account must be able to reach
	Postponable bool      // the user may do it later
	Since       time.Time // from when it is required; zero: not decided
}

// Enrolment returns what the step Enrol is about.
func (a *AuthorizationRequest) Enrolment(in DecisionInput) Enrolment {
	if required := a.requiredACR(in); !identity.ACRSatisfies(in.StrongestACR, required) {
		return Enrolment{ACR: required}
	}
	return Enrolment{ACR: in.Policy.Announced, Postponable: true, Since: in.Policy.Since}
}

// checkACR refuses to issue a code for a session whose acr is not enough for the operator or the client.
func (a *AuthorizationRequest) checkACR(user *identity.SignedInUser) error {
	acr := user.Session.ACR
	if !identity.ACRSatisfies(acr, a.RequiredACR) || a.ACREssential && a.requestedACR(acr) == "" {
		return a.unmetACRError()
	}
	return nil
}

func (a *AuthorizationRequest) unmetACRError() *protocol.Error {
	return a.asRedirectError(protocol.NewError(
		protocol.UnmetAuthenticationRequirements, "The user did not sign in with an acr that is required.",
	))
}

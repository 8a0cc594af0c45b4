package oauth

import (
	"slices"
	"strings"

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

// authenticationStep returns the step by which the user reaches the acr that the request needs: Issue when the user
// has it, Login, or Refuse.
func (a *AuthorizationRequest) authenticationStep(in DecisionInput) Step {
	switch {
	case len(a.ACRValues) == 0 || a.requestedACR(in.Candidate.Session.ACR) != "":
		return Issue
	case a.requestedACR(in.StrongestACR) != "":
		return Login
	case a.ACREssential:
		return Refuse
	}
	return Issue // voluntary acr values that the user cannot reach are ignored (OIDC Core §5.5.1.1)
}

// SignInACR returns the acr that the sign-in of the candidate must have, the most preferred one that the user can
// reach. It returns "" when any sign-in is enough.
func (a *AuthorizationRequest) SignInACR(in DecisionInput) string {
	return a.requestedACR(in.StrongestACR)
}

// checkACR refuses to issue a code for a session whose acr the client does not accept.
func (a *AuthorizationRequest) checkACR(user *identity.SignedInUser) error {
	if a.ACREssential && a.requestedACR(user.Session.ACR) == "" {
		return a.unmetACRError()
	}
	return nil
}

func (a *AuthorizationRequest) unmetACRError() *protocol.Error {
	return a.asRedirectError(protocol.NewError(protocol.UnmetAuthenticationRequirements,
		"The user did not and cannot sign in with one of the essential acr values "+strings.Join(a.ACRValues, " ")+"."))
}

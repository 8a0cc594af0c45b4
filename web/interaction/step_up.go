package interaction

import (
	"net/http"

	"gatehouse/identity"
	"gatehouse/ratelimit"
	"gatehouse/web/page"
)

// stepUpForAccount returns a redirect to the page of the second factor when that is all that the current user needs for
// the account page of the attempt, and nil when the user signs in from the beginning.
func (p *Pages) stepUpForAccount(
	w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, attempt loginAttempt,
) error {
	if !attempt.again || !page.IsSensitive(attempt.to) {
		return nil
	}
	request := identity.SignInRequest{ACR: identity.ACRSecondFactor} // of users who have one
	return p.stepUp(w, r, user, request, attempt.to)
}

// stepUp does the same for a request that needs a stronger acr of a user, and nothing else.
func (p *Pages) stepUp(
	w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, request identity.SignInRequest, to string,
) error {
	if !p.users.IsRecent(user) {
		return nil
	}
	if err := p.checkLimit(r, ratelimit.SignIn); err != nil {
		return err
	}
	pending, err := p.users.BeginStepUp(w, r, user, request)
	if err != nil || pending == "" {
		return err
	}
	return toFactor(pending, request.RequestID, to)
}

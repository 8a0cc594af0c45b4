package interaction

import (
	"net/http"

	"gatehouse/identity"
	"gatehouse/ratelimit"
	"gatehouse/web/page"
)

// stepUp returns a redirect to the page of the second factor when that is all that the current user needs for the
// account page of the attempt, and nil when the user signs in from the beginning.
func (p *Pages) stepUp(w http.ResponseWriter, r *http.Request, attempt loginAttempt) error {
	if !attempt.again || attempt.request != "" || !page.IsSensitive(attempt.to) {
		return nil
	}
	user, err := p.users.CurrentUser(r)
	if err != nil || user == nil || !p.users.IsRecent(user) {
		return err
	}
	if err := p.checkLimit(r, ratelimit.SignIn); err != nil {
		return err
	}
	request := identity.SignInRequest{ACR: identity.ACRSecondFactor} // of users who have one
	pending, err := p.users.BeginStepUp(w, r, user, request)
	if err != nil || pending == "" {
		return err
	}
	return toFactor(pending, "", attempt.to)
}

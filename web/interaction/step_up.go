package interaction

import (
	"net/http"

	"gatehouse/identity"
	"gatehouse/oauth"
	"gatehouse/ratelimit"
	"gatehouse/storage"
	"gatehouse/web/page"
)

// stepUpForAccount returns a redirect to the page of the second factor when that is all that the current user needs for
// the account page of the attempt, and nil when the user signs in from the beginning.
func (p *Pages) stepUpForAccount(
	w http.ResponseWriter, r *http.Request, user *identity.SignedInUser, attempt loginAttempt,
) error {
	if !attempt.again {
		return nil
	}
	acr, _, err := p.accountACR(r, user, attempt.to)
	if err != nil {
		return err
	}
	return p.stepUp(w, r, user, identity.SignInRequest{ACR: acr}, attempt.to)
}

// accountACR returns the acr with which a user must sign in again for an account page, and the factors of the user.
func (p *Pages) accountACR(
	r *http.Request, user *identity.SignedInUser, to string,
) (acr string, f storage.Factors, err error) {
	policy, err := p.users.ACRPolicy(r.Context(), user.User)
	if err != nil {
		return "", f, err
	}
	if f, err = p.users.Factors(r.Context(), user.User.ID); err != nil {
		return "", f, err
	}
	switch {
	case page.IsSensitive(to):
		acr, _ = p.users.RequireRecent(user, f, policy)
	case identity.ACRSatisfies(identity.StrongestACR(f), policy.Required):
		acr = policy.Required
	}
	return acr, f, nil
}

// accountNeedsPasskey reports whether the current user must sign in again with a passkey: for the account page, a
// password is not enough.
func (p *Pages) accountNeedsPasskey(r *http.Request, user *identity.SignedInUser, to string) (bool, error) {
	acr, f, err := p.accountACR(r, user, to)
	return !identity.ACRSatisfies(identity.StrongestPasswordACR(f), acr), err
}

// requestNeedsPasskey reports the same about a user who is signed in and a request.
func (p *Pages) requestNeedsPasskey(
	r *http.Request, a *oauth.AuthorizationRequest, user *identity.SignedInUser,
) (bool, error) {
	f, err := p.users.Factors(r.Context(), user.User.ID)
	if err != nil || f.Passkeys == 0 {
		return false, err
	}
	in := oauth.DecisionInput{Candidate: user, StrongestACR: identity.StrongestACR(f)}
	if in.Policy, err = p.users.ACRPolicy(r.Context(), user.User); err != nil {
		return false, err
	}
	return a.NeedsPasskey(in, identity.StrongestPasswordACR(f)), nil
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
	return redirectToFactor(pending, request.RequestID, to)
}

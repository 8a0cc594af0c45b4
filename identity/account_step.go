package identity

import "context"

// AccountStep is what a user who is signed in does before the account pages, in the order of the steps of an
// authorization request.
type AccountStep int

// The steps.
const (
	AccountReady  AccountStep = iota // nothing
	AccountSignIn                    // sign in again, with the acr that the policy for the user requires
	AccountTerms                     // accept the current terms of use
	AccountEnrol                     // add the factors that the policy requires, or postpone announced ones
)

// AccountStep returns the next step of a user before the account pages, and the policy for the user.
func (u *Users) AccountStep(ctx context.Context, user *SignedInUser) (AccountStep, ACRPolicy, error) {
	policy, err := u.ACRPolicy(ctx, user.User)
	if err != nil {
		return 0, policy, err
	}
	acr, strongest := user.Session.ACR, user.Session.ACR
	if !ACRSatisfies(acr, StrongerACR(policy.Required, policy.Announced)) {
		if strongest, err = u.StrongestACR(ctx, user.User.ID); err != nil {
			return 0, policy, err
		}
		strongest = StrongerACR(strongest, acr)
	}
	lacksRequired := !ACRSatisfies(acr, policy.Required)
	switch {
	case lacksRequired && ACRSatisfies(strongest, policy.Required):
		return AccountSignIn, policy, nil
	case u.MustAcceptTerms(user.User):
		return AccountTerms, policy, nil
	case lacksRequired || !ACRSatisfies(strongest, policy.Announced) && user.Session.EnrolmentPostponedAt == nil:
		return AccountEnrol, policy, nil
	}
	return AccountReady, policy, nil
}

package identity

import (
	"context"
	"errors"
	"time"

	"gatehouse/storage"
)

// ParseRequiredACR returns the acr of a requirement as an operator writes it: none, mfa or 2 for a second factor, or
// phr for a passkey.
func ParseRequiredACR(s string) (string, error) {
	switch s {
	case "none", "":
		return "", nil
	case "mfa", ACRSecondFactor:
		return ACRSecondFactor, nil
	case ACRPasskey:
		return ACRPasskey, nil
	}
	return "", errors.New("must be mfa (a second factor), phr (a passkey) or none")
}

// ACRPolicy is the acr with which a user must sign in, whatever the client.
type ACRPolicy struct {
	Required  string    // the weakest acr that is enough; empty: any
	Announced string    // what will be required; until then the user may postpone adding the factors
	Since     time.Time // from when Announced is required; zero: not decided
}

// AdminFactor is the requirement that administrators have a second factor or a passkey.
type AdminFactor struct {
	Passkey   bool       // a second factor is not enough
	Announced bool       // administrators without one are prompted to add one
	Since     *time.Time // from when they must have one; nil: not decided
}

// add adds a requirement to the policy.
func (p *ACRPolicy) add(acr string, postponable bool, since, now time.Time) {
	switch {
	case acr == "":
	case !postponable || !since.IsZero() && !now.Before(since):
		p.Required = StrongerACR(p.Required, acr)
	default:
		p.Announced = StrongerACR(p.Announced, acr)
		if !since.IsZero() && (p.Since.IsZero() || since.Before(p.Since)) {
			p.Since = since
		}
	}
}

// ACRPolicy returns the policy for a user: the requirements of the groups and roles of the user, and that of
// administrators.
func (u *Users) ACRPolicy(ctx context.Context, user storage.User) (p ACRPolicy, err error) {
	now := u.store.Now()
	if a := u.options.AdminFactor; user.Admin && a.Announced {
		since := time.Time{}
		if a.Since != nil {
			since = *a.Since
		}
		acr := ACRSecondFactor
		if a.Passkey {
			acr = ACRPasskey
		}
		p.add(acr, true, since, now)
	}
	requirements, err := u.store.UserRequirements(ctx, user.ID)
	for _, r := range requirements {
		until := time.Time{}
		if r.EnrolUntil != nil {
			until = *r.EnrolUntil
		}
		p.add(r.RequiredACR, r.EnrolUntil != nil, until, now)
	}
	return p, err
}

// StrongestACR returns the strongest acr that a user with the factors can sign in with.
func StrongestACR(f storage.Factors) string {
	switch {
	case f.HardwarePasskeys > 0:
		return ACRHardwarePasskey
	case f.Passkeys > 0:
		return ACRPasskey
	case f.Password && f.HasSecondFactor():
		return ACRSecondFactor
	case f.Password:
		return ACRPassword
	}
	return ""
}

// StrongestPasswordACR returns the strongest acr that a user with the factors can sign in with on the form for the
// password, without a passkey.
func StrongestPasswordACR(f storage.Factors) string {
	f.Passkeys, f.HardwarePasskeys = 0, 0
	return StrongestACR(f)
}

// StrongestACR returns the strongest acr that the user can sign in with.
func (u *Users) StrongestACR(ctx context.Context, userID string) (string, error) {
	f, err := u.store.Factors(ctx, userID)
	return StrongestACR(f), err
}

// recentSignIn is how long after a sign-in sensitive actions are possible without another one.
const recentSignIn = 10 * time.Minute

// RequireRecent reports whether the session of a user with the factors allows a sensitive action on the account (PE17):
// the user signed in within the last 10 minutes and, if the user has a second factor or a passkey, with it. Where the
// policy requires a stronger one that the user has, such as a passkey in addition to TOTP, that one is needed.
// Otherwise it returns the acr that the user must sign in with.
func (u *Users) RequireRecent(user *SignedInUser, f storage.Factors, policy ACRPolicy) (acr string, ok bool) {
	acr = ACRPassword
	switch {
	case f.HasSecondFactor():
		acr = ACRSecondFactor
	case f.Passkeys > 0: // the password alone must not add a passkey, which signs in with a higher acr
		acr = ACRPasskey
	}
	if ACRSatisfies(StrongestACR(f), policy.Required) {
		acr = StrongerACR(acr, policy.Required)
	}
	return acr, u.IsRecent(user) && ACRSatisfies(user.Session.ACR, acr)
}

// MayChangeAccount reports whether the session of a user with the factors allows a sensitive action on the account, as
// RequireRecent does with the policy for the user.
func (u *Users) MayChangeAccount(ctx context.Context, user *SignedInUser, f storage.Factors) (bool, error) {
	policy, err := u.ACRPolicy(ctx, user.User)
	if err != nil {
		return false, err
	}
	_, ok := u.RequireRecent(user, f, policy)
	return ok, nil
}

// IsRecent reports whether the user signed in within the last 10 minutes.
func (u *Users) IsRecent(user *SignedInUser) bool {
	age := u.store.Now().Sub(user.Session.AuthTime)
	return age >= 0 && age <= recentSignIn
}

// PostponeEnrolment stores that the user adds the announced factors later. The session prompts for them again at the
// next sign-in.
func (u *Users) PostponeEnrolment(ctx context.Context, user *SignedInUser) error {
	return u.store.PostponeEnrolment(ctx, user.User.ID, user.Session.ID)
}

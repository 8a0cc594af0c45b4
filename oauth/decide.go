package oauth

import (
	"slices"
	"time"

	"gatehouse/identity"
	"gatehouse/oauth/redirect"
	"gatehouse/storage"
)

// Step is what happens next with an authorization request.
type Step int

// The steps.
const (
	Login   Step = iota // the person signs in, perhaps again
	Consent             // the person decides
	Issue               // a code is issued without asking
	Refuse              // prompt=none cannot be met
)

// Decide is the only place that chooses the next step, and a pure function. who is nil when nobody is signed in, and
// consent is nil when the person has not allowed the client anything. With Refuse comes the error to tell the client.
func Decide(a *Authorization, who *identity.SignedIn, consent *storage.Consent, now time.Time) (Step, *RedirectError) {
	silent := slices.Contains(a.Prompt, "none")
	refuse := func(code, description string) (Step, *RedirectError) {
		return Refuse, &RedirectError{Cause: fail(code, description), RedirectURI: a.RedirectURI, State: a.State}
	}
	if needsLogin(a, who, now) {
		if silent {
			return refuse(LoginRequired, "The person must sign in first.")
		}
		return Login, nil
	}
	if needsConsent(a, consent) {
		if silent {
			return refuse(ConsentRequired, "The person must be asked first.")
		}
		return Consent, nil
	}
	return Issue, nil
}

// needsLogin: prompt=login, select_account and an exceeded max_age are met only by a sign-in after the request was made.
func needsLogin(a *Authorization, who *identity.SignedIn, now time.Time) bool {
	if who == nil {
		return true
	}
	if who.Session.AuthTime.After(a.CreatedAt) {
		return false
	}
	if slices.Contains(a.Prompt, "login") || slices.Contains(a.Prompt, "select_account") {
		return true
	}
	return a.MaxAge != nil && now.Sub(who.Session.AuthTime) >= *a.MaxAge
}

// needsConsent: everything asked for was allowed before, or the operator vouches for the client. Neither counts for a
// public client whose answer any app on the device could catch (RFC 8252 §8.6).
func needsConsent(a *Authorization, consent *storage.Consent) bool {
	if slices.Contains(a.Prompt, "consent") || a.Client.Public() && redirect.Impersonable(a.RedirectURI) {
		return true
	}
	if a.Client.SkipConsent {
		return false
	}
	// A consent without scopes may be one that the operator vouched for, which nobody was asked about.
	return consent == nil || len(consent.Scopes) == 0 || slices.ContainsFunc(a.Scopes, func(name string) bool { return !consent.Scopes.Has(name) })
}

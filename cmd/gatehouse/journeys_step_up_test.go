package main

import (
	"maps"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
)

// useSample signs in at the sample app, where the user has no session.
func (j *journey) useSample() {
	j.t.Helper()
	j.do("open the app", deleteAppCookie(j.d), chromedp.Navigate(j.d.sample))
	j.press("Sign in with Gatehouse")
}

// signInToAccount signs in without a page that needs the second factor.
func (j *journey) signInToAccount() {
	j.t.Helper()
	j.open("/login?to=account")
	j.do("wait for the form", visible("to see your connected apps"))
	j.enter("Username or email", j.name)
	j.enter("Password", journeyPassword+kb.Enter)
}

// stepUp adds the second factor that an app requires, on the way to it, and later confirms a sign-in in a remembered
// browser with only a code.
func (j *journey) stepUp() {
	env := maps.Clone(j.d.env)
	env["GATEHOUSE_FETCH_ALLOW_HOSTS"] = "localhost,127.0.0.1"
	mustRun(j.t, env, "", "client", "update", "Sample Notes", "--required-acr", "mfa")
	j.useSample()
	j.look("app-login", "The app never sees it")
	j.enter("Username or email", j.name)
	j.enter("Password", journeyPassword+kb.Enter)
	j.look("enrol", "Your organization requires a second factor")
	j.press("Set it up now")
	j.look("app-waits", "An app requires something from this page")
	codes := j.setUpApp("required-app", 0)
	j.press("I have saved the codes")
	j.do("wait for the page", visible("Continue to the app"))
	j.press("Continue to the app")
	j.look("consent", "wants access to your account") // without a code: the session has both factors
	j.press("Allow")
	j.do("wait for the app", visible("You are signed in"))
	j.signOut()
	j.signInToAccount()
	j.do("wait for the second factor", visible("Confirm that it is you"))
	// Tab and space select that the browser needs no code for 30 days.
	j.enter("Code from your app, or a recovery code", codes[0]+kb.Tab+" "+kb.Enter)
	j.do("wait for the account", visible("Connected apps"))
	j.signOut()
	j.signInToAccount()
	j.do("wait for the account, without a code", visible("Connected apps"))
	j.useSample()
	j.look("step-up", "Enter the code that your authenticator app shows")
	j.enter("Code from your app, or a recovery code", codes[1]+kb.Enter)
	j.do("wait for the app", visible("You are signed in"))
}

// passkey adds a passkey and signs in with it, also where a password is not enough.
func (j *journey) passkey() {
	j.do("add an authenticator", addAuthenticator(), beforeScripts(withoutAutofill))
	j.signIn(journeyPassword)
	j.do("wait for the page", visible("You have no passkeys"))
	j.press("Add a passkey")
	j.look("passkey-added", "The passkey was added")
	j.signOut()
	j.open("/login?then=security")
	j.press("Sign in with a passkey")
	j.look("passkey-used", "last used")
	mustRun(j.t, j.d.env, "", "group", "create", "strict")
	mustRun(j.t, j.d.env, "", "group", "update", "strict", "--required-acr", "phr")
	mustRun(j.t, j.d.env, "", "group", "add", "strict", j.name)
	j.signOut()
	j.signInToAccount()
	j.look("passkey-required", "A passkey is required")
	j.press("Sign in with a passkey")
	j.do("wait for the account", visible("Connected apps"))
}

package main

import (
	"context"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"
)

// addAuthenticator returns a step that gives the tab an authenticator in software.
func addAuthenticator() step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &webauthn.VirtualAuthenticatorOptions{
				Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
				HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
			},
		})
		return err
	})
}

// withoutAutofill returns a step after which pages cannot offer passkeys by autofill.
func withoutAutofill() step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: "delete PublicKeyCredential.isConditionalMediationAvailable",
		})
		return err
	})
}

// TestPasskeyInBrowser adds a passkey on the account page, signs in with it (PE2, PE10), and removes it (PE8).
func TestPasskeyInBrowser(t *testing.T) {
	requireEnv(t, "CHROME")
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	b := openBrowser(t)
	b.do("sign in with the password", addAuthenticator(), chromedp.Navigate(d.issuer+"/login?then=security"),
		fill("username", "demo"), fill("password", d.password), press("Sign in"), visible("You have no passkeys"))
	b.checkLayout("security")
	b.do("add a passkey", press("Add a passkey"), visible("The passkey was added"), visible("this device only"))
	b.checkLayout("security-passkey")
	b.do("sign out", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
	b.do("sign in by autofill", chromedp.Navigate(d.issuer+"/login?then=security"), visible("Authenticator app"))
	b.do("sign out again", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
	b.do("sign in by the button", withoutAutofill(), chromedp.Navigate(d.issuer+"/login?then=security"),
		press("Sign in with a passkey"), visible("Authenticator app"))
	b.do("remove the passkey", visible("last used"), press("Remove"), visible("The passkey was removed"))
}

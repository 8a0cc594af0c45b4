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
	return addVirtualAuthenticator(webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportInternal,
		HasResidentKey: true, HasUserVerification: true, IsUserVerified: true, AutomaticPresenceSimulation: true,
	})
}

// addSecurityKey returns a step that gives the tab a security key that cannot verify the user.
func addSecurityKey() step {
	return addVirtualAuthenticator(webauthn.VirtualAuthenticatorOptions{
		Protocol: webauthn.AuthenticatorProtocolCtap2, Transport: webauthn.AuthenticatorTransportUsb,
		AutomaticPresenceSimulation: true,
	})
}

func addVirtualAuthenticator(options webauthn.VirtualAuthenticatorOptions) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		if _, err := cdp.Call(ctx, t, webauthn.Enable, webauthn.EnableParams{}); err != nil {
			return err
		}
		_, err := cdp.Call(ctx, t, webauthn.AddVirtualAuthenticator, webauthn.AddVirtualAuthenticatorParams{
			Options: &options,
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
	b.do("remove the passkey", visible("last used"), followLink("Remove"), visible("can then no longer sign in"),
		press("Remove"), visible("It was removed"))
}

// TestSecurityKeyInBrowser adds a security key without user verification on the account page, sees recovery codes, and
// signs in with the password and the key (PE1, PE8).
func TestSecurityKeyInBrowser(t *testing.T) {
	requireEnv(t, "CHROME")
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	b := openBrowser(t)
	b.do("sign in with the password", addSecurityKey(), chromedp.Navigate(d.issuer+"/login?then=security"),
		fill("username", "demo"), fill("password", d.password), press("Sign in"), visible("You have no security keys"))
	b.do("add a security key", press("Add a security key"), visible("Save your recovery codes"))
	b.do("sign out", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
	b.do("sign in with the password again", chromedp.Navigate(d.issuer+"/login?then=security"),
		fill("username", "demo"), fill("password", d.password), press("Sign in"), visible("Use your security key, or"))
	b.checkLayout("factor-security-key")
	b.do("use the security key", press("Use your security key"), visible("last used"))
	b.checkLayout("security-key")
	b.do("remove the security key", followLink("Remove"), visible("no longer accepted"), press("Remove"),
		visible("It was removed"), visible("You have no security keys"))
}

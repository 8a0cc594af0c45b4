package main

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/page"
	"github.com/chromedp/cdproto/webauthn"
	"github.com/chromedp/chromedp"

	"gatehouse/storage/storagetest"
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

// beforeScripts returns a step that runs a script in every later page, before those of the page.
func beforeScripts(script string) step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, page.AddScriptToEvaluateOnNewDocument, page.AddScriptToEvaluateOnNewDocumentParams{
			Source: script,
		})
		return err
	})
}

// The scripts that change the browser: it does not offer passkeys by autofill, has no conversions to and from JSON, or
// records what pages signal to password managers.
const (
	withoutAutofill    = "delete PublicKeyCredential.isConditionalMediationAvailable"
	withoutConversions = `delete PublicKeyCredential.parseCreationOptionsFromJSON;
		delete PublicKeyCredential.parseRequestOptionsFromJSON;
		delete PublicKeyCredential.prototype.toJSON;`
	recordSignals = `for (const name of ["AllAcceptedCredentials", "CurrentUserDetails", "UnknownCredential"])
		PublicKeyCredential["signal" + name] = async (o) => { localStorage[name] = JSON.stringify(o); };`
)

// signalled returns what pages signalled to password managers since the last call.
func (b *tab) signalled() (out struct {
	AllAcceptedCredentials *struct {
		RPID, UserID             string
		AllAcceptedCredentialIDs []string
	}
	CurrentUserDetails *struct{ RPID, UserID, Name, DisplayName string }
	UnknownCredential  *struct{ RPID, CredentialID string }
}) {
	b.t.Helper()
	stored := evaluate[string](b, `(() => {
		const all = Object.entries(localStorage).map(([name, value]) => [name, JSON.parse(value)]);
		localStorage.clear();
		return JSON.stringify(Object.fromEntries(all));
	})()`)
	storagetest.Must(b.t, json.Unmarshal([]byte(stored), &out))
	return out
}

// TestPasskeyInBrowser adds a passkey on the account page, signs in with it (PE2), and removes it (PE8), also without
// the conversions to and from JSON of the browser (PE10). Password managers learn of each change (PE6).
func TestPasskeyInBrowser(t *testing.T) {
	requireEnv(t, "CHROME")
	t.Parallel()
	d := startDev(t, t.TempDir(), nil)
	b := openBrowser(t)
	b.do("sign in with the password", addAuthenticator(), beforeScripts(recordSignals),
		chromedp.Navigate(d.issuer+"/login?then=security"), fill("username", "demo"), fill("password", d.password),
		press("Sign in"), visible("You have no passkeys"))
	b.checkLayout("security")
	if got := b.signalled(); got.AllAcceptedCredentials != nil || got.CurrentUserDetails != nil {
		t.Errorf("before the first passkey: %+v, want no signal", got)
	}
	b.do("add a passkey", press("Add a passkey"), visible("The passkey was added"), visible("this device only"))
	b.checkLayout("security-passkey")
	added := b.signalled().AllAcceptedCredentials
	if added == nil || added.RPID != "localhost" || len(added.AllAcceptedCredentialIDs) != 1 || len(added.UserID) != 43 {
		t.Fatalf("after the first passkey: %+v, want a signal with it", added)
	}
	b.do("change the name", chromedp.Navigate(d.issuer+"/account/profile"),
		chromedp.SetValue(chromedp.CSS("#name"), "Demi"), press("Save"), visible("Your profile was saved"))
	if got := b.signalled().CurrentUserDetails; got == nil || got.RPID != "localhost" || got.UserID != added.UserID ||
		got.Name != "demo" || got.DisplayName != "Demi" {
		t.Errorf("after a change of the name: %+v, want a signal with it", got)
	}
	b.do("sign out", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
	b.do("sign in by autofill", chromedp.Navigate(d.issuer+"/login?then=security"), visible("Authenticator app"))
	b.do("sign out again", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
	b.do("sign in by the button", beforeScripts(withoutAutofill), beforeScripts(withoutConversions),
		chromedp.Navigate(d.issuer+"/login?then=security"), press("Sign in with a passkey"), visible("Authenticator app"))
	if evaluate[bool](b, `"toJSON" in PublicKeyCredential.prototype ||
		"parseRequestOptionsFromJSON" in PublicKeyCredential`) {
		t.Error("the browser has conversions to and from JSON")
	}
	remove := []step{
		followLink("Remove"), visible("will no longer be able to sign in"), press("Remove"), visible("It was removed"),
	}
	b.do("remove the passkey", append([]step{visible("last used")}, remove...)...)
	got := b.signalled()
	if accepted := got.AllAcceptedCredentials; accepted == nil || len(accepted.AllAcceptedCredentialIDs) != 0 ||
		got.UnknownCredential != nil {
		t.Errorf("after the passkey was removed: %+v, want a signal without it", got)
	}
	b.do("add another passkey", press("Add a passkey"), visible("The passkey was added"))
	again := b.signalled().AllAcceptedCredentials
	b.do("remove that", remove...)
	b.do("sign out", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
	b.do("sign in with a removed passkey", chromedp.Navigate(d.issuer+"/login?then=security"),
		press("Sign in with a passkey"), visible("The passkey was not accepted"))
	if got := b.signalled().UnknownCredential; got == nil || again == nil || got.RPID != "localhost" ||
		got.CredentialID != again.AllAcceptedCredentialIDs[0] {
		t.Errorf("after a sign-in with a removed passkey: %+v, want a signal with it, of %+v", got, again)
	}
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
	b.do("remove the security key", followLink("Remove"), visible("no longer be able to use"), press("Remove"),
		visible("It was removed"), visible("You have no security keys"))
}

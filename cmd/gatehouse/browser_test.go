package main

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/oauth2"

	"gatehouse/storage"
)

// signIn fills in the sign-in form.
func (b *tab) signIn(d *devServer) {
	b.t.Helper()
	b.do("sign in", visible("to continue to"), chromedp.SendKeys(chromedp.CSS("#username"), "demo"),
		chromedp.SendKeys(chromedp.CSS("#password"), d.password), press("Sign in"))
}

// begin goes from the sample app to the sign-in page.
func (b *tab) begin(d *devServer) {
	b.t.Helper()
	b.do("open the app", chromedp.Navigate(d.sample), press("Sign in with Gatehouse"), visible("to continue to"))
}

func TestBrowserJourneys(t *testing.T) {
	needs(t, "CHROME")
	d := startDev(t, t.TempDir(), nil)

	t.Run("sign in, use, refresh, revoke and sign out", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.looks("login")
		b.signIn(d)
		b.do("consent", visible("wants access to your account"), visible("Write and change your notes"))
		b.looks("consent")
		b.do("allow", press("Allow"), visible("You are signed in"), visible("notes.write"), visible("at+jwt"))
		b.looks("sample")
		b.do("call the API", press("Call the API"), visible("Read RFC 9700"))
		b.do("refresh", press("Refresh the tokens"), visible("The tokens are new"), press("Call the API"), visible("Read RFC 9700"), press("Refresh the tokens"), visible("The tokens are new"))
		b.do("revoke", press("Revoke the tokens"), visible("The tokens are revoked"))
		b.do("refresh in vain", press("Refresh the tokens"), visible("invalid_grant"))
		b.do("sign out of the app", press("Sign out"), visible("You are signed out of this app and at"), visible("You are not signed in"))
		// Signed out at Gatehouse too, and sent back; the consent is remembered.
		b.do("sign in again", press("Sign in with Gatehouse"))
		b.signIn(d)
		b.do("without a prompt", visible("You are signed in"))
		// Signed in at Gatehouse: no page at all for another app session.
		b.do("delete the cookie of the app", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, network.DeleteCookies, network.DeleteCookiesParams{Name: "sample_session", URL: d.sample})
			return err
		}), chromedp.Navigate(d.sample), press("Sign in with Gatehouse"), visible("You are signed in"))
	})

	t.Run("who you are, by ID token and userinfo", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.signIn(d)
		b.do("get to the app", visible("You are signed in as Demo User"))
		id, info := evaluate[string](b, `document.querySelector("#id-token").textContent`), evaluate[string](b, `document.querySelector("#userinfo").textContent`)
		if !strings.Contains(id, `"nonce"`) || !strings.Contains(id, d.issuer) || strings.Contains(id, "demo@example.com") || !strings.Contains(info, `"email": "demo@example.com"`) {
			t.Errorf("ID token %s\nuserinfo %s", id, info)
		}
		b.do("open the profile", chromedp.Navigate(d.issuer+"/account"), chromedp.Click(`//a[normalize-space(.)="Your profile"]`), visible("Contact"))
		b.looks("profile")
		b.do("change it", chromedp.SetValue(chromedp.CSS("#nickname"), "Demi"), chromedp.SetValue(chromedp.CSS("#birthdate"), "tomorrow"), press("Save"), visible("Nothing was saved"))
		b.looks("profile-wrong")
		b.do("correct it", chromedp.SetValue(chromedp.CSS("#birthdate"), "1990-12-31"), press("Save"), visible("Your profile was saved"),
			chromedp.Navigate(d.sample), press("Load the userinfo"), visible("Demi"), visible("1990-12-31"))
	})

	t.Run("several users choose, and a sign-out reaches the app", func(t *testing.T) {
		env := map[string]string{}
		for k, v := range d.env {
			env[k] = v
		}
		if _, stderr, code := command(t, env, "a second password\n", "user", "create", "--username", "second", "--email", "second@example.com", "--name", "Second User", "--password-stdin"); code != exitOK {
			t.Fatal(stderr)
		}
		b := openBrowser(t)
		b.begin(d)
		b.signIn(d)
		b.do("get to the app", visible("You are signed in as Demo User"))
		b.do("add an account", chromedp.Navigate(d.issuer+"/account"), chromedp.Click(`//a[normalize-space(.)="Add an account"]`), visible("Sign in"),
			chromedp.SendKeys(chromedp.CSS("#username"), "second"), chromedp.SendKeys(chromedp.CSS("#password"), "a second password"), press("Sign in"), visible("Second User"), visible("Switch account"))
		b.looks("account-two")
		app := b.another()
		app.do("start again", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, network.DeleteCookies, network.DeleteCookiesParams{Name: "sample_session", URL: d.sample})
			return err
		}), chromedp.Navigate(d.sample), press("Sign in with Gatehouse"), visible("Choose an account"), visible("second@example.com"))
		app.looks("select")
		app.do("choose", chromedp.Click(`//button[contains(., "Demo User")]`), visible("You are signed in as Demo User"))
		b.do("open the chooser of the account pages", chromedp.Navigate(d.issuer+"/select"), chromedp.Click(`//button[contains(., "Demo User")]`), visible("Demo User"), visible("Connected apps"))
		b.do("sign out at the server", press("Sign out"), visible("You are signed out"), visible("These accounts are still signed in"), visible("second@example.com"))
		b.looks("signed-out-others")
		deadline := time.Now().Add(20 * time.Second)
		for !strings.Contains(app.text(), "You were signed out at the server") {
			if time.Now().After(deadline) {
				t.Fatalf("the app was not notified: %s", app.text())
			}
			app.do("look again", chromedp.Navigate(d.sample), visible("Sample Notes"))
		}
		b.do("the other is still there", chromedp.Navigate(d.issuer+"/account"), visible("Second User"))
		b.do("open the sign-out page", chromedp.Navigate(d.issuer+"/oauth2/logout"), visible("Sign out?"), visible("second@example.com"))
		b.looks("logout")
		b.do("stay", press("Stay signed in"), visible("Connected apps"), visible("Second User"))
		b.do("and go", chromedp.Navigate(d.issuer+"/oauth2/logout"), press("Sign out"), visible("You are signed out"))
	})

	t.Run("a response by form, with and without JavaScript", func(t *testing.T) {
		posted := make(chan url.Values, 1)
		app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Method == http.MethodPost && r.ParseForm() == nil {
				posted <- r.PostForm
			}
			_, _ = w.Write([]byte("the app has the response"))
		}))
		defer app.Close()
		id, _ := (&cluster{env: d.env}).client(t, `{"client_name":"Form","redirect_uris":["`+app.URL+`/cb"],"scope":"openid"}`)
		verifier := oauth2.GenerateVerifier()
		address := (&oauth2.Config{ClientID: id, RedirectURL: app.URL + "/cb", Scopes: []string{"openid"}, Endpoint: oauth2.Endpoint{AuthURL: d.issuer + "/oauth2/authorize"}}).
			AuthCodeURL("the state", oauth2.S256ChallengeOption(verifier), oauth2.SetAuthURLParam("response_mode", "form_post"))
		checkResponse := func() {
			t.Helper()
			if form := <-posted; form.Get("code") == "" || form.Get("state") != "the state" || form.Get("iss") != d.issuer {
				t.Errorf("posted %v", form)
			}
		}
		b := openBrowser(t)
		b.do("authorize", chromedp.Navigate(address))
		b.signIn(d)
		b.do("allow", visible("wants access"), press("Allow"), visible("the app has the response"))
		checkResponse()
		b.do("without JavaScript", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			return err
		}), chromedp.Navigate(address), visible("JavaScript is off in this browser"))
		b.looks("form-post")
		b.do("continue", press("Continue"), visible("the app has the response"))
		checkResponse()
	})

	t.Run("open the app from the account page", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.signIn(d)
		b.do("get to the app", visible("You are signed in"))
		b.do("open it from the account page", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, network.DeleteCookies, network.DeleteCookiesParams{Name: "sample_session", URL: d.sample})
			return err
		}), chromedp.Navigate(d.issuer+"/account"), chromedp.Click(`//a[normalize-space(.)="Open"]`), visible("You are signed in as Demo User"))
	})

	t.Run("deny", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.do("require consent again", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return withdraw(ctx, d) }))
		b.signIn(d)
		b.do("deny", visible("wants access"), press("Don’t allow"), visible("you did not allow it"), visible("You are not signed in"))
	})

	t.Run("untick a scope", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.signIn(d)
		b.do("untick", visible("wants access"), chromedp.Click(chromedp.CSS(`input[name=scope][value="notes.write"]`)), press("Allow"), visible("You are signed in"))
		if text := b.text(); strings.Contains(text, "notes.write") || !strings.Contains(text, "notes.read") {
			t.Errorf("the unticked scope was granted: %s", text)
		}
		b.do("sign out", chromedp.Navigate(d.sample), press("Sign out"), visible("You are not signed in"), press("Sign in with Gatehouse"))
		b.signIn(d)
		b.do("the refusal is remembered without a page", visible("You are signed in"))
		if text := b.text(); strings.Contains(text, "notes.write") || !strings.Contains(text, "notes.read") {
			t.Errorf("the unticked scope was granted the next time: %s", text)
		}
		b.do("start over", chromedp.Navigate(d.sample), press("Sign out"), visible("You are not signed in"),
			chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return withdraw(ctx, d) }), press("Sign in with Gatehouse"))
		b.signIn(d)
		b.do("and prompted for all", visible("wants access"), chromedp.WaitVisible(chromedp.CSS(`input[name=scope][value="notes.write"]:checked`)), press("Allow"), visible("notes.write"))
	})

	t.Run("withdraw on the account page", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.signIn(d)
		b.do("get to the app", visible("You are signed in"))
		b.do("open the account", chromedp.Navigate(d.issuer+"/account"), visible("Connected apps"), visible("Sample Notes"), visible("this browser"))
		b.looks("account")
		b.do("withdraw", chromedp.Click(`//a[normalize-space(.)="Withdraw access"]`), visible("Withdraw the access of"))
		b.looks("withdraw")
		b.do("confirm", press("Withdraw access"), visible("Access was withdrawn"), visible("No app has access"))
		b.looks("account-empty")
		b.do("the app is out", chromedp.Navigate(d.sample), press("Refresh the tokens"), visible("invalid_grant"))
		b.do("sign out", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
		b.looks("signed-out")
	})

	t.Run("two tabs", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		second := b.another()
		second.do("the same request twice over", chromedp.Navigate(d.issuer+"/login"), visible("Sign in"))
		second.do("sign in there", chromedp.SendKeys(chromedp.CSS("#username"), "demo@example.com"), chromedp.SendKeys(chromedp.CSS("#password"), d.password), press("Sign in"), visible("Your account"))
		b.signIn(d)
		b.do("the first tab continues", visible("wants access"), press("Allow"), visible("You are signed in"))
	})

	t.Run("without JavaScript", func(t *testing.T) {
		b := openBrowser(t)
		b.do("turn it off", chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
			_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
			return err
		}))
		b.begin(d)
		b.signIn(d)
		b.do("get to the app", visible("You are signed in"), visible("notes.read"))
	})

	t.Run("by keyboard alone", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.do("the name has the focus", chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error { return withdraw(ctx, d) }), chromedp.KeyEvent("demo"+kb.Tab+d.password+kb.Enter), visible("wants access"))
		// Skip link, not-you link or box, then the buttons: each reachable by Tab, in the order of the page.
		var order []string
		for range 4 {
			b.do("tab", chromedp.KeyEvent(kb.Tab))
			order = append(order, evaluate[string](b, `(document.activeElement.name || "") + "=" + (document.activeElement.value || document.activeElement.textContent)`))
		}
		if got := strings.Join(order, ","); !strings.HasPrefix(got, "=Skip to the content,scope=notes.write,decision=approve,decision=deny") {
			t.Errorf("the order of the keyboard is %s", got)
		}
		b.do("back to Allow", chromedp.Focus(chromedp.CSS(`button[value=approve]`)), chromedp.KeyEvent(kb.Enter), visible("You are signed in"))
	})

	t.Run("wrong password and error pages", func(t *testing.T) {
		b := openBrowser(t)
		b.begin(d)
		b.do("a wrong password", chromedp.SendKeys(chromedp.CSS("#username"), "demo"), chromedp.SendKeys(chromedp.CSS("#password"), "wrong"), press("Sign in"), visible("is incorrect"))
		b.looks("login-wrong")
		b.do("an unknown app", chromedp.Navigate(d.issuer+"/oauth2/authorize?client_id=unknown&response_type=code"), visible("does not work"), visible("is not registered with this server"))
		b.looks("error")
		if violations := evaluate[int](b, `document.querySelectorAll("script, [style], [onclick]").length`); violations > 0 {
			t.Errorf("%d inline scripts or styles", violations)
		}
	})
}

// withdraw withdraws the consent of the demo user, so that the next request needs it again.
func withdraw(ctx context.Context, d *devServer) error {
	store, err := storage.Open(ctx, storage.Options{URL: d.env["GATEHOUSE_DATABASE_URL"], Pool: 1})
	if err != nil {
		return err
	}
	user, err := store.UserByKey(ctx, "demo")
	if err != nil {
		return err
	}
	consents, err := store.Consents(ctx, user.ID)
	for _, c := range consents {
		err = errors.Join(err, store.WithdrawConsent(ctx, user.ID, c.ID))
	}
	return errors.Join(err, store.Close(ctx))
}

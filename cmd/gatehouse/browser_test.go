package main

import (
	"context"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"
	"golang.org/x/oauth2"

	"gatehouse/storage"
)

// signIn fills in the sign-in form.
func (b *tab) signIn(d *devServer) {
	b.t.Helper()
	b.do("sign in", visible("to continue to"), fill("username", "demo"), fill("password", d.password), press("Sign in"))
}

// startSignIn starts a sign-in at the sample app and waits for the sign-in page.
func (b *tab) startSignIn(d *devServer) {
	b.t.Helper()
	b.do("start a sign-in at the app", chromedp.Navigate(d.sample), press("Sign in with Gatehouse"),
		visible("to continue to"))
}

// deleteAppCookie returns a step that ends the session at the sample app, but not that at Gatehouse.
func deleteAppCookie(d *devServer) step {
	return callStep(network.DeleteCookies, network.DeleteCookiesParams{Name: "sample_session", URL: d.sample})
}

// withdrawConsent returns a step that withdraws the consent of the demo user, so that the next request needs it again.
func withdrawConsent(d *devServer) step {
	return chromedp.Func(func(ctx context.Context, _ *chromedp.Target) error {
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
	})
}

// TestFlowsWorkInBrowser runs all flows on one server, one after the other: the consent of the demo user stays stored.
func TestFlowsWorkInBrowser(t *testing.T) {
	requireEnv(t, "CHROME")
	d, browser := startDev(t, t.TempDir(), nil), openBrowser(t)
	for _, flow := range []struct {
		name string
		run  func(t *testing.T, b *tab, d *devServer)
	}{
		{"sign in, use, refresh, revoke and sign out", testTokensInBrowser},
		{"profile in ID token and userinfo", testProfileInBrowser},
		{"several users choose, and a sign-out reaches the app", testSeveralUsersInBrowser},
		{"a response by form, with and without JavaScript", testFormPostInBrowser},
		{"open the app from the account page", testAppFromAccountPage},
		{"deny", testDenyInBrowser},
		{"deselect a scope", testOptionalScopeInBrowser},
		{"withdraw on the account page", testWithdrawInBrowser},
		{"two tabs", testTwoTabs},
		{"without JavaScript", testWithoutJavaScript},
		{"by keyboard", testKeyboard},
		{"wrong password and error pages", testErrorPagesInBrowser},
	} {
		t.Run(flow.name, func(t *testing.T) { flow.run(t, browser.openProfile(t), d) })
	}
}

func testTokensInBrowser(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.checkLayout("login")
	b.signIn(d)
	b.do("wait for the consent page", visible("wants access to your account"), visible("Write and change your notes"))
	b.checkLayout("consent")
	b.do("allow", press("Allow"), visible("You are signed in"), visible("notes.write"), visible("at+jwt"))
	b.checkLayout("sample")
	b.do("call the API", press("Call the API"), visible("Read RFC 9700"))
	b.do("refresh and call the API", press("Refresh the tokens"), visible("The tokens are new"),
		press("Call the API"), visible("Read RFC 9700"))
	b.do("refresh again", press("Refresh the tokens"), visible("The tokens are new"))
	b.do("revoke", press("Revoke the tokens"), visible("The tokens are revoked"))
	b.do("refresh with a revoked token", press("Refresh the tokens"), visible("invalid_grant"))
	b.do("sign out of the app", press("Sign out"), visible("You are signed out of this app and at"),
		visible("You are not signed in"))
	// The user was signed out at Gatehouse too and redirected to the app; the consent is still stored.
	b.do("sign in again", press("Sign in with Gatehouse"))
	b.signIn(d)
	b.do("wait for the app, without a consent page", visible("You are signed in"))
	// The user is signed in at Gatehouse: another session at the app needs no page.
	b.do("sign in without a page", deleteAppCookie(d), chromedp.Navigate(d.sample), press("Sign in with Gatehouse"),
		visible("You are signed in"))
}

func testProfileInBrowser(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.signIn(d)
	b.do("wait for the app", visible("You are signed in as Demo User"))
	id := evaluate[string](b, `document.querySelector("#id-token").textContent`)
	if !strings.Contains(id, `"nonce"`) || !strings.Contains(id, d.issuer) || strings.Contains(id, "demo@example.com") {
		t.Errorf("ID token = %s, want a nonce and the issuer %s, without the email address", id, d.issuer)
	}
	info := evaluate[string](b, `document.querySelector("#userinfo").textContent`)
	if !strings.Contains(info, `"email": "demo@example.com"`) {
		t.Errorf("userinfo = %s, want the email address", info)
	}
	b.do("open the profile", chromedp.Navigate(d.issuer+"/account"), followLink("Profile"), visible("Contact"))
	b.checkLayout("profile")
	b.do("enter an invalid birthdate", chromedp.SetValue(chromedp.CSS("#nickname"), "Demi"),
		chromedp.SetValue(chromedp.CSS("#birthdate"), "tomorrow"), press("Save"), visible("Nothing was saved"))
	b.checkLayout("profile-wrong")
	b.do("correct the birthdate", chromedp.SetValue(chromedp.CSS("#birthdate"), "1990-12-31"), press("Save"),
		visible("Your profile was saved"))
	b.do("load the userinfo", chromedp.Navigate(d.sample), press("Load the userinfo"), visible("Demi"),
		visible("1990-12-31"))
}

func testSeveralUsersInBrowser(t *testing.T, b *tab, d *devServer) {
	createUser(t, d.env, "second", "a second password", "--name", "Second User")
	b.startSignIn(d)
	b.signIn(d)
	b.do("wait for the app", visible("You are signed in as Demo User"))
	b.do("open the sign-in page for another account", chromedp.Navigate(d.issuer+"/account"),
		followLink("Add an account"), visible("Sign in"))
	b.do("sign in as the second user", fill("username", "second"), fill("password", "a second password"),
		press("Sign in"), visible("Second User"), visible("Switch account"))
	b.checkLayout("account-two")
	app := b.openTab()
	app.do("start a sign-in in a new tab", deleteAppCookie(d), chromedp.Navigate(d.sample),
		press("Sign in with Gatehouse"), visible("Choose an account"), visible("second@example.com"))
	app.checkLayout("select")
	demoUser := chromedp.Click(`//button[contains(., "Demo User")]`)
	app.do("choose an account", demoUser, visible("You are signed in as Demo User"))
	b.do("choose an account for the account pages", chromedp.Navigate(d.issuer+"/select"), demoUser,
		visible("Demo User"), visible("Connected apps"))
	b.do("sign out at the server", press("Sign out"), visible("You are signed out"),
		visible("These accounts are still signed in"), visible("second@example.com"))
	b.checkLayout("signed-out-others")
	deadline := time.Now().Add(waitTimeout)
	for !strings.Contains(app.text(), "You were signed out at the server") {
		if time.Now().After(deadline) {
			t.Fatalf("the app did not receive the sign-out within %v; its page is %s", waitTimeout, app.text())
		}
		app.do("reload the app", chromedp.Navigate(d.sample), visible("Sample Notes"))
	}
	b.do("open the account of the second user", chromedp.Navigate(d.issuer+"/account"), visible("Second User"))
	b.do("open the sign-out page", chromedp.Navigate(d.issuer+"/oauth2/logout"), visible("Sign out?"),
		visible("second@example.com"))
	b.checkLayout("logout")
	b.do("stay signed in", press("Stay signed in"), visible("Connected apps"), visible("Second User"))
	b.do("sign out", chromedp.Navigate(d.issuer+"/oauth2/logout"), press("Sign out"), visible("You are signed out"))
}

func testFormPostInBrowser(t *testing.T, b *tab, d *devServer) {
	posted := make(chan url.Values, 1)
	app := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost && r.ParseForm() == nil {
			posted <- r.PostForm
		}
		_, _ = w.Write([]byte("the app has the response"))
	}))
	defer app.Close()
	id, _ := createClient(t, d.env, `{"client_name":"Form","redirect_uris":["`+app.URL+`/cb"],"scope":"openid"}`)
	request := authorizeURL(d, id, app.URL+"/cb", oauth2.SetAuthURLParam("response_mode", "form_post"))
	checkResponse := func() {
		t.Helper()
		form := <-posted
		if form.Get("code") == "" || form.Get("state") != "the state" || form.Get("iss") != d.issuer {
			t.Errorf("posted form = %v, want a code, state %q and iss %q", form, "the state", d.issuer)
		}
	}
	b.do("open the authorization request", chromedp.Navigate(request))
	b.signIn(d)
	b.do("allow", visible("wants access"), press("Allow"), visible("the app has the response"))
	checkResponse()
	b.disableJavaScript()
	b.do("repeat the request without JavaScript", chromedp.Navigate(request),
		visible("JavaScript is off in this browser"))
	b.checkLayout("form-post")
	b.do("submit the form", press("Continue"), visible("the app has the response"))
	checkResponse()
}

func testAppFromAccountPage(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.signIn(d)
	b.do("wait for the app", visible("You are signed in"))
	env := maps.Clone(d.env)
	env["GATEHOUSE_FETCH_ALLOW_HOSTS"] = "127.0.0.1" // the address of the sample app is in its metadata
	mustRun(t, env, "", "client", "update", "Sample Notes", "--logo-uri", "https://logo.invalid/logo.png")
	b.do("open the app from the account page", deleteAppCookie(d), chromedp.Navigate(d.issuer+"/account"),
		chromedp.WaitVisible(chromedp.CSS(`li span.tile`)),
		followLink("Open"), visible("You are signed in as Demo User"))
}

func testDenyInBrowser(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.do("withdraw the consent", withdrawConsent(d))
	b.signIn(d)
	b.do("deny", visible("wants access"), press("Don’t allow"), visible("you did not allow it"),
		visible("You are not signed in"))
}

func testOptionalScopeInBrowser(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.signIn(d)
	b.do("deselect a scope", visible("wants access"),
		chromedp.Click(chromedp.CSS(`input[name=scope][value="notes.write"]`)), press("Allow"),
		visible("You are signed in"))
	checkScopes := func(when string) {
		t.Helper()
		if text := b.text(); strings.Contains(text, "notes.write") || !strings.Contains(text, "notes.read") {
			t.Errorf("%s the app has the page %s, want the scope notes.read without notes.write", when, text)
		}
	}
	checkScopes("after the scope was deselected")
	b.do("sign out", chromedp.Navigate(d.sample), press("Sign out"), visible("You are not signed in"),
		press("Sign in with Gatehouse"))
	b.signIn(d)
	b.do("wait for the app, without a consent page", visible("You are signed in"))
	checkScopes("after the next sign-in")
	b.do("sign out and withdraw the consent", chromedp.Navigate(d.sample), press("Sign out"),
		visible("You are not signed in"), withdrawConsent(d), press("Sign in with Gatehouse"))
	b.signIn(d)
	b.do("allow all scopes", visible("wants access"),
		chromedp.WaitVisible(chromedp.CSS(`input[name=scope][value="notes.write"]:checked`)), press("Allow"),
		visible("notes.write"))
}

func testWithdrawInBrowser(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.signIn(d)
	b.do("wait for the app", visible("You are signed in"))
	b.do("open the account", chromedp.Navigate(d.issuer+"/account"), visible("Connected apps"), visible("Sample Notes"),
		visible("this browser"))
	b.checkLayout("account")
	b.do("open the page to withdraw access", followLink("Remove access"), visible("Keep access"))
	b.checkLayout("withdraw")
	b.do("confirm", press("Remove access"), visible("The access was removed"), visible("No app has access"))
	b.checkLayout("account-empty")
	b.do("refresh at the app", chromedp.Navigate(d.sample), press("Refresh the tokens"), visible("invalid_grant"))
	b.do("sign out", chromedp.Navigate(d.issuer+"/account"), press("Sign out"), visible("You are signed out"))
	b.checkLayout("signed-out")
}

func testTwoTabs(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	second := b.openTab()
	second.do("open the sign-in page in another tab", chromedp.Navigate(d.issuer+"/login"), visible("Sign in"))
	second.do("sign in there", fill("username", "demo@example.com"), fill("password", d.password), press("Sign in"),
		visible("Your account"))
	b.signIn(d)
	b.do("continue in the first tab", visible("wants access"), press("Allow"), visible("You are signed in"))
}

func testWithoutJavaScript(t *testing.T, b *tab, d *devServer) {
	b.disableJavaScript()
	b.startSignIn(d)
	b.signIn(d)
	b.do("wait for the app", visible("You are signed in"), visible("notes.read"))
}

func testKeyboard(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.do("type into the focused field", withdrawConsent(d), chromedp.KeyEvent("demo"+kb.Tab+d.password+kb.Enter),
		visible("wants access"))
	// Tab reaches the skip link, the box and the buttons in the order of the page.
	var order []string
	for range 4 {
		b.do("press Tab", chromedp.KeyEvent(kb.Tab))
		order = append(order, evaluate[string](b, `(document.activeElement.name || "") + "=" +
			(document.activeElement.value || document.activeElement.textContent)`))
	}
	const want = "=Skip to the content,scope=notes.write,decision=approve,decision=deny"
	if got := strings.Join(order, ","); !strings.HasPrefix(got, want) {
		t.Errorf("elements reached by Tab = %q, want %q", got, want)
	}
	b.do("press Enter on Allow", chromedp.Focus(chromedp.CSS(`button[value=approve]`)), chromedp.KeyEvent(kb.Enter),
		visible("You are signed in"))
}

func testErrorPagesInBrowser(t *testing.T, b *tab, d *devServer) {
	b.startSignIn(d)
	b.do("enter a wrong password", fill("username", "demo"), fill("password", "wrong"))
	for _, x := range []struct{ button, kind string }{
		{"Show password", "text"}, {"Hide password", "password"}, {"Show password", "text"},
	} {
		b.do("press "+x.button, press(x.button))
		if kind := evaluate[string](b, `document.querySelector("#password").type`); kind != x.kind {
			t.Errorf("after %s the password is in a field of the type %s, want %s", x.button, kind, x.kind)
		}
	}
	b.do("sign in", press("Sign in"), visible("is incorrect"))
	b.checkLayout("login-wrong")
	b.do("open a request of an unknown app",
		chromedp.Navigate(d.issuer+"/oauth2/authorize?client_id=unknown&response_type=code"),
		visible("does not work"), visible("is not registered with this server"))
	b.checkLayout("error")
	if n := evaluate[int](b, `document.querySelectorAll("script:not([src]), [style], [onclick]").length`); n > 0 {
		t.Errorf("the error page has %d inline scripts or styles, want none", n)
	}
}

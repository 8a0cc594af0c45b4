package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"
)

// withoutJavaScript turns scripts off in the tab.
func withoutJavaScript() step {
	return chromedp.Func(func(ctx context.Context, t *chromedp.Target) error {
		_, err := cdp.Call(ctx, t, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
		return err
	})
}

// redirectingApp is an app whose callback sends the browser to another origin, as a backend with a separate front end
// does.
type redirectingApp struct {
	callback, frontEnd string
	opens              atomic.Pointer[string] // where the callback leads instead, when it is set
}

func startRedirectingApp(t testing.TB) *redirectingApp {
	t.Helper()
	frontEnd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("<body><p>front end got " + r.URL.Path + "</p></body>"))
	}))
	t.Cleanup(frontEnd.Close)
	a := &redirectingApp{frontEnd: frontEnd.URL}
	callback := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		to := frontEnd.URL + "/nothing"
		switch {
		case r.FormValue("code") != "":
			to = frontEnd.URL + "/code"
		case r.FormValue("error") != "":
			to = frontEnd.URL + "/" + r.FormValue("error")
		case r.URL.Path == "/out":
			to = frontEnd.URL + "/signed-out"
		}
		if other := a.opens.Load(); other != nil {
			to = *other
		}
		http.Redirect(w, r, to, http.StatusSeeOther)
	}))
	t.Cleanup(callback.Close)
	a.callback = callback.URL
	return a
}

// authorizeURL is an authorization request of the client.
func authorizeURL(d *devServer, clientID, redirectURI string, more ...oauth2.AuthCodeOption) string {
	c := &oauth2.Config{ClientID: clientID, RedirectURL: redirectURI, Scopes: []string{"openid"}, Endpoint: oauth2.Endpoint{AuthURL: d.issuer + "/oauth2/authorize"}}
	return c.AuthCodeURL("the state", append(more, oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))...)
}

// TestFormsReachClientsThatRedirectToAnotherOrigin: Chromium applies form-action to every redirect that follows a form,
// the app's own included, so no page whose form can end at an app may send it.
func TestFormsReachClientsThatRedirectToAnotherOrigin(t *testing.T) {
	needs(t, "CHROME")
	d := startDev(t, t.TempDir(), nil)
	app := startRedirectingApp(t)
	id, _ := (&cluster{env: d.env}).client(t, `{"client_name":"Two origins","redirect_uris":["`+app.callback+`/cb"],"post_logout_redirect_uris":["`+app.callback+`/out"],"scope":"openid"}`)
	prompt := func(value string) oauth2.AuthCodeOption { return oauth2.SetAuthURLParam("prompt", value) }
	open := func(more ...oauth2.AuthCodeOption) step {
		return chromedp.Navigate(authorizeURL(d, id, app.callback+"/cb", more...))
	}
	signOut := d.issuer + "/oauth2/logout?" + url.Values{"client_id": {id}, "post_logout_redirect_uri": {app.callback + "/out"}}.Encode()
	got := func(what string) step { return visible("front end got /" + what) }
	for _, scripts := range []bool{true, false} {
		name := map[bool]string{true: "with JavaScript", false: "without JavaScript"}[scripts]
		t.Run(name, func(t *testing.T) {
			b := openBrowser(t)
			if !scripts {
				b.do("turn JavaScript off", withoutJavaScript())
			}
			b.do("open the app", open(prompt("consent")))
			b.signIn(d)
			b.do("deny", visible("wants access"), press("Don’t allow"), got("access_denied"))
			b.do("allow", open(prompt("consent")), visible("wants access"), press("Allow"), got("code"))
			b.do("sign in again", open(prompt("login")), visible("Sign in again"), chromedp.SendKeys(chromedp.CSS("#password"), d.password), press("Sign in"), got("code"))
			b.do("choose the account", open(prompt("select_account")), chromedp.Click(`//button[contains(., "Demo User")]`), got("code"))
			post := []step{open(oauth2.SetAuthURLParam("response_mode", "form_post"))}
			if !scripts {
				post = append(post, press("Continue"))
			}
			b.do("receive the response in a form", append(post, got("code"))...)
			b.do("sign out", chromedp.Navigate(signOut), visible("Sign out?"), press("Sign out"), got("signed-out"))
		})
	}
}

// TestFormsReachPrivateUseSchemes: the browser passes the link on to the system, whether the form's response redirects
// to the private-use scheme itself or the app's https callback does.
func TestFormsReachPrivateUseSchemes(t *testing.T) {
	needs(t, "CHROME")
	d := startDev(t, t.TempDir(), nil)
	app := startRedirectingApp(t)
	opened := "com.example.app:/done"
	app.opens.Store(&opened)
	for _, c := range []struct{ name, redirectURI, want string }{
		{"the redirect URI", "com.example.app:/cb", "com.example.app:/cb?code="},
		{"behind the app's callback", app.callback + "/cb", opened},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, _ := (&cluster{env: d.env}).client(t, `{"client_name":"Phone","redirect_uris":["`+c.redirectURI+`"],"scope":"openid"}`)
			b := openBrowser(t)
			requested := make(chan string, 100)
			if err := chromedp.Listen(b.Context, func(ev any) {
				if e, ok := ev.(*network.EventRequestWillBeSent); ok && strings.HasPrefix(e.Request.URL, "com.example.app:") {
					requested <- e.Request.URL
				}
			}); err != nil {
				t.Fatal(err)
			}
			b.do("open the app", chromedp.Navigate(authorizeURL(d, id, c.redirectURI)))
			b.signIn(d)
			b.do("allow", visible("wants access"), press("Allow"))
			select {
			case got := <-requested:
				if !strings.HasPrefix(got, c.want) {
					t.Errorf("the browser opened %q, want %q", got, c.want)
				}
			case <-b.Done():
				t.Fatalf("the browser never opened %s", c.want)
			}
		})
	}
}

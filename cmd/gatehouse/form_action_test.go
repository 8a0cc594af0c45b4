package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/oauth2"

	"gatehouse/storage/storagetest"
)

// redirectingApp is an app whose callback redirects the browser to another origin, as a backend with a separate front
// end does.
type redirectingApp struct {
	callback, frontEnd string
	target             atomic.Pointer[string] // if set, the callback redirects to it instead
}

func startRedirectingApp(t testing.TB) *redirectingApp {
	t.Helper()
	frontEnd := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte("<body><p>front end received " + r.URL.Path + "</p></body>"))
	}))
	t.Cleanup(frontEnd.Close)
	a := &redirectingApp{frontEnd: frontEnd.URL}
	callback := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		target := frontEnd.URL + "/nothing"
		switch {
		case r.FormValue("code") != "":
			target = frontEnd.URL + "/code"
		case r.FormValue("error") != "":
			target = frontEnd.URL + "/" + r.FormValue("error")
		case r.URL.Path == "/out":
			target = frontEnd.URL + "/signed-out"
		}
		if other := a.target.Load(); other != nil {
			target = *other
		}
		http.Redirect(w, r, target, http.StatusSeeOther)
	}))
	t.Cleanup(callback.Close)
	a.callback = callback.URL
	return a
}

// authorizeURL returns the URL of an authorization request of the client.
func authorizeURL(d *devServer, clientID, redirectURI string, more ...oauth2.AuthCodeOption) string {
	c := &oauth2.Config{
		ClientID: clientID, RedirectURL: redirectURI, Scopes: []string{"openid"},
		Endpoint: oauth2.Endpoint{AuthURL: d.issuer + "/oauth2/authorize"},
	}
	return c.AuthCodeURL("the state", append(more, oauth2.S256ChallengeOption(oauth2.GenerateVerifier()))...)
}

// TestFormsReachClientsThatRedirectToAnotherOrigin submits every form whose response can redirect to an app. Chromium
// applies form-action of the Content-Security-Policy to every redirect after a form, also to those of the app, so these
// pages must not have the directive.
func TestFormsReachClientsThatRedirectToAnotherOrigin(t *testing.T) {
	requireEnv(t, "CHROME")
	d := startDev(t, t.TempDir(), nil)
	app := startRedirectingApp(t)
	id, _ := createClient(t, d.env, `{"client_name":"Two origins","scope":"openid",
		"redirect_uris":["`+app.callback+`/cb"],"post_logout_redirect_uris":["`+app.callback+`/out"]}`)
	prompt := func(value string) oauth2.AuthCodeOption { return oauth2.SetAuthURLParam("prompt", value) }
	open := func(more ...oauth2.AuthCodeOption) step {
		return chromedp.Navigate(authorizeURL(d, id, app.callback+"/cb", more...))
	}
	signOut := d.issuer + "/oauth2/logout?" +
		url.Values{"client_id": {id}, "post_logout_redirect_uri": {app.callback + "/out"}}.Encode()
	received := func(what string) step { return visible("front end received /" + what) }
	for _, scripts := range []bool{true, false} {
		name := map[bool]string{true: "with JavaScript", false: "without JavaScript"}[scripts]
		t.Run(name, func(t *testing.T) {
			b := openBrowser(t)
			if !scripts {
				b.disableJavaScript()
			}
			b.do("open the request", open(prompt("consent")))
			b.signIn(d)
			b.do("deny", visible("wants access"), press("Don’t allow"), received("access_denied"))
			b.do("allow", open(prompt("consent")), visible("wants access"), press("Allow"), received("code"))
			b.do("sign in again", open(prompt("login")), visible("Sign in again"), fill("password", d.password),
				press("Sign in"), received("code"))
			b.do("choose the account", open(prompt("select_account")),
				chromedp.Click(`//button[contains(., "Demo User")]`), received("code"))
			post := []step{open(oauth2.SetAuthURLParam("response_mode", "form_post"))}
			if !scripts {
				post = append(post, press("Continue"))
			}
			b.do("receive the response in a form", append(post, received("code"))...)
			b.do("sign out", chromedp.Navigate(signOut), visible("Sign out?"), press("Sign out"),
				received("signed-out"))
		})
	}
}

// TestFormsReachPrivateUseSchemes checks that the browser opens a private-use scheme to which the response to a form,
// or the callback of the app, redirects.
func TestFormsReachPrivateUseSchemes(t *testing.T) {
	requireEnv(t, "CHROME")
	d := startDev(t, t.TempDir(), nil)
	app := startRedirectingApp(t)
	opened := "com.example.app:/done"
	app.target.Store(&opened)
	for _, c := range []struct{ name, redirectURI, want string }{
		{"redirect URI", "com.example.app:/cb", "com.example.app:/cb?code="},
		{"redirect of the callback", app.callback + "/cb", opened},
	} {
		t.Run(c.name, func(t *testing.T) {
			id, _ := createClient(t, d.env,
				`{"client_name":"Phone","redirect_uris":["`+c.redirectURI+`"],"scope":"openid"}`)
			b := openBrowser(t)
			requested := make(chan string, 100)
			storagetest.Must(t, chromedp.Listen(b.Context, func(event any) {
				e, ok := event.(*network.EventRequestWillBeSent)
				if ok && strings.HasPrefix(e.Request.URL, "com.example.app:") {
					requested <- e.Request.URL
				}
			}))
			b.do("open the request", chromedp.Navigate(authorizeURL(d, id, c.redirectURI)))
			b.signIn(d)
			b.do("allow", visible("wants access"), press("Allow"))
			select {
			case got := <-requested:
				if !strings.HasPrefix(got, c.want) {
					t.Errorf("the browser opened %q, want %q", got, c.want)
				}
			case <-b.Done():
				t.Fatalf("the browser did not open %s", c.want)
			}
		})
	}
}

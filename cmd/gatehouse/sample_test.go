package main

import (
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/sample"
	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
)

// sampleApp is the sample app at https://app.example, and the Gatehouse that it uses.
type sampleApp struct {
	*servertest.Server

	handler http.Handler
	client  client.Information
}

const sampleURL = "https://app.example"

func startSample(t *testing.T) *sampleApp {
	t.Helper()
	s := servertest.Start(t, storagetest.URL(t, storagetest.Engines(t)[0]), servertest.Options{})
	s.User("alice")
	s.User("bob")
	client := s.Client(`{"client_name":"Sample","grant_types":["authorization_code","refresh_token"],
		"scope":"` + strings.Join(sample.Scopes, " ") + `","redirect_uris":["` + sampleURL + `/callback"],
		"post_logout_redirect_uris":["` + sampleURL + `/"]}`)
	handler, err := sample.New(sample.Config{
		Issuer: s.Issuer, ClientID: client.ClientID, ClientSecret: client.ClientSecret, URL: sampleURL,
		Links: []sample.Link{{Text: "Your account", URL: s.Issuer + "/account"}},
	})
	storagetest.Must(t, err)
	return &sampleApp{Server: s, handler: handler, client: client}
}

// appTab is a browser tab with its cookies at the app.
type appTab struct {
	app     *sampleApp
	cookies map[string]*http.Cookie
	set     []*http.Cookie // cookies of the last response
}

func (a *sampleApp) tab() *appTab { return &appTab{app: a, cookies: map[string]*http.Cookie{}} }

// send sends a request to the app. header is names and values.
func (b *appTab) send(method, target string, header ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, sampleURL+target, nil)
	for _, c := range b.cookies {
		r.AddCookie(&http.Cookie{Name: c.Name, Value: c.Value})
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	w := httptest.NewRecorder()
	b.app.handler.ServeHTTP(w, r)
	b.set = w.Result().Cookies()
	for _, c := range b.set {
		if b.cookies[c.Name] = c; c.MaxAge < 0 {
			delete(b.cookies, c.Name)
		}
	}
	return w
}

// home returns the start page of the app.
func (b *appTab) home() string { return b.send(http.MethodGet, "/").Body.String() }

// wantHome fails the test unless the start page contains every text.
func (b *appTab) wantHome(t *testing.T, when string, texts ...string) {
	t.Helper()
	page := b.home()
	for _, want := range texts {
		if !strings.Contains(page, want) {
			t.Errorf("%s: the start page does not contain %q:\n%s", when, want, page)
		}
	}
}

// startSignIn returns the authorization request of a new sign-in.
func (b *appTab) startSignIn(t *testing.T) string {
	t.Helper()
	w := b.send(http.MethodPost, "/sign-in")
	location := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(location, b.app.Issuer+"/oauth2/authorize?") {
		t.Fatalf("POST /sign-in: %d, Location %q, want 303 to the authorization endpoint", w.Code, location)
	}
	return location
}

// callbackFor signs a user in at the server and returns the callback with the response to the authorization request.
func (a *sampleApp) callbackFor(t *testing.T, authorize, username string) string {
	t.Helper()
	browser := a.Browser()
	p := browser.SignIn(browser.Follow(browser.Open(authorize)), username)
	if strings.Contains(p.URL, "/consent") {
		p = browser.Follow(browser.Decide(p, "approve"))
	}
	callback := p.Location()
	if callback.Host != "app.example" || callback.Query().Get("code") == "" {
		t.Fatalf("the sign-in redirects to %s, want the app with a code: %s", callback, p.Text())
	}
	return callback.RequestURI()
}

func (b *appTab) signIn(t *testing.T, username string) {
	t.Helper()
	b.send(http.MethodGet, b.app.callbackFor(t, b.startSignIn(t), username))
	if page := b.home(); !strings.Contains(page, "You are signed in") {
		t.Fatalf("the user is not signed in after the callback:\n%s", page)
	}
}

func (b *appTab) isSignedIn() bool { return strings.Contains(b.home(), `action="/sign-out"`) }

func TestSampleAppUsesHostCookiesOnHTTPS(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	var all []*http.Cookie
	authorize := b.startSignIn(t)
	all = append(all, b.set...)
	b.send(http.MethodGet, a.callbackFor(t, authorize, "alice"))
	all = append(all, b.set...)
	if len(all) < 3 {
		t.Fatalf("the app set %d cookies, want at least 3", len(all))
	}
	for _, c := range all {
		hostOnly := strings.HasPrefix(c.Name, "__Host-") && c.Secure && c.Path == "/" && c.Domain == ""
		if !hostOnly || !c.HttpOnly || c.SameSite != http.SameSiteLaxMode || len(c.String()) > 4096 {
			t.Errorf("Set-Cookie: %s, want a __Host- cookie with HttpOnly and SameSite=Lax of at most 4096 bytes", c)
		}
	}
}

func TestSampleAppChangesSessionAtSignIn(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	const name = "__Host-sample_session"
	b := a.tab()
	b.send(http.MethodGet, "/")
	if len(b.cookies) != 0 {
		t.Errorf("a browser without a user has cookies: %v", b.cookies)
	}
	b.cookies[name] = &http.Cookie{Name: name, Value: "chosen by an attacker"}
	b.signIn(t, "alice")
	first := b.cookies[name].Value
	if first == "chosen by an attacker" {
		t.Error("the session ID did not change at the sign-in")
	}
	b.signIn(t, "bob")
	if b.cookies[name].Value == first {
		t.Error("the session ID did not change at the second sign-in")
	}
	old := a.tab()
	old.cookies[name] = &http.Cookie{Name: name, Value: first}
	if old.isSignedIn() {
		t.Error("the session from before the second sign-in is still valid")
	}
}

func TestSampleAppIgnoresForgedCallbacks(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	b.signIn(t, "alice")
	pending := a.callbackFor(t, b.startSignIn(t), "bob") // the response to a second sign-in, not yet received
	state := url.QueryEscape(queryOf(t, pending).Get("state"))
	iss := "&iss=" + url.QueryEscape(a.Issuer)
	attacker := a.tab()
	for what, callback := range map[string]string{
		"no parameters":                      "/callback",
		"unknown state":                      "/callback?code=x&state=x" + iss,
		"empty state":                        "/callback?code=x&state=" + iss,
		"error without state":                "/callback?error=access_denied" + iss,
		"another issuer":                     "/callback?code=x&state=" + state + "&iss=https%3A%2F%2Fevil.example",
		"no issuer":                          "/callback?code=x&state=" + state,
		"response to the attacker's browser": a.callbackFor(t, attacker.startSignIn(t), "bob"),
	} {
		if w := b.send(http.MethodGet, callback); w.Code != http.StatusSeeOther {
			t.Errorf("callback with %s: %d, want 303", what, w.Code)
		}
		b.wantHome(t, "after a callback with "+what, "That did not work", "signed in as alice")
	}
	b.send(http.MethodGet, pending)
	b.wantHome(t, "after the response to the second sign-in", "signed in as bob")
	b.send(http.MethodGet, pending)
	b.wantHome(t, "after a replay of the response", "does not belong to a sign-in", "signed in as bob")
	denied := queryOf(t, b.startSignIn(t)).Get("state")
	b.send(http.MethodGet, "/callback?error=access_denied&state="+url.QueryEscape(denied)+iss)
	b.wantHome(t, "after a denied sign-in", "you did not allow it", "signed in as bob")
}

func TestSampleAppStoresSignInsOfSeveralTabs(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	oldest := b.startSignIn(t)
	var newest []string
	for range 5 {
		newest = append(newest, b.startSignIn(t))
	}
	if c := b.cookies["__Host-sample_sign_in"]; len(c.String()) > 4096 {
		t.Errorf("the cookie of pending sign-ins has %d bytes, want at most 4096", len(c.String()))
	}
	b.send(http.MethodGet, a.callbackFor(t, oldest, "alice"))
	if b.isSignedIn() {
		t.Error("the oldest of six pending sign-ins finished")
	}
	b.send(http.MethodGet, a.callbackFor(t, newest[0], "alice"))
	if !b.isSignedIn() {
		t.Error("the first of five pending sign-ins did not finish")
	}
}

func TestSampleAppRefusesFormsOfOtherSites(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	b.signIn(t, "alice")
	for _, path := range []string{"/sign-in", "/sign-out", "/call", "/refresh", "/userinfo", "/revoke"} {
		w := b.send(http.MethodPost, path, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example")
		if w.Code != http.StatusForbidden {
			t.Errorf("POST %s from another site: %d, want 403", path, w.Code)
		}
	}
	if !b.isSignedIn() {
		t.Error("a form of another site signed the user out")
	}
	b.send(http.MethodPost, "/sign-out", "Sec-Fetch-Site", "same-origin")
	if b.isSignedIn() {
		t.Error("the app's form did not sign the user out")
	}
}

func TestSampleAppErrorPagesLinkToStart(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	for path, status := range map[string]int{
		"/": 200, "/nowhere": 404, "/sign-out": 404, "/start": 400, "/start?iss=https%3A%2F%2Fevil.example": 400,
	} {
		w := b.send(http.MethodGet, path)
		if w.Code != status {
			t.Errorf("GET %s: %d, want %d", path, w.Code, status)
		}
		page := w.Body.String()
		for _, link := range []string{`<a href="/">`, `href="` + a.Issuer + `/account"`, `action="/sign-in"`} {
			if !strings.Contains(page, link) {
				t.Errorf("GET %s: the page does not contain %s:\n%s", path, link, page)
			}
		}
		contentType, policy := w.Header().Get("Content-Type"), w.Header().Get("Content-Security-Policy")
		if !strings.HasPrefix(contentType, "text/html") || policy == "" {
			t.Errorf("GET %s: Content-Type %q, Content-Security-Policy %q, want text/html with a policy",
				path, contentType, policy)
		}
	}
	location := b.send(http.MethodGet, "/start?iss="+url.QueryEscape(a.Issuer)).Header().Get("Location")
	if !strings.Contains(location, "/oauth2/authorize") {
		t.Errorf("GET /start with the issuer: Location %q, want the authorization endpoint", location)
	}
}

func TestForgedLogoutTokenEndsNoSessionInSampleApp(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	alice, bob := a.tab(), a.tab()
	alice.signIn(t, "alice")
	bob.signIn(t, "bob")
	w := alice.send(http.MethodPost, "/backchannel-logout?logout_token=x")
	if w.Code != http.StatusBadRequest || !alice.isSignedIn() || !bob.isSignedIn() {
		t.Errorf("forged logout token: %d, alice signed in: %t, bob signed in: %t, want 400 and both signed in",
			w.Code, alice.isSignedIn(), bob.isSignedIn())
	}
}

// queryOf returns the query of a URL.
func queryOf(t *testing.T, raw string) url.Values {
	t.Helper()
	u, err := url.Parse(raw)
	storagetest.Must(t, err)
	return u.Query()
}

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

// sampleApp is the sample app at https://app.example and a Gatehouse that it signs in with.
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
	client := s.Client(`{"client_name":"Sample","redirect_uris":["` + sampleURL + `/callback"],"grant_types":["authorization_code","refresh_token"],
		"scope":"` + strings.Join(sample.Scopes, " ") + `","post_logout_redirect_uris":["` + sampleURL + `/"]}`)
	handler, err := sample.New(sample.Config{
		Issuer: s.Issuer, ClientID: client.ClientID, ClientSecret: client.ClientSecret, URL: sampleURL,
		Links: []sample.Link{{Text: "Your account", URL: s.Issuer + "/account"}},
	})
	storagetest.Must(t, err)
	return &sampleApp{Server: s, handler: handler, client: client}
}

// appTab is a browser with its cookies at the app.
type appTab struct {
	app     *sampleApp
	cookies map[string]*http.Cookie
	set     []*http.Cookie // by the last response
}

func (a *sampleApp) tab() *appTab { return &appTab{app: a, cookies: map[string]*http.Cookie{}} }

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

// begin returns the authorization request of a new sign-in.
func (b *appTab) begin(t *testing.T) string {
	t.Helper()
	w := b.send(http.MethodPost, "/sign-in")
	to := w.Header().Get("Location")
	if w.Code != http.StatusSeeOther || !strings.HasPrefix(to, b.app.Issuer+"/oauth2/authorize?") {
		t.Fatalf("sign-in: %d %s", w.Code, to)
	}
	return to
}

// finish signs a user in at the server and returns the callback with its response.
func (a *sampleApp) finish(t *testing.T, authorize, username string) string {
	t.Helper()
	browser := a.Browser()
	p := browser.SignIn(browser.Follow(browser.Open(authorize)), username)
	if strings.Contains(p.URL, "/consent") {
		p = browser.Follow(browser.Decide(p, "approve"))
	}
	to := p.Location()
	if to.Host != "app.example" || to.Query().Get("code") == "" {
		t.Fatalf("no code: %s %s", to, p.Text())
	}
	return to.RequestURI()
}

func (b *appTab) signIn(t *testing.T, username string) {
	t.Helper()
	b.send(http.MethodGet, b.app.finish(t, b.begin(t), username))
	if page := b.send(http.MethodGet, "/").Body.String(); !strings.Contains(page, "You are signed in") {
		t.Fatalf("not signed in:\n%s", page)
	}
}

func (b *appTab) signedIn() bool {
	return strings.Contains(b.send(http.MethodGet, "/").Body.String(), `action="/sign-out"`)
}

func TestSampleAppUsesHostCookiesOnHTTPS(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	var all []*http.Cookie
	authorize := b.begin(t)
	all = append(all, b.set...)
	b.send(http.MethodGet, a.finish(t, authorize, "alice"))
	all = append(all, b.set...)
	if len(all) < 3 {
		t.Fatalf("%d cookies", len(all))
	}
	for _, c := range all {
		if !strings.HasPrefix(c.Name, "__Host-") || !c.Secure || !c.HttpOnly || c.Path != "/" || c.Domain != "" || c.SameSite != http.SameSiteLaxMode || len(c.String()) > 4096 {
			t.Errorf("cookie %s", c)
		}
	}
}

func TestSampleAppChangesTheSessionAtSignIn(t *testing.T) {
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
		t.Error("the session id is that from before the sign-in")
	}
	b.signIn(t, "bob")
	if b.cookies[name].Value == first {
		t.Error("the session id is the same after a second sign-in")
	}
	old := a.tab()
	old.cookies[name] = &http.Cookie{Name: name, Value: first}
	if old.signedIn() {
		t.Error("the session before the second sign-in still works")
	}
}

func TestForgedCallbackToSampleAppChangesNothing(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	b.signIn(t, "alice")
	under := a.finish(t, b.begin(t), "bob") // a second sign-in under way
	state := url.QueryEscape(mustQuery(t, under).Get("state"))
	issuer := url.QueryEscape(a.Issuer)
	attacker := a.tab()
	for what, callback := range map[string]string{
		"no parameters": "/callback", "unknown state": "/callback?code=x&state=x&iss=" + issuer, "empty state": "/callback?code=x&state=&iss=" + issuer,
		"error without state": "/callback?error=access_denied&iss=" + issuer, "another issuer": "/callback?code=x&state=" + state + "&iss=https%3A%2F%2Fevil.example",
		"no issuer": "/callback?code=x&state=" + state, "response to the attacker's browser": a.finish(t, attacker.begin(t), "bob"),
	} {
		if w := b.send(http.MethodGet, callback); w.Code != http.StatusSeeOther {
			t.Errorf("%s: %d", what, w.Code)
		}
		if page := b.send(http.MethodGet, "/").Body.String(); !strings.Contains(page, "That did not work") || !strings.Contains(page, "signed in as alice") {
			t.Errorf("%s: the user is no longer signed in, or the page does not show the failure", what)
		}
	}
	// The sign-in that was under way finishes, once, and a refused one leaves the session.
	b.send(http.MethodGet, under)
	if page := b.send(http.MethodGet, "/").Body.String(); !strings.Contains(page, "signed in as bob") {
		t.Error("the sign-in under way was lost")
	}
	b.send(http.MethodGet, under)
	if page := b.send(http.MethodGet, "/").Body.String(); !strings.Contains(page, "does not belong to a sign-in") || !strings.Contains(page, "signed in as bob") {
		t.Error("a replayed response was not refused, or ended the session")
	}
	denied := mustQuery(t, b.begin(t)).Get("state")
	b.send(http.MethodGet, "/callback?error=access_denied&state="+url.QueryEscape(denied)+"&iss="+issuer)
	if page := b.send(http.MethodGet, "/").Body.String(); !strings.Contains(page, "you did not allow it") || !strings.Contains(page, "signed in as bob") {
		t.Error("a refused sign-in ended the session of before")
	}
}

func TestSampleAppStoresSignInsOfSeveralTabs(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	oldest := b.begin(t)
	var begun []string
	for range 5 {
		begun = append(begun, b.begin(t))
	}
	if c := b.cookies["__Host-sample_sign_in"]; len(c.String()) > 4096 {
		t.Errorf("the cookie has %d bytes", len(c.String()))
	}
	b.send(http.MethodGet, a.finish(t, oldest, "alice"))
	if b.signedIn() {
		t.Error("a browser has more than five sign-ins under way")
	}
	b.send(http.MethodGet, a.finish(t, begun[0], "alice"))
	if !b.signedIn() {
		t.Error("a tab that began before others cannot finish")
	}
}

func TestSampleAppRefusesFormsOfOtherSites(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	b.signIn(t, "alice")
	for _, path := range []string{"/sign-in", "/sign-out", "/call", "/refresh", "/userinfo", "/revoke"} {
		if w := b.send(http.MethodPost, path, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.example"); w.Code != http.StatusForbidden {
			t.Errorf("POST %s from another site: %d", path, w.Code)
		}
	}
	if !b.signedIn() {
		t.Error("a form of another site signed the user out")
	}
	b.send(http.MethodPost, "/sign-out", "Sec-Fetch-Site", "same-origin")
	if b.signedIn() {
		t.Error("the user is still signed in")
	}
}

func TestSampleAppErrorPagesLinkToStart(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	b := a.tab()
	for path, status := range map[string]int{"/": 200, "/nowhere": 404, "/sign-out": 404, "/start": 400, "/start?iss=https%3A%2F%2Fevil.example": 400} {
		w := b.send(http.MethodGet, path)
		page := w.Body.String()
		if w.Code != status || !strings.Contains(page, `<a href="/">`) || !strings.Contains(page, `href="`+a.Issuer+`/account"`) || !strings.Contains(page, `action="/sign-in"`) {
			t.Errorf("GET %s: %d, want %d with links to the app, the account and a sign-in:\n%s", path, w.Code, status, page)
		}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "text/html") || w.Header().Get("Content-Security-Policy") == "" {
			t.Errorf("GET %s: %v", path, w.Header())
		}
	}
	if !strings.Contains(b.send(http.MethodGet, "/start?iss="+url.QueryEscape(a.Issuer)).Header().Get("Location"), "/oauth2/authorize") {
		t.Error("the server's own account page cannot start a sign-in")
	}
}

func TestForgedLogoutTokenEndsNoSessionInSampleApp(t *testing.T) {
	t.Parallel()
	a := startSample(t)
	alice, bob := a.tab(), a.tab()
	alice.signIn(t, "alice")
	bob.signIn(t, "bob")
	w := alice.send(http.MethodPost, "/backchannel-logout?logout_token=x")
	if w.Code != http.StatusBadRequest || !alice.signedIn() || !bob.signedIn() {
		t.Errorf("a forged logout token: %d", w.Code)
	}
}

func mustQuery(t *testing.T, raw string) url.Values {
	t.Helper()
	u, err := url.Parse(raw)
	storagetest.Must(t, err)
	return u.Query()
}

package web_test

import (
	"maps"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/identity"
	"gatehouse/oauth/protocol"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
	"gatehouse/web"
)

// everyRouteSettings are the settings with which every route has a request.
func everyRouteSettings() map[string]string {
	return map[string]string{
		"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_CLIENT_DOCUMENTS": "open",
		"GATEHOUSE_SIGN_UP": "invite",
	}
}

// failingTransactions are the ways in which a transaction fails as a whole. Each makes the server that it returns fail
// from the call of arm on.
var failingTransactions = map[string]func(t *testing.T, s *servertest.Server) (failing *servertest.Server, arm func()){
	// A constraint that is checked at the commit, behind the audit row that every change has.
	"commit": func(t *testing.T, s *servertest.Server) (*servertest.Server, func()) {
		return s.StartAnother(), func() {
			statements := []string{
				"CREATE TABLE absent (id BIGINT PRIMARY KEY)",
				"CREATE TABLE broken (id BIGINT REFERENCES absent (id) DEFERRABLE INITIALLY DEFERRED)",
			}
			if s.Store.Engine() == storage.Postgres {
				statements = append(statements,
					"CREATE FUNCTION break() RETURNS trigger LANGUAGE plpgsql AS "+
						"'BEGIN INSERT INTO broken VALUES (1); RETURN NULL; END'",
					"CREATE TRIGGER break AFTER INSERT ON audit_events FOR EACH ROW EXECUTE FUNCTION break()")
			} else {
				statements = append(statements,
					"CREATE TRIGGER break AFTER INSERT ON audit_events BEGIN INSERT INTO broken VALUES (1); END")
			}
			storagetest.Exec(t, s.Store, s.DB, statements...)
			remove := "DROP TRIGGER break"
			if s.Store.Engine() == storage.Postgres {
				remove += " ON audit_events"
			}
			t.Cleanup(func() { storagetest.Exec(t, s.Store, s.DB, remove) }) // or what is queued cannot be written at the end
		}
	},
	"begin": func(t *testing.T, s *servertest.Server) (*servertest.Server, func()) {
		if s.Store.Engine() == storage.Postgres {
			proxy := storagetest.NewProxy(t, s.DB)
			options := servertest.Options{Issuer: s.Issuer, Clock: s.Clock, Env: everyRouteSettings()}
			failing := servertest.Start(t, proxy.URL, options)
			return failing, func() { proxy.CloseAt(t, "begin") }
		}
		env := everyRouteSettings()
		env["GATEHOUSE_REQUEST_TIMEOUT"] = "1s"
		return servertest.Start(t, s.DB, servertest.Options{Issuer: s.Issuer, Clock: s.Clock, Env: env}),
			func() { t.Cleanup(storagetest.Lock(t, s.Store, s.DB, "audit_events")) }
	},
}

// TestFailedTransactionIs503OnEveryRoute checks that a failed transaction is neither an internal error nor a success,
// and leaves no partial change.
func TestFailedTransactionIs503OnEveryRoute(t *testing.T) {
	t.Parallel()
	for how, prepare := range failingTransactions {
		t.Run(how, func(t *testing.T) {
			storagetest.Each(t, func(t *testing.T, db string) {
				s := servertest.Start(t, db, servertest.Options{Env: everyRouteSettings()})
				failing, arm := prepare(t, s)
				requests := everyRoute(t, s, failing)
				arm()
				before := stored(t, s)
				seen := map[string]bool{}
				for _, req := range requests {
					r := req.send()
					seen[req.route] = true
					located, _ := url.Parse(r.Header.Get("Location"))
					redirected := located != nil && located.Query().Get("error") == protocol.TemporarilyUnavailable
					switch {
					case r.Status == http.StatusServiceUnavailable:
						isPage := strings.HasPrefix(r.Header.Get("Content-Type"), "text/html")
						isJSON := r.Text("error") == protocol.TemporarilyUnavailable
						if r.Header.Get("Retry-After") == "" || isPage == req.json || isJSON != req.json {
							t.Errorf("%s: 503 with %v, want Retry-After and JSON = %t: %s",
								req.name, r.Header, req.json, r.Body)
						}
					case r.Status >= 500:
						t.Errorf("%s: status %d, want 503 or a redirect: %s", req.name, r.Status, r.Body)
					case redirected:
					case req.always, how == "commit" && req.changes:
						t.Errorf("%s: %d %s %s, want 503", req.name, r.Status, r.Header.Get("Location"), r.Body)
					}
				}
				if after := stored(t, s); how == "commit" && !slices.Equal(before, after) {
					t.Errorf("the rows are\n%s\nwant no change from\n%s", strings.Join(after, ""), strings.Join(before, ""))
				}
				for _, pattern := range web.Patterns() {
					if !seen[pattern] {
						t.Errorf("no request for %s", pattern)
					}
				}
			})
		})
	}
}

// changedTables are the tables that requests change, and not only read.
var changedTables = []string{
	"clients", "client_secrets", "users", "consents", "grants", "authorization_codes", "revoked_tokens",
	"registration_tokens", "changes",
}

// stored returns the rows that requests change, and not only read.
func stored(t *testing.T, s *servertest.Server) (rows []string) {
	t.Helper()
	for line := range strings.Lines(storagetest.Dump(t, s.Store, s.DB)) {
		table, _, _ := strings.Cut(line, ":")
		if slices.Contains(changedTables, table) {
			rows = append(rows, line)
		}
	}
	slices.Sort(rows)
	return rows
}

// routed is a request that would succeed.
type routed struct {
	route, name string
	json        bool // errors are JSON, else a page
	changes     bool // it changes something that has an audit row
	always      bool // it does so in a transaction of several statements on both engines
	send        func() servertest.Response
}

// everyRoute prepares a request for each route on a server that works, to be sent to the failing one.
func everyRoute(t *testing.T, s, failing *servertest.Server) []routed {
	t.Helper()
	s.User("alice")
	requests := append(protocolRequests(t, s, failing), pageRequests(t, s, failing)...)
	requests = append(requests, factorRequests(s, failing)...)
	requests = append(requests, selfServiceRequests(t, s, failing)...)
	for _, path := range []string{"/healthz", "/readyz"} {
		send := func() servertest.Response { return failing.Get(path) }
		requests = append(requests, routed{"GET " + path, path, false, false, false, send})
	}
	return requests
}

// protocolRequests prepares the requests whose errors are JSON.
func protocolRequests(t *testing.T, s, failing *servertest.Server) (out []routed) {
	t.Helper()
	app, service, b := s.App(), s.Service("jobs"), s.Browser()
	tokens := s.Token(app, servertest.CodeForm(b.Code(app, "alice"), app)).OK(t)
	code := servertest.CodeForm(b.Code(app, "alice"), app)
	registered := s.Do(jsonBody(s, http.MethodPost, "/oauth2/register", "", `{"redirect_uris":["https://a.example/cb"]}`))
	id, access := registered.Text("client_id"), registered.Text("registration_access_token")
	add := func(route, name string, changes, always bool, send func() servertest.Response) {
		out = append(out, routed{route, name, true, changes, always, send})
	}
	for _, path := range []string{
		"/.well-known/oauth-authorization-server", "/.well-known/openid-configuration", "/.well-known/jwks.json",
		"/.well-known/oauth-protected-resource", "/.well-known/oauth-protected-resource/",
	} {
		add(path, path, false, false, func() servertest.Response { return failing.Get(path) })
	}
	add("/oauth2/token", "exchange", true, false, func() servertest.Response { return failing.Token(app, code) })
	add("/oauth2/token", "refresh", true, false, func() servertest.Response {
		return failing.Refresh(app, tokens.Text("refresh_token"))
	})
	add("/oauth2/token", "client credentials", false, false, func() servertest.Response {
		return failing.Token(service, url.Values{"grant_type": {"client_credentials"}})
	})
	add("/oauth2/introspect", "introspect", false, false, func() servertest.Response {
		return failing.Post("/oauth2/introspect", app, url.Values{"token": {tokens.Text("access_token")}})
	})
	add("/oauth2/revoke", "revoke", true, false, func() servertest.Response {
		return failing.Post("/oauth2/revoke", app, url.Values{"token": {tokens.Text("access_token")}})
	})
	add("/oauth2/revoke", "revoke a grant", true, false, func() servertest.Response {
		return failing.Post("/oauth2/revoke", app, url.Values{"token": {tokens.Text("refresh_token")}})
	})
	add("/oauth2/userinfo", "userinfo", false, false, func() servertest.Response {
		return failing.Userinfo(tokens.Text("access_token"))
	})
	add("/oauth2/register", "register", true, true, func() servertest.Response {
		body := `{"redirect_uris":["https://a.example/cb"]}`
		return failing.Do(jsonBody(failing, http.MethodPost, "/oauth2/register", "", body))
	})
	for method, changes := range map[string]bool{http.MethodGet: false, http.MethodPut: true, http.MethodDelete: true} {
		body := ""
		if method == http.MethodPut {
			body = `{"client_id":"` + id + `","redirect_uris":["https://b.example/cb"]}`
		}
		add("/oauth2/register/{id}", method+" a registered client", changes, changes, func() servertest.Response {
			return failing.Do(jsonBody(failing, method, "/oauth2/register/"+id, access, body))
		})
	}
	return out
}

// pageList is a list of requests that a browser sends.
type pageList struct {
	browser *servertest.Browser
	all     []routed
}

func (l *pageList) open(route, path string, changes bool) {
	send := func() servertest.Response { return l.browser.Open(path).Response }
	l.all = append(l.all, routed{route, "GET " + path, false, changes, false, send})
}

func (l *pageList) submit(route, path string, from *servertest.Browser, form url.Values, changes bool) {
	send := func() servertest.Response { return from.Submit(path, form).Response }
	l.all = append(l.all, routed{route, route, false, changes, false, send})
}

// pageRequests prepares the requests whose errors are pages.
func pageRequests(t *testing.T, s, failing *servertest.Server) []routed {
	t.Helper()
	app, other, b := s.App(), s.App(), s.Browser()
	b.Code(app, "alice")
	s.Browser().Code(app, "alice") // another session
	account := b.Open("/account")
	signOut, end := formAt(t, account, "/account/sign-out"), formAt(t, account, "/account/sessions/")
	profile := b.Open("/account/profile").Fields()
	profile.Set("name", "Another Name")
	withdraw := formAt(t, b.Open(linkTo(t, account, "/account/apps/")), "/account/apps/")
	activity := formAt(t, b.Open("/account/activity"), "/account/activity/")
	endOthers := formAt(t, b.Open("/account/sessions"), "/account/sessions/end-others")
	fresh := s.Browser()
	login := fresh.Follow(fresh.Authorize(other)).Fields()
	maps.Copy(login, url.Values{"username": {"alice"}, "password": {servertest.Password}})
	consent := b.Follow(b.Authorize(other)).Fields()
	consent.Set("decision", "approve")
	logout := b.Open("/oauth2/logout").Fields()
	logout.Set("decision", "sign-out")
	noAccess, enrol, confirm := refusedForms(t, s, b)
	b, fresh = atServer(b, failing), atServer(fresh, failing)
	requests := &pageList{browser: b}
	open, submit := requests.open, requests.submit
	form := servertest.AuthorizeForm(app)
	open("GET /oauth2/authorize", "/oauth2/authorize?"+form.Encode(), true)
	submit("POST /oauth2/authorize", "/oauth2/authorize", b, form, false)
	open("GET /oauth2/authorize/{id}", "/oauth2/authorize/"+consent.Get("request"), false)
	open("GET /select", "/select?request="+consent.Get("request"), false)
	submit("POST /language", "/language", b, url.Values{"language": {"de"}, "to": {"/account"}}, true)
	submit("POST /select", "/select", b, url.Values{"request": {consent.Get("request")}}, false)
	submit("POST /login", "/login", fresh, login, true)
	open("GET /consent", "/consent?request="+consent.Get("request"), false)
	submit("POST /consent", "/consent", b, consent, true)
	open("GET /enrol", "/enrol?request="+enrol.Get("request"), false)
	submit("POST /enrol", "/enrol", b, enrol, true)
	open("GET /no-access", "/no-access?request="+noAccess.Get("request"), false)
	submit("POST /no-access", "/no-access", b, noAccess, true)
	open("GET /confirm", "/confirm?request="+confirm.Get("request"), false)
	submit("POST /confirm", "/confirm", b, confirm, true)
	open("GET /{$}", "/", false)
	for _, path := range []string{
		"/login", "/signed-out", "/account", "/account/profile", "/account/apps", "/account/sessions", "/account/activity",
	} {
		open("GET "+path, path, false)
	}
	submit("POST /account/profile", "/account/profile", b, profile, true)
	open("GET /account/apps/{id}", strings.TrimSuffix(withdraw.path, "/withdraw"), false)
	submit("POST /account/apps/{id}/withdraw", withdraw.path, b, withdraw.fields, true)
	submit("POST /account/activity/{id}", activity.path, b, activity.fields, true)
	submit("POST /account/sessions/end-others", "/account/sessions/end-others", b, endOthers.fields, true)
	submit("POST /account/sessions/{id}/end", end.path, b, end.fields, true)
	submit("POST /account/sign-out", signOut.path, b, signOut.fields, true)
	open("GET /oauth2/logout", "/oauth2/logout", false)
	submit("POST /oauth2/logout", "/oauth2/logout", b, url.Values{}, false)
	submit("POST /oauth2/logout/confirm", "/oauth2/logout/confirm", b, logout, true)
	open("GET /static/{file}", "/static/style.css", false)
	open("GET /logo/{id}", "/logo/"+app.ClientID, false)
	return requests.all
}

// selfServiceRequests prepares the requests of users who are not signed in.
func selfServiceRequests(t *testing.T, s, failing *servertest.Server) []routed {
	t.Helper()
	_, link, err := s.Users.Invite(t.Context(), identity.NewInvitation{Email: "carol@example.com", Lifetime: time.Hour})
	storagetest.Must(t, err)
	b := s.Browser()
	invite := b.Open(link).Fields()
	maps.Copy(invite, url.Values{"username": {"carol"}, "password": {servertest.Password}})
	requests := &pageList{browser: atServer(b, failing)}
	for _, path := range []string{
		"/login/code", "/terms",
		"/forgot", "/reset", "/verify", "/sign-up", "/account/password", "/account/email", "/account/export",
		"/account/delete",
	} {
		requests.open("GET "+path, path, false)
		requests.submit("POST "+path, path, requests.browser, url.Values{}, false)
	}
	requests.open("GET /invite", link, false)
	requests.submit("POST /invite", "/invite", requests.browser, invite, true)
	return requests.all
}

// atServer returns the same browser at another server.
func atServer(b *servertest.Browser, s *servertest.Server) *servertest.Browser {
	moved := *b
	moved.Server = s
	return &moved
}

// pageForm is a form with a form token.
type pageForm struct {
	path   string
	fields url.Values
}

var formToken = regexp.MustCompile(
	`action="(?:https?://[^/"]+)?(/[^"]+)"[^>]*>(?s:.*?)name="form_token" value="([^"]+)"`)

// formAt returns the first form of a page whose path has the prefix.
func formAt(t *testing.T, p servertest.Page, prefix string) pageForm {
	t.Helper()
	for _, m := range formToken.FindAllStringSubmatch(p.Body, -1) {
		if strings.HasPrefix(m[1], prefix) {
			return pageForm{m[1], url.Values{"form_token": {m[2]}}}
		}
	}
	t.Fatalf("no form for %s in:\n%s", prefix, p.Body)
	return pageForm{}
}

// linkTo returns the first link of a page that has the prefix.
func linkTo(t *testing.T, p servertest.Page, prefix string) string {
	t.Helper()
	for _, link := range p.Links() {
		if _, path, ok := strings.Cut(link, prefix); ok {
			return prefix + path
		}
	}
	t.Fatalf("no link to %s in %q", prefix, p.Links())
	return ""
}

func jsonBody(s *servertest.Server, method, path, token, body string) *http.Request {
	s.T.Helper()
	req, err := http.NewRequestWithContext(s.T.Context(), method, s.URL+path, strings.NewReader(body))
	storagetest.Must(s.T, err)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	return req
}

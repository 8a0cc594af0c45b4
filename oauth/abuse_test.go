package oauth_test

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

func TestAbuseProtection(t *testing.T) { servertest.Run(t, abuseProtection) }

const behindProxy = "GATEHOUSE_TRUSTED_PROXIES=127.0.0.1"

// wantLimited fails the test unless the response is 429 of that limit with Retry-After.
func wantLimited(t *testing.T, r servertest.Response, limit string) {
	t.Helper()
	if r.Status != http.StatusTooManyRequests || r.Header.Get("Retry-After") == "" || !strings.HasPrefix(r.Header.Get("RateLimit"), `"`+limit+`";r=0;t=`) || !strings.HasPrefix(r.Header.Get("RateLimit-Policy"), `"`+limit+`";q=`) {
		t.Errorf("got %d, Retry-After %q, RateLimit %q, want 429 of %s: %.200s", r.Status, r.Header.Get("Retry-After"), r.Header.Get("RateLimit"), limit, r.Body)
	}
}

// sentFrom sends a request as from an address, through the trusted proxy.
func sentFrom(s *servertest.Server, address string, req *http.Request) servertest.Response {
	req.Header.Set("X-Forwarded-For", address)
	return s.Do(req)
}

// recorded waits until there are so many audit rows of an event, and returns them.
func recorded(t *testing.T, s *servertest.Server, event string, n int) (events []audit.Row) {
	t.Helper()
	eventually(t, fmt.Sprint(n, " rows of ", event), func() bool {
		var err error
		events, err = s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, Limit: 1000})
		storagetest.Must(t, err)
		return len(events) >= n
	})
	return events
}

var abuseProtection = []servertest.Requirement{
	servertest.Req("D1", "RFC 6585 §4", "token requests are limited per client, without effect on another client or on later requests", func(t *testing.T, s *servertest.Server) {
		c, other := s.Service("jobs"), s.Service("jobs")
		for range 3 {
			s.Token(c, clientCredentialsForm).OK(t)
		}
		r := s.Token(c, clientCredentialsForm)
		wantLimited(t, r, "token_client")
		r.Want(t, 429, "rate_limited")
		s.Token(other, clientCredentialsForm).OK(t)
		s.Clock.Advance(20 * time.Second)
		if r := s.Token(c, clientCredentialsForm).OK(t); !strings.HasPrefix(r.Header.Get("RateLimit"), `"token_client";r=0;t=20`) {
			t.Errorf("the last of three does not report it: %v", r.Header)
		}
	}).With("GATEHOUSE_RATE_LIMITS=token_client=3/1m"),
	servertest.Req("D2", "RFC 6585 §4", "token requests are limited per network, IPv6 by /64, with forwarded addresses", func(t *testing.T, s *servertest.Server) {
		c := s.Service("jobs")
		token := func(address string) servertest.Response {
			return sentFrom(s, address, s.AsClient("/oauth2/token", c, clientCredentialsForm))
		}
		token("2001:db8:1:2::1").OK(t)
		token("2001:db8:1:2:ffff::9").OK(t)
		wantLimited(t, token("2001:db8:1:2::3"), "token_address")
		token("2001:db8:1:3::1").OK(t)
		token("192.0.2.1").OK(t)
		token("::ffff:192.0.2.1").OK(t)
		wantLimited(t, token("192.0.2.1"), "token_address")
		token("192.0.2.2").OK(t)
	}).With("GATEHOUSE_RATE_LIMITS=token_address=2/1m", behindProxy),
	servertest.Req("D3", "RFC 6585 §4", "a user's codes and refreshes are limited, and a refused refresh ends no grant", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		b := s.Browser()
		one := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
		two := s.Token(c, servertest.CodeForm(b.Authorize(c).Location(), c)).OK(t)
		if p := b.Authorize(c); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") == "" || !strings.Contains(p.Text(), "Too many sign-ins to this app") {
			t.Errorf("a third code: %d %v %s", p.Status, p.Header, p.Text())
		}
		refresh := one.Text("refresh_token")
		for range 2 {
			refresh = s.Refresh(c, refresh).OK(t).Text("refresh_token")
		}
		wantLimited(t, s.Refresh(c, refresh), "token_person")
		s.Refresh(c, two.Text("refresh_token")).OK(t)
		s.Clock.Advance(time.Minute)
		s.Refresh(c, refresh).OK(t)
	}).With("GATEHOUSE_RATE_LIMITS=token_person=2/1m"),
	servertest.Req("D4", "RFC 6585 §4", "introspection and revocation are limited per client", func(t *testing.T, s *servertest.Server) {
		c, other := s.Service("jobs"), s.Service("jobs")
		form := url.Values{"token": {s.ServiceToken(c)}}
		for _, path := range []string{"/oauth2/introspect", "/oauth2/revoke"} {
			s.Post(path, c, form).OK(t)
			s.Post(path, c, form).OK(t)
			wantLimited(t, s.Post(path, c, form), map[string]string{"/oauth2/introspect": "introspection", "/oauth2/revoke": "revocation"}[path])
			s.Post(path, other, form).OK(t)
		}
	}).With("GATEHOUSE_RATE_LIMITS=introspection=2/1m,revocation=2/1m"),
	servertest.Req("D5", "RFC 6585 §4", "a caller that only names a public client does not use the limit of others", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.Public()
		refresh := s.Tokens(c, "alice").Text("refresh_token")
		send := func(address, token string) servertest.Response {
			return sentFrom(s, address, s.AsClient("/oauth2/token", c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}))
		}
		for range 5 {
			send("198.51.100.1", "gate_rt_live_x")
		}
		wantLimited(t, send("198.51.100.1", "gate_rt_live_x"), "token_client")
		send("203.0.113.9", refresh).OK(t)
	}).With("GATEHOUSE_RATE_LIMITS=token_client=3/1m", behindProxy),
	servertest.Req("D6", "RFC 6585 §4", "authorization requests and passwords are limited per network, with a page, without effect on other networks", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		open := func(address string) servertest.Response {
			return sentFrom(s, address, s.Request(http.MethodGet, "/oauth2/authorize?"+servertest.AuthorizeForm(c).Encode(), nil))
		}
		for range 3 {
			if r := open("192.0.2.1"); r.Status != http.StatusSeeOther {
				t.Fatalf("%d %s", r.Status, r.Body)
			}
		}
		wantLimited(t, open("192.0.2.1"), "authorize")
		if r := open("192.0.2.2"); r.Status != http.StatusSeeOther {
			t.Errorf("another network: %d", r.Status)
		}
		b := s.Browser()
		form := b.Open("/login").Fields()
		form.Set("username", "alice")
		form.Set("password", "wrong")
		for range 2 {
			b.Submit("/login", form)
		}
		form.Set("password", servertest.Password)
		if p := b.Submit("/login", form); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") == "" {
			t.Errorf("a third password: %d %s", p.Status, p.Text())
		}
		req := s.Request(http.MethodPost, "/login", form)
		for _, k := range b.Cookies() {
			req.AddCookie(k)
		}
		req.Header.Set("Origin", s.Issuer)
		if r := sentFrom(s, "192.0.2.3", req); r.Status != http.StatusSeeOther {
			t.Errorf("the right password from another network: %d %s", r.Status, r.Body)
		}
	}).With("GATEHOUSE_RATE_LIMITS=authorize=3/1m,sign_in=2/1m", behindProxy),
	servertest.Req("D7", "RFC 6749 §10.2", "a client with allowed networks authenticates only from these, with otherwise valid credentials, and a refusal is recorded", func(t *testing.T, s *servertest.Server) {
		c := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs","gatehouse_allowed_networks":["192.0.2.0/24","2001:db8::/32"]}`)
		wrong := c
		wrong.ClientSecret = "gate_cs_live_x"
		from := func(address, path string, c client.Information, form url.Values) servertest.Response {
			return sentFrom(s, address, s.AsClient(path, c, form))
		}
		token := from("192.0.2.200", "/oauth2/token", c, clientCredentialsForm).OK(t).Text("access_token")
		from("2001:db8:9::1", "/oauth2/token", c, clientCredentialsForm).OK(t)
		for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
			form := url.Values{"grant_type": {"client_credentials"}, "token": {token}}
			right, guessed := from("198.51.100.7", path, c, form), from("198.51.100.7", path, wrong, form)
			right.Want(t, 401, "invalid_client")
			if right.Body != guessed.Body || !strings.Contains(right.Text("error_description"), "address") {
				t.Errorf("%s: the response discloses whether the secret is correct, or not the cause:\n%s\n%s", path, right.Body, guessed.Body)
			}
		}
		recorded(t, s, audit.AuthenticationFailed, 3) // the attempts: none forges a stolen secret
		e := recorded(t, s, audit.AddressRefused, 3)[0]
		if e.ClientID != c.ClientID || e.Address != "198.51.100.7" || e.RequestID == "" {
			t.Errorf("the record is %+v", e)
		}
		for _, event := range []string{audit.AuthenticationFailed, audit.AddressRefused} {
			for _, e := range recorded(t, s, event, 3) {
				if e.Actor != "anonymous" || e.ClientID != c.ClientID {
					t.Errorf("%s has the actor %s and the client %s, want anonymous and the claimed client %s", event, e.Actor, e.ClientID, c.ClientID)
				}
			}
		}
		unregistered := c
		unregistered.ClientID = "gcUnregistered"
		for i := range 5 { // third parties fail from many networks, and hide nothing by it
			sentFrom(s, fmt.Sprintf("203.0.113.%d", i), s.AsClient("/oauth2/token", unregistered, clientCredentialsForm)).Want(t, 401, "invalid_client")
		}
		from("198.51.100.8", "/oauth2/token", c, clientCredentialsForm).Want(t, 401, "invalid_client")
		recorded(t, s, audit.AddressRefused, 4)
		if n := s.Counted(audit.AddressRefused); n != 4 || !strings.Contains(s.Logs(), `"level":"WARN","msg":"valid client secret from a network that is not allowed`) {
			t.Errorf("the counter is %d", n)
		}
		for networks, want := range map[string]string{`["10.0.0.5/8"]`: "10.0.0.0/8", `["10.0.0.0/33"]`: "CIDR", `["everywhere"]`: "CIDR", `["::ffff:10.0.0.0/104"]`: "IPv4", `["fe80::1%eth0"]`: "CIDR"} {
			_, err := client.ParseMetadata([]byte(`{"gatehouse_allowed_networks":` + networks + `}`))
			storagetest.Must(t, err)
			if _, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_allowed_networks":`+networks+`}`)); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %v", networks, err)
			}
		}
		if _, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{TokenEndpointAuthMethod: "none", RedirectURIs: client.List{servertest.Callback}, OperatorMetadata: client.OperatorMetadata{AllowedNetworks: client.List{"10.0.0.0/8"}}}); err == nil {
			t.Error("a public client with networks")
		}
		info, _, err := s.OAuth.Clients.Update(t.Context(), c.ClientID, []byte(`{"gatehouse_allowed_networks":["198.51.100.7"]}`))
		storagetest.Must(t, err)
		if info.AllowedNetworks[0] != "198.51.100.7/32" {
			t.Errorf("%v", info.AllowedNetworks)
		}
		from("198.51.100.7", "/oauth2/token", c, clientCredentialsForm).OK(t)
		if e := recorded(t, s, audit.ClientUpdated, 1)[0]; e.Detail != `{"changed":["gatehouse_allowed_networks"],"now":{"gatehouse_allowed_networks":["198.51.100.7/32"]},"was":{"gatehouse_allowed_networks":["192.0.2.0/24","2001:db8::/32"]}}` {
			t.Errorf("the record of the change is %s", e.Detail)
		}
	}).With(behindProxy, "GATEHOUSE_RATE_LIMITS=recorded_failures=3/1m"),
	servertest.Req("D8", "RFC 9700 §4.14.2, [design](design.md)", "failures are recorded too: who, when, from where, how, for what, and why", func(t *testing.T, s *servertest.Server) {
		c, other := s.Service("jobs"), s.Service("jobs")
		wrong := c
		wrong.ClientSecret = other.ClientSecret
		req := s.AsClient("/oauth2/token", wrong, clientCredentialsForm)
		req.Header.Set("User-Agent", "Guesser/1.0")
		req.Header.Set("X-Forwarded-For", "192.0.2.44")
		r := s.Do(req)
		r.Want(t, 401, "invalid_client")
		e := recorded(t, s, audit.AuthenticationFailed, 1)[0]
		if e.ClientID != c.ClientID || e.Address != "192.0.2.44" || e.UserAgent != "Guesser/1.0" || e.RequestID != r.Header.Get("X-Request-Id") || !strings.Contains(e.Detail, "invalid secret") || !e.At.Equal(s.Clock.Now()) || e.Actor != "anonymous" { // who failed to authenticate is not the client
			t.Errorf("failed authentication: %+v", e)
		}
		s.Token(c, with(clientCredentialsForm, "scope", "admin")).Want(t, 400, "invalid_scope")
		if e := recorded(t, s, audit.ScopeRefused, 1)[0]; e.ClientID != c.ClientID || !strings.Contains(e.Detail, "admin") {
			t.Errorf("refused scope: %+v", e)
		}
		app := s.App()
		s.Browser().Authorize(app, "scope", "everything")
		if e := recorded(t, s, audit.ScopeRefused, 2)[0]; e.ClientID != app.ClientID {
			t.Errorf("refused scope of an authorization request: %+v", e)
		}
		token := s.ServiceToken(other)
		s.Introspect(c, token)
		s.Introspect(c, "rubbish")
		for _, e := range recorded(t, s, audit.IntrospectionFailed, 2) {
			if e.ClientID != c.ClientID || e.Token != audit.TokenReference(token) && e.Token != audit.TokenReference("rubbish") || !strings.Contains(e.Detail, "reason") {
				t.Errorf("failed introspection: %+v", e)
			}
		}
	}).With(behindProxy),
	servertest.Req("D9", "[design](design.md)", "failures cannot fill the disk: of one kind and network only a limited number is recorded", func(t *testing.T, s *servertest.Server) {
		c := s.Service("jobs")
		for i := range 90 {
			s.Introspect(c, fmt.Sprint("made up ", i))
			s.Token(servertest.UnregisteredClient(fmt.Sprint("gcmadeup", i)), clientCredentialsForm)
		}
		s.ServiceToken(c) // queued after them
		recorded(t, s, audit.TokenIssued, 1)
		if events := recorded(t, s, audit.IntrospectionFailed, 60); len(events) != 60 {
			t.Errorf("%d rows", len(events))
		}
		if events := recorded(t, s, audit.AuthenticationFailed, 60); len(events) != 60 {
			t.Errorf("%d rows of names that were made up", len(events))
		}
	}),
	servertest.Req("D10", "[design](design.md)", "given a token, its audit record can be found, and the record does not contain it", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c, m := s.App(), s.Service("jobs")
		to := s.Browser().Code(c, "alice")
		tokens := s.Token(c, servertest.CodeForm(to, c)).OK(t)
		fresh := s.Refresh(c, tokens.Text("refresh_token")).OK(t)
		serviceToken := s.ServiceToken(m)
		s.Post("/oauth2/revoke", m, url.Values{"token": {serviceToken}}).OK(t)
		for token, want := range map[string][]string{
			to.Query().Get("code"): {audit.CodeIssued, audit.CodeRedeemed}, fresh.Text("refresh_token"): {audit.RefreshRotated}, serviceToken: {audit.TokenIssued, audit.TokenRevoked},
		} {
			for _, event := range want {
				recorded(t, s, event, 1)
				events, err := s.Store.Audit.Rows(t.Context(), audit.Filter{Event: event, Token: audit.TokenReference(token)})
				storagetest.Must(t, err)
				if len(events) != 1 {
					t.Errorf("%d rows of %s", len(events), event)
				}
			}
		}
	}),
	servertest.Req("D11", "[design](design.md)", "every response has the id of its request, and so has every log line about it", func(t *testing.T, s *servertest.Server) {
		seen := map[string]bool{}
		for _, path := range []string{"/healthz", "/readyz", "/.well-known/jwks.json", "/oauth2/authorize", "/login", "/nothing", "/static/x", "/logo/x", "/login?" + strings.Repeat("x", 40<<10)} {
			id := s.Get(path).Header.Get("X-Request-Id")
			if len(id) != 16 || seen[id] {
				t.Errorf("%s: %q", path, id)
			}
			seen[id] = true
			if !strings.HasSuffix(path, "z") && strings.Count(s.Log.String(), `"request_id":"`+id+`"`) != 1 {
				t.Errorf("%s: no line of the log, or several", path)
			}
		}
		s.User("alice")
		c := s.App()
		refresh := s.Tokens(c, "alice").Text("refresh_token")
		s.Refresh(c, refresh).OK(t)
		s.Clock.Advance(time.Minute)
		id := s.Refresh(c, refresh).Header.Get("X-Request-Id")
		if strings.Count(s.Log.String(), `"request_id":"`+id+`"`) != 2 {
			t.Errorf("the alert of reuse does not name its request %s:\n%s", id, s.Log)
		}
	}),
	servertest.Req("D12", "RFC 9110 §15.6.4", "beyond its capacity the server refuses immediately, and slow senders occupy no slot", func(t *testing.T, s *servertest.Server) {
		entered, release := make(chan struct{}), make(chan struct{})
		slow := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			entered <- struct{}{}
			<-release
			_, _ = w.Write([]byte(`["https://app.example/callback"]`))
		}))
		defer slow.Close()
		c := s.Service("jobs")
		half, write := slowBody(t, s) // it has begun to send, and holds nothing
		done := make(chan servertest.Response)
		go func() {
			done <- s.Do(jsonRequest(s, "/oauth2/register", `{"redirect_uris":["https://app.example/callback"],"sector_identifier_uri":"`+slow.URL+`"}`))
		}()
		<-entered
		r := s.Token(c, clientCredentialsForm) // served while the first request still has the only slot
		r.Want(t, 503, "temporarily_unavailable")
		if r.Header.Get("Retry-After") == "" {
			t.Errorf("no Retry-After in %v", r.Header)
		}
		if p := s.Browser().Open("/login"); p.Status != http.StatusServiceUnavailable || p.Header.Get("Retry-After") == "" {
			t.Errorf("a page: %d", p.Status)
		}
		if r := s.Get("/healthz"); r.Status != 200 {
			t.Errorf("/healthz: %d", r.Status)
		}
		close(release)
		<-done
		s.Token(c, clientCredentialsForm).OK(t)
		write()
		if r := <-half; r != http.StatusBadRequest {
			t.Errorf("the slow request: %d", r)
		}
	}).With("GATEHOUSE_MAX_REQUESTS=1", "GATEHOUSE_REGISTRATION=open", "GATEHOUSE_FETCH_ALLOW_HOSTS=127.0.0.1"),
	servertest.Req("D13", "RFC 9110 §15.6.4", "a slow database is 503, and no request waits for it longer than its timeout", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		refresh := s.Tokens(c, "alice").Text("refresh_token")
		hurried := s.AnotherWith("GATEHOUSE_REQUEST_TIMEOUT=1s")
		eventually(t, "the process with the short limit has read the client", func() bool {
			return hurried.Refresh(c, "unknown").Status == http.StatusBadRequest
		})
		release := storagetest.Lock(t, s.Store, s.DB, "grants")
		hurried.Refresh(c, refresh).Want(t, 503, "temporarily_unavailable") // while the table is still locked
		release()
		s.Refresh(c, refresh).OK(t)
	}),
	servertest.Req("D14", "RFC 6749 §10.10, [design](design.md) §6", "what third parties make this server store is bounded in total", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		send := func(address, state string) servertest.Response {
			return sentFrom(s, address, s.Request(http.MethodGet, "/oauth2/authorize?"+servertest.AuthorizeForm(c, "state", state).Encode(), nil))
		}
		stored := func(address, state string) int { return send(address, state).Status }
		if got := stored("192.0.2.1", "x"); got != http.StatusSeeOther {
			t.Fatalf("the first request: %d", got)
		}
		if got := stored("192.0.2.2", strings.Repeat("x", 7000)); got != http.StatusTooManyRequests { // counts as four
			t.Errorf("a large one: %d", got)
		}
		if got := send("192.0.2.3", "x"); got.Status != http.StatusTooManyRequests || !strings.Contains(got.Body, "Too many people are signing in") {
			t.Errorf("another when all are used: %d %s", got.Status, got.Body)
		}
		b := s.Browser()
		page := b.Open("/login")
		for i := range 4 {
			form := url.Values{"username": {fmt.Sprint("unregistered", i)}, "password": {"x"}}
			for name, values := range page.Fields() {
				if form.Get(name) == "" {
					form[name] = values
				}
			}
			req := s.Request(http.MethodPost, "/login", form)
			for _, cookie := range b.Cookies() {
				req.AddCookie(cookie)
			}
			req.Header.Set("Sec-Fetch-Site", "same-origin")
			if r := sentFrom(s, fmt.Sprintf("198.51.100.%d", i), req); r.Status == http.StatusTooManyRequests || !strings.Contains(r.Body, "password") {
				t.Fatalf("a wrong password: %d %.300s", r.Status, r.Body)
			}
		}
		if n := len(recorded(t, s, audit.UserSignInFailed, 2)); n != 2 || s.Counted(audit.UserSignInFailed) != 4 {
			t.Errorf("%d rows, %d counted", n, s.Counted(audit.UserSignInFailed))
		}
	}).With(behindProxy, "GATEHOUSE_RATE_LIMITS=stored_requests=4/1h,recorded_failures=2/1h"),
	servertest.Req("D15", "RFC 9700 §4.14.2", "an attacker who refreshes as fast as the client is detected all the same", func(t *testing.T, s *servertest.Server) {
		s.User("alice")
		c := s.App()
		first := s.Token(c, servertest.CodeForm(s.Browser().Code(c, "alice"), c)).OK(t)
		owners := first.Text("refresh_token")
		thiefs := owners
		for range 2 {
			thiefs = s.Refresh(c, thiefs).OK(t).Text("refresh_token")
		}
		wantLimited(t, s.Refresh(c, thiefs), "token_person")
		s.Refresh(c, owners).Want(t, http.StatusBadRequest, "invalid_grant")
		if s.Active(c, first.Text("access_token")) {
			t.Error("the stolen grant is active")
		}
		if n := s.Counted("refresh_token.reused"); n != 1 {
			t.Errorf("%d reuses", n)
		}
	}).With("GATEHOUSE_RATE_LIMITS=token_person=2/1m"),
}

// jsonRequest is a POST of JSON.
func jsonRequest(s *servertest.Server, path, body string) *http.Request {
	req, err := http.NewRequest(http.MethodPost, s.URL+path, strings.NewReader(body))
	storagetest.Must(s.T, err)
	req.Header.Set("Content-Type", "application/json")
	return req
}

// slowBody sends the head of a token request and one byte of its body. write sends the rest; the channel gives the status.
func slowBody(t *testing.T, s *servertest.Server) (status <-chan int, write func()) {
	t.Helper()
	reader, writer := io.Pipe()
	req, err := http.NewRequest(http.MethodPost, s.URL+"/oauth2/token", reader)
	storagetest.Must(t, err)
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	out := make(chan int, 1)
	go func() {
		res, err := s.HTTP.Do(req)
		if err != nil {
			out <- 0
			return
		}
		_ = res.Body.Close()
		out <- res.StatusCode
	}()
	_, err = writer.Write([]byte("x"))
	storagetest.Must(t, err)
	return out, func() { storagetest.Must(t, writer.Close()) }
}

package oauth_test

import (
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/audit"
	"gatehouse/storage/storagetest"
)

var rateLimits = []servertest.Requirement{
	servertest.Req("D1", "RFC 6585 §4",
		"token requests are limited per client, without effect on another client or on later requests",
		func(t *testing.T, s *servertest.Server) {
			c, other := s.Service("jobs"), s.Service("jobs")
			for range 3 {
				s.Token(c, clientCredentialsForm).OK(t)
			}
			r := s.Token(c, clientCredentialsForm)
			wantLimited(t, r, "token_client")
			r.Want(t, 429, "rate_limited")
			s.Token(other, clientCredentialsForm).OK(t)
			s.Clock.Advance(20 * time.Second)
			const want = `"token_client";r=0;t=20`
			if got := s.Token(c, clientCredentialsForm).OK(t).Header.Get("RateLimit"); !strings.HasPrefix(got, want) {
				t.Errorf("RateLimit = %q, want prefix %q", got, want)
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=token_client=3/1m"),
	servertest.Req("D2", "RFC 6585 §4",
		"token requests are limited per network, IPv6 by /64, with forwarded addresses",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			token := func(address string) servertest.Response {
				return sendFrom(s, address, s.AsClient("/oauth2/token", c, clientCredentialsForm))
			}
			token("2001:db8:1:2::1").OK(t)
			token("2001:db8:1:2:ffff::9").OK(t)
			wantLimited(t, token("2001:db8:1:2::3"), "token_address")
			token("2001:db8:1:3::1").OK(t)
			token("192.0.2.1").OK(t)
			token("::ffff:192.0.2.1").OK(t)
			wantLimited(t, token("192.0.2.1"), "token_address")
			token("192.0.2.2").OK(t)
		}).WithSettings("GATEHOUSE_RATE_LIMITS=token_address=2/1m", behindProxy),
	servertest.Req("D3", "RFC 6585 §4",
		"a user's codes and refreshes are limited, and a refused refresh ends no grant",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			b := s.Browser()
			first := s.Token(c, servertest.CodeForm(b.Code(c, "alice"), c)).OK(t)
			second := s.Token(c, servertest.CodeForm(b.Authorize(c).Location(), c)).OK(t)
			p := b.Authorize(c)
			if p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") == "" {
				t.Errorf("a third code: status = %d, headers %v, want 429 with Retry-After", p.Status, p.Header)
			}
			if !strings.Contains(p.Text(), "Too many sign-ins to this app") {
				t.Errorf("a third code: the page does not explain the limit: %s", p.Text())
			}
			refresh := first.Text("refresh_token")
			for range 2 {
				refresh = s.Refresh(c, refresh).OK(t).Text("refresh_token")
			}
			wantLimited(t, s.Refresh(c, refresh), "token_person")
			s.Refresh(c, second.Text("refresh_token")).OK(t)
			s.Clock.Advance(time.Minute)
			s.Refresh(c, refresh).OK(t)
		}).WithSettings("GATEHOUSE_RATE_LIMITS=token_person=2/1m"),
	servertest.Req("D4", "RFC 6585 §4",
		"introspection and revocation are limited per client",
		func(t *testing.T, s *servertest.Server) {
			c, other := s.Service("jobs"), s.Service("jobs")
			form := url.Values{"token": {s.ServiceToken(c)}}
			for path, limit := range map[string]string{
				"/oauth2/introspect": "introspection", "/oauth2/revoke": "revocation",
			} {
				s.Post(path, c, form).OK(t)
				s.Post(path, c, form).OK(t)
				wantLimited(t, s.Post(path, c, form), limit)
				s.Post(path, other, form).OK(t)
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=introspection=2/1m,revocation=2/1m"),
	servertest.Req("D5", "RFC 6585 §4",
		"a caller that only names a public client does not consume the limit of others",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.Public()
			refresh := s.Tokens(c, "alice").Text("refresh_token")
			send := func(address, token string) servertest.Response {
				form := url.Values{"grant_type": {"refresh_token"}, "refresh_token": {token}}
				return sendFrom(s, address, s.AsClient("/oauth2/token", c, form))
			}
			for range 5 {
				send("198.51.100.1", "gate_rt_live_x")
			}
			wantLimited(t, send("198.51.100.1", "gate_rt_live_x"), "token_client")
			send("203.0.113.9", refresh).OK(t)
		}).WithSettings("GATEHOUSE_RATE_LIMITS=token_client=3/1m", behindProxy),
	servertest.Req("D6", "RFC 6585 §4",
		"authorization requests and passwords are limited per network, with a page, without effect on other networks",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			c := s.App()
			open := func(address string) servertest.Response {
				path := "/oauth2/authorize?" + servertest.AuthorizeForm(c).Encode()
				return sendFrom(s, address, s.Request(http.MethodGet, path, nil))
			}
			for range 3 {
				if r := open("192.0.2.1"); r.Status != http.StatusSeeOther {
					t.Fatalf("an authorization request within the limit: %d %s, want 303", r.Status, r.Body)
				}
			}
			wantLimited(t, open("192.0.2.1"), "authorize")
			if r := open("192.0.2.2"); r.Status != http.StatusSeeOther {
				t.Errorf("a request from another network: status = %d, want 303", r.Status)
			}
			b := s.Browser()
			form := b.Open("/login").Fields()
			form.Set("username", "alice")
			form.Set("password", "wrong")
			for range 2 {
				b.Submit("/login", form)
			}
			form.Set("password", servertest.Password)
			p := b.Submit("/login", form)
			if p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") == "" {
				t.Errorf("a third password: %d %s, want 429 with Retry-After", p.Status, p.Text())
			}
			req := s.Request(http.MethodPost, "/login", form)
			for _, k := range b.Cookies() {
				req.AddCookie(k)
			}
			req.Header.Set("Origin", s.Issuer)
			if r := sendFrom(s, "192.0.2.3", req); r.Status != http.StatusSeeOther {
				t.Errorf("the correct password from another network: %d %s, want 303", r.Status, r.Body)
			}
		}).WithSettings("GATEHOUSE_RATE_LIMITS=authorize=3/1m,sign_in=2/1m", behindProxy),
	servertest.Req("D7", "RFC 6749 §10.2",
		"a client with allowed networks authenticates only from these, and a valid secret from another is recorded",
		testAllowedNetworks).WithSettings(behindProxy, "GATEHOUSE_RATE_LIMITS=recorded_failures=3/1m"),
}

func testAllowedNetworks(t *testing.T, s *servertest.Server) {
	c := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs",
		"gatehouse_allowed_networks":["192.0.2.0/24","2001:db8::/32"]}`)
	otherSecret := c
	otherSecret.ClientSecret = "gate_cs_live_x"
	from := func(address, path string, c client.Information, form url.Values) servertest.Response {
		return sendFrom(s, address, s.AsClient(path, c, form))
	}
	token := from("192.0.2.200", "/oauth2/token", c, clientCredentialsForm).OK(t).Text("access_token")
	from("2001:db8:9::1", "/oauth2/token", c, clientCredentialsForm).OK(t)
	for _, path := range []string{"/oauth2/token", "/oauth2/introspect", "/oauth2/revoke"} {
		form := url.Values{"grant_type": {"client_credentials"}, "token": {token}}
		valid, invalid := from("198.51.100.7", path, c, form), from("198.51.100.7", path, otherSecret, form)
		valid.Want(t, 401, "invalid_client")
		if valid.Body != invalid.Body {
			t.Errorf("%s: the response discloses whether the secret is valid: %s, and with an invalid secret %s",
				path, valid.Body, invalid.Body)
		}
		if got := valid.Text("error_description"); !strings.Contains(got, "address") {
			t.Errorf("%s: error_description = %q, want the cause, the address", path, got)
		}
	}
	waitForRows(t, s, audit.AuthenticationFailed, 3) // the attempts with an invalid secret are no address_refused
	e := waitForRows(t, s, audit.AddressRefused, 3)[0]
	if e.ClientID != c.ClientID || e.Address != "198.51.100.7" || e.RequestID == "" {
		t.Errorf("the record is %+v, want client %s, address 198.51.100.7 and a request id", e, c.ClientID)
	}
	for _, event := range []string{audit.AuthenticationFailed, audit.AddressRefused} {
		for _, e := range waitForRows(t, s, event, 3) {
			if e.Actor != "anonymous" || e.ClientID != c.ClientID {
				t.Errorf("%s has the actor %s and the client %s, want anonymous and the claimed client %s",
					event, e.Actor, e.ClientID, c.ClientID)
			}
		}
	}
	unregistered := c
	unregistered.ClientID = "gcUnregistered"
	for i := range 5 { // failures of third parties in many networks do not suppress the record of another
		r := from(fmt.Sprintf("203.0.113.%d", i), "/oauth2/token", unregistered, clientCredentialsForm)
		r.Want(t, 401, "invalid_client")
	}
	from("198.51.100.8", "/oauth2/token", c, clientCredentialsForm).Want(t, 401, "invalid_client")
	waitForRows(t, s, audit.AddressRefused, 4)
	if n := s.Counted(audit.AddressRefused); n != 4 {
		t.Errorf("the counter is %d, want 4", n)
	}
	const warning = `"level":"WARN","msg":"valid client secret from a network that is not allowed`
	if !strings.Contains(s.Logs(), warning) {
		t.Error("no warning of a valid client secret from another network is logged")
	}
	changeAllowedNetworks(t, s, c)
	from("198.51.100.7", "/oauth2/token", c, clientCredentialsForm).OK(t)
}

// changeAllowedNetworks fails unless invalid networks are refused and a change to 198.51.100.7 is recorded.
func changeAllowedNetworks(t *testing.T, s *servertest.Server, c client.Information) {
	t.Helper()
	for networks, want := range map[string]string{
		`["10.0.0.5/8"]`: "10.0.0.0/8", `["10.0.0.0/33"]`: "CIDR", `["everywhere"]`: "CIDR",
		`["::ffff:10.0.0.0/104"]`: "IPv4", `["fe80::1%eth0"]`: "CIDR",
	} {
		members := []byte(`{"gatehouse_allowed_networks":` + networks + `}`)
		_, err := client.ParseMetadata(members)
		storagetest.Must(t, err)
		_, _, err = s.OAuth.Clients.Update(t.Context(), c.ClientID, members)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("an update with the networks %s: error %v, want one with %q", networks, err, want)
		}
	}
	_, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{
		TokenEndpointAuthMethod: "none", RedirectURIs: client.List{servertest.Callback},
		OperatorMetadata: client.OperatorMetadata{AllowedNetworks: client.List{"10.0.0.0/8"}},
	})
	if err == nil {
		t.Error("a public client with allowed networks was registered")
	}
	info := updateClient(t, s, c.ClientID, `{"gatehouse_allowed_networks":["198.51.100.7"]}`)
	if info.AllowedNetworks[0] != "198.51.100.7/32" {
		t.Errorf("the allowed networks are %v, want 198.51.100.7/32", info.AllowedNetworks)
	}
	const want = `{"changed":["gatehouse_allowed_networks"],"now":{"gatehouse_allowed_networks":["198.51.100.7/32"]},` +
		`"was":{"gatehouse_allowed_networks":["192.0.2.0/24","2001:db8::/32"]}}`
	if got := waitForRows(t, s, audit.ClientUpdated, 1)[0].Detail; got != want {
		t.Errorf("the record of the change is %s, want %s", got, want)
	}
}

// updateClient changes members of a client as the operator.
func updateClient(t *testing.T, s *servertest.Server, id, members string) client.Information {
	t.Helper()
	info, _, err := s.OAuth.Clients.Update(t.Context(), id, []byte(members))
	storagetest.Must(t, err)
	return info
}

package oauth_test

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage"
	"gatehouse/storage/storagetest"
)

func TestTokenEndpoint(t *testing.T) { servertest.Run(t, tokenEndpoint) }

func decodePart(t testing.TB, token string, n int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("not a JWT: %q", token)
	}
	raw, err := base64.RawURLEncoding.DecodeString(parts[n])
	storagetest.Must(t, err)
	var out map[string]any
	storagetest.Must(t, json.Unmarshal(raw, &out))
	return out
}

var clientCredentialsForm = url.Values{"grant_type": {"client_credentials"}}

// withParameters returns a copy of the form with these names and values.
func withParameters(form url.Values, changes ...string) url.Values {
	out := url.Values{}
	for k, v := range form {
		out[k] = v
	}
	for i := 0; i+1 < len(changes); i += 2 {
		out.Set(changes[i], changes[i+1])
	}
	return out
}

var tokenEndpoint = []servertest.Requirement{
	servertest.Req("P38", "RFC 6749 §3.2",
		"the token endpoint reads parameters only from a POST form, never from the query string",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			q := withParameters(clientCredentialsForm, "client_id", c.ClientID, "client_secret", c.ClientSecret).Encode()
			if r := s.Get("/oauth2/token?" + q); r.Status != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" {
				t.Errorf("GET: %d %s", r.Status, r.Body)
			}
			s.Do(s.Request(http.MethodPost, "/oauth2/token?"+q, url.Values{})).Want(t, 400, "invalid_request")
			s.Do(s.Request(http.MethodPost, "/oauth2/token?client_secret="+c.ClientSecret, clientCredentialsForm)).Want(t, 400, "invalid_request")
			req := s.Request(http.MethodPost, "/oauth2/token?grant_type=client_credentials", url.Values{"x": {"y"}})
			req.SetBasicAuth(c.ClientID, c.ClientSecret)
			s.Do(req).Want(t, 400, "invalid_request")
			req = s.AsClient("/oauth2/token", c, clientCredentialsForm)
			req.Header.Set("Content-Type", "multipart/form-data; boundary=x")
			s.Do(req).Want(t, 400, "invalid_request")
			req = s.AsClient("/oauth2/token", c, clientCredentialsForm)
			req.Header.Set("Content-Type", "application/json")
			s.Do(req).Want(t, 400, "invalid_request")
		}),
	servertest.Req("P39", "RFC 6749 §5.1",
		"responses are JSON, must not be cached, and have token type, lifetime and scope",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs other")
			r := s.Token(c, withParameters(clientCredentialsForm, "scope", "jobs")).OK(t)
			if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" ||
				r.Text("token_type") != "Bearer" || r.JSON["expires_in"] != float64(900) || r.Text("scope") != "jobs" {
				t.Errorf("%v %s", r.Header, r.Body)
			}
		}),
	servertest.Req("P40", "RFC 6749 §5.2",
		"failed client authentication is 401 invalid_client, with a challenge when the header was used",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			wrong := c
			wrong.ClientSecret = s.Service("jobs").ClientSecret
			r := s.Token(wrong, clientCredentialsForm)
			r.Want(t, 401, "invalid_client")
			if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("WWW-Authenticate is %q", r.Header.Get("WWW-Authenticate"))
			}
			wrong.TokenEndpointAuthMethod = storage.AuthPost
			r = s.Token(wrong, clientCredentialsForm)
			r.Want(t, 401, "invalid_client")
			if r.Header.Get("WWW-Authenticate") != "" {
				t.Error("a challenge although the body was used")
			}
			for _, header := range []string{"Basic", "Basic !!!", "Basic " + base64.StdEncoding.EncodeToString([]byte("no-colon")), "Bearer x", "Basic " + base64.StdEncoding.EncodeToString([]byte("%zz:x"))} {
				req := s.Request(http.MethodPost, "/oauth2/token", clientCredentialsForm)
				req.Header.Set("Authorization", header)
				s.Do(req).Want(t, 401, "invalid_client")
			}
			s.Do(s.Request(http.MethodPost, "/oauth2/token", clientCredentialsForm)).Want(t, 401, "invalid_client")
		}),
	servertest.Req("P41", "RFC 6749 §5.2",
		"an unknown client and an invalid secret get the same response",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			wrong, unknown := c, c
			wrong.ClientSecret = s.Service("jobs").ClientSecret
			unknown.ClientID = "gcAAAAAAAAAAAAAAAAAAAA"
			a, b := s.Token(wrong, clientCredentialsForm), s.Token(unknown, clientCredentialsForm)
			if a.Body != b.Body || a.Status != b.Status || a.Header.Get("WWW-Authenticate") != b.Header.Get("WWW-Authenticate") {
				t.Errorf("%d %s and %d %s", a.Status, a.Body, b.Status, b.Body)
			}
		}),
	servertest.Req("P42", "RFC 6749 §2.3",
		"two authentication methods in one request are refused",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			s.Token(c, withParameters(clientCredentialsForm, "client_secret", c.ClientSecret)).Want(t, 400, "invalid_request")
			s.Token(c, withParameters(clientCredentialsForm, "client_id", "another")).Want(t, 400, "invalid_request")
			req := s.AsClient("/oauth2/token", c, clientCredentialsForm)
			req.Header.Add("Authorization", req.Header.Get("Authorization"))
			s.Do(req).Want(t, 400, "invalid_request")
			s.Token(c, withParameters(clientCredentialsForm, "client_id", c.ClientID)).OK(t)
		}),
	servertest.Req("P43", "RFC 7591 §2",
		"a client uses only the method it is registered for",
		func(t *testing.T, s *servertest.Server) {
			basic := s.Service("jobs")
			post := s.Client(`{"grant_types":["client_credentials"],"token_endpoint_auth_method":"client_secret_post","scope":"jobs"}`)
			s.Token(basic, clientCredentialsForm).OK(t)
			s.Token(post, clientCredentialsForm).OK(t)
			basic.TokenEndpointAuthMethod, post.TokenEndpointAuthMethod = post.TokenEndpointAuthMethod, basic.TokenEndpointAuthMethod
			s.Token(basic, clientCredentialsForm).Want(t, 401, "invalid_client")
			s.Token(post, clientCredentialsForm).Want(t, 401, "invalid_client")
			none := basic
			none.TokenEndpointAuthMethod = storage.AuthNone
			s.Token(none, clientCredentialsForm).Want(t, 401, "invalid_client")
			public := s.Public()
			public.TokenEndpointAuthMethod, public.ClientSecret = storage.AuthPost, basic.ClientSecret
			s.Token(public, clientCredentialsForm).Want(t, 401, "invalid_client")
		}),
	servertest.Req("P44", "RFC 6749 §2.3.1",
		"the two parts of Basic are form-encoded",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			encoded := ""
			for _, b := range []byte(c.ClientID) {
				encoded += fmt.Sprintf("%%%02X", b)
			}
			for _, pair := range []string{encoded + ":" + url.QueryEscape(c.ClientSecret), c.ClientID + ":" + strings.ReplaceAll(c.ClientSecret, "_", "%5F")} {
				req := s.Request(http.MethodPost, "/oauth2/token", clientCredentialsForm)
				req.Header.Set("Authorization", "basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
				s.Do(req).OK(t)
			}
			for _, pair := range []string{c.ClientID + ":" + c.ClientSecret + "%20", c.ClientID + ":" + c.ClientSecret + ":", "ü+ :" + c.ClientSecret} {
				req := s.Request(http.MethodPost, "/oauth2/token", clientCredentialsForm)
				req.Header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
				s.Do(req).Want(t, 401, "invalid_client")
			}
		}),
	servertest.Req("P45", "RFC 6749 §5.2",
		"a missing, an unknown and a disallowed grant_type have separate errors",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			s.Token(c, url.Values{"scope": {"jobs"}}).Want(t, 400, "invalid_request")
			s.Token(c, url.Values{"grant_type": {"magic"}}).Want(t, 400, "unsupported_grant_type")
			s.Token(c, url.Values{"grant_type": {"client_credentials authorization_code"}}).Want(t, 400, "unsupported_grant_type")
			s.Token(c, url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}).Want(t, 400, "unauthorized_client")
			s.Token(c, url.Values{"grant_type": {"refresh_token"}, "refresh_token": {"x"}}).Want(t, 400, "unauthorized_client")
			s.Token(s.App(), clientCredentialsForm).Want(t, 400, "unauthorized_client")
			s.Token(s.App(), url.Values{"grant_type": {"authorization_code"}}).Want(t, 400, "invalid_request")
			s.Token(s.App(), url.Values{"grant_type": {"refresh_token"}}).Want(t, 400, "invalid_request")
			dup := s.AsClient("/oauth2/token", c, url.Values{"grant_type": {"client_credentials", "client_credentials"}})
			s.Do(dup).Want(t, 400, "invalid_request")
		}),
	servertest.Req("P46", "RFC 6749 §4.4, RFC 9700 §4.15",
		"client_credentials: only a confidential client gets a token, only with its own scopes, with the client as sub, "+
			"and without a refresh token",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs offline_access")
			r := s.Token(c, clientCredentialsForm).OK(t)
			if r.Text("refresh_token") != "" || r.Text("scope") != "jobs" {
				t.Errorf("%s", r.Body)
			}
			if got := claims(t, r.Text("access_token")); got["sub"] != c.ClientID || got["client_id"] != c.ClientID || got["auth_time"] != nil {
				t.Errorf("%v", got)
			}
			s.App()
			for _, scope := range []string{"read", "jobs read", "nothing"} {
				s.Token(c, withParameters(clientCredentialsForm, "scope", scope)).Want(t, 400, "invalid_scope")
			}
			if r := s.Token(s.Public(), clientCredentialsForm); r.Status == 200 {
				t.Error("a public client got a client credentials token")
			}
			if strings.Count(c.ClientID, "-") == 4 {
				t.Errorf("client_id %s could be a user's sub", c.ClientID)
			}
			if _, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{TokenEndpointAuthMethod: "none", GrantTypes: client.List{"client_credentials"}}); err == nil {
				t.Error("a public client was registered for client_credentials")
			}
		}),
	servertest.Req("P47", "RFC 9700 §2.4",
		"the password grant is not supported",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			s.Token(s.App(), url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {servertest.Password}}).Want(t, 400, "unsupported_grant_type")
		}),
	servertest.Req("P48", "RFC 6749 §5.2",
		"error codes are registered, and descriptions have only allowed characters",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			for _, scope := range []string{"\"", "\\", "é", "\x7f", "\t", "a\nb", strings.Repeat("x", 500)} {
				s.Token(c, withParameters(clientCredentialsForm, "scope", scope)).Want(t, 400, "invalid_scope")
			}
			s.Token(c, withParameters(clientCredentialsForm, "grant_type", "\"é")).Want(t, 400, "unsupported_grant_type")
			req := s.AsClient("/oauth2/token", c, nil)
			req.Body = http.NoBody
			s.Do(req).Want(t, 400, "invalid_request")
		}),
	servertest.Req("P49", "OAuth 2.1 §2.4.1",
		"repeated failures are 429 with Retry-After, and do not affect a client with the correct secret",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			wrong := c
			wrong.ClientSecret = s.Service("jobs").ClientSecret
			var last servertest.Response
			for range 25 {
				last = s.Token(wrong, clientCredentialsForm)
			}
			if last.Status != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" {
				t.Errorf("after 25 failures: %d %v", last.Status, last.Header)
			}
			if policy, state := last.Header.Get("RateLimit-Policy"), last.Header.Get("RateLimit"); policy != `"client_failure";q=20;w=60` || !strings.HasPrefix(state, `"client_failure";r=0;t=`) {
				t.Errorf("RateLimit-Policy %s, RateLimit %s", policy, state)
			}
			s.Token(c, clientCredentialsForm).OK(t)
			s.Clock.Advance(time.Minute)
			s.Token(wrong, clientCredentialsForm).Want(t, 429, "rate_limited") // exponential backoff for further failures
			s.Clock.Advance(20 * time.Minute)
			s.Token(wrong, clientCredentialsForm).Want(t, 401, "invalid_client")
			for i := range 80 { // many names from one network
				wrong.ClientID = fmt.Sprintf("gc%020d", i)
				last = s.Token(wrong, clientCredentialsForm)
			}
			if last.Status != http.StatusTooManyRequests {
				t.Errorf("after 80 names: %d", last.Status)
			}
			s.Token(c, clientCredentialsForm).OK(t)
		}),
	servertest.Req("P50", "RFC 6749 §2.3.1, §10",
		"secrets have 256 bits, are stored hashed, and overlap during rotation",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			if len(c.ClientSecret) != len("gate_cs_live_")+49 || !strings.HasPrefix(c.ClientSecret, "gate_cs_live_") {
				t.Errorf("the secret is %q", c.ClientSecret)
			}
			record, err := s.Store.Client(t.Context(), c.ClientID)
			storagetest.Must(t, err)
			if bytes.Contains(record.Secrets[0].Hash, []byte("gate_")) || len(record.Secrets[0].Hash) != 32 {
				t.Error("the secret is stored as it is")
			}
			fresh, err := s.OAuth.Clients.RotateSecret(t.Context(), c.ClientID, time.Hour)
			storagetest.Must(t, err)
			s.Token(c, clientCredentialsForm).OK(t)
			s.Token(fresh, clientCredentialsForm).OK(t)
			s.Clock.Advance(time.Hour)
			s.Token(c, clientCredentialsForm).Want(t, 401, "invalid_client")
			s.Token(fresh, clientCredentialsForm).OK(t)
			if info := client.InformationOf(record); info.ClientSecret != "" {
				t.Error("the secret is shown twice")
			}
		}),
}

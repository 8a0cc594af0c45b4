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

// decodePart returns a part of a JWT, 0 for the header and 1 for the claims, without verifying the token.
func decodePart(t testing.TB, token string, n int) map[string]any {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("%q has %d parts, want the 3 of a JWT", token, len(parts))
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
			r := s.Get("/oauth2/token?" + q)
			if r.Status != http.StatusMethodNotAllowed || r.Header.Get("Allow") != "POST" {
				t.Errorf("GET: status = %d, Allow = %q, want 405 and POST", r.Status, r.Header.Get("Allow"))
			}
			s.Do(s.Request(http.MethodPost, "/oauth2/token?"+q, url.Values{})).Want(t, 400, "invalid_request")
			secretInQuery := "/oauth2/token?client_secret=" + c.ClientSecret
			s.Do(s.Request(http.MethodPost, secretInQuery, clientCredentialsForm)).Want(t, 400, "invalid_request")
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
			if r.Header.Get("Cache-Control") != "no-store" || r.Header.Get("Content-Type") != "application/json" {
				t.Errorf("the headers are %v, want Cache-Control no-store and Content-Type application/json", r.Header)
			}
			if r.Text("token_type") != "Bearer" || r.JSON["expires_in"] != float64(900) || r.Text("scope") != "jobs" {
				t.Errorf("the response is %s, want token_type Bearer, expires_in 900 and scope jobs", r.Body)
			}
		}),
	servertest.Req("P40", "RFC 6749 §5.2",
		"failed client authentication is 401 invalid_client, with a challenge when the header was used",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			otherSecret := c
			otherSecret.ClientSecret = s.Service("jobs").ClientSecret
			r := s.Token(otherSecret, clientCredentialsForm)
			r.Want(t, 401, "invalid_client")
			if !strings.HasPrefix(r.Header.Get("WWW-Authenticate"), "Basic ") {
				t.Errorf("WWW-Authenticate = %q, want a Basic challenge", r.Header.Get("WWW-Authenticate"))
			}
			otherSecret.TokenEndpointAuthMethod = storage.AuthPost
			r = s.Token(otherSecret, clientCredentialsForm)
			r.Want(t, 401, "invalid_client")
			if r.Header.Get("WWW-Authenticate") != "" {
				t.Error("the response to client_secret_post has a challenge")
			}
			for _, header := range []string{
				"Basic", "Basic !!!", "Basic " + base64.StdEncoding.EncodeToString([]byte("no-colon")), "Bearer x",
				"Basic " + base64.StdEncoding.EncodeToString([]byte("%zz:x")),
			} {
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
			otherSecret, unknown := c, c
			otherSecret.ClientSecret = s.Service("jobs").ClientSecret
			unknown.ClientID = "gcAAAAAAAAAAAAAAAAAAAA"
			a, b := s.Token(otherSecret, clientCredentialsForm), s.Token(unknown, clientCredentialsForm)
			if a.Body != b.Body || a.Status != b.Status {
				t.Errorf("an invalid secret: %d %s, and an unknown client: %d %s, want the same",
					a.Status, a.Body, b.Status, b.Body)
			}
			if got, want := a.Header.Get("WWW-Authenticate"), b.Header.Get("WWW-Authenticate"); got != want {
				t.Errorf("the challenge for an invalid secret is %q, want %q as for an unknown client", got, want)
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
			post := s.Client(`{"grant_types":["client_credentials"],"scope":"jobs",
				"token_endpoint_auth_method":"client_secret_post"}`)
			s.Token(basic, clientCredentialsForm).OK(t)
			s.Token(post, clientCredentialsForm).OK(t)
			basic.TokenEndpointAuthMethod, post.TokenEndpointAuthMethod = storage.AuthPost, storage.AuthBasic
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
			for _, pair := range []string{
				encoded + ":" + url.QueryEscape(c.ClientSecret),
				c.ClientID + ":" + strings.ReplaceAll(c.ClientSecret, "_", "%5F"),
			} {
				req := s.Request(http.MethodPost, "/oauth2/token", clientCredentialsForm)
				req.Header.Set("Authorization", "basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
				s.Do(req).OK(t)
			}
			for _, pair := range []string{
				c.ClientID + ":" + c.ClientSecret + "%20", c.ClientID + ":" + c.ClientSecret + ":", "ü+ :" + c.ClientSecret,
			} {
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
			two := url.Values{"grant_type": {"client_credentials authorization_code"}}
			s.Token(c, two).Want(t, 400, "unsupported_grant_type")
			code := url.Values{"grant_type": {"authorization_code"}, "code": {"x"}}
			s.Token(c, code).Want(t, 400, "unauthorized_client")
			s.Refresh(c, "x").Want(t, 400, "unauthorized_client")
			s.Token(s.App(), clientCredentialsForm).Want(t, 400, "unauthorized_client")
			s.Token(s.App(), url.Values{"grant_type": {"authorization_code"}}).Want(t, 400, "invalid_request")
			s.Token(s.App(), url.Values{"grant_type": {"refresh_token"}}).Want(t, 400, "invalid_request")
			duplicate := url.Values{"grant_type": {"client_credentials", "client_credentials"}}
			s.Token(c, duplicate).Want(t, 400, "invalid_request")
		}),
	servertest.Req("P46", "RFC 6749 §4.4, RFC 9700 §4.15",
		"client_credentials: only a confidential client gets a token, only with its own scopes, with the client as sub, "+
			"and without a refresh token",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs offline_access")
			r := s.Token(c, clientCredentialsForm).OK(t)
			if r.Text("refresh_token") != "" || r.Text("scope") != "jobs" {
				t.Errorf("the response is %s, want scope jobs and no refresh token", r.Body)
			}
			got := claims(t, r.Text("access_token"))
			if got["sub"] != c.ClientID || got["client_id"] != c.ClientID || got["auth_time"] != nil {
				t.Errorf("the claims are %v, want %s as sub and client_id, and no auth_time", got, c.ClientID)
			}
			s.App()
			for _, scope := range []string{"read", "jobs read", "nothing"} {
				s.Token(c, withParameters(clientCredentialsForm, "scope", scope)).Want(t, 400, "invalid_scope")
			}
			if r := s.Token(s.Public(), clientCredentialsForm); r.Status == 200 {
				t.Error("a public client got a client credentials token")
			}
			if strings.Count(c.ClientID, "-") == 4 {
				t.Errorf("client_id %s has the form of a user's sub, a UUID", c.ClientID)
			}
			_, _, err := s.OAuth.Clients.Create(t.Context(), client.Metadata{
				TokenEndpointAuthMethod: "none", GrantTypes: client.List{"client_credentials"},
			})
			if err == nil {
				t.Error("a public client was registered for client_credentials")
			}
		}),
	servertest.Req("P47", "RFC 9700 §2.4",
		"the password grant is not supported",
		func(t *testing.T, s *servertest.Server) {
			s.User("alice")
			form := url.Values{"grant_type": {"password"}, "username": {"alice"}, "password": {servertest.Password}}
			s.Token(s.App(), form).Want(t, 400, "unsupported_grant_type")
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
			otherSecret := c
			otherSecret.ClientSecret = s.Service("jobs").ClientSecret
			var last servertest.Response
			for range 25 {
				last = s.Token(otherSecret, clientCredentialsForm)
			}
			if last.Status != http.StatusTooManyRequests || last.Header.Get("Retry-After") == "" {
				t.Errorf("after 25 failures: status = %d, headers %v, want 429 with Retry-After", last.Status, last.Header)
			}
			const policy, remaining = `"client_failure";q=20;w=60`, `"client_failure";r=0;t=`
			if got := last.Header.Get("RateLimit-Policy"); got != policy {
				t.Errorf("RateLimit-Policy = %s, want %s", got, policy)
			}
			if got := last.Header.Get("RateLimit"); !strings.HasPrefix(got, remaining) {
				t.Errorf("RateLimit = %s, want prefix %s", got, remaining)
			}
			s.Token(c, clientCredentialsForm).OK(t)
			s.Clock.Advance(time.Minute)
			s.Token(otherSecret, clientCredentialsForm).Want(t, 429, "rate_limited") // exponential backoff for further failures
			s.Clock.Advance(20 * time.Minute)
			s.Token(otherSecret, clientCredentialsForm).Want(t, 401, "invalid_client")
			for i := range 80 { // many client identifiers from one network
				otherSecret.ClientID = fmt.Sprintf("gc%020d", i)
				last = s.Token(otherSecret, clientCredentialsForm)
			}
			if last.Status != http.StatusTooManyRequests {
				t.Errorf("after failures of 80 client identifiers: status = %d, want 429", last.Status)
			}
			s.Token(c, clientCredentialsForm).OK(t)
		}),
	servertest.Req("P50", "RFC 6749 §2.3.1, §10",
		"secrets have 256 bits, are stored hashed, and overlap during rotation",
		func(t *testing.T, s *servertest.Server) {
			c := s.Service("jobs")
			if len(c.ClientSecret) != len("gate_cs_live_")+49 || !strings.HasPrefix(c.ClientSecret, "gate_cs_live_") {
				t.Errorf("the secret is %q, want gate_cs_live_ and 49 characters", c.ClientSecret)
			}
			record, err := s.Store.Client(t.Context(), c.ClientID)
			storagetest.Must(t, err)
			if bytes.Contains(record.Secrets[0].Hash, []byte("gate_")) || len(record.Secrets[0].Hash) != 32 {
				t.Error("the secret is not stored as a hash of 32 bytes")
			}
			fresh, err := s.OAuth.Clients.RotateSecret(t.Context(), c.ClientID, time.Hour)
			storagetest.Must(t, err)
			s.Token(c, clientCredentialsForm).OK(t)
			s.Token(fresh, clientCredentialsForm).OK(t)
			s.Clock.Advance(time.Hour)
			s.Token(c, clientCredentialsForm).Want(t, 401, "invalid_client")
			s.Token(fresh, clientCredentialsForm).OK(t)
			if info := client.InformationOf(record); info.ClientSecret != "" {
				t.Error("the secret is returned after registration")
			}
		}),
}

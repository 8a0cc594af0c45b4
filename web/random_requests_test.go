package web_test

import (
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/oauth/client"
	"gatehouse/storage/storagetest"
	"gatehouse/web"
)

// requestGenerator generates requests that are mostly valid, with an invalid part. A seed always gives the same
// requests.
type requestGenerator struct {
	*rand.Rand

	s        *servertest.Server
	app      client.Information
	service  client.Information
	browser  *servertest.Browser
	values   []string
	patterns []string
}

// malformedValues are values that have broken servers before.
var malformedValues = []string{
	"", " ", "\x00", "%00", "%", "%zz", "\xff\xfe", "'", `"`, "' OR 1=1 --", `{"`, "[]", "{}", "null", "NaN", "-1", "0",
	"99999999999999999999", "1e400", "../../etc/passwd",
	"<script>alert(1)</script>", "javascript:alert(1)", "https://evil.example/", "//evil.example", "\r\nX-Injected: 1",
	"${jndi:ldap://x}", "{{7*7}}", "🦉", "\u202egnp", "İ",
	"a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat("A", 5000), strings.Repeat("a.", 2000), "gate_rt_live_",
	"gate_ac_live_0000000000000000000000000000000000000000000000000", "urn:x", "openid openid", "scope\tscope",
}

var fields = []string{
	"grant_type", "client_id", "client_secret", "code", "code_verifier", "redirect_uri", "refresh_token", "scope",
	"resource", "token", "token_type_hint", "client_assertion",
	"client_assertion_type", "response_type", "response_mode", "state", "nonce", "prompt", "max_age", "claims",
	"request", "request_uri", "id_token_hint", "login_hint", "ui_locales", "acr_values",
	"code_challenge", "code_challenge_method", "registration", "username", "password", "form_token", "decision",
	"post_logout_redirect_uri", "logout_hint", "sid", "name", "email", "website", "birthdate", "constructor",
	"__proto__",
}

func (g *requestGenerator) pick(list []string) string { return list[g.IntN(len(list))] }

func (g *requestGenerator) value() string {
	switch g.IntN(4) {
	case 0:
		return g.pick(malformedValues)
	case 1: // a valid value, damaged
		w := []byte(g.pick(g.values))
		if len(w) > 0 {
			w[g.IntN(len(w))] ^= byte(1 + g.IntN(255))
		}
		return string(w)
	}
	return g.pick(g.values)
}

func (g *requestGenerator) form() url.Values {
	out := url.Values{}
	for range g.IntN(8) {
		out.Add(g.pick(fields), g.value())
	}
	return out
}

// request returns the next request.
func (g *requestGenerator) request() *http.Request {
	method, path, found := strings.Cut(g.pick(g.patterns), " ")
	if !found {
		method, path = g.pick([]string{"GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"}), method
	}
	if g.IntN(20) == 0 {
		method = g.pick([]string{"GET", "POST", "PATCH", "TRACE", "BREW"})
	}
	id, file := url.PathEscape(g.value()), url.PathEscape(g.value())
	path = strings.NewReplacer("{id}", id, "{file}", file, "{$}", "").Replace(path)
	if g.IntN(3) == 0 || method == "GET" {
		path += "?" + g.form().Encode()
		if g.IntN(10) == 0 {
			path += "&" + g.pick([]string{"%", "a=%zz", ";", "&&&", "=", "scope=a&scope=b"})
		}
	}
	contentType, body := g.body(method)
	req, err := http.NewRequest(method, g.s.URL+path, body)
	if err != nil {
		return nil
	}
	if contentType != "" && !strings.Contains(contentType, "\x01") {
		req.Header.Set("Content-Type", contentType)
	}
	g.addHeaderFields(req)
	return req
}

// body returns a body for the method, or nil, and its type.
func (g *requestGenerator) body(method string) (contentType string, body io.Reader) {
	contentType = "application/x-www-form-urlencoded"
	if method == "GET" || method == "HEAD" {
		return contentType, nil
	}
	text := g.form().Encode()
	switch g.IntN(8) {
	case 0:
		contentType = "application/json"
		text = fmt.Sprintf(`{"redirect_uris":[%q],%q:%q,"scope":%q}`, g.value(), g.pick(fields), g.value(), g.value())
	case 1:
		contentType = g.pick([]string{"", "text/plain", "multipart/form-data", "application/json; charset=x", "\x01"})
		text = g.value()
	case 2:
		text += g.pick([]string{"&", "%", "&a=%f", "\x00"})
	}
	return contentType, strings.NewReader(text)
}

// addHeaderFields adds credentials, an origin, cookies and other fields to some requests.
func (g *requestGenerator) addHeaderFields(req *http.Request) {
	switch g.IntN(6) {
	case 0:
		req.SetBasicAuth(url.QueryEscape(g.app.ClientID), url.QueryEscape(g.app.ClientSecret))
	case 1:
		req.SetBasicAuth(g.service.ClientID, g.service.ClientSecret)
	case 2:
		scheme := g.pick([]string{"Basic ", "Bearer ", "DPoP ", ""})
		req.Header.Set("Authorization", scheme+strings.Map(printable, g.value()))
	}
	if g.IntN(2) == 0 {
		req.Header.Set("Origin", g.pick([]string{g.s.Issuer, "https://evil.example", "null"}))
	}
	if g.IntN(2) == 0 {
		for _, c := range g.browser.Cookies() {
			if g.IntN(5) == 0 {
				c.Value = strings.Map(printable, g.value())
			}
			req.AddCookie(c)
		}
	}
	for _, name := range []string{
		"X-Forwarded-For", "X-Forwarded-Host", "If-None-Match", "Accept-Language", "Traceparent", "User-Agent",
	} {
		if g.IntN(6) == 0 {
			req.Header.Set(name, strings.Map(printable, g.value()))
		}
	}
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == ';' || r == ',' || r > 0xff {
		return '_'
	}
	return r
}

// internals matches what no response may contain. It matches whole words, because a random token has any three letters
// sooner or later.
var internals = regexp.MustCompile(`\bgoroutine \d|\bruntime error\b|\.go:\d|\bgorm\b|\bSQLSTATE\b|\bsqlite\b|` +
	`\bSQL logic\b|\bsyntax error\b|\bpgx\b|\bfosite\b|\bpanic\b|\bnil pointer\b|BEGIN EC|\$argon2|\bconstraint failed\b`)

// TestEveryRouteSurvivesMalformedRequests sends random requests to every route and expects no 5xx and no internals in a
// response. A failure message has the seed.
func TestEveryRouteSurvivesMalformedRequests(t *testing.T) {
	t.Parallel()
	n, seeds := 1500, []uint64{1, uint64(time.Now().UnixNano())}
	if os.Getenv("TORTURE") != "" {
		n = 15_000
	}
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, unlimited())
		s.User("alice")
		app, service := s.App(), s.Service("jobs")
		b := s.Browser()
		code := b.Code(app, "alice")
		tokens := s.Tokens(s.App(), "alice")
		page := b.Authorize(app, "prompt", "login")
		values := []string{
			app.ClientID, app.ClientSecret, service.ClientID, service.ClientSecret, code.Query().Get("code"),
			tokens.Text("access_token"), tokens.Text("refresh_token"), s.ServiceToken(service),
			servertest.Callback, servertest.Verifier, "authorization_code", "refresh_token", "client_credentials",
			"read write", "jobs", "openid", "code", "S256", "form_post", "query", "none", "login", "consent",
			"alice", servertest.Password, "approve", "deny", s.Issuer, "3600",
		}
		for _, list := range page.Fields() {
			values = append(values, list...)
		}
		for _, seed := range seeds {
			g := &requestGenerator{
				Rand: rand.New(rand.NewPCG(seed, 7)), s: s, app: app, service: service, browser: b, values: values,
				patterns: web.Patterns(),
			}
			for i := range n {
				req := g.request()
				if req == nil {
					continue
				}
				res, err := s.HTTP.Do(req)
				if err != nil {
					t.Fatalf("seed %d, request %d, %s %s: %v", seed, i, req.Method, req.URL, err)
				}
				body, _ := io.ReadAll(res.Body)
				_ = res.Body.Close()
				if res.StatusCode >= 500 {
					t.Errorf("seed %d, request %d: %s %s: status %d, want one below 500: %.300s",
						seed, i, req.Method, req.URL, res.StatusCode, body)
				}
				if text := internals.Find(body); text != nil {
					t.Errorf("seed %d, request %d: %s %s: the response has the internal %q: %.300s",
						seed, i, req.Method, req.URL, text, body)
				}
				if res.Header.Get("X-Injected") != "" || strings.Contains(string(body), "<script>alert") {
					t.Errorf("seed %d, request %d: %s %s injects content: %.300s", seed, i, req.Method, req.URL, body)
				}
			}
		}
		if strings.Contains(s.Log.String(), `"msg":"panic"`) {
			t.Error("a handler panicked; the log has it")
		}
	})
}

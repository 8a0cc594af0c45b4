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

// stranger makes up requests: mostly right, with something wrong in them. The same seed makes the same requests.
type stranger struct {
	*rand.Rand

	s        *servertest.Server
	app      client.Information
	machine  client.Information
	browser  *servertest.Browser
	words    []string
	patterns []string
}

// oddities are what has broken servers before.
var oddities = []string{
	"", " ", "\x00", "%00", "%", "%zz", "\xff\xfe", "'", `"`, "' OR 1=1 --", `{"`, "[]", "{}", "null", "NaN", "-1", "0", "99999999999999999999", "1e400", "../../etc/passwd",
	"<script>alert(1)</script>", "javascript:alert(1)", "https://evil.example/", "//evil.example", "\r\nX-Injected: 1", "${jndi:ldap://x}", "{{7*7}}", "🦉", "\u202egnp", "İ",
	"a.b.c", "..", "eyJhbGciOiJub25lIn0.e30.", strings.Repeat("A", 5000), strings.Repeat("a.", 2000), "gate_rt_live_", "gate_ac_live_0000000000000000000000000000000000000000000000000", "urn:x", "openid openid", "scope\tscope",
}

var fields = []string{
	"grant_type", "client_id", "client_secret", "code", "code_verifier", "redirect_uri", "refresh_token", "scope", "resource", "token", "token_type_hint", "client_assertion",
	"client_assertion_type", "response_type", "response_mode", "state", "nonce", "prompt", "max_age", "claims", "request", "request_uri", "id_token_hint", "login_hint", "ui_locales", "acr_values",
	"code_challenge", "code_challenge_method", "registration", "username", "password", "form_token", "decision", "post_logout_redirect_uri", "logout_hint", "sid", "name", "email", "website", "birthdate", "constructor", "__proto__",
}

func (f *stranger) pick(list []string) string { return list[f.IntN(len(list))] }

func (f *stranger) value() string {
	switch f.IntN(4) {
	case 0:
		return f.pick(oddities)
	case 1: // something of ours, damaged
		w := []byte(f.pick(f.words))
		if len(w) > 0 {
			w[f.IntN(len(w))] ^= byte(1 + f.IntN(255))
		}
		return string(w)
	}
	return f.pick(f.words)
}

func (f *stranger) form() url.Values {
	out := url.Values{}
	for range f.IntN(8) {
		out.Add(f.pick(fields), f.value())
	}
	return out
}

// request is the next one.
func (f *stranger) request() *http.Request {
	method, path, found := strings.Cut(f.pick(f.patterns), " ")
	if !found {
		method, path = f.pick([]string{"GET", "POST", "POST", "POST", "PUT", "DELETE", "HEAD", "OPTIONS"}), method
	}
	if f.IntN(20) == 0 {
		method = f.pick([]string{"GET", "POST", "PATCH", "TRACE", "BREW"})
	}
	path = strings.NewReplacer("{id}", url.PathEscape(f.value()), "{file}", url.PathEscape(f.value()), "{$}", "").Replace(path)
	if f.IntN(3) == 0 || method == "GET" {
		path += "?" + f.form().Encode()
		if f.IntN(10) == 0 {
			path += "&" + f.pick([]string{"%", "a=%zz", ";", "&&&", "=", "scope=a&scope=b"})
		}
	}
	var body io.Reader
	kind := "application/x-www-form-urlencoded"
	if method != "GET" && method != "HEAD" {
		text := f.form().Encode()
		switch f.IntN(8) {
		case 0:
			kind, text = "application/json", fmt.Sprintf(`{"redirect_uris":[%q],%q:%q,"scope":%q}`, f.value(), f.pick(fields), f.value(), f.value())
		case 1:
			kind, text = f.pick([]string{"", "text/plain", "multipart/form-data", "application/json; charset=x", "\x01"}), f.value()
		case 2:
			text += f.pick([]string{"&", "%", "&a=%f", "\x00"})
		}
		body = strings.NewReader(text)
	}
	req, err := http.NewRequest(method, f.s.URL+path, body)
	if err != nil {
		return nil
	}
	if kind != "" && !strings.Contains(kind, "\x01") {
		req.Header.Set("Content-Type", kind)
	}
	switch f.IntN(6) {
	case 0:
		req.SetBasicAuth(url.QueryEscape(f.app.ClientID), url.QueryEscape(f.app.ClientSecret))
	case 1:
		req.SetBasicAuth(f.machine.ClientID, f.machine.ClientSecret)
	case 2:
		req.Header.Set("Authorization", f.pick([]string{"Basic ", "Bearer ", "DPoP ", ""})+strings.Map(printable, f.value()))
	}
	if f.IntN(2) == 0 {
		req.Header.Set("Origin", f.pick([]string{f.s.Issuer, "https://evil.example", "null"}))
	}
	if f.IntN(2) == 0 {
		for _, c := range f.browser.Cookies() {
			if f.IntN(5) == 0 {
				c.Value = strings.Map(printable, f.value())
			}
			req.AddCookie(c)
		}
	}
	for _, name := range []string{"X-Forwarded-For", "X-Forwarded-Host", "If-None-Match", "Accept-Language", "Traceparent", "User-Agent"} {
		if f.IntN(6) == 0 {
			req.Header.Set(name, strings.Map(printable, f.value()))
		}
	}
	return req
}

func printable(r rune) rune {
	if r < ' ' || r == 0x7f || r == ';' || r == ',' || r > 0xff {
		return '_'
	}
	return r
}

// insides must not be told to anybody. They are whole words: a form token has any three letters sooner or later.
var insides = regexp.MustCompile(`\bgoroutine \d|\bruntime error\b|\.go:\d|\bgorm\b|\bSQLSTATE\b|\bsqlite\b|\bSQL logic\b|\bsyntax error\b|\bpgx\b|\bfosite\b|\bpanic\b|\bnil pointer\b|BEGIN EC|\$argon2|\bconstraint failed\b`)

// TestEveryRouteSurvivesMalformedRequests sends made-up requests to every route: none is answered 5xx or with our insides. A seed
// that fails is in its message.
func TestEveryRouteSurvivesMalformedRequests(t *testing.T) {
	t.Parallel()
	n, seeds := 1500, []uint64{1, uint64(time.Now().UnixNano())}
	if os.Getenv("TORTURE") != "" {
		n = 15_000
	}
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_RATE_LIMITS": "off", "GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1"}})
		s.User("alice")
		app, machine := s.App(), s.Service("jobs")
		b := s.Browser()
		code := b.Code(app, "alice")
		tokens := s.Tokens(s.App(), "alice")
		page := b.Authorize(app, "prompt", "login")
		words := []string{
			app.ClientID, app.ClientSecret, machine.ClientID, machine.ClientSecret, code.Query().Get("code"), tokens.Text("access_token"), tokens.Text("refresh_token"), s.ServiceToken(machine),
			servertest.Callback, servertest.Verifier, "authorization_code", "refresh_token", "client_credentials", "read write", "jobs", "openid", "code", "S256", "form_post", "query", "none", "login", "consent",
			"alice", servertest.Password, "approve", "deny", s.Issuer, "3600",
		}
		for _, list := range page.Fields() {
			words = append(words, list...)
		}
		for _, seed := range seeds {
			f := &stranger{Rand: rand.New(rand.NewPCG(seed, 7)), s: s, app: app, machine: machine, browser: b, words: words, patterns: web.Patterns()}
			for i := range n {
				req := f.request()
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
					t.Errorf("seed %d, request %d: %s %s is answered %d: %.300s", seed, i, req.Method, req.URL, res.StatusCode, body)
				}
				if text := insides.Find(body); text != nil {
					t.Errorf("seed %d, request %d: %s %s is answered with %q: %.300s", seed, i, req.Method, req.URL, text, body)
				}
				if res.Header.Get("X-Injected") != "" || strings.Contains(string(body), "<script>alert") {
					t.Errorf("seed %d, request %d: %s %s lets something through: %.300s", seed, i, req.Method, req.URL, body)
				}
			}
		}
		if strings.Contains(s.Log.String(), `"msg":"panic"`) {
			t.Error("a handler panicked; the log has it")
		}
	})
}

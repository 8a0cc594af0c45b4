package web_test

import (
	"encoding/json"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/display"
	"gatehouse/storage/storagetest"
	"gatehouse/templates"
)

func TestCookiesOverHTTPSBelongToThisHostAlone(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		s := servertest.Start(t, db, servertest.Options{Issuer: "https://id.example", Env: map[string]string{"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.0/8"}})
		s.User("alice")
		login := s.Get("/login")
		if login.Header.Get("Strict-Transport-Security") == "" {
			t.Error("no HSTS")
		}
		browser := login.Header.Get("Set-Cookie")
		form := servertest.Page{Response: login}.Fields()
		form.Set("username", "alice")
		form.Set("password", servertest.Password)
		send := func(origin string) servertest.Response {
			req := s.Request(http.MethodPost, "/login", form)
			req.Host = "id.example"
			req.Header.Set("Origin", origin)
			req.Header.Set("Cookie", strings.Split(browser, ";")[0])
			return s.Do(req)
		}
		for _, evil := range []string{"https://evil.example", "http://id.example.evil.example", "null"} {
			if r := send(evil); r.Status != http.StatusForbidden {
				t.Errorf("from %s: %d", evil, r.Status)
			}
		}
		r := send("https://id.example")
		if r.Status != http.StatusSeeOther {
			t.Fatalf("%d %s", r.Status, r.Body)
		}
		for _, c := range append(r.Header.Values("Set-Cookie"), browser) {
			if !strings.HasPrefix(c, "__Host-gatehouse_") || !strings.Contains(c, "Secure") || !strings.Contains(c, "HttpOnly") || !strings.Contains(c, "SameSite=Lax") || !strings.Contains(c, "Path=/") || strings.Contains(c, "Domain") {
				t.Errorf("cookie %s", c)
			}
		}
	})
}

func TestOnlyTrustedProxiesForwardAddresses(t *testing.T) {
	t.Parallel()
	db := storagetest.URL(t, "sqlite")
	plain := servertest.Start(t, db, servertest.Options{})
	behind := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{Env: map[string]string{"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1,10.0.0.0/8"}})
	address := func(s *servertest.Server, forwarded string) string {
		req := s.Request(http.MethodGet, "/login", nil)
		req.Header["X-Forwarded-For"] = strings.Split(forwarded, "\n")
		r := s.Do(req)
		for line := range strings.Lines(s.Log.String()) {
			var e map[string]any
			if json.Unmarshal([]byte(line), &e) == nil && e["request_id"] == r.Header.Get("X-Request-Id") {
				a, _ := e["address"].(string)
				return a
			}
		}
		t.Fatalf("no log line for the request in %s", s.Log)
		return ""
	}
	for _, c := range []struct {
		s               *servertest.Server
		forwarded, want string
	}{
		{plain, "203.0.113.9", "127.0.0.1"},
		{behind, "203.0.113.9", "203.0.113.9"},
		{behind, "198.51.100.1, 203.0.113.9", "203.0.113.9"}, // what the client itself claims does not count
		{behind, "203.0.113.9, 10.1.2.3", "203.0.113.9"},
		{behind, "garbage", "127.0.0.1"},
		{behind, "2001:db8::1", "2001:db8::1"},
		{behind, "", "127.0.0.1"},
		{behind, "203.0.113.7:5678", "203.0.113.7"},
		{behind, "[2001:db8::7]:443", "2001:db8::7"},
		{behind, "[2001:db8::7]", "2001:db8::7"},
		{behind, "::ffff:203.0.113.7", "203.0.113.7"},
		{behind, "[::ffff:203.0.113.7]:443", "203.0.113.7"},
		{behind, "198.51.100.1:99, 203.0.113.9:5678 ,\t10.1.2.3:80", "203.0.113.9"},
		{behind, "198.51.100.1\n203.0.113.9:5678\n10.1.2.3", "203.0.113.9"}, // three headers
		{behind, "2001:db8::7%eth0", "127.0.0.1"},
		{behind, "[2001:db8::7%eth0]:443", "127.0.0.1"},
		{behind, "198.51.100.1, ", "127.0.0.1"}, // an empty element hides who called the proxy
		{behind, "203.0.113.7:", "127.0.0.1"},
		{behind, "203.0.113.7:99999", "127.0.0.1"},
		{behind, "[203.0.113.7]", "127.0.0.1"},
		{behind, "2001:db8::7]:443", "127.0.0.1"},
		{behind, "unknown", "127.0.0.1"},
	} {
		if got := address(c.s, c.forwarded); got != c.want {
			t.Errorf("%q: got %s, want %s", c.forwarded, got, c.want)
		}
	}
}

// TestUnreadableForwardedAddressWarnsOnce: the operator learns that all callers of a proxy count as one, and a proxy
// that sends no header (a health check) or readable ones is no reason for a warning.
func TestUnreadableForwardedAddressWarnsOnce(t *testing.T) {
	t.Parallel()
	const warning = "invalid X-Forwarded-For from a trusted proxy"
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{Env: map[string]string{"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1"}})
	send := func(forwarded ...string) int {
		req := s.Request(http.MethodGet, "/login", nil)
		if len(forwarded) > 0 {
			req.Header["X-Forwarded-For"] = forwarded
		}
		s.Do(req)
		return strings.Count(s.Log.String(), warning)
	}
	if n := send() + send("203.0.113.7:5678") + send("198.51.100.1", "[2001:db8::7]:443"); n != 0 {
		t.Errorf("readable values gave %d warnings, want 0:\n%s", n, s.Log)
	}
	if n := send("_hidden"); n != 1 || !strings.Contains(s.Log.String(), `"proxy":"127.0.0.1","value":"_hidden"`) {
		t.Errorf("an unreadable value gave %d warnings, want 1 with the proxy and the value:\n%s", n, s.Log)
	}
	if n := send("_other"); n != 1 {
		t.Errorf("two unreadable values gave %d warnings, want 1", n)
	}
}

// TestLogShowsParametersInPrintableCharacters: JSON escapes only the control characters of ASCII, and a log is read on
// terminals.
func TestLogShowsParametersInPrintableCharacters(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{Env: map[string]string{"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1"}})
	const evil = "\u009b2J\u202e\u200b\u0085"
	s.Get("/oauth2/authorize?client_id=" + url.QueryEscape(evil))
	req := s.Request(http.MethodPost, "/oauth2/token", url.Values{"grant_type": {"client_credentials"}})
	req.SetBasicAuth(evil, evil)
	req.Header.Set("X-Forwarded-For", evil)
	s.Do(req)
	logged := s.Log.String()
	for line := range strings.Lines(logged) {
		if line = strings.TrimSuffix(line, "\n"); display.Escape(line) != line {
			t.Errorf("%q", line)
		}
	}
	if n := strings.Count(logged, "u009b2J"); n != 3 {
		t.Errorf("the parameters are logged %d times: %s", n, logged)
	}
}

// TestUntrustedProxyIsReported: a private peer that everything comes from is told of once, and others are not.
func TestUntrustedProxyIsReported(t *testing.T) {
	t.Parallel()
	const warning = "every request so far came from one private address"
	for _, c := range []struct {
		issuer, trusted string
		want            int
	}{
		{"https://id.example", "10.0.0.0/8", 1}, // the tests call from 127.0.0.1
		{"https://id.example", "127.0.0.1", 0},
		{"", "", 0}, // on loopback, loopback is who calls
	} {
		env := map[string]string{}
		if c.trusted != "" {
			env["GATEHOUSE_TRUSTED_PROXIES"] = c.trusted
		}
		s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{Issuer: c.issuer, Env: env})
		for range 450 {
			req := s.Request(http.MethodGet, "/healthz", nil)
			req.Header.Set("X-Forwarded-For", "203.0.113.9")
			s.Do(req)
		}
		if got := strings.Count(s.Log.String(), warning); got != c.want {
			t.Errorf("issuer %q, trusted %q: told of %d times, want %d", c.issuer, c.trusted, got, c.want)
		}
		if c.want == 1 && (!strings.Contains(s.Log.String(), "127.0.0.1") || !strings.Contains(s.Log.String(), "X-Forwarded-For")) {
			t.Errorf("it does not say who:\n%s", s.Log)
		}
	}
}

// TestSessionInUseDoesNotExpireAsIdle uses a session more often than its idle lifetime, for the shortest that the
// settings allow and for the default.
func TestSessionInUseDoesNotExpireAsIdle(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		for _, idle := range []time.Duration{time.Minute, 90 * time.Second, 2 * time.Hour} {
			s := servertest.Start(t, db, servertest.Options{Env: map[string]string{"GATEHOUSE_SESSION_IDLE_TTL": idle.String()}})
			s.User("alice" + strings.ReplaceAll(idle.String(), ".", ""))
			b := s.Browser()
			b.SignIn(b.Open("/login"), "alice"+strings.ReplaceAll(idle.String(), ".", ""))
			for range 12 {
				s.Clock.Advance(idle * 7 / 10)
				if p := b.Open("/account"); p.Status != http.StatusOK {
					t.Fatalf("with an idle lifetime of %s, a session used every %s answers %d", idle, idle*7/10, p.Status)
				}
			}
			s.Clock.Advance(idle)
			if p := b.Open("/account"); p.Status == http.StatusOK {
				t.Errorf("with an idle lifetime of %s, an unused session is not idle", idle)
			}
		}
	})
}

func TestUnknownAndMisusedURLsGetPages(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{})
	for path, want := range map[string]int{"/nothing": 404, "/static/other.css": 404, "/account/apps/x": 303, "/": 303, "/account": 303, "/healthz": 200, "/readyz": 200} {
		if r := s.Get(path); r.Status != want {
			t.Errorf("%s: %d, want %d", path, r.Status, want)
		}
	}
	if r := s.Get("/login?" + strings.Repeat("x", 40<<10)); r.Status != http.StatusRequestURITooLong {
		t.Errorf("a long address: %d", r.Status)
	}
	r := s.Get("/nothing")
	if id := r.Header.Get("X-Request-Id"); len(id) != 16 || !strings.Contains(r.Body, id) {
		t.Errorf("the page does not tell the request id %q", id)
	}
	css := regexp.MustCompile(`/static/style\.[0-9a-f]{12}\.css`).FindString(r.Body)
	if sheet := s.Get(css); sheet.Status != 200 || !strings.Contains(sheet.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("%s: %d %v", css, sheet.Status, sheet.Header)
	}
}

// composed are texts whose names are put together of a part that is not in the source.
var composed = regexp.MustCompile(`^(claim\.\w+|account\.(withdrawn|ended|saved)|profile\.[a-z_]+(\.hint)?)$`)

// TestTemplatesFollowTheirRules: no inline script or style, which the policy forbids, and every text is used.
func TestTemplatesFollowTheirRules(t *testing.T) {
	t.Parallel()
	raw, err := templates.FS.ReadFile("en.json")
	storagetest.Must(t, err)
	var texts map[string]string
	storagetest.Must(t, json.Unmarshal(raw, &texts))
	all := ""
	names, err := fs.Glob(templates.FS, "*.html")
	storagetest.Must(t, err)
	for _, name := range names {
		b, err := templates.FS.ReadFile(name)
		storagetest.Must(t, err)
		all += string(b)
		if regexp.MustCompile(`(?i)<script>|<script [^s]|<style|\sstyle=|\son[a-z]+=|javascript:`).Match(b) {
			t.Errorf("%s has inline script or style", name)
		}
	}
	sources, err := filepath.Glob("*.go")
	storagetest.Must(t, err)
	packages, err := filepath.Glob("*/*.go")
	storagetest.Must(t, err)
	sources = append(sources, packages...)
	for _, name := range sources {
		b, err := os.ReadFile(name)
		storagetest.Must(t, err)
		all += string(b)
	}
	for key := range texts {
		stem := strings.TrimSuffix(strings.TrimSuffix(key, ".title"), ".message")
		if !strings.Contains(all, `"`+key+`"`) && !strings.Contains(all, `"`+stem+`"`) && !composed.MatchString(key) {
			t.Errorf("nothing uses the text %s", key)
		}
	}
}

package web_test

import (
	"net/http"
	"regexp"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// behindProxy returns the options of a server with these GATEHOUSE_TRUSTED_PROXIES.
func behindProxy(trusted string) servertest.Options {
	return servertest.Options{Env: map[string]string{"GATEHOUSE_TRUSTED_PROXIES": trusted}}
}

// unlimited returns the options of a server without rate limits, with open registration and behind a proxy.
func unlimited() servertest.Options {
	return servertest.Options{Env: map[string]string{
		"GATEHOUSE_RATE_LIMITS": "off", "GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1",
	}}
}

func TestCookiesOverHTTPSAreBoundToHost(t *testing.T) {
	t.Parallel()
	storagetest.Each(t, func(t *testing.T, db string) {
		options := behindProxy("127.0.0.0/8")
		options.Issuer = "https://id.example"
		s := servertest.Start(t, db, options)
		s.User("alice")
		login := s.Get("/login")
		if login.Header.Get("Strict-Transport-Security") == "" {
			t.Error("the response over https has no Strict-Transport-Security")
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
				t.Errorf("POST /login from %s: status %d, want 403", evil, r.Status)
			}
		}
		r := send("https://id.example")
		if r.Status != http.StatusSeeOther {
			t.Fatalf("POST /login: status %d, want 303: %s", r.Status, r.Body)
		}
		for _, c := range append(r.Header.Values("Set-Cookie"), browser) {
			for _, attribute := range []string{"Secure", "HttpOnly", "SameSite=Lax", "Path=/"} {
				if !strings.Contains(c, attribute) {
					t.Errorf("the cookie %s has no %s", c, attribute)
				}
			}
			if !strings.HasPrefix(c, "__Host-gatehouse_") || strings.Contains(c, "Domain") {
				t.Errorf("the cookie %s is not bound to the host", c)
			}
		}
	})
}

func TestUnknownPathsGetErrorPages(t *testing.T) {
	t.Parallel()
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{})
	for path, want := range map[string]int{
		"/nothing": 404, "/static/other.css": 404, "/logo/nothing": 404,
		"/account/apps/x": 303, "/": 303, "/account": 303, "/healthz": 200, "/readyz": 200,
	} {
		if r := s.Get(path); r.Status != want {
			t.Errorf("GET %s: status %d, want %d", path, r.Status, want)
		}
	}
	if r := s.Get("/login?" + strings.Repeat("x", 40<<10)); r.Status != http.StatusRequestURITooLong {
		t.Errorf("GET of a URL of 40 KiB: status %d, want 414", r.Status)
	}
	r := s.Get("/nothing")
	if id := r.Header.Get("X-Request-Id"); len(id) != 16 || !strings.Contains(r.Body, id) {
		t.Errorf("the page does not have the request ID %q", id)
	}
	css := regexp.MustCompile(`/static/style\.[0-9a-f]{12}\.css`).FindString(r.Body)
	if sheet := s.Get(css); sheet.Status != 200 || !strings.Contains(sheet.Header.Get("Cache-Control"), "immutable") {
		t.Errorf("GET %s: status %d, want 200 and an immutable Cache-Control: %v", css, sheet.Status, sheet.Header)
	}
}

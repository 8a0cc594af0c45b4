package redirect_test

import (
	"net/url"
	"strings"
	"testing"

	"gatehouse/oauth/redirect"
)

func TestMatch(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		registered, requested string
		want                  bool
	}{
		{"https://a.example/cb", "https://a.example/cb", true},
		{"https://a.example/cb", "https://a.example/cb/", false},
		{"https://a.example/cb", "https://a.example:443/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:1/cb", true},
		{"http://127.0.0.1/cb", "http://127.0.0.1:65535/cb", true},
		{"http://127.0.0.1:8080/cb", "http://127.0.0.1:9090/cb", true},
		{"http://127.0.0.1/cb?x=1", "http://127.0.0.1:9/cb?x=1", true},
		{"http://[::1]/cb", "http://[::1]:9/cb", true},
		{"http://127.0.0.1", "http://127.0.0.1:9", true},
		{"http://127.0.0.1/cb", "http://127.0.0.1:0/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:065/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:65536/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:/cb", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:9/cb?", false},
		{"http://127.0.0.1/cb", "http://127.0.0.1:9@evil.example/cb", false},
		{"http://127.0.0.1/cb", "http://[::1]:9/cb", false},
		{"http://localhost:1/cb", "http://localhost:2/cb", false},
		{"https://127.0.0.1/cb", "https://127.0.0.1:9/cb", false},
		{"com.example.app:/cb", "com.example.app:/cb", true},
		{"com.example.app:/cb", "com.example.app:/CB", false},
	} {
		if got := redirect.Match([]string{"https://other.example/", c.registered}, c.requested); got != c.want {
			t.Errorf("Match(%q, %q) = %t", c.registered, c.requested, got)
		}
	}
}

func TestDestinationAndImpersonable(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		uri, destination string
		impersonable     bool
	}{
		{"https://a.example:8443/cb?x", "a.example:8443", false},
		{"http://127.0.0.1:9/cb", "127.0.0.1:9", true},
		{"com.example.app:/cb", "com.example.app", true},
	} {
		if got := redirect.Destination(c.uri); got != c.destination {
			t.Errorf("Destination(%q) = %q", c.uri, got)
		}
		if got := redirect.Impersonable(c.uri); got != c.impersonable {
			t.Errorf("Impersonable(%q) = %t", c.uri, got)
		}
	}
}

// FuzzMatch: whatever matches has the same scheme, user, host name, path and query in the eyes of a URL parser; only the
// port of a loopback address may differ.
func FuzzMatch(f *testing.F) {
	for _, s := range []string{"https://a.example/cb", "http://127.0.0.1:8/cb", "http://127.0.0.1:8@evil.example/cb", "http://[::1]:9/cb", "http://127.0.0.1:8\\@evil/cb", "http://127.0.0.1:08/cb"} {
		f.Add("http://127.0.0.1/cb", s)
		f.Add("https://a.example/cb", s)
	}
	f.Fuzz(func(t *testing.T, registered, requested string) {
		if redirect.Validate(registered) != nil || !redirect.Match([]string{registered}, requested) {
			return
		}
		a, err := url.Parse(registered)
		if err != nil {
			t.Fatal(err)
		}
		b, err := url.Parse(requested)
		if err != nil {
			t.Fatalf("%q matches %q and is no URL: %v", requested, registered, err)
		}
		if a.Scheme != b.Scheme || a.Hostname() != b.Hostname() || a.EscapedPath() != b.EscapedPath() || a.RawQuery != b.RawQuery || a.Fragment != b.Fragment || b.User != nil {
			t.Errorf("%q matches %q", requested, registered)
		}
		if a.Port() != b.Port() && !redirect.Loopback(a.Hostname()) {
			t.Errorf("the port of %q floats", registered)
		}
	})
}

// FuzzValidate: whatever may be registered leads to a secure place, or a loopback one, or an app, and stays one line.
func FuzzValidate(f *testing.F) {
	for _, s := range []string{"https://a.example/cb", "javascript:x", "http://localhost/cb", "com.example:/cb", "https://a@b/", "https://a.example/cb#", "https://[::1", "a.b:c", "https://a;b/"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, uri string) {
		if redirect.Validate(uri) != nil {
			return
		}
		u, err := url.Parse(uri)
		if err != nil {
			t.Fatalf("%q is accepted and is no URL", uri)
		}
		if u.User != nil || strings.ContainsAny(uri, "#*\\ \r\n\t") || u.Scheme == "javascript" || u.Scheme == "data" {
			t.Errorf("%q is accepted", uri)
		}
		if u.Scheme == "http" && !redirect.Loopback(u.Hostname()) && u.Hostname() != "localhost" {
			t.Errorf("%q is accepted without TLS", uri)
		}
	})
}

package web_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

func TestOnlyTrustedProxiesForwardAddresses(t *testing.T) {
	t.Parallel()
	plain := servertest.Start(t, storagetest.URL(t, "sqlite"), servertest.Options{})
	behind := servertest.Start(t, storagetest.URL(t, "sqlite"), behindProxy("127.0.0.1,10.0.0.0/8"))
	address := func(s *servertest.Server, forwarded string) string {
		req := s.Request(http.MethodGet, "/login", nil)
		req.Header["X-Forwarded-For"] = strings.Split(forwarded, "\n")
		address, _ := s.LogLine(s.Do(req))["address"].(string)
		return address
	}
	for _, c := range []struct {
		s               *servertest.Server
		forwarded, want string
	}{
		{plain, "203.0.113.9", "127.0.0.1"},
		{behind, "203.0.113.9", "203.0.113.9"},
		{behind, "198.51.100.1, 203.0.113.9", "203.0.113.9"}, // what the client itself claims is ignored
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
			t.Errorf("X-Forwarded-For %q: address %s, want %s", c.forwarded, got, c.want)
		}
	}
}

// TestUnreadableForwardedAddressWarnsOnce checks the warning that all clients of a proxy share its address. There is
// none for a proxy that sends no header (a health check) or readable ones.
func TestUnreadableForwardedAddressWarnsOnce(t *testing.T) {
	t.Parallel()
	const warning = "invalid X-Forwarded-For from a trusted proxy"
	s := servertest.Start(t, storagetest.URL(t, "sqlite"), behindProxy("127.0.0.1"))
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

// TestUntrustedProxyIsReported checks the warning about a private peer from which all requests come.
func TestUntrustedProxyIsReported(t *testing.T) {
	t.Parallel()
	const warning = "every request so far came from one private address"
	for _, c := range []struct {
		issuer, trusted string
		want            int
	}{
		{"https://id.example", "10.0.0.0/8", 1}, // the tests call from 127.0.0.1
		{"https://id.example", "127.0.0.1", 0},
		{"", "", 0}, // a loopback issuer has loopback clients
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
			t.Errorf("issuer %q, trusted %q: %d warnings, want %d", c.issuer, c.trusted, got, c.want)
		}
		names := strings.Contains(s.Log.String(), "127.0.0.1") && strings.Contains(s.Log.String(), "X-Forwarded-For")
		if c.want == 1 && !names {
			t.Errorf("the warning does not name the peer and the header:\n%s", s.Log)
		}
	}
}

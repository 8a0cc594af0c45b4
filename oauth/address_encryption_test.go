package oauth_test

import (
	"net/http"
	"strings"
	"testing"

	"gatehouse/cmd/gatehouse/server/servertest"
	"gatehouse/storage/storagetest"
)

// fromAddress sends every request as a trusted proxy does for a caller with that address.
type fromAddress struct {
	next    http.RoundTripper
	address string
}

func (f fromAddress) RoundTrip(r *http.Request) (*http.Response, error) {
	r = r.Clone(r.Context())
	r.Header.Set("X-Forwarded-For", f.address)
	return f.next.RoundTrip(r)
}

// TestDatabaseContainsNoPlainIPAddress runs every flow and searches every column of every table for the caller's
// address, subnet and user agent.
func TestDatabaseContainsNoPlainIPAddress(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ name, address, subnet string }{
		{"IPv4", "203.0.113.77", "203.0.113."},
		{"IPv6", "2001:db8:7:7::77", "2001:db8:7:7:"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			storagetest.Each(t, func(t *testing.T, db string) { checkNoPlainAddress(t, db, c.address, c.subnet) })
		})
	}
}

func checkNoPlainAddress(t *testing.T, db, address, subnet string) {
	t.Helper()
	s := servertest.Start(t, db, servertest.Options{Env: map[string]string{
		"GATEHOUSE_TRUSTED_PROXIES": "127.0.0.1", "GATEHOUSE_FETCH_ALLOW_HOSTS": "127.0.0.1",
	}})
	s.HTTP.Transport = fromAddress{s.HTTP.Transport, address}
	useEverything(t, s)
	b := s.Browser()
	if text := b.Follow(b.SignIn(b.Open("/login"), "alice")).Text(); !strings.Contains(text, address) {
		t.Errorf("the account page does not show the address %s of the session:\n%s", address, text)
	}
	storagetest.Must(t, s.Store.Close(t.Context())) // writes the batched rows
	reopened := storagetest.Open(t, s.DB, s.Clock)
	for row := range strings.Lines(storagetest.Dump(t, reopened, s.DB)) {
		for _, plain := range []string{address, subnet, "Chrome/150.0"} {
			if strings.Contains(row, plain) {
				t.Errorf("the row %.300q contains %q unencrypted", row, plain)
			}
		}
	}
}

package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"
)

// FuzzClientAddress checks that the address of an untrusted peer is its own, whatever the header claims, and that the
// one from a trusted proxy is an IP address in its normal form.
func FuzzClientAddress(f *testing.F) {
	for _, s := range []string{
		"203.0.113.9", "1.2.3.4, 10.0.0.1", "::ffff:1.2.3.4", "fe80::1%eth0, x", ",,,", "[2001:db8::1]:80", "203.0.113.9:80",
		"[2001:db8::1]", strings.Repeat("1.1.1.1,", 3000),
	} {
		f.Add("10.0.0.1:1", s)
		f.Add("192.0.2.1:1", s)
	}
	s := &Server{
		trustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")},
		proxyCheck:     &proxyCheck{log: slog.New(slog.DiscardHandler)},
	}
	f.Fuzz(func(t *testing.T, peer, forwarded string) {
		r := &http.Request{RemoteAddr: peer, Header: http.Header{"X-Forwarded-For": {forwarded}}}
		got := s.clientAddress(r)
		from, err := netip.ParseAddrPort(peer)
		if err != nil {
			return
		}
		a, err := netip.ParseAddr(got)
		if err != nil || a.Zone() != "" || a.Is4In6() || a.String() != got {
			t.Errorf("peer %q, X-Forwarded-For %q: got %q, want an IP address", peer, forwarded, got)
		}
		if own := from.Addr().Unmap().WithZone(""); !s.isTrustedProxy(own) && a != own {
			t.Errorf("peer %q, X-Forwarded-For %q: got %q, want the peer", peer, forwarded, got)
		}
	})
}

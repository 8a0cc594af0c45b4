package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
)

// proxyCheck warns when all requests come from one private address: probably a proxy that is missing from
// GATEHOUSE_TRUSTED_PROXIES, so that all users share its rate limits and the audit log only has its address.
type proxyCheck struct {
	log         *slog.Logger
	localIssuer bool // a loopback peer is expected
	done        atomic.Bool
	onlyPeer    atomic.Pointer[netip.Addr]
	requests    atomic.Int64

	unreadable atomic.Bool // an unparsable value was logged
}

// warnUnreadable logs once that a trusted proxy sent an invalid address: its clients then share the address of the
// proxy.
func (c *proxyCheck) warnUnreadable(proxy netip.Addr, value string) {
	if c.unreadable.CompareAndSwap(false, true) {
		c.log.Warn("invalid X-Forwarded-For from a trusted proxy; using the address of the proxy",
			slog.String("proxy", proxy.String()), slog.String("value", loggable(value)))
	}
}

// minPeerRequests is how many requests in a row must come from one peer before the warning.
const minPeerRequests = 200

// observe counts a request from an untrusted peer.
func (c *proxyCheck) observe(r *http.Request, peer netip.Addr) {
	if c.done.Load() {
		return
	}
	suspicious := peer.IsPrivate() || peer.IsLinkLocalUnicast() || peer.IsLoopback() && !c.localIssuer
	first := c.onlyPeer.Load()
	switch {
	case !suspicious, first != nil && *first != peer:
		c.done.Store(true) // there are others
	case first == nil:
		c.onlyPeer.CompareAndSwap(nil, &peer)
	case c.requests.Add(1) >= minPeerRequests && c.done.CompareAndSwap(false, true):
		forwarded := "X-Forwarded-For is absent"
		if r.Header.Get("X-Forwarded-For") != "" {
			forwarded = "X-Forwarded-For is present, but not trusted"
		}
		c.log.Warn("every request so far came from one private address; if it is a proxy, "+
			"add it to GATEHOUSE_TRUSTED_PROXIES, or all users share its rate limits and the audit log only has its address",
			slog.String("peer", peer.String()), slog.String("forwarded", forwarded))
	}
}

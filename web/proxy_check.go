package web

import (
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
)

// peers notices when everybody seems to come from one place: a proxy in front that is not named in
// GATEHOUSE_TRUSTED_PROXIES, so that all people share one rate limit and the audit log knows only the proxy.
type peers struct {
	log    *slog.Logger
	local  bool // a loopback peer is what is to be expected
	done   atomic.Bool
	only   atomic.Pointer[netip.Addr]
	number atomic.Int64

	unreadable atomic.Bool // an unparsable value was logged
}

// warnUnreadable logs once that a trusted proxy sent an invalid address: its clients then share the address of the
// proxy.
func (p *peers) warnUnreadable(proxy netip.Addr, value string) {
	if p.unreadable.CompareAndSwap(false, true) {
		p.log.Warn("invalid X-Forwarded-For from a trusted proxy; using the address of the proxy",
			slog.String("proxy", proxy.String()), slog.String("value", loggable(value)))
	}
}

// enoughPeers is how many requests in a row must come from one peer.
const enoughPeers = 200

func (p *peers) observe(r *http.Request, peer netip.Addr) {
	if p.done.Load() {
		return
	}
	suspicious := peer.IsPrivate() || peer.IsLinkLocalUnicast() || peer.IsLoopback() && !p.local
	first := p.only.Load()
	switch {
	case !suspicious, first != nil && *first != peer:
		p.done.Store(true) // there are others
	case first == nil:
		p.only.CompareAndSwap(nil, &peer)
	case p.number.Add(1) >= enoughPeers && p.done.CompareAndSwap(false, true):
		forwarded := "no X-Forwarded-For came with them"
		if r.Header.Get("X-Forwarded-For") != "" {
			forwarded = "they carry X-Forwarded-For, which is not believed"
		}
		p.log.Warn("every request so far came from one private address; if that is a proxy, name it in GATEHOUSE_TRUSTED_PROXIES, or all people share its rate limits and the audit log knows only the proxy",
			slog.String("peer", peer.String()), slog.String("forwarded", forwarded))
	}
}

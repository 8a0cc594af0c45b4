package web

import (
	"net"
	"net/http"
	"net/netip"
	"strings"

	"gatehouse/cidr"
)

// maxHops is the largest number of proxies in X-Forwarded-For, counted from the last.
const maxHops = 100

// clientAddress returns the IP address of the caller: the peer's or, when that is a trusted proxy, the last one in
// X-Forwarded-For that is not. The elements before an unparsable value may be forged by the caller, so the search ends
// there.
func (s *Server) clientAddress(r *http.Request) string {
	peer, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		host, _, _ := net.SplitHostPort(r.RemoteAddr)
		return host
	}
	addr := peer.Addr().Unmap().WithZone("")
	if !s.isTrustedProxy(addr) {
		s.proxyCheck.observe(r, addr)
		return addr.String()
	}
	forwarded := r.Header.Values("X-Forwarded-For")
	if len(forwarded) == 0 {
		return addr.String()
	}
	hops := 0
	for i := len(forwarded) - 1; i >= 0; i-- {
		for before, more := forwarded[i], true; more; hops++ {
			var hop string
			if hop, before, more = lastElement(before); hops == maxHops {
				return addr.String()
			}
			hopAddress, ok := forwardedAddress(hop)
			if !ok {
				s.proxyCheck.warnUnreadable(addr, hop)
				return addr.String()
			}
			addr = hopAddress
			if !s.isTrustedProxy(addr) {
				return addr.String()
			}
		}
	}
	return addr.String()
}

// forwardedAddress parses an element of X-Forwarded-For: an IP address, optionally with a port or, for IPv6, in
// brackets. It refuses zones, which are valid only on the host of the proxy.
func forwardedAddress(element string) (netip.Addr, bool) {
	element = strings.Trim(element, " \t")
	addr, err := netip.ParseAddr(element)
	if err != nil {
		var withPort netip.AddrPort
		if inner, ok := strings.CutPrefix(element, "["); ok && strings.HasSuffix(inner, "]") {
			addr, err = netip.ParseAddr(strings.TrimSuffix(inner, "]"))
			if addr.Is4() {
				return netip.Addr{}, false
			}
		} else if withPort, err = netip.ParseAddrPort(element); err == nil {
			addr = withPort.Addr()
		}
	}
	if err != nil || addr.Zone() != "" {
		return netip.Addr{}, false
	}
	return addr.Unmap(), true
}

// lastElement splits the last element from a comma-separated list. more reports whether there are elements before it.
func lastElement(list string) (element, before string, more bool) {
	i := strings.LastIndexByte(list, ',')
	if i < 0 {
		return list, "", false
	}
	return list[i+1:], list[:i], true
}

// isTrustedProxy reports whether an address is in GATEHOUSE_TRUSTED_PROXIES.
func (s *Server) isTrustedProxy(a netip.Addr) bool { return cidr.Contains(s.trustedProxies, a) }

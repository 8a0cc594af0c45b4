// Package loopback decides which hosts are the local host. What is allowed there, such as http, is decided by the
// callers.
package loopback

import "net/netip"

// IsHost reports whether a host is localhost or a loopback IP address without a zone.
func IsHost(host string) bool {
	address, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && address.IsLoopback() && address.Zone() == ""
}

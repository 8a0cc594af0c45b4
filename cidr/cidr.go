// Package cidr parses the CIDR ranges of settings and client metadata, all by the same rules. The owner of a list
// decides what it is for and whether a range may have bits set beyond its prefix length.
package cidr

import (
	"errors"
	"net/netip"
)

// Parse returns the range of a CIDR, or of a single address. It returns an error for a range in IPv4-mapped form:
// addresses are compared in IPv4 form, so it would contain none.
func Parse(s string) (netip.Prefix, error) {
	p, err := netip.ParsePrefix(s)
	if err != nil {
		a, err := netip.ParseAddr(s)
		if err != nil || a.Zone() != "" {
			return netip.Prefix{}, errors.New("is neither a CIDR like 192.0.2.0/24 or 2001:db8::/32 nor a single address")
		}
		p = netip.PrefixFrom(a, a.BitLen())
	}
	if p.Addr().Is4In6() {
		return netip.Prefix{}, errors.New("is an IPv4 range in IPv6 form; write it like 192.0.2.0/24")
	}
	return p, nil
}

// Contains reports whether one of the ranges contains the address.
func Contains(ranges []netip.Prefix, a netip.Addr) bool {
	for _, p := range ranges {
		if p.Contains(a) {
			return true
		}
	}
	return false
}

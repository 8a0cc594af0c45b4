package cidr_test

import (
	"net/netip"
	"testing"

	"gatehouse/cidr"
)

func TestParseAcceptsRangesAndAddresses(t *testing.T) {
	t.Parallel()
	for in, want := range map[string]string{
		"10.0.0.0/8": "10.0.0.0/8", "10.0.0.5/8": "10.0.0.5/8", "192.0.2.1": "192.0.2.1/32", "2001:db8::1": "2001:db8::1/128",
		"": "", "everywhere": "", "10.0.0.0/33": "", "0/0": "", "fe80::1%eth0": "", "::ffff:10.0.0.0/104": "",
		"::ffff:1.2.3.4": "",
	} {
		p, err := cidr.Parse(in)
		if got := p.String(); err == nil && got != want || (err != nil) != (want == "") {
			t.Errorf("Parse(%q) = %v, %v, want %q", in, p, err, want)
		}
	}
}

func TestContainsChecksEveryRange(t *testing.T) {
	t.Parallel()
	ranges := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for in, want := range map[string]bool{"10.1.2.3": true, "2001:db8::7": true, "11.0.0.1": false, "::1": false} {
		if got := cidr.Contains(ranges, netip.MustParseAddr(in)); got != want {
			t.Errorf("Contains(%q) = %v, want %v", in, got, want)
		}
	}
}

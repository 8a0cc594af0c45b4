package redirect

import (
	"errors"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"

	"gatehouse/loopback"
)

// Destination is the target of a redirect.
type Destination struct {
	// Host is the host that a browser opens for an http or https URI: A-labels or an IP address, with the port unless
	// it is the default of the scheme. It is empty if browsers may interpret the host differently.
	Host string
	// Scheme is the private-use scheme of a client on the user's device (RFC 8252 §7.1). A page must not show it like
	// a host: any client can use the scheme bank.example.
	Scheme string
	// OnDevice reports whether a program on the user's device gets the response: by a private-use scheme, or at a loopback
	// address.
	OnDevice bool
}

// DestinationOf returns the destination of a browser that is redirected to uri.
func DestinationOf(uri string) Destination {
	u, err := url.Parse(uri)
	switch {
	case err != nil || u.Scheme == "":
		return Destination{}
	case u.Scheme != "http" && u.Scheme != "https":
		return Destination{Scheme: u.Scheme, OnDevice: true}
	case u.Opaque != "":
		return Destination{}
	}
	host, ok := hostOf(u)
	if !ok {
		return Destination{}
	}
	d := Destination{Host: host, OnDevice: loopback.IsHost(strings.Trim(host, "[]"))}
	if p := u.Port(); p != "" && (u.Scheme != "https" || p != "443") && (u.Scheme != "http" || p != "80") {
		d.Host += ":" + p
	}
	return d
}

// CheckHost returns an error unless the host of an http or https URL can be shown to users as it is written.
func CheckHost(raw string) error {
	u, err := url.Parse(raw)
	if err != nil || u.Opaque != "" {
		return errors.New("is not an absolute URL")
	}
	return checkHost(u)
}

func checkHost(u *url.URL) error {
	if host, ok := hostOf(u); !ok || host != strings.ToLower(strings.TrimSuffix(u.Host, ":"+u.Port())) {
		return errors.New("has a host that is neither a plain name nor an IP address as a browser writes it; " +
			"write a name in another script as xn--, an IPv4 address as four decimal numbers, and no dot at the end")
	}
	return nil
}

// idnaProfile converts host names as browsers do (URL Standard §3.3, domain to ASCII, not strict).
var idnaProfile = idna.New(
	idna.MapForLookup(),
	idna.Transitional(false),
	idna.StrictDomainName(false),
	idna.CheckHyphens(false),
	idna.BidiRule(),
)

// hostOf returns the host of a URL as a browser interprets it, without the port. Go has already decoded its
// percent-encoding.
func hostOf(u *url.URL) (string, bool) {
	name := u.Hostname()
	if strings.HasPrefix(u.Host, "[") {
		a, err := netip.ParseAddr(name)
		return "[" + a.String() + "]", err == nil && a.Zone() == "" && !a.Is4In6()
	}
	ascii, err := idnaProfile.ToASCII(name)
	if err != nil || len(ascii) > 253 || strings.ContainsFunc(ascii, isNotHostCharacter) {
		return "", false
	}
	labels := strings.Split(ascii, ".")
	for _, label := range labels {
		if label == "" || len(label) > 63 {
			return "", false
		}
	}
	if last := labels[len(labels)-1]; isNumeric(last) {
		a, err := netip.ParseAddr(ascii)
		return ascii, err == nil && a.Is4() // browsers interpret 127.1, 0x7f.1 and 2130706433 as 127.0.0.1
	}
	return ascii, true
}

// isNotHostCharacter reports whether a host name in A-labels cannot contain the character.
func isNotHostCharacter(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
}

// isNumeric reports whether browsers parse a name with this last label as an IPv4 address (URL Standard §3.5).
func isNumeric(label string) bool {
	if digits, hex := strings.CutPrefix(label, "0x"); hex {
		return strings.Trim(digits, "0123456789abcdef") == ""
	}
	return strings.Trim(label, "0123456789") == ""
}

// Package redirect decides which redirect URIs may be registered and whether a requested one is a registered one. There
// are no patterns: the strings are equal, and only the port of a loopback IP literal may differ (RFC 8252 §7.3,
// RFC 9700 §4.1.3).
package redirect

import (
	"errors"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
)

// reserved are the parameters of an authorization response. A redirect URI that brought its own could hide ours.
var reserved = []string{"code", "state", "iss", "error", "error_description", "error_uri", "access_token", "id_token", "token_type", "expires_in", "scope", "session_state", "response"}

// Validate says whether a redirect URI may be registered, and if not, why, in words for the developer.
func Validate(uri string) error {
	switch {
	case uri == "":
		return errors.New("is empty")
	case len(uri) > 2000:
		return errors.New("is longer than 2000 characters")
	case strings.IndexFunc(uri, func(r rune) bool { return r <= ' ' || r >= 0x7f || strings.ContainsRune("\\\"<>^`{|}", r) }) >= 0:
		return errors.New("has a character that a URI must percent-encode")
	case strings.Contains(uri, "#"):
		return errors.New("has a fragment; leave out # and what follows")
	case strings.Contains(uri, "*"):
		return errors.New("has a wildcard; register every redirect URI in full")
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return errors.New("is not an absolute URI")
	}
	if u.User != nil || strings.Contains(u.Host, "@") {
		return errors.New("has a user part; leave out everything before the @")
	}
	if u.Scheme != uri[:len(u.Scheme)] || u.Host != strings.ToLower(u.Host) {
		return errors.New("has capitals in its scheme or host; write them in lower case")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("has a malformed query")
	}
	for _, name := range reserved {
		if q.Has(name) {
			return errors.New("has the query parameter " + name + ", which belongs to the authorization response")
		}
	}
	return validateScheme(u)
}

func validateScheme(u *url.URL) error {
	switch u.Scheme {
	case "https", "http":
		if u.Opaque != "" || u.Hostname() == "" {
			return errors.New("has no host")
		}
		if err := checkHost(u); err != nil {
			return err
		}
		if p := u.Port(); p == "" && strings.HasSuffix(u.Host, ":") || p != "" && !validPort(p) {
			return errors.New("has an invalid port")
		}
		if u.Scheme == "http" && !IsLoopback(u.Hostname()) && u.Hostname() != "localhost" {
			return errors.New("is http; use https, which only 127.0.0.1, [::1] and localhost can do without")
		}
		return nil
	}
	if !strings.Contains(u.Scheme, ".") || strings.HasPrefix(u.Scheme, ".") {
		return errors.New("has the scheme " + u.Scheme + "; an app's own scheme is a reversed domain name with a dot, like com.example.app (RFC 8252 section 7.1)")
	}
	return nil
}

func validPort(p string) bool {
	n, err := strconv.ParseUint(p, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == p
}

// Loopback reports whether host is a loopback IP literal.
func IsLoopback(host string) bool {
	a, err := netip.ParseAddr(host)
	return err == nil && a.IsLoopback() && a.Zone() == ""
}

// Match returns whether requested is one of the registered URIs.
func Match(registered []string, requested string) bool {
	for _, r := range registered {
		if r == requested {
			return true
		}
		if a, ok := floating(r); ok {
			if b, ok := floating(requested); ok && a == b {
				return true
			}
		}
	}
	return false
}

// floating cuts the port out of a URI on http://127.0.0.1 or http://[::1]. Nothing is decoded or normalised.
func floating(uri string) (string, bool) {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]"} {
		rest, ok := strings.CutPrefix(uri, host)
		if !ok {
			continue
		}
		if port, found := strings.CutPrefix(rest, ":"); found {
			end := strings.IndexAny(port, "/?")
			if end < 0 {
				end = len(port)
			}
			if !validPort(port[:end]) {
				return "", false
			}
			rest = port[end:]
		}
		if rest != "" && rest[0] != '/' && rest[0] != '?' {
			return "", false
		}
		return host + rest, true
	}
	return "", false
}

// AllowsImpersonation reports whether any app on the person's device could receive what is sent to uri: a loopback address or
// an app's own scheme (RFC 8252 §8.6).
func AllowsImpersonation(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return true
	}
	return u.Scheme == "http"
}

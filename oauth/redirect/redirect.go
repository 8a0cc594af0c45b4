// Package redirect decides which redirect URIs may be registered, whether a requested one matches a registered one, and
// which destination a page shows. There are no patterns: the strings must be equal, and only the port of a loopback
// interface may differ (RFC 8252 §7.3, RFC 9700 §4.1.3).
package redirect

import (
	"errors"
	"net/url"
	"strconv"
	"strings"

	"gatehouse/display"
	"gatehouse/loopback"
	"gatehouse/oauth/credential"
)

// reserved lists the parameters of an authorization response. A redirect URI with one of these could override the
// server's.
var reserved = []string{
	"code", "state", "iss", "error", "error_description", "error_uri", "access_token", "id_token", "token_type",
	"expires_in", "scope", "session_state", "response",
}

// Validate returns an error if the redirect URI may not be registered. The message continues a sentence that starts
// with the URI.
func Validate(uri string) error {
	switch {
	case uri == "":
		return errors.New("is empty")
	case len(uri) > 2000:
		return errors.New("is longer than 2000 characters")
	case strings.ContainsFunc(uri, mustBeEncoded):
		return errors.New("has a character that a URI must percent-encode")
	case strings.Contains(uri, "#"):
		return errors.New("has a fragment; remove # and what follows")
	case strings.Contains(uri, "*"):
		return errors.New("has a wildcard; register every redirect URI in full")
	}
	u, err := url.Parse(uri)
	if err != nil || u.Scheme == "" {
		return errors.New("is not an absolute URI")
	}
	if u.User != nil || strings.Contains(u.Host, "@") {
		return errors.New("has userinfo; remove everything up to the @")
	}
	if u.Scheme != uri[:len(u.Scheme)] || u.Host != strings.ToLower(u.Host) {
		return errors.New("has uppercase letters in its scheme or host; write them in lowercase")
	}
	q, err := url.ParseQuery(u.RawQuery)
	if err != nil {
		return errors.New("has a malformed query")
	}
	for _, name := range reserved {
		if q.Has(name) {
			return errors.New("has the query parameter " + name + ", which is reserved for the authorization response")
		}
	}
	return validateScheme(u)
}

// mustBeEncoded reports whether a URI cannot contain the character unencoded (RFC 3986 §2).
func mustBeEncoded(r rune) bool {
	return !display.IsVisibleASCIIRune(r) || strings.ContainsRune("\\\"<>^`{|}", r)
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
		if p := u.Port(); p == "" && strings.HasSuffix(u.Host, ":") || p != "" && !isValidPort(p) {
			return errors.New("has an invalid port")
		}
		if u.Scheme == "http" && !loopback.IsHost(u.Hostname()) {
			return errors.New("is http; use https, except for 127.0.0.1, [::1] and localhost")
		}
		return nil
	}
	if len(u.Scheme) == 1 || forbiddenSchemes[u.Scheme] {
		return errors.New("has the scheme " + u.Scheme + ", which browsers or operating systems open themselves; " +
			"use https, http on a loopback host, or a private-use scheme of the client (RFC 8252 section 7.1)")
	}
	return nil
}

// forbiddenSchemes are not those of a client: a browser runs or shows their content, or the operating system passes
// them to a program of its own, some of which had vulnerabilities that a URI can reach.
var forbiddenSchemes = setOf(`
	about blob cid content data dav file filesystem ftp ftps git gopher irc ircs jar javascript ldap ldaps mailto mid
	news nfs nntp res resource rtsp sftp sip sips smb sms ssh svn tel telnet urn vbscript view-source ws wss xmpp
	android-app brave chrome chrome-extension chrome-search chrome-untrusted devtools edge googlechrome intent
	itms itms-apps itms-services market microsoft-edge moz-extension opera safari-extension safari-web-extension
	vivaldi webcal x-apple-systempreferences x-safari-https
	ms-appinstaller ms-cxh ms-cxh-full ms-excel ms-gamebarservices ms-msdt ms-officecmd ms-powerpoint ms-screenclip
	ms-search ms-settings ms-windows-store ms-word onenote search search-ms shell
`)

func setOf(names string) map[string]bool {
	set := map[string]bool{}
	for name := range strings.FieldsSeq(names) {
		set[name] = true
	}
	return set
}

// PrivateUseScheme returns the scheme of a URI that is neither http nor https, and whether it is based on a domain name
// that the client controls, like com.example.app (RFC 8252 §7.1). Any application can use a scheme without a dot.
func PrivateUseScheme(uri string) (scheme string, hasDomain bool) {
	scheme = DestinationOf(uri).Scheme
	return scheme, strings.Contains(scheme, ".")
}

func isValidPort(p string) bool {
	n, err := strconv.ParseUint(p, 10, 16)
	return err == nil && n > 0 && strconv.FormatUint(n, 10) == p
}

// Match reports whether the requested URI matches one of the registered URIs. The port of http://127.0.0.1 and
// http://[::1] may differ (RFC 8252 §7.3), and that of http://localhost if anyLocalhostPort is set. The three hosts do
// not match each other.
func Match(registered []string, requested string, anyLocalhostPort bool) bool {
	for _, r := range registered {
		if r == requested {
			return true
		}
		if a, ok := withoutLoopbackPort(r, anyLocalhostPort); ok {
			if b, ok := withoutLoopbackPort(requested, anyLocalhostPort); ok && a == b {
				return true
			}
		}
	}
	return false
}

// withoutLoopbackPort removes the port of an http URI on a loopback host. It decodes and normalizes nothing.
func withoutLoopbackPort(uri string, includeLocalhost bool) (string, bool) {
	for _, host := range []string{"http://127.0.0.1", "http://[::1]", "http://localhost"} {
		rest, ok := strings.CutPrefix(uri, host)
		if !ok || host == "http://localhost" && !includeLocalhost {
			continue
		}
		if port, found := strings.CutPrefix(rest, ":"); found {
			end := strings.IndexAny(port, "/?")
			if end < 0 {
				end = len(port)
			}
			if !isValidPort(port[:end]) {
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

// AllowsImpersonation reports whether any application on the user's device can receive a response sent to uri: a
// loopback or private-use scheme URI (RFC 8252 §8.6).
func AllowsImpersonation(uri string) bool {
	u, err := url.Parse(uri)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return true
	}
	return u.Scheme == "http"
}

// IsSameOrigin reports whether a browser connects to the same https host and port for both URIs.
func IsSameOrigin(a, b string) bool {
	host := DestinationOf(a).Host
	return host != "" && host == DestinationOf(b).Host && strings.HasPrefix(a, "https://") &&
		strings.HasPrefix(b, "https://")
}

// AddQuery returns the URI with parameters appended to its query, which is otherwise unchanged.
func AddQuery(uri string, parameters url.Values) string {
	if len(parameters) == 0 {
		return uri
	}
	separator := "?"
	if strings.Contains(uri, "?") {
		separator = "&"
		if strings.HasSuffix(uri, "?") || strings.HasSuffix(uri, "&") {
			separator = ""
		}
	}
	return uri + separator + parameters.Encode()
}

// maxLogLength is the maximum length of a URI in a log.
const maxLogLength = 200

// SanitizeForLog returns the parts of a URI that the log and the audit log may contain, in printable ASCII: not the
// query, fragment and user, which may be secrets.
func SanitizeForLog(raw string) string {
	u, err := url.Parse(raw)
	if err != nil {
		return "(not a URI)"
	}
	u.User, u.RawQuery, u.ForceQuery, u.Fragment, u.RawFragment = nil, "", false, "", ""
	s := u.String()
	if strings.Contains(s, credential.Prefix) {
		return "(contains a credential)"
	}
	return strings.Map(func(r rune) rune {
		if display.IsVisibleASCIIRune(r) {
			return r
		}
		return '?'
	}, s[:min(len(s), maxLogLength)])
}

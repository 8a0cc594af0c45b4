package redirect

import (
	"net/url"
	"strings"

	"gatehouse/display"
	"gatehouse/oauth/credential"
)

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

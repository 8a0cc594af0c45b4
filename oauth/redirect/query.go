package redirect

import (
	"net/url"
	"strings"
)

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

package config

import (
	"net/url"
	"strings"
)

// redactURL returns a database or Redis URL without its secrets, and whether it had any. If an unencoded secret may
// have been parsed as another part of the URL, only the scheme is returned.
func redactURL(raw string) (redacted string, secret bool) {
	u, err := url.Parse(raw)
	if err != nil {
		return "(redacted)", true
	}
	query, err := url.ParseQuery(u.RawQuery)
	if err != nil || u.Fragment != "" || u.Scheme != "sqlite" && strings.Contains(u.Path+u.Opaque+u.RawQuery, "@") {
		return u.Scheme + "://(redacted)", true
	}
	if _, has := u.User.Password(); has {
		u.User, secret = url.UserPassword(u.User.Username(), "redacted"), true
	}
	for name := range query {
		if isSecretParameter(name) {
			query.Set(name, "redacted")
			secret = true
		}
	}
	if secret {
		u.RawQuery = query.Encode()
	}
	return u.String(), secret
}

// isSecretParameter reports whether a parameter of a connection URL is a secret: password, sslpassword, sslkey (the key
// itself with sslinline), and those of other authentication methods of libpq. passfile is a path, not a secret.
func isSecretParameter(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"password", "secret", "key", "token"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func redactedURL(raw string) string {
	s, _ := redactURL(raw)
	return s
}

func redactKey(k []byte) string {
	if k == nil {
		return ""
	}
	return "(redacted)"
}

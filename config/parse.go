package config

import (
	"errors"
	"fmt"
	"net"
	"net/mail"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/cidr"
	"gatehouse/display"
	"gatehouse/loopback"
	"gatehouse/ratelimit"
)

func stringField(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = v; return nil }
}

func enumField(field func(*Config) *string, allowed ...string) func(*Config, string) error {
	return func(c *Config, v string) error {
		for _, a := range allowed {
			if v == a {
				*field(c) = v
				return nil
			}
		}
		return fmt.Errorf("%q is not supported; write %s", v, strings.Join(allowed, " or "))
	}
}

func integerField(field func(*Config) *int, low, high int) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is out of bounds; write a whole number from %d to %d", v, low, high)
		}
		*field(c) = n
		return nil
	}
}

func boolField(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q is not a boolean; write true or false", v)
		}
		*field(c) = b
		return nil
	}
}

func keyField(field func(*Config) *[]byte) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "" {
			return nil
		}
		k, ok := DecodeKey(v)
		if !ok {
			return errors.New("is not base64 of 32 bytes; copy the complete key of this database. " +
				"Only for a new database, create one with: openssl rand -base64 32")
		}
		*field(c) = k
		return nil
	}
}

func addressField(field func(*Config) *string, optional bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "" && optional {
			return nil
		}
		_, port, err := net.SplitHostPort(v)
		if err != nil {
			return fmt.Errorf("%q is not an address; write host:port, like 127.0.0.1:8080", v)
		}
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
			return fmt.Errorf("%q has no valid port; write a number from 0 to 65535 after the colon", v)
		}
		*field(c) = v
		return nil
	}
}

func setIssuer(c *Config, v string) error {
	u, err := url.Parse(v)
	switch {
	case err != nil || (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.Opaque != "":
		return fmt.Errorf("%q is not an absolute URL; write one like https://id.example.com", v)
	case u.RawQuery != "" || u.ForceQuery || strings.Contains(v, "#") || u.User != nil:
		return fmt.Errorf("%q has a query, fragment or userinfo; remove it (RFC 8414 section 2)", v)
	case strings.HasSuffix(u.Path, "/"):
		return fmt.Errorf("%q ends in a slash; write %s", v, strings.TrimRight(v, "/"))
	case u.Scheme == "http" && !loopback.IsHost(u.Hostname()):
		return fmt.Errorf("%q is http on a host that is not loopback; write https://%s", v, u.Host)
	case u.String() != v || u.Host != strings.ToLower(u.Host) || u.RawPath != "":
		return fmt.Errorf("%q is not in normal form; write it in lowercase and without percent-encoding", v)
	}
	c.Issuer = v
	return nil
}

func setDatabaseURL(c *Config, v string) error {
	switch {
	case strings.HasPrefix(v, "sqlite:") && len(v) > len("sqlite:"):
		if strings.ContainsAny(v, "?#") {
			return errors.New("sqlite: must be followed by a plain path; remove ? and #")
		}
	case strings.HasPrefix(v, "postgres://") || strings.HasPrefix(v, "postgresql://"):
		if u, err := url.Parse(v); err != nil || u.Fragment != "" {
			return errors.New("is not a valid postgres:// URL; percent-encode special characters in the password")
		}
	default:
		return errors.New("names no supported database; write sqlite:PATH or postgres://user:password@host/database")
	}
	c.DatabaseURL = v
	return nil
}

func setRedisURL(c *Config, v string) error {
	if v != "" && !strings.HasPrefix(v, "redis://") && !strings.HasPrefix(v, "rediss://") {
		return errors.New("is not a Redis URL; write redis://host:6379")
	}
	c.RedisURL = v
	return nil
}

func setSMTPURL(c *Config, v string) error {
	if v == "" {
		return nil
	}
	u, err := url.Parse(v)
	if err != nil {
		return errors.New("is not a URL; percent-encode special characters in the user name and password")
	}
	password, hasPassword := u.User.Password()
	switch {
	case u.Scheme != "smtp" && u.Scheme != "smtps":
		return errors.New("names no mail server; write smtp://user:password@host or smtps://user:password@host")
	case u.Hostname() == "" || u.Path != "" || u.RawQuery != "" || u.Fragment != "":
		return errors.New("must be a host with an optional user name, password and port; write it like " +
			"smtp://user:password@host:587, and percent-encode special characters in the user name and password")
	case u.User != nil && (u.User.Username() == "" || !hasPassword || password == ""):
		return errors.New("needs both a user name and a password, or none; write it like smtp://user:password@host")
	}
	if port := u.Port(); port != "" {
		if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
			return fmt.Errorf("has the invalid port %q; the usual ports are 587 and 465", port)
		}
	}
	c.SMTPURL = v
	return nil
}

func setMailFrom(c *Config, v string) (err error) {
	if v == "" {
		return nil
	}
	if c.MailFrom, err = mail.ParseAddress(v); err != nil {
		return fmt.Errorf("%q is not an email address; write one like no-reply@example.com or "+
			"Example <no-reply@example.com>", v)
	}
	return nil
}

func setRateLimits(c *Config, v string) (err error) {
	c.RateLimits, err = ratelimit.ParseRates(v)
	return err
}

func setTrustedProxies(c *Config, v string) error {
	c.TrustedProxies = nil
	for _, item := range splitList(v) {
		p, err := cidr.Parse(item)
		if err != nil {
			return fmt.Errorf("%q %w", item, err)
		}
		c.TrustedProxies = append(c.TrustedProxies, p.Masked())
	}
	return nil
}

// setHosts parses host names and IP addresses, optionally with a port.
func setHosts(c *Config, v string) error {
	c.FetchAllowHosts = splitList(v)
	for _, h := range c.FetchAllowHosts {
		if strings.ContainsAny(h, "/*@ ") {
			return fmt.Errorf("%q is not a host; write a name or IP address, optionally with a port, "+
				"like app.internal or 127.0.0.1:9000", h)
		}
	}
	return nil
}

// wellKnownDocumentHosts are the hosts of client ID metadata documents that well-known stands for.
var wellKnownDocumentHosts = []string{
	"claude.ai", "chatgpt.com", "vscode.dev", "cursor.com", "zed.dev", "opencode.ai",
}

func wellKnownList() string { return "`" + strings.Join(wellKnownDocumentHosts, "`, `") + "`" }

// setDocumentHosts parses hosts and URLs of client ID metadata documents.
func setDocumentHosts(c *Config, v string) error {
	c.ClientDocumentHosts = nil
	for _, item := range splitList(v) {
		if item == "well-known" {
			c.ClientDocumentHosts = append(c.ClientDocumentHosts, wellKnownDocumentHosts...)
			continue
		}
		isHost := !strings.ContainsAny(item, "/*@?# ")
		u, err := url.Parse(item)
		isURL := err == nil && (u.Scheme == "https" || u.Scheme == "http") && u.Host != "" && u.User == nil &&
			u.Path != "" && !strings.ContainsAny(item, "*?# ")
		if !isHost && !isURL {
			return fmt.Errorf("%q is neither a host nor a URL with a path; write one like claude.ai or "+
				"https://chatgpt.com/oauth/", item)
		}
		c.ClientDocumentHosts = append(c.ClientDocumentHosts, item)
	}
	return nil
}

func setScopes(c *Config, v string) error {
	c.RegistrationScopes = splitList(v)
	for _, name := range c.RegistrationScopes {
		if !display.IsVisibleASCII(name) || strings.ContainsAny(name, `"\`) {
			return fmt.Errorf("%q is not a scope; separate scopes with commas", name)
		}
	}
	return nil
}

func setAdminFactor(c *Config, v string) error {
	c.AdminFactor, c.AdminFactorSince = v, nil
	switch v {
	case "off", "warn":
		return nil
	case "require":
		since := time.Unix(0, 0)
		c.AdminFactorSince = &since
		return nil
	}
	since, err := time.Parse(time.DateOnly, v)
	if err != nil {
		return fmt.Errorf("%q is not supported; write off, warn, require or a date such as 2027-01-31", v)
	}
	c.AdminFactorSince = &since
	return nil
}

func setLogLevel(c *Config, v string) error {
	switch v {
	case "debug", "info", "warn", "error":
		return c.LogLevel.UnmarshalText([]byte(v))
	}
	return fmt.Errorf("%q is not supported; write debug, info, warn or error", v)
}

func splitList(v string) []string {
	var out []string
	for item := range strings.SplitSeq(v, ",") {
		if item = strings.TrimSpace(item); item != "" {
			out = append(out, item)
		}
	}
	return out
}

func joinPrefixes(list []netip.Prefix) string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

package config

import (
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"gatehouse/cidr"
	"gatehouse/duration"
	"gatehouse/loopback"
	"gatehouse/ratelimit"
)

// A setting is one row of the operator contract. Everything that lists settings (loading, flags, `config print`,
// docs/config.md) walks this table, so a setting cannot be known in one place and not in another.
type setting struct {
	env     string
	def     string
	doc     string
	secret  bool // redacted by `config print`
	file    bool // also read from the file named by env+"_FILE"
	pending string
	set     func(c *Config, value string) error
	get     func(c *Config) string
}

// flag is the command-line name of the setting: GATEHOUSE_CODE_TTL is --code-ttl.
func (s setting) flag() string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.env, "GATEHOUSE_")), "_", "-")
}

// hidden reports whether the setting is a secret as a whole; a database URL is useful as a flag and may have no password.
func (s setting) hidden() bool { return s.secret && s.env != "GATEHOUSE_DATABASE_URL" }

// DefaultDatabaseURL is the value of GATEHOUSE_DATABASE_URL when it is not set: a path in the working directory.
const DefaultDatabaseURL = "sqlite:gatehouse-data/gatehouse.db"

var settings = []setting{
	{env: "GATEHOUSE_ISSUER", def: "http://localhost:8080",
		doc: "The issuer URL, which every token and redirect carries. https unless the host is loopback. Never derived from a request.",
		set: setIssuer, get: func(c *Config) string { return c.Issuer }},
	{env: "GATEHOUSE_LISTEN", def: "127.0.0.1:8080",
		doc: "Address of the public listener. A https issuer on a plain listener needs GATEHOUSE_TRUSTED_PROXIES; a loopback issuer on a wide listener warns.",
		set: address(func(c *Config) *string { return &c.Listen }, false), get: func(c *Config) string { return c.Listen }},
	{env: "GATEHOUSE_ADMIN_LISTEN",
		doc: "Address of the admin listener: Prometheus metrics under `/metrics`, profiling under `/debug/pprof/`. Empty: off. `/healthz` and `/readyz` are on both listeners.",
		set: address(func(c *Config) *string { return &c.AdminListen }, true), get: func(c *Config) string { return c.AdminListen }},
	{env: "GATEHOUSE_DATABASE_URL", def: DefaultDatabaseURL, secret: true, file: true,
		doc: "`sqlite:PATH` for the embedded database, or `postgres://…`.",
		set: setDatabaseURL, get: func(c *Config) string { return redacted(c.DatabaseURL) }},
	{env: "GATEHOUSE_DATABASE_POOL", def: "0",
		doc: "Most connections this process opens to the database, 0 to 1000. 0 means four per core.",
		set: integer(func(c *Config) *int { return &c.DatabasePool }, 0, 1000), get: func(c *Config) string { return strconv.Itoa(c.DatabasePool) }},
	{env: "GATEHOUSE_SECRET_KEY", secret: true, file: true,
		doc: "The root key, base64 of 32 bytes (`openssl rand -base64 32`). Generated once into `secret.key` (0600) beside an embedded database; required with PostgreSQL. A process whose key does not fit the database refuses to start.",
		set: key(func(c *Config) *[]byte { return &c.SecretKey }), get: func(c *Config) string { return redactKey(c.SecretKey) }},
	{env: "GATEHOUSE_SECRET_KEY_PREVIOUS", secret: true, file: true,
		doc: "The root key before this one, while `gatehouse rekey` replaces it.",
		set: key(func(c *Config) *[]byte { return &c.SecretKeyPrevious }), get: func(c *Config) string { return redactKey(c.SecretKeyPrevious) }},
	{env: "GATEHOUSE_TLS_CERT_FILE",
		doc: "PEM file of the certificate chain for built-in TLS (1.2 at least). Reloaded when it changes.",
		set: text(func(c *Config) *string { return &c.TLSCertFile }), get: func(c *Config) string { return c.TLSCertFile }},
	{env: "GATEHOUSE_TLS_KEY_FILE",
		doc: "PEM file of the private key that belongs to the certificate.",
		set: text(func(c *Config) *string { return &c.TLSKeyFile }), get: func(c *Config) string { return c.TLSKeyFile }},
	{env: "GATEHOUSE_TRUSTED_PROXIES",
		doc: "Comma-separated CIDRs whose `X-Forwarded-For` is believed. None by default.",
		set: setTrustedProxies, get: func(c *Config) string { return joinStringers(c.TrustedProxies) }},
	{env: "GATEHOUSE_REDIS_URL", secret: true, file: true,
		doc: "`redis://…` or `rediss://…`: shares the rate limits between processes. While it does not answer each process counts by itself.",
		set: setRedisURL, get: func(c *Config) string { return redacted(c.RedisURL) }},
	{env: "GATEHOUSE_LOG_LEVEL", def: "info",
		doc: "`debug`, `info`, `warn` or `error`.",
		set: setLogLevel, get: func(c *Config) string { return strings.ToLower(c.LogLevel.String()) }},
	{env: "GATEHOUSE_LOG_FORMAT", def: "auto",
		doc: "`json` or `text`; `auto` is text on a terminal and json elsewhere.",
		set: oneOf(func(c *Config) *string { return &c.LogFormat }, "auto", "json", "text"), get: func(c *Config) string { return c.LogFormat }},
	{env: "GATEHOUSE_ENVIRONMENT", def: "live",
		doc: "`live` or `test`: the mark inside every code, refresh token and client secret. A credential of one is refused by the other.",
		set: oneOf(func(c *Config) *string { return &c.Environment }, "live", "test"), get: func(c *Config) string { return c.Environment }},

	durationSetting("GATEHOUSE_ACCESS_TOKEN_TTL", "15m", time.Second, 24*time.Hour, "",
		"Life of an access token. A warning outside 5 to 60 minutes: an API that only checks signatures accepts a revoked token this long.",
		func(c *Config) *time.Duration { return &c.AccessTokenTTL }),
	durationSetting("GATEHOUSE_CODE_TTL", "60s", time.Second, 10*time.Minute, "",
		"Life of an authorization code.", func(c *Config) *time.Duration { return &c.CodeTTL }),
	durationSetting("GATEHOUSE_REFRESH_IDLE_TTL", "720h", time.Second, 10*365*24*time.Hour, "",
		"A refresh token not used this long is dead.", func(c *Config) *time.Duration { return &c.RefreshIdleTTL }),
	durationSetting("GATEHOUSE_REFRESH_MAX_TTL", "2160h", time.Second, 10*365*24*time.Hour, "",
		"A grant ends this long after its sign-in, however often it is refreshed.", func(c *Config) *time.Duration { return &c.RefreshMaxTTL }),
	durationSetting("GATEHOUSE_REFRESH_GRACE", "60s", 0, 10*time.Minute, "",
		"How long a client that lost the response to a refresh can retry it and get the same successor, unless that was used. An outage of the database does not count; `gatehouse_refresh_grace` sets it for one client. 0 turns it off.",
		func(c *Config) *time.Duration { return &c.RefreshGrace }),
	durationSetting("GATEHOUSE_DEVICE_CODE_TTL", "5m", time.Second, time.Hour, "the device grant",
		"Life of a device code.", func(c *Config) *time.Duration { return &c.DeviceCodeTTL }),
	durationSetting("GATEHOUSE_SESSION_IDLE_TTL", "2h", time.Minute, 90*24*time.Hour, "",
		"A browser session not used this long must sign in again.", func(c *Config) *time.Duration { return &c.SessionIdleTTL }),
	durationSetting("GATEHOUSE_SESSION_MAX_TTL", "24h", time.Minute, 365*24*time.Hour, "",
		"A browser session lasts no longer than this.", func(c *Config) *time.Duration { return &c.SessionMaxTTL }),
	durationSetting("GATEHOUSE_REQUEST_TTL", "1h", time.Minute, 24*time.Hour, "",
		"How long an authorization request waits for its sign-in and consent.", func(c *Config) *time.Duration { return &c.RequestTTL }),
	durationSetting("GATEHOUSE_KEY_ROTATION_PERIOD", "2160h", 24*time.Hour, 10*365*24*time.Hour, "",
		"A signing key is replaced by itself when it is this old.", func(c *Config) *time.Duration { return &c.KeyRotationPeriod }),
	durationSetting("GATEHOUSE_ID_TOKEN_TTL", "1h", time.Minute, 24*time.Hour, "",
		"Life of an ID token: how long an app may take to read it. It opens nothing.", func(c *Config) *time.Duration { return &c.IDTokenTTL }),
	durationSetting("GATEHOUSE_SHUTDOWN_TIMEOUT", "15s", time.Second, 10*time.Minute, "",
		"How long `serve` lets requests in flight finish when it is told to stop.", func(c *Config) *time.Duration { return &c.ShutdownTimeout }),

	durationSetting("GATEHOUSE_SHUTDOWN_DELAY", "0s", 0, 5*time.Minute, "",
		"How long `serve` goes on taking requests after it was told to stop, with `/readyz` red, so that whatever balances the load sends them elsewhere.", func(c *Config) *time.Duration { return &c.ShutdownDelay }),
	durationSetting("GATEHOUSE_REQUEST_TIMEOUT", "30s", time.Second, 5*time.Minute, "",
		"A request that takes longer, for the database is slow, is answered 503.", func(c *Config) *time.Duration { return &c.RequestTimeout }),
	{env: "GATEHOUSE_MAX_REQUESTS", def: "1024",
		doc: "Requests that this process works on at once, 0 to 100000. More are answered 503 at once. 0 means any number.",
		set: integer(func(c *Config) *int { return &c.MaxRequests }, 0, 100_000), get: func(c *Config) string { return strconv.Itoa(c.MaxRequests) }},
	durationSetting("GATEHOUSE_AUDIT_RETENTION", "0s", 0, 50*365*24*time.Hour, "",
		"How long audit rows are kept; their seals stay. 0 keeps them for ever. With a database role that may not delete them, `gatehouse audit retire` does it.",
		func(c *Config) *time.Duration { return &c.AuditRetention }),

	{env: "GATEHOUSE_PASSWORD_MIN_LENGTH", def: "10",
		doc: "Fewest characters of a new password, 8 to 64.",
		set: integer(func(c *Config) *int { return &c.PasswordMinLength }, 8, 64), get: func(c *Config) string { return strconv.Itoa(c.PasswordMinLength) }},
	{env: "GATEHOUSE_PASSWORD_CONCURRENCY", def: "0",
		doc: "Password hashes computed at once, 0 to 256; each takes 19 MiB and one core. 0 means half the cores.",
		set: integer(func(c *Config) *int { return &c.PasswordConcurrency }, 0, 256), get: func(c *Config) string { return strconv.Itoa(c.PasswordConcurrency) }},
	{env: "GATEHOUSE_RATE_LIMITS", def: "default",
		doc: "`default`, `off` (with a warning), or `name=count/period,…` over the defaults: counts from 1 to 1000000, periods from 1s to 24h; the names are in [operate.md](operate.md).",
		set: setRateLimits, get: func(c *Config) string { return ratelimit.FormatRates(c.RateLimits) }},
	{env: "GATEHOUSE_FETCH_ALLOW_HOSTS",
		doc: "Comma-separated hosts, with a port if only that one is meant, that may be fetched from and posted to although private or http (tests, intranets). Key sets, sector documents, logos, request objects and back-channel logouts go to public https addresses only.",
		set: setHosts, get: func(c *Config) string { return strings.Join(c.FetchAllowHosts, ",") }},
	{env: "GATEHOUSE_REGISTRATION", def: "off",
		doc: "Who may register clients at `/oauth2/register`: `off`, `token` (who has an initial access token of `gatehouse registration-token create`) or `open` (everyone).",
		set: oneOf(func(c *Config) *string { return &c.Registration }, "off", "token", "open"), get: func(c *Config) string { return c.Registration }},
	{env: "GATEHOUSE_REGISTRATION_SCOPES", def: "openid,profile,email,address,phone,offline_access",
		doc: "Comma-separated scopes that a client which registered itself may ask for. Others it names are left out.",
		set: setScopes, get: func(c *Config) string { return strings.Join(c.RegistrationScopes, ",") }},
	{env: "GATEHOUSE_REGISTRATION_REQUIRE_PKCE", def: "true",
		doc: "Whether dynamically registered confidential clients must use PKCE.",
		set: setBool(func(c *Config) *bool { return &c.RegistrationRequirePKCE }), get: func(c *Config) string { return strconv.FormatBool(c.RegistrationRequirePKCE) }},
}

func durationSetting(env, def string, low, high time.Duration, pending, doc string, field func(*Config) *time.Duration) setting {
	return setting{env: env, def: def, pending: pending,
		doc: doc + " From " + duration.Format(low) + " to " + duration.Format(high) + ".",
		set: func(c *Config, v string) error {
			d, err := duration.Parse(v)
			if err != nil {
				return fmt.Errorf("%q is not a duration; write a number and a unit, like 15m, 12h or 30d", v)
			}
			if d < low || d > high {
				return fmt.Errorf("%s is out of bounds; write a duration from %s to %s", v, duration.Format(low), duration.Format(high))
			}
			*field(c) = d
			return nil
		},
		get: func(c *Config) string { return duration.Format(*field(c)) }}
}

func text(field func(*Config) *string) func(*Config, string) error {
	return func(c *Config, v string) error { *field(c) = v; return nil }
}

func oneOf(field func(*Config) *string, allowed ...string) func(*Config, string) error {
	return func(c *Config, v string) error {
		for _, a := range allowed {
			if v == a {
				*field(c) = v
				return nil
			}
		}
		return fmt.Errorf("%q is not known; write %s", v, strings.Join(allowed, " or "))
	}
}

func integer(field func(*Config) *int, low, high int) func(*Config, string) error {
	return func(c *Config, v string) error {
		n, err := strconv.Atoi(v)
		if err != nil || n < low || n > high {
			return fmt.Errorf("%q is out of bounds; write a whole number from %d to %d", v, low, high)
		}
		*field(c) = n
		return nil
	}
}

func setBool(field func(*Config) *bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		b, err := strconv.ParseBool(v)
		if err != nil {
			return fmt.Errorf("%q is not a truth value; write true or false", v)
		}
		*field(c) = b
		return nil
	}
}

func key(field func(*Config) *[]byte) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "" {
			return nil
		}
		k, ok := DecodeKey(v)
		if !ok {
			return fmt.Errorf("is not base64 of 32 bytes; copy the key of this database completely. " +
				"Only for a new database, create one with: openssl rand -base64 32")
		}
		*field(c) = k
		return nil
	}
}

func address(field func(*Config) *string, mayBeEmpty bool) func(*Config, string) error {
	return func(c *Config, v string) error {
		if v == "" && mayBeEmpty {
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
		return fmt.Errorf("%q has a query, fragment or user part; leave those out (RFC 8414 section 2)", v)
	case strings.HasSuffix(u.Path, "/"):
		return fmt.Errorf("%q ends in a slash; write %s", v, strings.TrimRight(v, "/"))
	case u.Scheme == "http" && !loopback.IsHost(u.Hostname()):
		return fmt.Errorf("%q is http on a host that is not loopback; write https://%s", v, u.Host)
	case u.String() != v || u.Host != strings.ToLower(u.Host) || u.RawPath != "":
		return fmt.Errorf("%q is not in plain form; write lower case and no percent-encoding", v)
	}
	c.Issuer = v
	return nil
}

func setDatabaseURL(c *Config, v string) error {
	switch {
	case strings.HasPrefix(v, "sqlite:") && len(v) > len("sqlite:"):
		if strings.ContainsAny(v, "?#") {
			return fmt.Errorf("sqlite: takes a plain path; leave out ? and #")
		}
	case strings.HasPrefix(v, "postgres://") || strings.HasPrefix(v, "postgresql://"):
		if u, err := url.Parse(v); err != nil || u.Fragment != "" {
			return fmt.Errorf("is not a valid postgres:// URL; percent-encode special characters in the password")
		}
	default:
		return fmt.Errorf("names no known database; write sqlite:PATH or postgres://user:password@host/database")
	}
	c.DatabaseURL = v
	return nil
}

func setRedisURL(c *Config, v string) error {
	if v != "" && !strings.HasPrefix(v, "redis://") && !strings.HasPrefix(v, "rediss://") {
		return fmt.Errorf("is not a Redis URL; write redis://host:6379")
	}
	c.RedisURL = v
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

// setHosts reads names and addresses, each perhaps with a port.
func setHosts(c *Config, v string) error {
	c.FetchAllowHosts = splitList(v)
	for _, h := range c.FetchAllowHosts {
		if strings.ContainsAny(h, "/*@ ") {
			return fmt.Errorf("%q is not a host; write a name or address, perhaps with a port, like app.internal or 127.0.0.1:9000", h)
		}
	}
	return nil
}

func setScopes(c *Config, v string) error {
	c.RegistrationScopes = splitList(v)
	for _, name := range c.RegistrationScopes {
		if strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r > '~' || r == '"' || r == '\\' }) {
			return fmt.Errorf("%q is not a scope; separate scopes with commas", name)
		}
	}
	return nil
}

func setLogLevel(c *Config, v string) error {
	switch v {
	case "debug", "info", "warn", "error":
		return c.LogLevel.UnmarshalText([]byte(v))
	}
	return fmt.Errorf("%q is not known; write debug, info, warn or error", v)
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

func joinStringers(list []netip.Prefix) string {
	var out []string
	for _, p := range list {
		out = append(out, p.String())
	}
	return strings.Join(out, ",")
}

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
		if secretParameter(name) {
			query.Set(name, "redacted")
			secret = true
		}
	}
	if secret {
		u.RawQuery = query.Encode()
	}
	return u.String(), secret
}

// secretParameter reports whether a parameter of a connection URL is a secret: password, sslpassword, sslkey (the key
// itself with sslinline), and those of other authentication methods of libpq. passfile is a path, not a secret.
func secretParameter(name string) bool {
	name = strings.ToLower(name)
	for _, part := range []string{"password", "secret", "key", "token"} {
		if strings.Contains(name, part) {
			return true
		}
	}
	return false
}

func redacted(raw string) string {
	s, _ := redactURL(raw)
	return s
}

func redactKey(k []byte) string {
	if k == nil {
		return ""
	}
	return "(redacted)"
}

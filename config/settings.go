package config

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/duration"
	"gatehouse/ratelimit"
)

// A setting is one row of the operator contract. Everything that lists settings (loading, flags, `config print`,
// docs/config.md) walks this table, so that all of them have every setting.
type setting struct {
	env     string
	def     string
	doc     string
	secret  bool   // redacted by `config print`
	file    bool   // also read from the file named by env+"_FILE"
	pending string // the feature that this version does not have yet
	set     func(c *Config, value string) error
	get     func(c *Config) string
}

// flag returns the command-line name of the setting: GATEHOUSE_CODE_TTL is --code-ttl.
func (s setting) flag() string {
	return strings.ReplaceAll(strings.ToLower(strings.TrimPrefix(s.env, "GATEHOUSE_")), "_", "-")
}

// isSecret reports whether the complete value is a secret. A database URL is not: it is useful as a flag and may have
// no password.
func (s setting) isSecret() bool { return s.secret && s.env != "GATEHOUSE_DATABASE_URL" }

// DefaultDatabaseURL is the value of GATEHOUSE_DATABASE_URL when it is not set: a path in the working directory.
const DefaultDatabaseURL = "sqlite:gatehouse-data/gatehouse.db"

var settings = slices.Concat(
	serverSettings, userSettings, captchaSettings, migrationSettings, ldapSettings, passkeySettings,
	brandSettings,
)

var serverSettings = []setting{
	{env: "GATEHOUSE_ISSUER", def: "http://localhost:8080",
		doc: "Issuer URL, part of every token and authorization response. It must be https unless the host is loopback. " +
			"It is never derived from a request.",
		set: setIssuer, get: func(c *Config) string { return c.Issuer }},
	{env: "GATEHOUSE_LISTEN", def: "127.0.0.1:8080",
		doc: "Address of the public listener. An https issuer on a plain listener requires GATEHOUSE_TRUSTED_PROXIES; a " +
			"loopback issuer on a listener that other hosts reach causes a warning.",
		set: addressField(func(c *Config) *string { return &c.Listen }, false),
		get: func(c *Config) string { return c.Listen }},
	{env: "GATEHOUSE_ADMIN_LISTEN",
		doc: "Address of the admin listener: Prometheus metrics under `/metrics`, profiling under `/debug/pprof/`. " +
			"Empty: off. `/healthz` and `/readyz` are on both listeners.",
		set: addressField(func(c *Config) *string { return &c.AdminListen }, true),
		get: func(c *Config) string { return c.AdminListen }},
	{env: "GATEHOUSE_DATABASE_URL", def: DefaultDatabaseURL, secret: true, file: true,
		doc: "`sqlite:PATH` for the embedded database, or `postgres://…`.",
		set: setDatabaseURL, get: func(c *Config) string { return redactedURL(c.DatabaseURL) }},
	{env: "GATEHOUSE_DATABASE_POOL", def: "0",
		doc: "Maximum number of database connections of this process, 0 to 1000. 0 means four per core.",
		set: integerField(func(c *Config) *int { return &c.DatabasePool }, 0, 1000),
		get: func(c *Config) string { return strconv.Itoa(c.DatabasePool) }},
	{env: "GATEHOUSE_SECRET_KEY", secret: true, file: true,
		doc: "Root key, base64 of 32 bytes (`openssl rand -base64 32`). With SQLite it is generated once into " +
			"`secret.key` (0600) next to the database; with PostgreSQL it is required. A process with another key than the " +
			"database's refuses to start.",
		set: keyField(func(c *Config) *[]byte { return &c.SecretKey }),
		get: func(c *Config) string { return redactKey(c.SecretKey) }},
	{env: "GATEHOUSE_SECRET_KEY_PREVIOUS", secret: true, file: true,
		doc: "Previous root key, while `gatehouse rekey` replaces it.",
		set: keyField(func(c *Config) *[]byte { return &c.SecretKeyPrevious }),
		get: func(c *Config) string { return redactKey(c.SecretKeyPrevious) }},
	{env: "GATEHOUSE_TLS_CERT_FILE",
		doc: "PEM file of the certificate chain for built-in TLS (1.2 or later). Reloaded when it changes.",
		set: stringField(func(c *Config) *string { return &c.TLSCertFile }),
		get: func(c *Config) string { return c.TLSCertFile }},
	{env: "GATEHOUSE_TLS_KEY_FILE",
		doc: "PEM file of the private key of the certificate.",
		set: stringField(func(c *Config) *string { return &c.TLSKeyFile }),
		get: func(c *Config) string { return c.TLSKeyFile }},
	{env: "GATEHOUSE_TRUSTED_PROXIES",
		doc: "Comma-separated CIDRs of proxies whose `X-Forwarded-For` is trusted. None by default.",
		set: setTrustedProxies, get: func(c *Config) string { return joinPrefixes(c.TrustedProxies) }},
	{env: "GATEHOUSE_REDIS_URL", secret: true, file: true,
		doc: "`redis://…` or `rediss://…`: shares the rate limits between processes. While Redis is unreachable, each " +
			"process counts on its own.",
		set: setRedisURL, get: func(c *Config) string { return redactedURL(c.RedisURL) }},
	{env: "GATEHOUSE_SMTP_URL", secret: true, file: true,
		doc: "Mail server: `smtp://user:password@host` (port 587, with STARTTLS) or `smtps://user:password@host` (port " +
			"465, with TLS from the start). TLS is required, except by `smtp` to a loopback host, which does not use it. " +
			"Without it no emails are sent; `gatehouse dev` prints them.",
		set: setSMTPURL, get: func(c *Config) string { return redactedURL(c.SMTPURL) }},
	{env: "GATEHOUSE_MAIL_FROM",
		doc: "Sender of emails, such as `Example <no-reply@example.com>`. Required with `GATEHOUSE_SMTP_URL`.",
		set: setMailFrom, get: func(c *Config) string {
			if c.MailFrom == nil {
				return ""
			}
			return c.MailFrom.String()
		}},
	{env: "GATEHOUSE_LOG_LEVEL", def: "info",
		doc: "`debug`, `info`, `warn` or `error`.",
		set: setLogLevel, get: func(c *Config) string { return strings.ToLower(c.LogLevel.String()) }},
	{env: "GATEHOUSE_LOG_FORMAT", def: "auto",
		doc: "`json` or `text`; `auto` means text on a terminal and json elsewhere.",
		set: enumField(func(c *Config) *string { return &c.LogFormat }, "auto", "json", "text"),
		get: func(c *Config) string { return c.LogFormat }},
	{env: "GATEHOUSE_ENVIRONMENT", def: "live",
		doc: "`live` or `test`: part of every code, refresh token and client secret. A credential of one environment is " +
			"refused in the other.",
		set: enumField(func(c *Config) *string { return &c.Environment }, "live", "test"),
		get: func(c *Config) string { return c.Environment }},

	durationSetting("GATEHOUSE_ACCESS_TOKEN_TTL", "15m", time.Second, 24*time.Hour, "",
		"Lifetime of access tokens. A value outside 5 to 60 minutes causes a warning: an API that only checks "+
			"signatures accepts a revoked token until it expires.",
		func(c *Config) *time.Duration { return &c.AccessTokenTTL }),
	durationSetting("GATEHOUSE_CODE_TTL", "60s", time.Second, 10*time.Minute, "",
		"Lifetime of authorization codes.", func(c *Config) *time.Duration { return &c.CodeTTL }),
	durationSetting("GATEHOUSE_REFRESH_IDLE_TTL", "720h", time.Second, 10*365*24*time.Hour, "",
		"A refresh token that is not used for this long expires.",
		func(c *Config) *time.Duration { return &c.RefreshIdleTTL }),
	durationSetting("GATEHOUSE_REFRESH_MAX_TTL", "2160h", time.Second, 10*365*24*time.Hour, "",
		"A grant expires this long after sign-in, however often it is refreshed.",
		func(c *Config) *time.Duration { return &c.RefreshMaxTTL }),
	durationSetting("GATEHOUSE_REFRESH_GRACE", "60s", 0, 10*time.Minute, "",
		"How long a client that lost the response to a refresh can retry it and get the same new token, unless that was "+
			"used. Database outages are added; `gatehouse_refresh_grace` sets it for one client. 0 disables it.",
		func(c *Config) *time.Duration { return &c.RefreshGrace }),
	durationSetting("GATEHOUSE_DEVICE_CODE_TTL", "5m", time.Second, time.Hour, "the device grant",
		"Lifetime of device codes.", func(c *Config) *time.Duration { return &c.DeviceCodeTTL }),
	durationSetting("GATEHOUSE_SESSION_IDLE_TTL", "2h", time.Minute, 90*24*time.Hour, "",
		"A browser session that is not used for this long expires.",
		func(c *Config) *time.Duration { return &c.SessionIdleTTL }),
	durationSetting("GATEHOUSE_SESSION_MAX_TTL", "24h", time.Minute, 365*24*time.Hour, "",
		"Maximum lifetime of a browser session.", func(c *Config) *time.Duration { return &c.SessionMaxTTL }),
	durationSetting("GATEHOUSE_REQUEST_TTL", "1h", time.Minute, 24*time.Hour, "",
		"How long an authorization request is stored while the user signs in and consents.",
		func(c *Config) *time.Duration { return &c.RequestTTL }),
	durationSetting("GATEHOUSE_KEY_ROTATION_PERIOD", "2160h", 24*time.Hour, 10*365*24*time.Hour, "",
		"Age at which a signing key is replaced automatically.",
		func(c *Config) *time.Duration { return &c.KeyRotationPeriod }),
	durationSetting("GATEHOUSE_ID_TOKEN_TTL", "1h", time.Minute, 24*time.Hour, "",
		"Lifetime of ID tokens: how long a client may take to read one. An ID token does not grant access.",
		func(c *Config) *time.Duration { return &c.IDTokenTTL }),
	durationSetting("GATEHOUSE_SHUTDOWN_TIMEOUT", "15s", time.Second, 10*time.Minute, "",
		"How long `serve` waits for requests in flight on shutdown.",
		func(c *Config) *time.Duration { return &c.ShutdownTimeout }),
	durationSetting("GATEHOUSE_SHUTDOWN_DELAY", "0s", 0, 5*time.Minute, "",
		"How long `serve` keeps accepting requests after a shutdown signal, while `/readyz` fails, so that a load "+
			"balancer removes it first.",
		func(c *Config) *time.Duration { return &c.ShutdownDelay }),
	durationSetting("GATEHOUSE_REQUEST_TIMEOUT", "30s", time.Second, 5*time.Minute, "",
		"A request that takes longer, for example because the database is slow, fails with 503.",
		func(c *Config) *time.Duration { return &c.RequestTimeout }),
	{env: "GATEHOUSE_MAX_REQUESTS", def: "1024",
		doc: "Maximum number of requests in flight, 0 to 100000. More fail with 503 immediately. 0 means no limit.",
		set: integerField(func(c *Config) *int { return &c.MaxRequests }, 0, 100_000),
		get: func(c *Config) string { return strconv.Itoa(c.MaxRequests) }},
	durationSetting("GATEHOUSE_AUDIT_RETENTION", "0s", 0, 50*365*24*time.Hour, "",
		"How long audit rows are retained; their seals are never deleted. 0 retains the rows indefinitely. If the database "+
			"role may not delete them, use `gatehouse audit retire`.",
		func(c *Config) *time.Duration { return &c.AuditRetention }),

	{env: "GATEHOUSE_PASSWORD_MIN_LENGTH", def: "10",
		doc: "Minimum length of a new password in characters, 8 to 64.",
		set: integerField(func(c *Config) *int { return &c.PasswordMinLength }, 8, 64),
		get: func(c *Config) string { return strconv.Itoa(c.PasswordMinLength) }},
	{env: "GATEHOUSE_PASSWORD_CONCURRENCY", def: "0",
		doc: "Maximum number of password hashes computed concurrently, 0 to 256; each takes 19 MiB and one core. 0 " +
			"means half the cores.",
		set: integerField(func(c *Config) *int { return &c.PasswordConcurrency }, 0, 256),
		get: func(c *Config) string { return strconv.Itoa(c.PasswordConcurrency) }},
	{env: "GATEHOUSE_ADMIN_FACTOR", def: "warn",
		doc: "Whether administrators (`user create --admin`) must sign in with a second factor or a passkey: `off`, " +
			"`warn` (they are prompted to add one at each sign-in), `require`, or a date such as `2027-01-31`: `warn` " +
			"before that date, `require` from it on.",
		set: setAdminFactor, get: func(c *Config) string { return c.AdminFactor }},
	{env: "GATEHOUSE_ADMIN_REQUIRED_ACR", def: "mfa",
		doc: "What `GATEHOUSE_ADMIN_FACTOR` requires: `mfa` (a second factor or a passkey) or `phr` (a passkey).",
		set: enumField(func(c *Config) *string { return &c.AdminRequiredACR }, "mfa", "phr"),
		get: func(c *Config) string { return c.AdminRequiredACR }},
	{env: "GATEHOUSE_RATE_LIMITS", def: "default",
		doc: "`default`, `off` (with a warning), or `name=count/period,…`, which overrides the defaults: counts from 1 " +
			"to 1000000, periods from 1s to 24h; the names are in [operate.md](operate.md).",
		set: setRateLimits, get: func(c *Config) string { return ratelimit.FormatRates(c.RateLimits) }},
	{env: "GATEHOUSE_FETCH_ALLOW_HOSTS",
		doc: "Comma-separated hosts that may be reached although they are private or use http (tests, intranets); an " +
			"entry with a port allows only that port. Otherwise client ID metadata documents, JWKS, sector " +
			"documents, logos, request objects and back-channel logouts use public https addresses only.",
		set: setHosts, get: func(c *Config) string { return strings.Join(c.FetchAllowHosts, ",") }},
	{env: "GATEHOUSE_REGISTRATION", def: "off",
		doc: "Who may register clients at `/oauth2/register`: `off` (no one), `token` (callers with an initial access " +
			"token from `gatehouse registration-token create`) or `open` (everyone).",
		set: enumField(func(c *Config) *string { return &c.Registration }, "off", "token", "open"),
		get: func(c *Config) string { return c.Registration }},
	{env: "GATEHOUSE_REGISTRATION_SCOPES", def: "openid,profile,email,address,phone,offline_access",
		doc: "Comma-separated scopes that dynamically registered clients may request. Other scopes are removed from " +
			"their registration.",
		set: setScopes, get: func(c *Config) string { return strings.Join(c.RegistrationScopes, ",") }},
	{env: "GATEHOUSE_REGISTRATION_REQUIRE_PKCE", def: "true",
		doc: "Whether dynamically registered confidential clients must use PKCE.",
		set: boolField(func(c *Config) *bool { return &c.RegistrationRequirePKCE }),
		get: func(c *Config) string { return strconv.FormatBool(c.RegistrationRequirePKCE) }},
	durationSetting("GATEHOUSE_REGISTRATION_UNUSED_TTL", "2160h", 48*time.Hour, 10*365*24*time.Hour, "",
		"A dynamically registered client is deleted when it was not used for this time and has no valid refresh token; one "+
			"that never got an authorization is deleted after a day.",
		func(c *Config) *time.Duration { return &c.RegistrationUnusedTTL }),
	{env: "GATEHOUSE_CLIENT_DOCUMENTS", def: "list",
		doc: "Which clients may use the URL of a client ID metadata document as their `client_id` without registration: " +
			"`off` (none), `list` (those of `GATEHOUSE_CLIENT_DOCUMENT_HOSTS`) or `open` (all, although an attacker can " +
			"host a document too).",
		set: enumField(func(c *Config) *string { return &c.ClientDocuments }, "off", "list", "open"),
		get: func(c *Config) string { return c.ClientDocuments }},
	{env: "GATEHOUSE_CLIENT_DOCUMENT_HOSTS",
		doc: "Comma-separated hosts, with the port if it is not 443, whose client ID metadata documents are trusted, such " +
			"as `claude.ai`; a URL such as " +
			"`https://chatgpt.com/oauth/` trusts the documents below it if it ends with `/`, otherwise only that document. " +
			"`well-known` stands for " + wellKnownList() + ". Of clients with a document, the consent page " +
			"shows the logo only if the document is listed, or you registered or vouched for the client.",
		set: setDocumentHosts, get: func(c *Config) string { return strings.Join(c.ClientDocumentHosts, ",") }},
	{env: "GATEHOUSE_CLIENT_DOCUMENT_UNVERIFIED_USERS", def: "20",
		doc: "With `GATEHOUSE_CLIENT_DOCUMENTS=open`: before the consent page, users of a client outside the list must " +
			"confirm that they trust it, until this many users have allowed it. 0 disables this page. From 0 to 10000.",
		set: integerField(func(c *Config) *int { return &c.ClientDocumentUnverifiedUsers }, 0, 10_000),
		get: func(c *Config) string { return strconv.Itoa(c.ClientDocumentUnverifiedUsers) }},
}

// durationSetting returns the row of a duration from low to high.
func durationSetting(
	env, def string, low, high time.Duration, pending, doc string, field func(*Config) *time.Duration,
) setting {
	return setting{env: env, def: def, pending: pending,
		doc: doc + " From " + duration.Format(low) + " to " + duration.Format(high) + ".",
		set: func(c *Config, v string) error {
			d, err := duration.Parse(v)
			if err != nil {
				return fmt.Errorf("%q is not a duration; write a number and a unit, like 15m, 12h or 30d", v)
			}
			if d < low || d > high {
				return fmt.Errorf("%s is out of bounds; write a duration from %s to %s",
					v, duration.Format(low), duration.Format(high))
			}
			*field(c) = d
			return nil
		},
		get: func(c *Config) string { return duration.Format(*field(c)) }}
}

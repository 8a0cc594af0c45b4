// Package config decides the settings: their names, defaults and bounds, and how they are read from the environment and
// the command line. It is the only package that parses settings from the environment or reads a secret file, and it
// reports all errors together. The use of a setting is left to the package that receives it.
package config

import (
	"encoding/base64"
	"log/slog"
	"net/mail"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"gatehouse/ratelimit"
)

// Config is a complete, valid set of settings. It is read once at startup and passed by value.
type Config struct {
	Issuer      string // URL without query, fragment or trailing slash
	Listen      string // host:port of the public listener
	AdminListen string // host:port of the admin listener, empty when off

	DatabaseURL       string // sqlite:PATH or postgres://…
	DatabasePool      int    // maximum number of connections, 0 for four per core
	SecretKey         []byte // 32 bytes, or nil to read or create the file next to an SQLite database
	SecretKeyPrevious []byte // 32 bytes or nil

	TLSCertFile    string
	TLSKeyFile     string
	TrustedProxies []netip.Prefix
	RedisURL       string

	SMTPURL  string        // smtp://… or smtps://…, empty: no emails
	MailFrom *mail.Address // nil when empty

	LogLevel  slog.Level
	LogFormat string // "json", "text" or "auto": text on a terminal

	Environment string // "live" or "test", part of every opaque credential

	AccessTokenTTL    time.Duration
	CodeTTL           time.Duration
	RefreshIdleTTL    time.Duration
	RefreshMaxTTL     time.Duration
	RefreshGrace      time.Duration
	DeviceCodeTTL     time.Duration
	SessionIdleTTL    time.Duration
	SessionMaxTTL     time.Duration
	RequestTTL        time.Duration
	KeyRotationPeriod time.Duration
	IDTokenTTL        time.Duration
	ShutdownTimeout   time.Duration
	ShutdownDelay     time.Duration // how long it keeps serving after a shutdown signal
	RequestTimeout    time.Duration
	AuditRetention    time.Duration // 0: indefinitely

	MaxRequests int // in flight, 0: no limit

	PasswordMinLength   int // characters
	PasswordConcurrency int // concurrent password hashes, 0 for half the cores
	Passkeys            Passkeys

	AdminFactor      string     // "off", "warn", "require" or a date
	AdminFactorSince *time.Time // from when administrators must have the factor; nil: not decided
	AdminRequiredACR string     // "mfa" or "phr"

	RateLimits              map[string]ratelimit.Rate // of every limit; nil: off
	FetchAllowHosts         []string
	Registration            string   // "off", "token" or "open"
	RegistrationScopes      []string // the scopes that dynamically registered clients may request
	RegistrationRequirePKCE bool
	RegistrationUnusedTTL   time.Duration // after the last use of a dynamically registered client
	ClientDocuments         string        // "off", "list" or "open"
	ClientDocumentHosts     []string      // hosts or URL prefixes
	SignUp                  string        // "off", "invite", "domains" or "open"
	SignUpDomains           []string      // with "domains"
	SignInCodes             bool          // whether users can sign in with a code in an email
	TermsURL                string
	TermsVersion            string // that users must accept; empty: none
	Captcha                 Captcha
	UserDeletionGrace       time.Duration
	UsernameRetention       time.Duration // after the deletion of a user

	Migration    Migration
	Brand        Brand
	TemplatesDir string

	// Number of users who must confirm that they trust a client with an unlisted document.
	ClientDocumentUnverifiedUsers int
}

// SQLitePath returns the path of the database file, and whether the database is SQLite.
func (c Config) SQLitePath() (path string, ok bool) {
	return strings.CutPrefix(c.DatabaseURL, "sqlite:")
}

// IssuerURL returns the parsed issuer.
func (c Config) IssuerURL() *url.URL {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// IsHTTPS reports whether the issuer is https, so that cookies can be Secure.
func (c Config) IsHTTPS() bool { return strings.HasPrefix(c.Issuer, "https://") }

// EncodeKey returns a root key as a string.
func EncodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// DecodeKey parses a root key: base64 of 32 bytes, standard or URL alphabet, padded or not.
func DecodeKey(s string) ([]byte, bool) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimSpace(s)), "=")
	key, err := base64.RawStdEncoding.DecodeString(s)
	return key, err == nil && len(key) == 32
}

// Package config decides what the settings of Gatehouse are: their names, defaults and bounds, and how the environment
// and the command line give them their values. It is the only package that reads the environment or a secret file, and
// it reports every mistake at once. What a setting is used for is left to the package it is handed to.
package config

import (
	"encoding/base64"
	"log/slog"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"gatehouse/ratelimit"
)

// Config is one complete, valid set of settings. It is read once at start and handed down by value.
type Config struct {
	Issuer      string // URL without query, fragment or trailing slash
	Listen      string // host:port of the public listener
	AdminListen string // host:port of the admin listener, empty when off

	DatabaseURL       string // sqlite:PATH or postgres://…
	DatabasePool      int    // most connections to the database, 0 for four per core
	SecretKey         []byte // 32 bytes, nil when it is to be read or made beside an embedded database
	SecretKeyPrevious []byte // 32 bytes or nil

	TLSCertFile    string
	TLSKeyFile     string
	TrustedProxies []netip.Prefix
	RedisURL       string

	LogLevel  slog.Level
	LogFormat string // "json", "text" or "auto": text on a terminal

	Environment string // "live" or "test", the mark in every opaque credential

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
	ShutdownDelay     time.Duration // how long it still serves after it was told to stop
	RequestTimeout    time.Duration
	AuditRetention    time.Duration // 0: for ever

	MaxRequests int // worked on at once, 0: any number

	PasswordMinLength   int // characters
	PasswordConcurrency int // password hashes computed at once, 0 for half the cores

	RateLimits              map[string]ratelimit.Rate // of every limit; nil: off
	FetchAllowHosts         []string
	Registration            string   // "off", "token" or "open"
	RegistrationScopes      []string // what a client that registers itself may ask for
	RegistrationRequirePKCE bool
}

// Embedded reports whether the database is the embedded SQLite one, and the path of its file.
func (c Config) SQLitePath() (path string, ok bool) {
	return strings.CutPrefix(c.DatabaseURL, "sqlite:")
}

// IssuerURL is the parsed issuer.
func (c Config) IssuerURL() *url.URL {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return &url.URL{}
	}
	return u
}

// Secure reports whether browsers reach Gatehouse over https, so that cookies may demand it.
func (c Config) IsHTTPS() bool { return strings.HasPrefix(c.Issuer, "https://") }

// EncodeKey is the text form of a root key.
func EncodeKey(key []byte) string { return base64.StdEncoding.EncodeToString(key) }

// DecodeKey reads a root key: base64 of 32 bytes, standard or URL alphabet, padded or not.
func DecodeKey(s string) ([]byte, bool) {
	s = strings.TrimRight(strings.NewReplacer("-", "+", "_", "/").Replace(strings.TrimSpace(s)), "=")
	key, err := base64.RawStdEncoding.DecodeString(s)
	return key, err == nil && len(key) == 32
}

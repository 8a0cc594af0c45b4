package config

import (
	"bytes"
	"crypto/tls"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"slices"
	"strings"
	"time"

	"gatehouse/display"
	"gatehouse/duration"
	"gatehouse/loopback"
)

// Errors is every mistake in a set of settings, each with what to write instead.
type Errors []string

func (m Errors) Error() string {
	return "the settings have mistakes:\n  - " + strings.Join(m, "\n  - ")
}

// MissingSecretKey is the error for a PostgreSQL database without a root key. Load cannot check whether the database is new.
const MissingSecretKey = "GATEHOUSE_SECRET_KEY is required with PostgreSQL; set it, or GATEHOUSE_SECRET_KEY_FILE, " +
	"to the key that every other process of this database uses. Only for a new database, create one with: openssl rand -base64 32"

// Load builds the settings from the environment and then the flags, which win. flags maps a flag's name without dashes
// to its value and holds only the flags that were given. It returns the settings with the warnings that serving them
// should print, or Errors with all errors and the settings that could be read.
func Load(getenv func(string) string, flags map[string]string) (Config, []string, error) {
	var c Config
	var mistakes Errors
	var warnings []string
	for _, s := range settings {
		value, from, given, err := s.read(getenv, flags)
		if err != nil {
			mistakes = append(mistakes, err.Error())
			continue
		}
		if err := s.set(&c, value); err != nil {
			mistakes = append(mistakes, from+": "+err.Error())
			continue
		}
		if given && s.pending != "" {
			warnings = append(warnings, from+" is accepted but has no effect yet: "+s.pending+" is not part of this version")
		}
	}
	for _, m := range c.conflicts() {
		// A setting that could not be read is not missing as well.
		if name, _, _ := strings.Cut(m, " "); !slices.ContainsFunc(mistakes, func(other string) bool { return strings.HasPrefix(other, name) }) {
			mistakes = append(mistakes, m)
		}
	}
	if len(mistakes) > 0 {
		return c, nil, mistakes
	}
	return c, append(append(warnings, SecretFlagWarnings(flags)...), c.warnings()...), nil
}

// SecretFlagWarnings returns a warning for each flag whose value is a secret: every user of the machine can read the
// arguments of a process.
func SecretFlagWarnings(flags map[string]string) (warnings []string) {
	for _, s := range settings {
		if value, ok := flags[s.flag()]; ok && s.secretValue(value) {
			warnings = append(warnings, "--"+s.flag()+" shows a secret to everyone on this machine; use "+s.env+" or "+s.env+"_FILE instead")
		}
	}
	return warnings
}

// Unknown returns a warning for each variable of the environment, as os.Environ lists them, that starts like a setting
// but is none, with the most similar name. It ignores the variables that Kubernetes sets for a service named
// gatehouse.
func UnknownSettingWarnings(environ []string) (warnings []string) {
	const prefix, none = "GATEHOUSE_", " is no setting of this version and has no effect"
	var names, short []string
	for _, s := range settings {
		names = append(names, s.env)
		if s.file {
			names = append(names, s.env+"_FILE")
		}
	}
	for _, name := range names {
		short = append(short, strings.TrimPrefix(name, prefix))
	}
	for _, v := range environ {
		name, _, _ := strings.Cut(v, "=")
		if !strings.HasPrefix(name, prefix) || strings.HasPrefix(name, "GATEHOUSE_SERVICE_") || strings.HasPrefix(name, "GATEHOUSE_PORT") {
			continue
		}
		if slices.Contains(names, name) {
			continue
		}
		if near := display.Nearest(strings.TrimPrefix(name, prefix), short); near != "" {
			warnings = append(warnings, name+none+"; did you mean "+prefix+near+"?")
			continue
		}
		warnings = append(warnings, name+none+"; `gatehouse config print` lists them all")
	}
	return warnings
}

// secretValue reports whether a value of s contains a secret.
func (s setting) secretValue(value string) bool {
	if s.hidden() {
		return true
	}
	_, found := redactURL(value)
	return s.secret && found
}

// read finds the value of s and the name of where it stood.
func (s setting) read(getenv func(string) string, flags map[string]string) (value, from string, given bool, err error) {
	if v, ok := flags[s.flag()]; ok {
		return v, "--" + s.flag(), true, nil
	}
	v := getenv(s.env)
	if s.file {
		path := getenv(s.env + "_FILE")
		if v != "" && path != "" {
			return "", "", false, fmt.Errorf("%s and %s_FILE are both set; set only one", s.env, s.env)
		}
		if path != "" {
			b, err := os.ReadFile(path)
			if err != nil {
				return "", "", false, fmt.Errorf("%s_FILE: cannot read the file: %w", s.env, err)
			}
			return strings.TrimRight(string(b), "\r\n"), s.env + "_FILE", true, nil
		}
	}
	if v == "" {
		return s.def, s.env, false, nil
	}
	return v, s.env, true, nil
}

// conflicts lists settings that are fine alone and wrong together.
func (c Config) conflicts() (m Errors) {
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		m = append(m, "GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE belong together; set both or none")
	}
	if c.IsHTTPS() && c.TLSCertFile == "" && len(c.TrustedProxies) == 0 {
		m = append(m, "GATEHOUSE_ISSUER is https but the listener is plain http; set GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE, or name the TLS proxy in front in GATEHOUSE_TRUSTED_PROXIES")
	}
	if c.Issuer != "" && !c.IsHTTPS() && c.TLSCertFile != "" {
		m = append(m, "GATEHOUSE_TLS_CERT_FILE is set but GATEHOUSE_ISSUER is http; write the issuer as https://…")
	}
	if _, embedded := c.SQLitePath(); c.DatabaseURL != "" && !embedded && c.SecretKey == nil {
		m = append(m, MissingSecretKey)
	}
	if c.SecretKey != nil && bytes.Equal(c.SecretKey, c.SecretKeyPrevious) {
		m = append(m, "GATEHOUSE_SECRET_KEY_PREVIOUS is GATEHOUSE_SECRET_KEY; set it to the key before, or take it away")
	}
	if c.AdminListen != "" && c.AdminListen == c.Listen {
		m = append(m, "GATEHOUSE_ADMIN_LISTEN is the public listener; give it an address of its own, like 127.0.0.1:8081")
	}
	if c.RefreshIdleTTL > c.RefreshMaxTTL {
		m = append(m, "GATEHOUSE_REFRESH_IDLE_TTL is longer than GATEHOUSE_REFRESH_MAX_TTL; make it at most "+duration.Format(c.RefreshMaxTTL))
	}
	if c.SessionIdleTTL > c.SessionMaxTTL {
		m = append(m, "GATEHOUSE_SESSION_IDLE_TTL is longer than GATEHOUSE_SESSION_MAX_TTL; make it at most "+duration.Format(c.SessionMaxTTL))
	}
	if c.AuditRetention != 0 && c.AuditRetention < 24*time.Hour {
		m = append(m, "GATEHOUSE_AUDIT_RETENTION is shorter than a day; write 24h at least, or 0 to keep audit rows for ever")
	}
	return m
}

// CheckFiles says what is wrong with the files that serving would read.
func (c Config) CheckFiles() error {
	if c.TLSCertFile == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile); err != nil {
		return Errors{"GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE cannot be used: " + err.Error()}
	}
	return nil
}

func (c Config) warnings() (w []string) {
	if c.AccessTokenTTL < 5*time.Minute || c.AccessTokenTTL > time.Hour {
		w = append(w, "GATEHOUSE_ACCESS_TOKEN_TTL is "+duration.Format(c.AccessTokenTTL)+"; 5 to 60 minutes is usual: shorter means more refreshing, longer means revoked tokens live on at APIs that only check signatures")
	}
	if c.Registration == "open" && !loopback.IsHost(c.IssuerURL().Hostname()) {
		w = append(w, "GATEHOUSE_REGISTRATION is open: everyone who reaches this server can register clients; people are always asked, and told that nobody vouches for such an app")
	}
	if c.Registration == "open" && len(c.FetchAllowHosts) > 0 {
		w = append(w, "GATEHOUSE_REGISTRATION is open and GATEHOUSE_FETCH_ALLOW_HOSTS names hosts: whoever registers a client can make this server fetch from and post to any path on "+strings.Join(c.FetchAllowHosts, ", ")+"; unless nothing there minds, keep one of the two off")
	}
	if c.RateLimits == nil {
		w = append(w, "GATEHOUSE_RATE_LIMITS is off: nothing slows down guessing of client secrets, or keeps one caller from taking all this server can do")
	}
	host, port, _ := net.SplitHostPort(c.Listen)
	if u := c.IssuerURL(); loopback.IsHost(u.Hostname()) && effectivePort(u) != port && port != "0" && len(c.TrustedProxies) == 0 {
		w = append(w, "GATEHOUSE_ISSUER "+c.Issuer+" is not where GATEHOUSE_LISTEN "+c.Listen+" is; unless something forwards one to the other, give both the same port")
	}
	if loopback.IsHost(c.IssuerURL().Hostname()) && !loopback.IsHost(host) {
		w = append(w, "GATEHOUSE_LISTEN "+c.Listen+" is reachable from other machines although GATEHOUSE_ISSUER "+c.Issuer+" is loopback; set the issuer to the name people use, or listen on 127.0.0.1")
	}
	if a, _, err := net.SplitHostPort(c.AdminListen); err == nil && !loopback.IsHost(a) {
		if ip, err := netip.ParseAddr(a); err != nil || !ip.IsPrivate() {
			w = append(w, "GATEHOUSE_ADMIN_LISTEN "+c.AdminListen+" may be reachable from outside; it has profiling and no sign-in")
		}
	}
	return w
}

// effectivePort is the port that a URL leads to.
func effectivePort(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

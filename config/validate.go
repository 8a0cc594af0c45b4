package config

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"gatehouse/duration"
	"gatehouse/loopback"
)

// conflicts returns an error for each combination of valid settings that is invalid.
func (c Config) conflicts() (errs Errors) {
	report := func(message ...string) { errs = append(errs, strings.Join(message, "")) }
	if (c.TLSCertFile == "") != (c.TLSKeyFile == "") {
		report("GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE must be set together; set both or none")
	}
	if c.IsHTTPS() && c.TLSCertFile == "" && len(c.TrustedProxies) == 0 {
		report("GATEHOUSE_ISSUER is https but the listener is plain http; set GATEHOUSE_TLS_CERT_FILE and ",
			"GATEHOUSE_TLS_KEY_FILE, or list the TLS proxy in GATEHOUSE_TRUSTED_PROXIES")
	}
	if c.Issuer != "" && !c.IsHTTPS() && c.TLSCertFile != "" {
		report("GATEHOUSE_TLS_CERT_FILE is set but GATEHOUSE_ISSUER is http; write the issuer as https://…")
	}
	if _, isSQLite := c.SQLitePath(); c.DatabaseURL != "" && !isSQLite && c.SecretKey == nil {
		report(MissingSecretKey)
	}
	if c.SecretKey != nil && bytes.Equal(c.SecretKey, c.SecretKeyPrevious) {
		report("GATEHOUSE_SECRET_KEY_PREVIOUS equals GATEHOUSE_SECRET_KEY; set it to the previous key, or remove it")
	}
	if !c.hasValidRPID() {
		report("GATEHOUSE_PASSKEY_RP_ID is neither the host of GATEHOUSE_ISSUER nor a parent domain of it")
	}
	if c.AdminListen != "" && c.AdminListen == c.Listen {
		report("GATEHOUSE_ADMIN_LISTEN is the address of the public listener; set another one, like 127.0.0.1:8081")
	}
	if c.RefreshIdleTTL > c.RefreshMaxTTL {
		report("GATEHOUSE_REFRESH_IDLE_TTL is longer than GATEHOUSE_REFRESH_MAX_TTL; make it at most ",
			duration.Format(c.RefreshMaxTTL))
	}
	if c.SessionIdleTTL > c.SessionMaxTTL {
		report("GATEHOUSE_SESSION_IDLE_TTL is longer than GATEHOUSE_SESSION_MAX_TTL; make it at most ",
			duration.Format(c.SessionMaxTTL))
	}
	if c.AuditRetention != 0 && c.AuditRetention < 24*time.Hour {
		report("GATEHOUSE_AUDIT_RETENTION is shorter than a day; write at least 24h, or 0 to retain audit rows indefinitely")
	}
	if c.SMTPURL != "" && c.MailFrom == nil {
		report("GATEHOUSE_MAIL_FROM is required with GATEHOUSE_SMTP_URL; set it to the sender of emails, like ",
			"no-reply@", c.IssuerURL().Hostname())
	}
	if problem := c.Captcha.problem(); problem != "" {
		report(problem)
	}
	if c.TermsVersion != "" && c.TermsURL == "" {
		report("GATEHOUSE_TERMS_VERSION is set without GATEHOUSE_TERMS_URL; set the URL of the terms too")
	}
	c.Migration.conflicts(report)
	if c.Passkeys.MetadataRootFile != "" && c.Passkeys.MetadataFile == "" {
		report("GATEHOUSE_PASSKEY_METADATA_ROOT_FILE is set without GATEHOUSE_PASSKEY_METADATA_FILE; set both or none")
	}
	return errs
}

// CheckFiles returns an error if the TLS certificate and key cannot be loaded.
func (c Config) CheckFiles() error {
	if c.TLSCertFile == "" {
		return nil
	}
	if _, err := tls.LoadX509KeyPair(c.TLSCertFile, c.TLSKeyFile); err != nil {
		return Errors{"GATEHOUSE_TLS_CERT_FILE and GATEHOUSE_TLS_KEY_FILE cannot be used: " + err.Error()}
	}
	return nil
}

// warnings returns a warning for each setting that is valid but risky.
func (c Config) warnings() (messages []string) {
	warn := func(message ...string) { messages = append(messages, strings.Join(message, "")) }
	if c.AccessTokenTTL < 5*time.Minute || c.AccessTokenTTL > time.Hour {
		warn("GATEHOUSE_ACCESS_TOKEN_TTL is ", duration.Format(c.AccessTokenTTL), "; the usual range is 5 to 60 minutes: ",
			"with less, clients refresh more often; with more, APIs that only check signatures accept revoked tokens longer")
	}
	if c.Registration == "open" && !loopback.IsHost(c.IssuerURL().Hostname()) {
		warn("GATEHOUSE_REGISTRATION is open: anyone who can reach this server can register clients; ",
			"their users always see a consent page, which warns that the client is not verified")
	}
	if c.Registration == "open" && len(c.FetchAllowHosts) > 0 {
		warn("GATEHOUSE_REGISTRATION is open and GATEHOUSE_FETCH_ALLOW_HOSTS lists hosts: anyone can register a client ",
			"that makes this server send GET and POST requests to any path on ", strings.Join(c.FetchAllowHosts, ", "),
			"; set only one of the two, unless such requests are harmless there")
	}
	if c.ClientDocuments == "open" && len(c.FetchAllowHosts) > 0 {
		warn("GATEHOUSE_CLIENT_DOCUMENTS is open and GATEHOUSE_FETCH_ALLOW_HOSTS lists hosts: anyone can make this server ",
			"send GET requests to any path on ", strings.Join(c.FetchAllowHosts, ", "),
			"; list the hosts of documents instead, unless such requests are harmless there")
	}
	if c.ClientDocuments == "open" && !loopback.IsHost(c.IssuerURL().Hostname()) {
		warn("GATEHOUSE_CLIENT_DOCUMENTS is open: anyone can host the document of a client and make this server fetch it; ",
			"their users always see a consent page, which warns that the client is not verified")
	}
	if c.RateLimits == nil {
		warn("GATEHOUSE_RATE_LIMITS is off: nothing limits brute force of client secrets, ",
			"or the share of this server that one caller can use")
	}
	c.warnAboutMigration(warn)
	c.warnAboutListeners(warn)
	return messages
}

// MailWarnings returns warnings about settings that need emails, without a mail server. `gatehouse dev` does not print
// them, because it prints emails.
func (c Config) MailWarnings() []string {
	if c.SMTPURL != "" || c.SignUp != "open" && c.SignUp != "domains" {
		return nil
	}
	return []string{"GATEHOUSE_SIGN_UP is " + c.SignUp + ", but without GATEHOUSE_SMTP_URL no emails are sent to prove " +
		"the address of a new user, so no user can sign up; set GATEHOUSE_SMTP_URL and GATEHOUSE_MAIL_FROM, or invite " +
		"users (`gatehouse invite create`)"}
}

func (c Config) warnAboutListeners(warn func(message ...string)) {
	host, port, _ := net.SplitHostPort(c.Listen)
	issuer := c.IssuerURL()
	local := loopback.IsHost(issuer.Hostname())
	if local && effectivePort(issuer) != port && port != "0" && len(c.TrustedProxies) == 0 {
		warn("GATEHOUSE_ISSUER ", c.Issuer, " has another port than GATEHOUSE_LISTEN ", c.Listen,
			"; use the same port unless a proxy forwards one to the other")
	}
	if local && !loopback.IsHost(host) {
		warn("GATEHOUSE_LISTEN ", c.Listen, " is reachable from other hosts although GATEHOUSE_ISSUER ", c.Issuer,
			" is loopback; set the issuer to the public host name, or listen on 127.0.0.1")
	}
	if a, _, err := net.SplitHostPort(c.AdminListen); err == nil && !loopback.IsHost(a) {
		if ip, err := netip.ParseAddr(a); err != nil || !ip.IsPrivate() {
			warn("GATEHOUSE_ADMIN_LISTEN ", c.AdminListen, " may be reachable from the internet; ",
				"it serves profiling without authentication")
		}
	}
}

// effectivePort returns the port of a URL, or the default port of its scheme.
func effectivePort(u *url.URL) string {
	if p := u.Port(); p != "" {
		return p
	}
	if u.Scheme == "https" {
		return "443"
	}
	return "80"
}

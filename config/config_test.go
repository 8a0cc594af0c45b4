package config_test

import (
	"encoding/base64"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/ratelimit"
)

func load(env map[string]string, flags map[string]string) (config.Config, []string, error) {
	return config.Load(func(name string) string { return env[name] }, flags)
}

var (
	key      = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	otherKey = base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdeg"))
)

func TestDefaultsMatchContract(t *testing.T) {
	t.Parallel()
	c, warnings, err := load(nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatalf("Load of an empty environment: error %v, warnings %q, want none", err, warnings)
	}
	for _, x := range []struct{ name, got, want string }{
		{"Issuer", c.Issuer, "http://localhost:8080"},
		{"Listen", c.Listen, "127.0.0.1:8080"},
		{"DatabaseURL", c.DatabaseURL, "sqlite:gatehouse-data/gatehouse.db"},
		{"AccessTokenTTL", c.AccessTokenTTL.String(), "15m0s"},
		{"CodeTTL", c.CodeTTL.String(), "1m0s"},
		{"RefreshIdleTTL", c.RefreshIdleTTL.String(), "720h0m0s"},
		{"RefreshMaxTTL", c.RefreshMaxTTL.String(), "2160h0m0s"},
		{"RefreshGrace", c.RefreshGrace.String(), "1m0s"},
		{"SessionIdleTTL", c.SessionIdleTTL.String(), "2h0m0s"},
		{"SessionMaxTTL", c.SessionMaxTTL.String(), "24h0m0s"},
		{"DeviceCodeTTL", c.DeviceCodeTTL.String(), "5m0s"},
	} {
		if x.got != x.want {
			t.Errorf("%s = %s, want %s", x.name, x.got, x.want)
		}
	}
	if !c.RegistrationRequirePKCE {
		t.Error("RegistrationRequirePKCE = false, want true")
	}
	if path, ok := c.SQLitePath(); !ok || path != "gatehouse-data/gatehouse.db" || c.IsHTTPS() ||
		c.IssuerURL().Port() != "8080" {
		t.Errorf("SQLitePath() = %q, %t, IsHTTPS() = %t, IssuerURL() = %s, want the default path, true, false and port 8080",
			path, ok, c.IsHTTPS(), c.IssuerURL())
	}
}

func TestFlagsOverrideEnvironment(t *testing.T) {
	t.Parallel()
	c, _, err := load(map[string]string{"GATEHOUSE_CODE_TTL": "30s"}, map[string]string{"code-ttl": "45s"})
	if err != nil || c.CodeTTL != 45*time.Second {
		t.Errorf("CodeTTL = %v, error %v, want 45s from the flag", c.CodeTTL, err)
	}
}

func TestAllErrorsAreReportedTogether(t *testing.T) {
	t.Parallel()
	_, _, err := load(map[string]string{
		"GATEHOUSE_ISSUER": "https://id.example/?q", "GATEHOUSE_LISTEN": "x", "GATEHOUSE_CODE_TTL": "11m",
		"GATEHOUSE_REFRESH_GRACE": "601s", "GATEHOUSE_SECRET_KEY": "x", "GATEHOUSE_TRUSTED_PROXIES": "everyone",
	}, nil)
	var all config.Errors
	if !errors.As(err, &all) || len(all) != 6 {
		t.Errorf("Load of 6 invalid settings: error %v, want 6 errors", err)
	}
}

func TestInvalidValuesAreRefused(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ name, value, want string }{
		{"GATEHOUSE_LISTEN", "8080", "write host:port"},
		{"GATEHOUSE_LISTEN", "127.0.0.1:http", "no valid port"},
		{"GATEHOUSE_LISTEN", "127.0.0.1:65536", "no valid port"},
		{"GATEHOUSE_DATABASE_URL", "mysql://x", "sqlite:PATH or postgres://"},
		{"GATEHOUSE_DATABASE_URL", "sqlite:", "sqlite:PATH or postgres://"},
		{"GATEHOUSE_DATABASE_URL", "sqlite:x.db?mode=ro", "plain path"},
		{"GATEHOUSE_DATABASE_POOL", "1001", "from 0 to 1000"},
		{"GATEHOUSE_DATABASE_POOL", "many", "from 0 to 1000"},
		{"GATEHOUSE_REDIS_URL", "http://x", "redis://host:6379"},
		{"GATEHOUSE_LOG_LEVEL", "trace", "write debug, info, warn or error"},
		{"GATEHOUSE_LOG_FORMAT", "xml", "auto or json or text"},
		{"GATEHOUSE_ENVIRONMENT", "staging", "live or test"},
		{"GATEHOUSE_CODE_TTL", "soon", "write a number and a unit"},
		{"GATEHOUSE_CODE_TTL", "11m", "from 1s to 10m"},
		{"GATEHOUSE_AUDIT_RETENTION", "23h59m", "at least 24h"},
		{"GATEHOUSE_AUDIT_RETENTION", "1s", "at least 24h"},
		{"GATEHOUSE_PASSWORD_MIN_LENGTH", "7", "from 8 to 64"},
		{"GATEHOUSE_FETCH_ALLOW_HOSTS", "https://app.internal/x", "is not a host"},
		{"GATEHOUSE_REGISTRATION", "maybe", "off or token or open"},
		{"GATEHOUSE_REGISTRATION_SCOPES", "openid profile", "separate scopes with commas"},
		{"GATEHOUSE_REGISTRATION_REQUIRE_PKCE", "sometimes", "write true or false"},
		{"GATEHOUSE_TLS_CERT_FILE", "cert.pem", "must be set together"},
		{"GATEHOUSE_ADMIN_LISTEN", "127.0.0.1:8080", "the public listener"},
		{"GATEHOUSE_REFRESH_IDLE_TTL", "2161h", "at most 2160h"},
		{"GATEHOUSE_SESSION_IDLE_TTL", "25h", "at most 24h"},
		{"GATEHOUSE_SECRET_KEY_FILE", "/nonexistent", "cannot read the file"},
		// Such a range would match no request, because addresses are compared in IPv4 form.
		{"GATEHOUSE_TRUSTED_PROXIES", "::ffff:10.0.0.1", "IPv4 range in IPv6 form"},
		{"GATEHOUSE_TRUSTED_PROXIES", "::ffff:10.0.0.0/104", "IPv4 range in IPv6 form"},
		{"GATEHOUSE_TRUSTED_PROXIES", "fe80::1%eth0", "neither a CIDR"},
		{"GATEHOUSE_TRUSTED_PROXIES", "10.0.0.1:80", "neither a CIDR"},
		{"GATEHOUSE_TRUSTED_PROXIES", "10.0.0.0/33", "neither a CIDR"},
		{"GATEHOUSE_RATE_LIMITS", "client_failure=0/1s", "whole number"},
		{"GATEHOUSE_SMTP_URL", "mail.example.com:587", "write smtp://"},
		{"GATEHOUSE_SMTP_URL", "smtp://user:pa#ss@mail.example.com", "percent-encode"},
		{"GATEHOUSE_SMTP_URL", "smtp://user:pa%ss@mail.example.com", "percent-encode"},
		{"GATEHOUSE_SMTP_URL", "smtp://mail.example.com/path", "must be a host"},
		{"GATEHOUSE_SMTP_URL", "smtp://user@mail.example.com", "both a user name and a password"},
		{"GATEHOUSE_SMTP_URL", "smtp://mail.example.com:0", "invalid port"},
		{"GATEHOUSE_SMTP_URL", "smtp://mail.example.com", "GATEHOUSE_MAIL_FROM is required"},
		{"GATEHOUSE_MAIL_FROM", "Example", "write one like no-reply@example.com"},
	} {
		if _, _, err := load(map[string]string{x.name: x.value}, nil); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("Load with %s=%s: error %v, want one with %q", x.name, x.value, err, x.want)
		}
	}
}

func TestInvalidSettingsOfOldServerAreRefused(t *testing.T) {
	t.Parallel()
	for _, x := range []struct{ name, value, want string }{
		{"GATEHOUSE_MIGRATION", "on", "write off or password"},
		{"GATEHOUSE_MIGRATION", "password", "GATEHOUSE_MIGRATION_UNTIL is required"},
		{"GATEHOUSE_MIGRATION", "password", "GATEHOUSE_MIGRATION_USERINFO_URL is required"},
		{"GATEHOUSE_MIGRATION", "webhook", "GATEHOUSE_MIGRATION_SECRET is required"},
		{"GATEHOUSE_MIGRATION", "ldap", "GATEHOUSE_MIGRATION_LDAP_BASE is required"},
		{"GATEHOUSE_MIGRATION_LDAP_FILTER", "(uid=alice)", "write one like (uid=%s)"},
		{"GATEHOUSE_MIGRATION_USERINFO_URL", "ldaps://old.example.com", "with one of the schemes https, http"},
		{"GATEHOUSE_MIGRATION_URL", "http://old.example.com/token", "write https://"},
		{"GATEHOUSE_MIGRATION_URL", "https://user:password@old.example.com/token", "remove it"},
		{"GATEHOUSE_MIGRATION_UNTIL", "next year", "write one like 2027-06-30"},
		{"GATEHOUSE_MIGRATION_SOURCE", "two words", "visible ASCII"},
	} {
		if _, _, err := load(map[string]string{x.name: x.value}, nil); err == nil || !strings.Contains(err.Error(), x.want) {
			t.Errorf("Load with %s=%s: error %v, want one with %q", x.name, x.value, err, x.want)
		}
	}
	for url, kind := range map[string]string{"ldaps://old.example.com": "webhook", "https://old.example.com": "ldap"} {
		_, _, err := load(map[string]string{"GATEHOUSE_MIGRATION": kind, "GATEHOUSE_MIGRATION_URL": url}, nil)
		if err == nil || !strings.Contains(err.Error(), "GATEHOUSE_MIGRATION_URL has the scheme") {
			t.Errorf("Load with the kind %s and %s: error %v, want one about the scheme", kind, url, err)
		}
	}
}

func TestInvalidRootKeysAreRefused(t *testing.T) {
	t.Parallel()
	env := map[string]string{"GATEHOUSE_SECRET_KEY": key, "GATEHOUSE_SECRET_KEY_PREVIOUS": key}
	if _, _, err := load(env, nil); err == nil || !strings.Contains(err.Error(), "equals GATEHOUSE_SECRET_KEY") {
		t.Errorf("Load with the same key twice: error %v, want one", err)
	}
	env = map[string]string{"GATEHOUSE_DATABASE_URL": "postgres://h/d"}
	if _, _, err := load(env, nil); err == nil || !strings.Contains(err.Error(), config.MissingSecretKey) {
		t.Errorf("Load with PostgreSQL and no key: error %v, want %q", err, config.MissingSecretKey)
	}
}

func TestIssuerMustBeHTTPSUnlessLoopback(t *testing.T) {
	t.Parallel()
	loadIssuer := func(issuer string) error {
		_, _, err := load(map[string]string{"GATEHOUSE_ISSUER": issuer, "GATEHOUSE_TRUSTED_PROXIES": "10.0.0.0/8"}, nil)
		return err
	}
	for _, issuer := range []string{
		"id.example", "ftp://id.example", "http://id.example", "https://id.example/", "https://id.example#f",
		"https://u@id.example", "https://ID.example", "https://", "https://id.example/%41",
	} {
		if err := loadIssuer(issuer); err == nil {
			t.Errorf("Load with the issuer %q: no error, want one", issuer)
		}
	}
	for _, issuer := range []string{
		"https://id.example", "https://id.example:8443/tenant", "http://127.0.0.1:8080", "http://[::1]:8080",
		"http://localhost",
	} {
		if err := loadIssuer(issuer); err != nil {
			t.Errorf("Load with the issuer %q: %v", issuer, err)
		}
	}
	if _, _, err := load(map[string]string{"GATEHOUSE_ISSUER": "https://id.example"}, nil); err == nil {
		t.Error("Load with an https issuer without TLS or proxy: no error, want one")
	}
}

func TestAuditRetentionIsZeroOrADay(t *testing.T) {
	t.Parallel()
	for setting, want := range map[string]time.Duration{"0": 0, "24h": 24 * time.Hour, "1d": 24 * time.Hour} {
		c, _, err := load(map[string]string{"GATEHOUSE_AUDIT_RETENTION": setting}, nil)
		if err != nil || c.AuditRetention != want {
			t.Errorf("Load with GATEHOUSE_AUDIT_RETENTION=%s = %v, %v, want %v", setting, c.AuditRetention, err, want)
		}
	}
}

func TestRiskySettingsCauseWarnings(t *testing.T) {
	t.Parallel()
	for _, x := range []struct {
		env  map[string]string
		want string
	}{
		{map[string]string{"GATEHOUSE_ACCESS_TOKEN_TTL": "4m"}, "usual range is 5 to 60 minutes"},
		{map[string]string{"GATEHOUSE_ACCESS_TOKEN_TTL": "61m"}, "usual range is 5 to 60 minutes"},
		{map[string]string{"GATEHOUSE_RATE_LIMITS": "off"}, "GATEHOUSE_RATE_LIMITS is off"},
		{map[string]string{"GATEHOUSE_LISTEN": "127.0.0.1:9000"}, "has another port than"},
		{map[string]string{"GATEHOUSE_ISSUER": "http://localhost"}, "has another port than"},
		{map[string]string{"GATEHOUSE_LISTEN": "0.0.0.0:8080"}, "reachable from other hosts"},
		{map[string]string{"GATEHOUSE_ADMIN_LISTEN": "0.0.0.0:8081"}, "may be reachable from the internet"},
		{map[string]string{"GATEHOUSE_DEVICE_CODE_TTL": "5m"}, "has no effect yet"},
		{map[string]string{
			"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_ISSUER": "https://id.example", "GATEHOUSE_TRUSTED_PROXIES": "10.0.0.1",
		}, "anyone who can reach this server can register clients"},
		{map[string]string{
			"GATEHOUSE_REGISTRATION": "open", "GATEHOUSE_FETCH_ALLOW_HOSTS": "app.internal",
		}, "requests to any path on app.internal"},
	} {
		_, warnings, err := load(x.env, nil)
		if err != nil || len(warnings) != 1 || !strings.Contains(warnings[0], x.want) {
			t.Errorf("Load of %v: warnings %q, error %v, want one warning with %q", x.env, warnings, err, x.want)
		}
	}
	for _, x := range []struct {
		signUp, smtp string
		want         int
	}{{"open", "", 1}, {"domains:a.example", "", 1}, {"invite", "", 0}, {"open", "smtp://mail.example.com", 0}} {
		c, _, err := load(map[string]string{
			"GATEHOUSE_SIGN_UP": x.signUp, "GATEHOUSE_SMTP_URL": x.smtp, "GATEHOUSE_MAIL_FROM": "a@example.com",
		}, nil)
		if got := c.MailWarnings(); err != nil || len(got) != x.want {
			t.Errorf("warnings of sign-up %s with the mail server %q = %q, %v, want %d", x.signUp, x.smtp, got, err, x.want)
		}
	}
}

func TestSecretsAreReadFromFiles(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(file, []byte(key+"\r\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	c, warnings, err := load(map[string]string{"GATEHOUSE_SECRET_KEY_FILE": file}, nil)
	if err != nil || len(warnings) > 0 || config.EncodeKey(c.SecretKey) != key {
		t.Errorf("Load with GATEHOUSE_SECRET_KEY_FILE: error %v, warnings %q, want the key of the file", err, warnings)
	}
	_, _, err = load(map[string]string{"GATEHOUSE_SECRET_KEY_FILE": file, "GATEHOUSE_SECRET_KEY": key}, nil)
	if err == nil || !strings.Contains(err.Error(), "both set") {
		t.Errorf("Load with the key and its file: error %v, want one", err)
	}
}

func TestCheckFilesReportsUnusableCertificate(t *testing.T) {
	t.Parallel()
	if err := (config.Config{}).CheckFiles(); err != nil {
		t.Errorf("CheckFiles without TLS: %v", err)
	}
	err := config.Config{TLSCertFile: "/nonexistent", TLSKeyFile: "/nonexistent"}.CheckFiles()
	if err == nil || !strings.Contains(err.Error(), "GATEHOUSE_TLS_CERT_FILE") {
		t.Errorf("CheckFiles with files that do not exist: error %v, want one", err)
	}
}

func TestRateLimitsAreRead(t *testing.T) {
	t.Parallel()
	c, _, err := load(map[string]string{"GATEHOUSE_RATE_LIMITS": "client_failure=5/10s"}, nil)
	want := ratelimit.Rate{Count: 5, Period: 10 * time.Second}
	if err != nil || c.RateLimits["client_failure"] != want ||
		c.RateLimits["address_failure"] != ratelimit.Defaults()["address_failure"] {
		t.Errorf("RateLimits = %v, error %v, want client_failure=5/10s over the defaults", c.RateLimits, err)
	}
	if got := c.RedactedValues()["GATEHOUSE_RATE_LIMITS"]; got != "client_failure=5/10s" {
		t.Errorf("config print shows GATEHOUSE_RATE_LIMITS=%s, want client_failure=5/10s", got)
	}
}

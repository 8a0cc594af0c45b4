package config_test

import (
	"encoding/base64"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/config"
	"gatehouse/ratelimit"
)

func load(env map[string]string, flags map[string]string) (config.Config, []string, error) {
	return config.Load(func(name string) string { return env[name] }, flags)
}

func TestDefaultsAreThoseOfTheContract(t *testing.T) {
	t.Parallel()
	c, warnings, err := load(nil, nil)
	if err != nil || len(warnings) > 0 {
		t.Fatal(err, warnings)
	}
	if c.Issuer != "http://localhost:8080" || c.Listen != "127.0.0.1:8080" || c.DatabaseURL != "sqlite:gatehouse-data/gatehouse.db" || c.AccessTokenTTL != 15*time.Minute ||
		c.CodeTTL != time.Minute || c.RefreshIdleTTL != 720*time.Hour || c.RefreshMaxTTL != 2160*time.Hour || c.RefreshGrace != time.Minute ||
		c.SessionIdleTTL != 2*time.Hour || c.SessionMaxTTL != 24*time.Hour || c.DeviceCodeTTL != 5*time.Minute || !c.RegistrationRequirePKCE {
		t.Errorf("%+v", c)
	}
}

func TestFlagsWinOverTheEnvironment(t *testing.T) {
	t.Parallel()
	c, _, err := load(map[string]string{"GATEHOUSE_CODE_TTL": "30s"}, map[string]string{"code-ttl": "45s"})
	if err != nil || c.CodeTTL != 45*time.Second {
		t.Errorf("%v %v", c.CodeTTL, err)
	}
}

func TestEveryMistakeIsReportedAtOnce(t *testing.T) {
	t.Parallel()
	_, _, err := load(map[string]string{
		"GATEHOUSE_ISSUER": "https://id.example/?q", "GATEHOUSE_LISTEN": "x", "GATEHOUSE_CODE_TTL": "11m", "GATEHOUSE_REFRESH_GRACE": "601s", "GATEHOUSE_SECRET_KEY": "x", "GATEHOUSE_TRUSTED_PROXIES": "everyone",
	}, nil)
	var mistakes config.Errors
	if !errors.As(err, &mistakes) || len(mistakes) != 6 {
		t.Errorf("%v", err)
	}
	for _, issuer := range []string{"id.example", "ftp://id.example", "http://id.example", "https://id.example/", "https://id.example#f", "https://u@id.example", "https://ID.example", "https://", "https://id.example/%41"} {
		if _, _, err := load(map[string]string{"GATEHOUSE_ISSUER": issuer, "GATEHOUSE_TRUSTED_PROXIES": "10.0.0.0/8"}, nil); err == nil {
			t.Errorf("issuer %q is accepted", issuer)
		}
	}
	for _, issuer := range []string{"https://id.example", "https://id.example:8443/tenant", "http://127.0.0.1:8080", "http://[::1]:8080", "http://localhost"} {
		if _, _, err := load(map[string]string{"GATEHOUSE_ISSUER": issuer, "GATEHOUSE_TRUSTED_PROXIES": "10.0.0.0/8"}, nil); err != nil {
			t.Errorf("issuer %q: %v", issuer, err)
		}
	}
}

func TestTrustedProxiesThatMatchNoRequestAreRefused(t *testing.T) {
	t.Parallel()
	for _, bad := range []string{"::ffff:10.0.0.1", "::ffff:10.0.0.0/104", "fe80::1%eth0", "10.0.0.1:80", "10.0.0.0/33"} {
		if _, _, err := load(map[string]string{"GATEHOUSE_TRUSTED_PROXIES": bad}, nil); err == nil {
			t.Errorf("GATEHOUSE_TRUSTED_PROXIES=%s is accepted", bad)
		}
	}
}

func TestSecretsAreNeverPrinted(t *testing.T) {
	t.Parallel()
	key := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdef"))
	previous := base64.StdEncoding.EncodeToString([]byte("0123456789abcdef0123456789abcdeg"))
	c, _, err := load(map[string]string{
		"GATEHOUSE_SECRET_KEY": key, "GATEHOUSE_SECRET_KEY_PREVIOUS": previous, "GATEHOUSE_DATABASE_URL": "postgres://u:hunter2@h/d?password=hunter3", "GATEHOUSE_REDIS_URL": "redis://:hunter4@h",
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := c.WriteRedacted(&b); err != nil {
		t.Fatal(err)
	}
	for _, secret := range []string{key, previous, "hunter2", "hunter3", "hunter4"} {
		if strings.Contains(b.String(), secret) {
			t.Errorf("%s is in\n%s", secret, b.String())
		}
	}
	for _, f := range config.Flags() {
		if f.Hidden != (f.Name == "secret-key" || f.Name == "secret-key-previous" || f.Name == "redis-url") {
			t.Errorf("the flag %s is hidden: %t", f.Name, f.Hidden)
		}
	}
	for _, postgres := range []string{
		"postgres://u:hunter2@h/d", "postgres://u@h/d?password=hunter2", "postgres://u@h/d?pass%77ord=hunter2", "postgres://u@h/d?sslmode=verify-full&sslpassword=hunter2",
		"postgres://u@h/d?sslinline=true&sslkey=hunter2", "postgres://u@h/d?scram_client_key=hunter2", "postgres://u@h/d?oauth_client_secret=hunter2",
		"postgres://u@h1:1,h2:2/d?PASSWORD=hunter2&password=hunter2", "postgres://u@h/d?password=hunter2;x", "postgres://u@h/d?password=hunter2%zz",
		"postgres://u:1?hunter2@h/d", "postgres://u:1/hunter2@h/d", // not percent-encoded: the rest of the password is read as a query or a path
	} {
		c, _, err := load(map[string]string{"GATEHOUSE_DATABASE_URL": postgres, "GATEHOUSE_SECRET_KEY": key}, nil)
		if err != nil {
			t.Errorf("%s: %v", postgres, err)
			continue
		}
		if got := c.RedactedValues()["GATEHOUSE_DATABASE_URL"]; strings.Contains(got, "hunter") {
			t.Errorf("config print shows the password of %s as %s", postgres, got)
		}
		if _, warnings, err := load(map[string]string{"GATEHOUSE_SECRET_KEY": key}, map[string]string{"database-url": postgres}); err != nil || len(warnings) != 1 ||
			!strings.Contains(warnings[0], "GATEHOUSE_DATABASE_URL_FILE") || strings.Contains(warnings[0], "hunter") {
			t.Errorf("--database-url %s: warnings %v, error %v, want one warning that names GATEHOUSE_DATABASE_URL_FILE", postgres, warnings, err)
		}
	}
	for _, plain := range []string{"postgres://u@h/d?sslmode=verify-full&sslrootcert=/ca.pem&passfile=/run/pgpass&application_name=x", "sqlite:/data/a@b.db"} {
		c, warnings, err := load(map[string]string{"GATEHOUSE_SECRET_KEY": key}, map[string]string{"database-url": plain})
		if err != nil || len(warnings) > 0 || c.RedactedValues()["GATEHOUSE_DATABASE_URL"] != plain {
			t.Errorf("--database-url %s without a secret: printed %s, warnings %v, error %v", plain, c.RedactedValues()["GATEHOUSE_DATABASE_URL"], warnings, err)
		}
	}
	if _, _, err := load(map[string]string{"GATEHOUSE_DATABASE_URL": "postgres://u:1#hunter2@h/d", "GATEHOUSE_SECRET_KEY": key}, nil); err == nil || strings.Contains(err.Error(), "hunter") {
		t.Errorf("a # in the password: %v, want an error without it", err)
	}
	if _, warnings, err := load(nil, map[string]string{"secret-key": key}); err != nil || len(warnings) != 1 || strings.Contains(warnings[0], key) {
		t.Errorf("%v %v", warnings, err)
	}
}

func TestRateLimits(t *testing.T) {
	t.Parallel()
	c, _, err := load(map[string]string{"GATEHOUSE_RATE_LIMITS": "client_failure=5/10s"}, nil)
	if err != nil || c.RateLimits["client_failure"] != (ratelimit.Rate{Count: 5, Period: 10 * time.Second}) || c.RateLimits["address_failure"] != ratelimit.Defaults()["address_failure"] {
		t.Errorf("%v %v", c.RateLimits, err)
	}
	c, warnings, err := load(map[string]string{"GATEHOUSE_RATE_LIMITS": "off"}, nil)
	if err != nil || c.RateLimits != nil || len(warnings) != 1 {
		t.Errorf("%v %v %v", c.RateLimits, warnings, err)
	}
	for _, bad := range []string{"x", "client_failure", "client_failure=5", "client_failure=0/1s", "client_failure=5/0s", "nobody=5/1s"} {
		if _, _, err := load(map[string]string{"GATEHOUSE_RATE_LIMITS": bad}, nil); err == nil {
			t.Errorf("%q is accepted", bad)
		}
	}
}

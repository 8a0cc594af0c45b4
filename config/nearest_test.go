package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

func TestNearestFindsMisspeltNames(t *testing.T) {
	t.Parallel()
	names := []string{"ISSUER", "LISTEN", "ADMIN_LISTEN", "DATABASE_URL", "SECRET_KEY", "SECRET_KEY_FILE"}
	for name, want := range map[string]string{
		"ISUER": "ISSUER", "ISSEUR": "ISSUER", "LISTN": "LISTEN", "DATABASE": "DATABASE_URL", "SECRET_KEY_FLE": "SECRET_KEY_FILE", "SECRETKEY": "SECRET_KEY",
		"SECRET_KEX": "SECRET_KEY", "COLOUR": "", "X": "", "": "", strings.Repeat("X", 100_000): "",
	} {
		if got := config.Nearest(name, names); got != want {
			t.Errorf("Nearest(%.20q) = %q, want %q", name, got, want)
		}
	}
}

func TestUnknownSettingsSuggestTheNearestName(t *testing.T) {
	t.Parallel()
	got := config.Unknown([]string{"GATEHOUSE_ISUER=x", "GATEHOUSE_SECRETKEY_FILE=x", "GATEHOUSE_COLOUR=x", "GATEHOUSE_SERVICE_HOST=x", "PATH=x", "GATEHOUSE_ISSUER=x"})
	if len(got) != 3 || !strings.Contains(got[0], "did you mean GATEHOUSE_ISSUER?") || !strings.Contains(got[1], "did you mean GATEHOUSE_SECRET_KEY_FILE?") ||
		strings.Contains(got[2], "did you mean") {
		t.Errorf("%q", got)
	}
	if _, _, err := load(map[string]string{"GATEHOUSE_RATE_LIMITS": "client_failures=5/1m"}, nil); err == nil || !strings.Contains(err.Error(), "did you mean client_failure?") {
		t.Errorf("a misspelt limit: %v", err)
	}
}

func TestDurationsHaveDaysAndWeeks(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	for text, want := range map[string]time.Duration{
		"7d": 7 * day, "2w": 14 * day, "1w2d": 9 * day, "1d12h": 36 * time.Hour, "1w1d1h1m": 8*day + time.Hour + time.Minute, "15m": 15 * time.Minute, "0": 0, "0d": 0,
		"-1d": -day, "-1h": -time.Hour, "1.5h": 90 * time.Minute,
	} {
		if got, err := config.ParseDuration(text); err != nil || got != want {
			t.Errorf("ParseDuration(%q) = %v, %v, want %v", text, got, err, want)
		}
	}
	for _, text := range []string{"", "d", "w", "7", "7 d", "1.5d", "1d2w", "1h2d", "--1d", "1d-1h", "1d+1h", "-", "seven days", "1d1d", "106751d24h", "65535w", "99999999999d"} {
		if got, err := config.ParseDuration(text); err == nil {
			t.Errorf("ParseDuration(%q) = %v, want an error", text, got)
		}
	}
	c, _, err := load(map[string]string{"GATEHOUSE_REFRESH_IDLE_TTL": "30d", "GATEHOUSE_AUDIT_RETENTION": "52w", "GATEHOUSE_RATE_LIMITS": "registration=5/1d"}, nil)
	if err != nil || c.RefreshIdleTTL != 30*day || c.AuditRetention != 364*day || c.RateLimits["registration"].Period != day {
		t.Errorf("%v %v %v %v", c.RefreshIdleTTL, c.AuditRetention, c.RateLimits["registration"], err)
	}
}

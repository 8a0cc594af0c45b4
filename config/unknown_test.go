package config_test

import (
	"strings"
	"testing"
	"time"

	"gatehouse/config"
)

func TestUnknownSettingsSuggestNearestName(t *testing.T) {
	t.Parallel()
	got := config.UnknownSettingWarnings([]string{
		"GATEHOUSE_ISUER=x", "GATEHOUSE_SECRETKEY_FILE=x", "GATEHOUSE_COLOUR=x", "GATEHOUSE_SERVICE_HOST=x", "PATH=x",
		"GATEHOUSE_ISSUER=x",
	})
	if len(got) != 3 || !strings.Contains(got[0], "did you mean GATEHOUSE_ISSUER?") ||
		!strings.Contains(got[1], "did you mean GATEHOUSE_SECRET_KEY_FILE?") || strings.Contains(got[2], "did you mean") {
		t.Errorf("UnknownSettingWarnings = %q, want 3 warnings, 2 of them with a suggestion", got)
	}
}

func TestDurationSettingsAcceptDaysAndWeeks(t *testing.T) {
	t.Parallel()
	c, _, err := load(map[string]string{
		"GATEHOUSE_REFRESH_IDLE_TTL": "30d", "GATEHOUSE_AUDIT_RETENTION": "52w", "GATEHOUSE_RATE_LIMITS": "registration=5/1d",
	}, nil)
	const day = 24 * time.Hour
	if err != nil || c.RefreshIdleTTL != 30*day || c.AuditRetention != 364*day ||
		c.RateLimits["registration"].Period != day {
		t.Errorf("Load of 30d, 52w and 5/1d = %v, %v and %v, error %v, want 30, 364 and 1 days",
			c.RefreshIdleTTL, c.AuditRetention, c.RateLimits["registration"], err)
	}
}
